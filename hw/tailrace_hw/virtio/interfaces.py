"""What the parts of the virtqueue engine and the devices on top of it say to each other."""

from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = [
    "NO_VECTOR",
    "ChainCompletion",
    "ChainPort",
    "QueueCommand",
    "QueueNotify",
    "QueueOp",
    "Segment",
    "TakeAction",
    "TakeRequest",
]

#: VIRTIO_MSI_NO_VECTOR (virtio 1.2, 4.1.4.3).
NO_VECTOR = 0xFFFF


class QueueOp(enum.Enum, shape=1):
    """What the transport asks of a queue."""

    ENABLE = 0
    #: Stop the queue and forget it. Answered once nothing of it is in flight: no DMA read is
    #: outstanding, no segment will be given, nothing will be written to its rings or buffers.
    RESET = 1


class QueueCommand(data.Struct):
    """Sent by the transport; each is answered by its ``queue`` number on an answer stream."""

    op: QueueOp
    queue: 8
    #: Ring size in entries (virtio 1.2, 4.1.4.3 queue_size); a power of two for a split ring.
    size: 16
    #: Descriptor area, driver area and device area (2.6).
    desc: 64
    driver: 64
    device: 64
    #: MSI-X vector of the queue, NO_VECTOR for none.
    vector: 16
    #: VIRTIO_F_RING_PACKED, VIRTIO_F_RING_EVENT_IDX and VIRTIO_F_INDIRECT_DESC as negotiated.
    packed_ring: 1
    event_idx: 1
    indirect: 1


class QueueNotify(data.Struct):
    """An available-buffer notification (2.9, 4.1.5.2)."""

    queue: 8


class TakeAction(enum.Enum, shape=2):
    """What a device asks of a queue's prefetched chains."""

    #: Give the next chain's segments, keep them for a ROLLBACK.
    TAKE = 0
    #: Give the next chain's segments; they are consumed.
    TAKE_COMMIT = 1
    #: Consume all that was taken from this queue since the last commit. Not answered.
    COMMIT = 2
    #: Give back all that was taken since the last commit: it will be given again. Not answered.
    ROLLBACK = 3


class TakeRequest(data.Struct):
    queue: 8
    action: TakeAction


class Segment(data.Struct):
    """One buffer of a descriptor chain, indirect tables resolved."""

    queue: 8
    address: 64
    length: 32
    #: VIRTQ_DESC_F_WRITE: the device writes this buffer.
    writable: 1
    #: Last segment of its chain.
    last: 1
    #: Split: index of the chain's head descriptor. Packed: the buffer ID. Valid on the last
    #: segment.
    id: 16
    #: Descriptors the chain occupies in a packed ring (2.8.6), 1 for a split ring. Valid on the
    #: last segment.
    slots: 16
    #: The queue has no chain (or is not enabled, or has failed): this is the whole answer to the
    #: TAKE, ``last`` is set and no other member but ``crowded`` has a meaning.
    none: 1
    #: With ``none``: the queue may have a chain, but there is no room for it beside those that were
    #: taken and not committed.
    crowded: 1


class ChainCompletion(data.Struct):
    """Returns a chain to the driver through the used ring (2.7.8, 2.8.22)."""

    queue: 8
    id: 16
    slots: 16
    #: Bytes written to the device-writable part.
    written: 32
    #: More completions of the same group follow at once (a frame merged over several chains): the
    #: driver must not see this one before it sees them.
    more: 1


class ChainPort(wiring.Signature):
    """How a device uses the queues of an engine, as the device sees it.

    ``take`` and ``segments``: one chain of segments (ending with ``last``) for each TAKE or
    TAKE_COMMIT, in the order of the requests. The engine answers ``none`` only when it knows that
    the ring holds nothing, or (``crowded``) that there is no room for the next chain beside those
    taken and not committed: never while a fetch is under way.

    ``available`` has a bit a queue: at least one complete chain can be taken at once, or the next
    one is longer than the engine can keep, and is given to a TAKE_COMMIT.

    ``complete``: in any order among queues; in the order taken within a queue. Chains that were
    taken and committed must all be completed, whatever becomes of their data, for a queue's RESET
    waits for them.
    """

    def __init__(self, queues: int):
        self.queues = queues
        super().__init__(
            {
                "take": Out(stream.Signature(TakeRequest)),
                "segments": In(stream.Signature(Segment)),
                "available": In(queues),
                "complete": Out(stream.Signature(ChainCompletion)),
            }
        )

    def __eq__(self, other) -> bool:
        return isinstance(other, ChainPort) and self.queues == other.queues
