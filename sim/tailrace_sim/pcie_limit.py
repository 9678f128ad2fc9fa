"""What a PCIe link can carry: the yardstick of every DMA figure.

A Gen3 lane moves 8 GT/s with 128b/130b coding (PCIe 5.0, 4.2.2.1). A TLP costs its header (12 or 16
bytes), its data in dwords, and 8 bytes around it: 4 of STP token with sequence number and 4 of LCRC
(4.2.2.3). DLLPs (ACK, flow control) are not counted: they cost what a share below 100 % may cost.
"""

__all__ = [
    "completion_bytes",
    "link_bytes_per_cycle",
    "read_request_bytes",
    "write_bytes",
]

_LANES = 16
_RATE = 8e9 * 128 / 130 / 8
_FRAMING = 8
#: Header with a 64-bit address, and a completion's.
_HEADER_64 = 16
_COMPLETION_HEADER = 12
#: Host memory of our benches lies below 4 GiB, so requests have the short header (2.2.4.1).
_HEADER_32 = 12


def link_bytes_per_cycle(clock_hz: int, lanes: int = _LANES) -> float:
    """Bytes a cycle and direction on a Gen3 link, TLP overhead included."""
    return _RATE * lanes / clock_hz


def _dwords(length: int, offset: int = 0) -> int:
    """Bytes of the dwords that ``length`` bytes at ``offset`` touch."""
    first = offset % 4
    return -(-(first + length) // 4) * 4


def write_bytes(address: int, length: int, max_payload: int) -> int:
    """Bytes on the link for a write, split at Max_Payload_Size boundaries."""
    total = 0
    while length:
        piece = min(length, max_payload - address % max_payload)
        total += _FRAMING + _header(address) + _dwords(piece, address)
        address, length = address + piece, length - piece
    return total


def read_request_bytes(address: int, length: int, max_read: int) -> int:
    """Bytes upstream for the requests of a read, split at Max_Read_Request_Size boundaries."""
    first = address // max_read
    last = (address + length - 1) // max_read
    return (last - first + 1) * (_FRAMING + _header(address))


def completion_bytes(address: int, length: int, max_payload: int) -> int:
    """Bytes downstream for the completions of a read, in pieces of Max_Payload_Size."""
    total = 0
    while length:
        piece = min(length, max_payload - address % max_payload)
        total += _FRAMING + _COMPLETION_HEADER + _dwords(piece, address)
        address, length = address + piece, length - piece
    return total


def _header(address: int) -> int:
    return _HEADER_64 if address >> 32 else _HEADER_32
