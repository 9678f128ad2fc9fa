"""Layouts that the parts of a port share."""

from amaranth.lib import data, enum

from tailrace_hw.lib.packet import beat_layout

__all__ = [
    "LOST_WIDTH",
    "MacCounters",
    "RxCounters",
    "RxReason",
    "RxStatus",
    "TxCounters",
    "captured_layout",
]

#: Bits of the number of whole frames that one overflow lost; it stays at its maximum.
LOST_WIDTH = 16


class RxReason(enum.Enum, shape=3):
    """Why a received frame is to be dropped; the first that applies, in reverse order."""

    NONE = 0
    #: Shorter than the limit.
    RUNT = 1
    #: The MAC says that it is bad, or gave it in a form that no frame can have.
    ERROR = 2
    #: Longer than the limit; cut off there.
    OVERSIZE = 3
    #: Part of it was lost, because the device did not take it in time.
    OVERFLOW = 4


class RxStatus(data.Struct):
    """Metadata of a received frame, meaningful on the last beat only."""

    #: The frame is not to be used; it is counted already.
    drop: 1
    reason: RxReason


class _CaptureMeta(data.Struct):
    """On the last beat only."""

    error: 1
    #: This beat stands for what was lost: its data's low LOST_WIDTH bits are the number of whole
    #: frames lost beside the one it ends.
    overflow: 1


def captured_layout(width: int) -> data.StructLayout:
    """A beat on its way from the MAC's clock domain."""
    return beat_layout(width, _CaptureMeta)


class RxCounters(data.Struct):
    """What is added to the receive counters in this cycle."""

    rx_frames: 1
    rx_bytes: 17
    rx_drop_error: 1
    rx_drop_runt: 1
    rx_drop_oversize: 1
    rx_drop_overflow: 17


class TxCounters(data.Struct):
    """What is added to the transmit counters in this cycle."""

    tx_frames: 1
    tx_bytes: 17
    tx_drop_oversize: 1


class MacCounters(data.Struct):
    """What is added to a port's counters in this cycle; the counters in ``regs.rdl`` have the same
    names."""

    rx: RxCounters
    tx: TxCounters
