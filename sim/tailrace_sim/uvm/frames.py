"""Frames of an exact size and kind for the sequences."""

from random import Random

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Raw

from tailrace_sim.models.net_offload import receive_verdict

__all__ = ["plain", "transport", "wrong"]

_ETHERNET, _TAG = 14, 4
_NETWORK = {4: 20, 6: 40}
_TRANSPORT = {"tcp": 20, "udp": 8}
#: IEEE 802 local experimental type: nobody looks behind it.
_LOCAL = 0x88B5


def _addresses(rng: Random, mark: int) -> tuple[bytes, bytes]:
    """Destination and source; the source's last byte is ``mark``."""
    return bytes([2]) + rng.randbytes(5), bytes([2]) + rng.randbytes(4) + bytes([mark])


def plain(rng: Random, size: int, mark: int = 0) -> bytes:
    """No IP in it."""
    destination, source = _addresses(rng, mark)
    return destination + source + _LOCAL.to_bytes(2, "big") + rng.randbytes(size - _ETHERNET)


def transport(rng: Random, size: int, protocol: str, mark: int = 0) -> bytes:
    """TCP or UDP over IPv4 or IPv6, tagged or not as there is room, all checksums right."""
    room = size - _ETHERNET - _TRANSPORT[protocol]
    choices = [
        (version, tagged)
        for version in (4, 6)
        for tagged in (False, True)
        if _NETWORK[version] + tagged * _TAG <= room
    ]
    version, tagged = rng.choice(choices)
    destination, source = _addresses(rng, mark)
    packet = Ether(dst=destination.hex(":"), src=source.hex(":"))
    if tagged:
        packet = packet / Dot1Q(vlan=rng.randrange(4096))
    if version == 4:
        hosts = (".".join(map(str, rng.randbytes(4))) for _ in range(2))
        packet = packet / IP(src=next(hosts), dst=next(hosts), id=rng.randrange(65536))
    else:
        hosts = (rng.randbytes(16).hex(":", 2) for _ in range(2))
        packet = packet / IPv6(src=next(hosts), dst=next(hosts))
    source_port, destination_port = rng.randrange(1, 65536), rng.randrange(1, 65536)
    layer = TCP if protocol == "tcp" else UDP
    packet = packet / layer(sport=source_port, dport=destination_port)
    payload = room - _NETWORK[version] - tagged * _TAG
    return bytes(packet / Raw(rng.randbytes(payload)))


def wrong(rng: Random, size: int, mark: int = 0) -> bytes:
    """TCP or UDP with one bit wrong, so that the checksum is."""
    protocol = rng.choice(["tcp", "udp"]) if size >= _ETHERNET + 40 else "udp"
    frame = bytearray(transport(rng, size, protocol, mark))
    while receive_verdict(bytes(frame)):
        bit = rng.randrange(8 * (_ETHERNET + _TAG), 8 * len(frame))
        frame[bit // 8] ^= 1 << bit % 8
    return bytes(frame)
