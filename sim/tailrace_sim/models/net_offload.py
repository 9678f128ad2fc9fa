"""Golden model of virtio-net's receive checks: verdict and flow hash of a frame, by scapy."""

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1AD, Dot1Q
from scapy.utils import checksum

__all__ = [
    "TOEPLITZ_KEY",
    "internet_sum",
    "receive_hash",
    "receive_queue",
    "receive_verdict",
    "toeplitz",
]

#: Key of Microsoft's "Introduction to Receive Side Scaling".
TOEPLITZ_KEY = bytes.fromhex(
    "6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa"
)


def internet_sum(data: bytes) -> int:
    """Ones' complement sum of 16-bit big-endian words (RFC 1071), not complemented."""
    return 0xFFFF ^ checksum(data)


def _network(frame: bytes):
    """The IPv4 or IPv6 layer behind at most two tags, and its bytes cut to its own length.

    None if there is none, or the frame ends before the packet does.
    """
    # Not by scapy's Ether, which takes a type below 1536 for a length.
    ethertype, rest = int.from_bytes(frame[12:14], "big"), frame[14:]
    for _ in range(2):
        if ethertype not in (0x8100, 0x88A8) or len(rest) < 4:
            break
        tag = (Dot1Q if ethertype == 0x8100 else Dot1AD)(rest)
        ethertype, rest = tag.type, rest[4:]
    if ethertype == 0x0800 and len(rest) >= 20 and rest[0] >> 4 == 4:
        length = int.from_bytes(rest[2:4], "big")
        header = 4 * (rest[0] & 15)
        if header >= 20 and header <= length <= len(rest):
            return IP(rest[:length]), rest[:length], header
    if ethertype == 0x86DD and len(rest) >= 40 and rest[0] >> 4 == 6:
        length = 40 + int.from_bytes(rest[4:6], "big")
        if length <= len(rest):
            return IPv6(rest[:length]), rest[:length], 40
    return None


def _transport(ip, packet: bytes, header: int):
    """Protocol number and bytes of an unfragmented TCP or UDP, or None."""
    protocol = ip.proto if isinstance(ip, IP) else ip.nh
    if isinstance(ip, IP) and (ip.flags.MF or ip.frag):
        return None
    data = packet[header:]
    least = {6: 20, 17: 8}.get(protocol)
    return (protocol, data) if least and len(data) >= least else None


def receive_verdict(frame: bytes) -> bool:
    """Whether every checksum that the frame carries can be vouched for (virtio 1.2, 5.1.6.4.1)."""
    network = _network(frame)
    transport = network and _transport(*network)
    if not transport:
        return False
    ip, packet, header = network
    protocol, data = transport
    if isinstance(ip, IP) and checksum(packet[:header]):
        return False
    if protocol == 17:
        udp = UDP(data)
        if udp.chksum == 0 or udp.len != len(data):
            return False
    size = 8 if isinstance(ip, IP) else 32
    start = 12 if isinstance(ip, IP) else 8
    pseudo = packet[start : start + size] + len(data).to_bytes(4, "big")
    pseudo += protocol.to_bytes(4, "big")
    return checksum(pseudo + data) == 0


def toeplitz(data: bytes) -> int:
    """The 32-bit Toeplitz hash under :data:`TOEPLITZ_KEY`."""
    key = int.from_bytes(TOEPLITZ_KEY, "big")
    result = 0
    for position in range(8 * len(data)):
        if data[position // 8] >> (7 - position % 8) & 1:
            result ^= key >> (8 * len(TOEPLITZ_KEY) - 32 - position)
    return result & 0xFFFFFFFF


def receive_hash(frame: bytes) -> int:
    """Toeplitz hash over addresses, and ports of unfragmented TCP and UDP; 0 if not IP."""
    network = _network(frame)
    if not network:
        return 0
    ip, packet, header = network
    data = packet[12:20] if isinstance(ip, IP) else packet[8:40]
    transport = _transport(ip, packet, header)
    if transport:
        protocol, segment = transport
        layer = (TCP if protocol == 6 else UDP)(segment)
        data += layer.sport.to_bytes(2, "big") + layer.dport.to_bytes(2, "big")
    return toeplitz(data)


def receive_queue(frame: bytes, active_pairs: int) -> int:
    """Receive queue of the frame: the hash's top 16 bits scaled to the queues in use."""
    return (receive_hash(frame) >> 16) * active_pairs >> 16
