"""Where the headers of a received frame are, and what they say of its checksums and flow."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.virtio.net_hash import toeplitz

__all__ = ["HASH_BITS", "WINDOW", "HeaderParser", "HeaderSummary"]

#: Bytes of a frame that the parser looks at: two VLAN tags, the longest IPv4 header and the first
#: 8 bytes of TCP or UDP.
WINDOW = 14 + 8 + 60 + 8
#: Top bits of the Toeplitz hash that are used.
HASH_BITS = 16
#: Bytes from the start of the network header on that the parser keeps.
_KEPT = 60 + 8

_IPV4, _IPV6 = 0x0800, 0x86DD
#: Tag protocol identifiers of IEEE 802.1Q: customer and service tag.
_TAGS = (0x8100, 0x88A8)
_TCP, _UDP = 6, 17


class HeaderSummary(data.Struct):
    """What a frame's headers say. Offsets are from the frame's first byte."""

    #: IPv4 or IPv6 behind at most two VLAN tags.
    ipv4: 1
    ip: 1
    network: 7
    transport: 7
    #: End of the IP packet; what follows is Ethernet padding.
    end: 18
    #: Source and destination address: [first, last).
    address_first: 7
    address_last: 7
    #: Unfragmented TCP or UDP directly behind the IP header, with a checksum and with lengths that
    #: agree: worth verifying. Otherwise there can be no verdict.
    checkable: 1
    #: Sum of the pseudo header's protocol and length (RFC 9293 3.1, RFC 768, RFC 8200 8.1).
    pseudo: 18
    #: Top bits of the flow hash.
    hash: HASH_BITS


class HeaderParser(wiring.Component):
    """Reads Ethernet, up to two VLAN tags, IPv4 or IPv6, and the start of TCP or UDP.

    The window holds a frame's first bytes as far as they have come; the summary follows it by two
    cycles. A member of the summary is right as soon as the bytes it comes from are there, and none
    depends on a byte behind the position it speaks of. So ranges may be used beat by beat, while
    ``checkable`` and ``hash`` count at the frame's end, and then only if the frame is as long as
    ``end`` says.

    The flow hash is the Toeplitz hash of source address, destination address and, for unfragmented
    TCP and UDP, source port and destination port: the functions of virtio 1.2, 5.1.6.4.3.

    Members
    -------
    window : In(8 * WINDOW)
    summary : Out(HeaderSummary)
    """

    window: In(8 * WINDOW)
    summary: Out(HeaderSummary)

    def elaborate(self, platform):
        m = Module()
        octets = [self.window.word_select(k, 8) for k in range(WINDOW)]
        network, ethertype, kept = self._find_network(m, octets)
        self._describe(m, network, ethertype, kept)
        return m

    def _find_network(self, m, octets):
        """First cycle: step over the VLAN tags, keep the network header from its start on."""

        def is_tag(at):
            value = Cat(octets[at + 1], octets[at])
            return (value == _TAGS[0]) | (value == _TAGS[1])

        tags = Signal(2)
        m.d.comb += tags.eq(Mux(is_tag(12), Mux(is_tag(16), 2, 1), 0))

        def behind_tags(at):
            return Mux(tags[1], octets[at + 8], Mux(tags[0], octets[at + 4], octets[at]))

        network = Signal(7)
        ethertype = Signal(16)
        kept = [Signal(8, name=f"kept_{k}") for k in range(_KEPT)]
        m.d.sync += [
            network.eq(14 + (tags << 2)),
            ethertype.eq(Cat(behind_tags(13), behind_tags(12))),
            *(register.eq(behind_tags(14 + k)) for k, register in enumerate(kept)),
        ]
        return network, ethertype, kept

    def _describe(self, m, network, ethertype, kept):
        """Second cycle: lengths, protocol, transport header, hash."""
        s = self.summary
        ipv4, ipv6 = Signal(), Signal()
        words = kept[0][:4]
        header = Signal(6)
        # IPv4 counts its header in the length, IPv6 does not (RFC 791 3.1, RFC 8200 3).
        length4, length6 = Cat(kept[3], kept[2]), Cat(kept[5], kept[4])
        total = Signal(18)
        payload = Signal(18)
        m.d.comb += [
            ipv4.eq((ethertype == _IPV4) & (kept[0][4:] == 4)),
            ipv6.eq((ethertype == _IPV6) & (kept[0][4:] == 6)),
            header.eq(Mux(ipv4, words << 2, 40)),
            total.eq(Mux(ipv4, length4, length6 + 40)),
            payload.eq(Mux(ipv4, length4 - (words << 2), length6)),
        ]
        # Bits 13:0 of IPv4's flags and offset: More Fragments and the offset.
        fragment = ipv4 & (Cat(kept[7], kept[6][:6]) != 0)
        protocol = Mux(ipv4, kept[9], kept[6])
        udp = protocol == _UDP
        sound, whole = Signal(), Signal()
        m.d.comb += [
            sound.eq(ipv4 & (words >= 5) & (length4 >= words << 2) | ipv6),
            whole.eq(
                sound & ~fragment & ((protocol == _TCP) & (payload >= 20) | udp & (payload >= 8))
            ),
        ]
        start = self._transport_bytes(m, kept, ipv4, words)
        # No checksum is UDP's choice over IPv4, an error over IPv6 (RFC 8200 8.1): no verdict.
        udp_fit = (Cat(start[5], start[4]) == payload) & (Cat(start[7], start[6]) != 0)
        m.d.sync += [
            s.ipv4.eq(ipv4),
            s.ip.eq(sound),
            s.network.eq(network),
            s.transport.eq(network + header),
            s.end.eq(network + total),
            s.address_first.eq(network + Mux(ipv4, 12, 8)),
            s.address_last.eq(network + Mux(ipv4, 20, 40)),
            s.checkable.eq(whole & (~udp | udp_fit)),
            s.pseudo.eq(payload + protocol),
            s.hash.eq(Mux(sound, self._hash(m, kept, ipv4, start, whole), 0)),
        ]

    @staticmethod
    def _transport_bytes(m, kept, ipv4, words):
        """The first 8 bytes of the transport header: behind 20 to 60 bytes of IP header."""
        start = [Signal(8, name=f"start_{k}") for k in range(8)]
        with m.Switch(Mux(ipv4, words, 10)):
            for choice in range(5, 16):
                with m.Case(choice):
                    m.d.comb += [start[k].eq(kept[4 * choice + k]) for k in range(8)]
        return start

    @staticmethod
    def _hash(m, kept, ipv4, start, with_ports):
        """Toeplitz over the 12 bytes of IPv4 or the 36 bytes of IPv6.

        The hash is linear, so the parts of addresses and ports are made side by side; whether the
        ports count is known last.
        """
        octets = [Signal(8, name=f"hashed_{k}") for k in range(36)]
        none = [Const(0, 8)] * 36
        four = kept[12:20] + start[:4] + none[:24]
        six = kept[8:40] + start[:4]
        m.d.comb += [
            octet.eq(Mux(ipv4, a, b)) for octet, a, b in zip(octets, four, six, strict=True)
        ]
        only_addresses = Mux(
            ipv4,
            toeplitz(octets[:8] + none[:28], HASH_BITS),
            toeplitz(octets[:32] + none[:4], HASH_BITS),
        )
        only_ports = Mux(
            ipv4,
            toeplitz(none[:8] + octets[8:12], HASH_BITS),
            toeplitz(none[:32] + octets[32:], HASH_BITS),
        )
        return only_addresses ^ Mux(with_ports, only_ports, 0)
