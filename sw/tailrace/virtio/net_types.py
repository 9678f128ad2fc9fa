"""What the virtio-net driver is told, and what it tells."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tailrace.errors import VirtioError
from tailrace.virtio import spec
from tailrace.virtio.spec import CsumFlag, Feature

__all__ = ["CsumRequest", "Frame", "NetOptions", "QueueStats", "TxFrame"]


@dataclass(frozen=True)
class NetOptions:
    """How to drive the device: features are used if it offers them too.

    Attributes
    ----------
    packed, indirect, event_idx, ring_reset : VIRTIO_F_RING_PACKED, INDIRECT_DESC, EVENT_IDX,
        RING_RESET
    mergeable, csum, guest_csum, mtu : VIRTIO_NET_F_MRG_RXBUF, CSUM, GUEST_CSUM, MTU
    queue_pairs : pairs to use; more than one needs VIRTIO_NET_F_MQ
    rx_size, tx_size : ring entries, capped by what the device can do
    rx_buffer : bytes of a receive buffer; None: 2048 when mergeable, else the largest frame
    rx_pieces : descriptors a receive buffer is made of
    rx_count : receive buffers to post; None: as many as the ring holds; 0: the caller posts them
    chain_limit : entries of an indirect table
    timeout : cycles that the device has to answer a reset or a control command
    """

    packed: bool = True
    indirect: bool = True
    event_idx: bool = True
    ring_reset: bool = True
    mergeable: bool = True
    csum: bool = True
    guest_csum: bool = True
    mtu: bool = True
    queue_pairs: int = 1
    rx_size: int = 256
    tx_size: int = 256
    rx_buffer: int | None = None
    rx_pieces: int = 1
    rx_count: int | None = None
    chain_limit: int = 16
    timeout: int = 200_000

    def __post_init__(self) -> None:
        if self.queue_pairs < 1:
            raise VirtioError(f"{self.queue_pairs} queue pairs")
        for name in ("rx_size", "tx_size", "chain_limit", "timeout"):
            if getattr(self, name) < 1:
                raise VirtioError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.rx_count is not None and self.rx_count < 0:
            raise VirtioError(f"rx_count must not be negative, as {self.rx_count} is")
        if self.rx_pieces < 1:
            raise VirtioError(f"a receive buffer of {self.rx_pieces} descriptors")
        if self.rx_buffer is not None and self.rx_buffer < spec.NET_HDR_LENGTH + self.rx_pieces:
            raise VirtioError(f"a receive buffer of {self.rx_buffer} bytes in {self.rx_pieces}")

    @property
    def features(self) -> Feature:
        """The feature bits to ask for."""
        wanted = Feature.VERSION_1 | Feature.NET_MAC | Feature.NET_STATUS
        # 6.1: a driver should accept both where they are offered.
        wanted |= Feature.ACCESS_PLATFORM | Feature.ORDER_PLATFORM
        choices = {
            Feature.RING_PACKED: self.packed,
            Feature.INDIRECT_DESC: self.indirect,
            Feature.EVENT_IDX: self.event_idx,
            Feature.RING_RESET: self.ring_reset,
            Feature.NET_MRG_RXBUF: self.mergeable,
            Feature.NET_CSUM: self.csum,
            Feature.NET_GUEST_CSUM: self.guest_csum,
            Feature.NET_MTU: self.mtu,
            Feature.NET_MQ | Feature.NET_CTRL_VQ: self.queue_pairs > 1,
        }
        for feature, on in choices.items():
            if on:
                wanted |= feature
        return wanted


class CsumRequest(NamedTuple):
    """VIRTIO_NET_HDR_F_NEEDS_CSUM (5.1.6.2): sum from ``start`` to the end, store at ``start +
    offset``, where the sum of the pseudo header is already."""

    start: int
    offset: int


class TxFrame(NamedTuple):
    """A frame to send.

    Attributes
    ----------
    data : from the destination address on, without FCS
    csum : checksum to be completed by the device
    cuts : where the chain changes to its next descriptor, counted from the virtio-net header's
        first byte, ascending
    shift : bytes by which the buffer is moved off its 64-byte alignment, below 64
    tag : anything; comes back when a reset loses the frame
    """

    data: bytes
    csum: CsumRequest | None = None
    cuts: Sequence[int] = ()
    shift: int = 0
    tag: Any = None


class Frame(NamedTuple):
    """A received frame.

    Attributes
    ----------
    data : from the destination address on, without FCS
    queue : queue pair that it came through
    flags, csum_start, csum_offset : from struct virtio_net_hdr (5.1.6)
    buffers : receive buffers it took
    """

    data: bytes
    queue: int
    flags: int
    csum_start: int
    csum_offset: int
    buffers: int

    @property
    def data_valid(self) -> bool:
        """The device has checked the checksum (5.1.6.4)."""
        return bool(self.flags & CsumFlag.DATA_VALID)


@dataclass
class QueueStats:
    """Counts of one queue since the driver started it.

    Attributes
    ----------
    frames, bytes : frames posted (transmit) or received, their bytes without header
    completed : chains the device returned
    lost : transmit frames a reset took from the device before it returned them
    waits, interrupts : times the driver slept, and times an interrupt ended that
    merged : received frames that took several buffers
    """

    frames: int = 0
    bytes: int = 0
    completed: int = 0
    lost: int = 0
    waits: int = 0
    interrupts: int = 0
    merged: int = 0
