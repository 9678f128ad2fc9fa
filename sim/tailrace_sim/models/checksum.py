"""Golden model of checksum insertion (virtio 1.2, 5.1.6.2), on scapy's checksum.

The receive side's verdict is in :mod:`tailrace_sim.models.net_offload`.
"""

import struct
from typing import NamedTuple

from scapy.utils import checksum as internet_checksum

__all__ = ["Transport", "find_transport", "insert", "request"]

_TAGS = (0x8100, 0x88A8)
_TCP, _UDP = 6, 17
_UDP_OFFSET = 6


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


def insert(frame: bytes, start: int, offset: int) -> bytes:
    """NEEDS_CSUM (5.1.6.2): the sum from ``start`` to the end, stored at ``start + offset``.

    A result of 0 is sent as 0xFFFF where UDP has its checksum (RFC 768: 0 means that there is
    none), and stays 0 elsewhere.
    """
    total = internet_checksum(frame[start:])
    if total == 0 and offset == _UDP_OFFSET:
        total = 0xFFFF
    where = start + offset
    return frame[:where] + total.to_bytes(2, "big") + frame[where + 2 :]


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
    offset = 16 if ip.protocol == _TCP else _UDP_OFFSET
    where = ip.start + offset
    partial = internet_checksum(ip.pseudo) ^ 0xFFFF
    return frame[:where] + partial.to_bytes(2, "big") + frame[where + 2 :], ip.start, offset
