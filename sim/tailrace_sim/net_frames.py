"""Random frames of every kind that the checksum and flow logic treats differently."""

from random import Random

from scapy.layers.inet import IP, TCP, UDP, IPOption_NOP, fragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Raw

__all__ = ["KINDS", "random_frame"]


def _ethernet(rng):
    layer = Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")
    tags = rng.choice(["", "", "q", "aq"])
    if tags == "aq":
        layer = layer / Dot1AD(vlan=7, type=0x8100)
    if tags:
        layer = layer / Dot1Q(vlan=rng.randrange(4096))
    return layer


def _ipv4(rng, **fields):
    source, destination = (".".join(str(octet) for octet in rng.randbytes(4)) for _ in range(2))
    return IP(src=source, dst=destination, **fields)


def _ipv6(rng, **fields):
    source, destination = (rng.randbytes(16).hex(":", 2) for _ in range(2))
    return IPv6(src=source, dst=destination, **fields)


def _ports(rng):
    return {"sport": rng.randrange(1, 65536), "dport": rng.randrange(1, 65536)}


def _data(rng, longest):
    return Raw(rng.randbytes(rng.choice([0, 1, rng.randint(0, 80), rng.randint(0, longest)])))


def _spoil(rng, frame: bytes) -> bytes:
    """One bit somewhere behind the Ethernet header is wrong."""
    bit = rng.randrange(8 * 14, 8 * len(frame))
    octets = bytearray(frame)
    octets[bit // 8] ^= 1 << bit % 8
    return bytes(octets)


def _tcp4(rng, n):
    return bytes(_ethernet(rng) / _ipv4(rng) / TCP(**_ports(rng)) / _data(rng, n))


def _udp4(rng, n):
    return bytes(_ethernet(rng) / _ipv4(rng) / UDP(**_ports(rng)) / _data(rng, n))


def _options(rng, n):
    options = [IPOption_NOP()] * rng.randint(1, 40)
    return bytes(_ethernet(rng) / _ipv4(rng, options=options) / UDP(**_ports(rng)) / _data(rng, n))


def _tcp6(rng, n):
    return bytes(_ethernet(rng) / _ipv6(rng) / TCP(**_ports(rng)) / _data(rng, n))


def _udp6(rng, n):
    return bytes(_ethernet(rng) / _ipv6(rng) / UDP(**_ports(rng)) / _data(rng, n))


def _extension(rng, n):
    packet = _ipv6(rng) / IPv6ExtHdrHopByHop() / UDP(**_ports(rng)) / _data(rng, n)
    return bytes(_ethernet(rng) / packet)


def _fragment(rng, n):
    packet = _ipv4(rng) / UDP(**_ports(rng)) / Raw(rng.randbytes(rng.randint(40, max(41, n))))
    return bytes(_ethernet(rng) / rng.choice(fragment(packet, 24)))


def _no_checksum(rng, n):
    ip = rng.choice([_ipv4, _ipv6])(rng)
    return bytes(_ethernet(rng) / ip / UDP(chksum=0, **_ports(rng)) / _data(rng, n))


def _other(rng, n):
    packet = rng.choice([Ether() / ARP(), _ethernet(rng) / _ipv4(rng, proto=47)])
    return bytes(packet / _data(rng, n))


def _noise(rng, n):
    head = rng.choice([b"", b"\x08\x00\x45", b"\x86\xdd\x60", b"\x81\x00\x00\x01\x08\x00\x46"])
    return rng.randbytes(12) + head + rng.randbytes(rng.randint(2, max(3, n)))


def _padded(rng, n):
    return KINDS[rng.choice(["tcp4", "udp4", "udp6"])](rng, n) + rng.randbytes(rng.randint(1, 30))


def _truncated(rng, n):
    frame = KINDS[rng.choice(["tcp4", "udp6", "options"])](rng, n)
    return frame[: rng.randint(14, len(frame) - 1)]


def _spoilt(rng, n):
    return _spoil(rng, KINDS[rng.choice(["tcp4", "udp4", "tcp6", "udp6", "options"])](rng, n))


KINDS = {
    "tcp4": _tcp4,
    "udp4": _udp4,
    "options": _options,
    "tcp6": _tcp6,
    "udp6": _udp6,
    "extension": _extension,
    "fragment": _fragment,
    "no checksum": _no_checksum,
    "other": _other,
    "noise": _noise,
    "padded": _padded,
    "truncated": _truncated,
    "spoilt": _spoilt,
}


def random_frame(rng: Random, longest: int = 200, kind: str | None = None) -> bytes:
    """A frame of a kind; ``longest`` bounds its data, not its headers."""
    return KINDS[kind or rng.choice(list(KINDS))](rng, longest)
