"""Golden model of the checksum offloads and of receive steering, on scapy's checksum.

What the gateware promises (see ``RxAnalyse``) is said again here in other words and by other means.
"""

import struct
from typing import NamedTuple

from scapy.utils import checksum as internet_checksum

__all__ = ["Transport", "find_transport", "flow_hash", "insert", "request", "steer", "valid"]

_TAGS = (0x8100, 0x88A8)
_TCP, _UDP = 6, 17
_KEY = bytes.fromhex(
    "6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa"
)


class Transport(NamedTuple):
    """Where the headers of an IP packet are.

    Attributes
    ----------
    network, start, end : first byte of the IP header, of what is behind it, and behind the packet
    version : 4 or 6
    addresses : source and destination address, one behind the other
    protocol : of what is behind the IP header
    fragment : it is part of a fragmented packet
    """

    network: int
    start: int
    end: int
    version: int
    addresses: bytes
    protocol: int
    fragment: bool

    @property
    def pseudo(self) -> bytes:
        """Pseudo header (RFC 9293 3.1, RFC 768, RFC 8200 8.1)."""
        length = self.end - self.start
        if self.version == 4:
            return self.addresses + struct.pack(">BBH", 0, self.protocol, length)
        return self.addresses + struct.pack(">IxxxB", length, self.protocol)


def find_transport(frame: bytes) -> Transport | None:
    """Read Ethernet, up to two VLAN tags and IP; None if it is not IP or is cut short."""
    at = 12
    for _ in range(2):
        if len(frame) >= at + 2 and int.from_bytes(frame[at : at + 2], "big") in _TAGS:
            at += 4
    ethertype = int.from_bytes(frame[at : at + 2], "big")
    ip = at + 2
    if ethertype == 0x0800 and len(frame) >= ip + 20 and frame[ip] >> 4 == 4:
        start = ip + 4 * (frame[ip] & 15)
        end = ip + int.from_bytes(frame[ip + 2 : ip + 4], "big")
        fragment = bool(int.from_bytes(frame[ip + 6 : ip + 8], "big") & 0x3FFF)
        found = Transport(ip, start, end, 4, frame[ip + 12 : ip + 20], frame[ip + 9], fragment)
    elif ethertype == 0x86DD and len(frame) >= ip + 40 and frame[ip] >> 4 == 6:
        end = ip + 40 + int.from_bytes(frame[ip + 4 : ip + 6], "big")
        found = Transport(ip, ip + 40, end, 6, frame[ip + 8 : ip + 40], frame[ip + 6], False)
    else:
        return None
    sound = ip + 20 <= found.start <= found.end <= len(frame)
    return found if sound else None


def valid(frame: bytes) -> bool:
    """Whether DATA_VALID is due (5.1.6.4): every checksum of the packet is there and right.

    Only for unfragmented TCP or UDP directly behind the IP header; Ethernet padding is not part
    of the packet.
    """
    ip = find_transport(frame)
    if ip is None or ip.fragment or ip.protocol not in (_TCP, _UDP):
        return False
    if ip.version == 4 and internet_checksum(frame[ip.network : ip.start]) != 0:
        return False
    payload = frame[ip.start : ip.end]
    if len(payload) < (20 if ip.protocol == _TCP else 8):
        return False
    if ip.protocol == _UDP:
        length = int.from_bytes(payload[4:6], "big")
        if length != len(payload) or payload[6:8] == bytes(2):
            return False
    return internet_checksum(ip.pseudo + payload) == 0


def insert(frame: bytes, start: int, offset: int) -> bytes:
    """NEEDS_CSUM (5.1.6.2): the sum from ``start`` to the end, stored at ``start + offset``.

    A result of 0 is sent as 0xFFFF for UDP (RFC 768), which is harmless for TCP: both stand for
    the same sum.
    """
    total = internet_checksum(frame[start:])
    where = start + offset
    return frame[:where] + (total or 0xFFFF).to_bytes(2, "big") + frame[where + 2 :]


def request(frame: bytes) -> tuple[bytes, int, int] | None:
    """Prepare a TCP or UDP frame as a driver does that lets the device finish the checksum.

    The frame with the pseudo header's sum in the checksum field, ``csum_start`` and
    ``csum_offset``; None if it has no such checksum.
    """
    ip = find_transport(frame)
    if ip is None or ip.fragment or ip.protocol not in (_TCP, _UDP):
        return None
    if ip.end != len(frame) or ip.end - ip.start < (20 if ip.protocol == _TCP else 8):
        return None
    offset = 16 if ip.protocol == _TCP else 6
    where = ip.start + offset
    partial = internet_checksum(ip.pseudo) ^ 0xFFFF
    return frame[:where] + partial.to_bytes(2, "big") + frame[where + 2 :], ip.start, offset


def flow_hash(frame: bytes) -> int:
    """Toeplitz hash (5.1.6.4.3) of addresses and, for unfragmented TCP and UDP, ports."""
    ip = find_transport(frame)
    if ip is None:
        return 0
    data = ip.addresses
    if not ip.fragment and ip.protocol in (_TCP, _UDP) and ip.end - ip.start >= 4:
        data += frame[ip.start : ip.start + 4]
    key = int.from_bytes(_KEY, "big")
    bits = int.from_bytes(data, "big")
    count = 8 * len(data)
    result = 0
    for i in range(count):
        if bits >> count - 1 - i & 1:
            result ^= key >> 8 * len(_KEY) - 32 - i & 0xFFFF_FFFF
    return result


def steer(frame: bytes, pairs: int) -> int:
    """Receive queue of a frame among ``pairs`` active ones."""
    return (flow_hash(frame) >> 16) * pairs >> 16
