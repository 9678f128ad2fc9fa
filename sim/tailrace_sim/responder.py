"""A host on a network, as small as can be: it answers ARP requests and pings for one address."""

import ipaddress
from dataclasses import dataclass

from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import ARP, Ether

__all__ = ["Responder"]

_ARP_REQUEST, _ARP_REPLY = 1, 2
_ECHO_REQUEST, _ECHO_REPLY = 8, 0


@dataclass
class Responder:
    """Answers frames for an address.

    Attributes
    ----------
    mac, address : ours
    arps, pings : answered so far
    ignored : frames that want no answer, or none of ours
    """

    mac: str
    address: ipaddress.IPv4Address
    arps: int = 0
    pings: int = 0
    ignored: int = 0

    def answer(self, frame: bytes) -> bytes | None:
        """The answer to a frame, without FCS; None if there is none. Garbage is ignored."""
        try:
            packet = Ether(frame)
            reply = self._arp(packet) if ARP in packet else self._ping(packet)
        except Exception:  # whatever scapy raises on garbage
            reply = None
        if reply is None:
            self.ignored += 1
        return reply

    def _arp(self, packet: Ether) -> bytes | None:
        asked = packet[ARP]
        if asked.op != _ARP_REQUEST or asked.pdst != str(self.address):
            return None
        self.arps += 1
        said = ARP(op=_ARP_REPLY, hwsrc=self.mac, psrc=asked.pdst, hwdst=asked.hwsrc,
                   pdst=asked.psrc)  # fmt: skip
        return bytes(Ether(dst=packet.src, src=self.mac) / said)

    def _ping(self, packet: Ether) -> bytes | None:
        if packet.dst != self.mac or IP not in packet or ICMP not in packet:
            return None
        ip, icmp = packet[IP], packet[ICMP]
        fragment = ip.frag or ip.flags.MF
        if ip.dst != str(self.address) or icmp.type != _ECHO_REQUEST or fragment:
            return None
        self.pings += 1
        # Without a length of its own, the frame's padding would become the answer's.
        size = ip.len - 4 * ip.ihl - 8
        reply = (
            Ether(dst=packet.src, src=self.mac)
            / IP(src=ip.dst, dst=ip.src, id=ip.id)
            / ICMP(type=_ECHO_REPLY, id=icmp.id, seq=icmp.seq)
            / bytes(icmp.payload)[: max(0, size)]
        )
        return bytes(reply)
