"""What the DMA engines tell the management block: counter pulses and error events."""

from amaranth.hdl import Array
from amaranth.lib import data

from tailrace_hw.errors import ErrorCode

__all__ = ["DmaCounts", "error_code"]


class DmaCounts(data.Struct):
    """What happened in this cycle, to be added to counters."""

    #: Requests that ended, well or not.
    requests: 4
    #: Bytes handed to the client (read) or put on the link (write).
    bytes: 10
    #: Requests that ended with the DmaStatus that is the index (0, OK, is not counted).
    failed: data.ArrayLayout(4, 8)
    #: A completion came that nobody waits for; it was dropped.
    unexpected: 1


def error_code(status):
    """ErrorCode of a DmaStatus that is not OK."""
    codes = [
        ErrorCode.NONE,
        ErrorCode.DMA_UR,
        ErrorCode.DMA_CA,
        ErrorCode.DMA_POISONED,
        ErrorCode.DMA_TIMEOUT,
        ErrorCode.DMA_BUS_MASTER_OFF,
        ErrorCode.DMA_BAD_REQUEST,
        ErrorCode.NONE,
    ]
    return Array(codes)[status.as_value()]
