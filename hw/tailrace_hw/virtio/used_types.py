"""What the parts of the used-ring writer say to each other."""

from amaranth.lib import data

from tailrace_hw.pcie.dma import DmaStatus

__all__ = ["LINE_BITS", "SLOT_COUNT_BITS", "UsedElement", "UsedFault", "UsedRun", "UsedShown"]

#: Used elements are written to host memory by the 64-byte line.
LINE_BITS = 512

#: Bits in which descriptors made visible are counted: some times the largest ring (32768).
SLOT_COUNT_BITS = 18


class UsedElement(data.Struct):
    """What the driver learns of one chain (virtio 1.2, 2.7.8, 2.8.9)."""

    id: 16
    written: 32


class UsedRun(data.Struct):
    """Used elements that lie one after the other in a ring, for one DMA write.

    Runs of a queue come in the order in which they are to be written. After a run with ``visible``
    the driver may see all elements up to it, so that the device's position is ``position``.
    """

    queue: 8
    packed_ring: 1
    #: Ring entry of the first element.
    index: 16
    #: Used wrap counter of all elements (packed ring only, 2.8.1).
    wrap: 1
    #: Elements: 1 to 8, in a packed ring 1 to 4.
    count: 4
    elements: data.ArrayLayout(UsedElement, 8)
    visible: 1
    #: Split: the used index after the run. Packed: ring entry and wrap counter of the next element.
    position: 16
    position_wrap: 1
    #: Descriptors made visible with this run (chains, in a split ring).
    slots: SLOT_COUNT_BITS


class UsedShown(data.Struct):
    """Elements have become visible: their writes are ordered. Members as in :class:`UsedRun`."""

    queue: 8
    position: 16
    wrap: 1
    slots: SLOT_COUNT_BITS


class UsedFault(data.Struct):
    """A queue's ring cannot be used any more."""

    queue: 8
    #: How the DMA request ended; OK when it was not DMA: a group had more elements than fit.
    status: DmaStatus
    #: It was the read of the event suppression area.
    reading: 1
    #: Used position (as in :class:`UsedRun`) near which it happened.
    position: 16
