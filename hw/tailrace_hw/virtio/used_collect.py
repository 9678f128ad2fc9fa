"""Where completions wait until a line of them is worth a write."""

from amaranth.hdl import Array, Cat, Module, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from tailrace_hw.lib.stage import ReadyStage
from tailrace_hw.virtio.interfaces import ChainCompletion, QueueCommand
from tailrace_hw.virtio.used_pick import QueuePick
from tailrace_hw.virtio.used_types import UsedFault, UsedRun
from tailrace_hw.virtio.used_walk import HeldCompletion, UsedWalker

__all__ = ["UsedCollector"]

_IDLE_BITS = 4


class UsedCollector(wiring.Component):
    """Takes completions of all queues, gives runs of used elements that lie in one line.

    Each queue has room for ``depth`` elements. A queue's elements are given on when one of these
    comes first: they fill a 64-byte line of the ring; the first of them is ``coalesce_cycles`` old;
    none is ``expected`` and no completion of the queue came for ``idle_cycles``; one of them skips
    descriptors of a packed ring, so that none can follow it in its line; the room is full. Only
    whole groups (see :class:`ChainCompletion`) are given on. Due queues are served in turn.

    Order within a queue is that of the completions, but for one exception: when a group does not
    fit in one line of a packed ring, the line with its first element comes after the others, for
    the driver looks at that element first (virtio 1.2, 2.8.6).

    Rate: one completion a cycle as long as there is room; a run of n elements takes n + 2 cycles
    (a few more for the line of a packed ring that is given last). Latency from a lone completion
    to its run: ``idle_cycles`` + 6 cycles. A completion for a queue whose room is full holds up the
    stream.

    Completions of a queue that is not active, or does not exist, are taken and dropped, and so is
    what an active queue held when it ceases to be active. A group that is longer than ``depth`` is
    reported as a fault and dropped with its queue.

    Parameters
    ----------
    queues : :class:`int`
    depth : :class:`int`
        Elements a queue, a power of two.
    coalesce_cycles, idle_cycles : :class:`int`
        Bounds of the time that an element waits for others.

    Members
    -------
    configure : In(1)
        ``context`` is that of a queue that is enabled. The queue must be neither active nor busy.
    context : In(QueueCommand)
    active : In(queues)
    busy : Out(queues)
        Elements of this queue are being given on, or one waits at the input.
    complete : In(stream of ChainCompletion)
    expected : In(1)
        More completions are on their way, so that waiting may pay. A hint.
    run : Out(stream of UsedRun)
    fault : Out(stream of UsedFault)
    """

    def __init__(self, queues: int, *, depth: int, coalesce_cycles: int, idle_cycles: int):
        if depth < 8 or depth & (depth - 1):
            raise ValueError(f"depth must be a power of two and at least 8, not {depth}")
        if not 0 <= idle_cycles < (1 << _IDLE_BITS):
            raise ValueError(f"idle_cycles must be 0 to {(1 << _IDLE_BITS) - 1}, not {idle_cycles}")
        if coalesce_cycles < 1:
            raise ValueError(f"coalesce_cycles must be at least 1, not {coalesce_cycles}")
        self._queues = queues
        self._depth = depth
        self._coalesce = coalesce_cycles
        self._idle = idle_cycles
        super().__init__(
            {
                "configure": In(1),
                "context": In(QueueCommand),
                "active": In(queues),
                "busy": Out(queues),
                "complete": In(stream.Signature(ChainCompletion)),
                "expected": In(1),
                "run": Out(stream.Signature(UsedRun)),
                "fault": Out(stream.Signature(UsedFault)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        queues, bits = self._queues, ceil_log2(self._depth)
        m.submodules.elements = elements = memory.Memory(
            shape=HeldCompletion, depth=queues * self._depth, init=[]
        )
        m.submodules.pick = pick = QueuePick(queues)
        m.submodules.walk = walk = UsedWalker(queues)
        #: A completion takes longer to come here than the news that it was the last expected one.
        self._expected = Signal()
        m.d.sync += self._expected.eq(self.expected)

        # Free-running pointers, one bit wider than an index: written, written by whole groups, and
        # read.
        self._written = Array(Signal(bits + 1, name=f"written_{k}") for k in range(queues))
        self._grouped = Array(Signal(bits + 1, name=f"grouped_{k}") for k in range(queues))
        self._read = Array(Signal(bits + 1, name=f"read_{k}") for k in range(queues))
        #: An element that no other can follow in its line is among those that wait.
        self._closed = Signal(queues)
        self._accepted = Signal(queues)

        self._accept(m, elements.write_port())
        wants = Cat(self._wants(m, walk, k) for k in range(queues))
        read = elements.read_port()
        start = Signal()
        m.d.comb += [
            start.eq(pick.valid & walk.idle & wants.bit_select(pick.queue, 1)),
            pick.wants.eq(wants),
            pick.take.eq(start),
            walk.start.eq(start),
            walk.queue.eq(pick.queue),
            walk.first.eq(self._read[pick.queue][:-1]),
            # Pointers are compared modulo their width.
            walk.elements.eq((self._grouped[pick.queue] - self._read[pick.queue])[: bits + 1]),
            walk.configure.eq(self.configure),
            walk.context.eq(self.context),
            read.en.eq(walk.read_enable),
            read.addr.eq(Cat(walk.read_index[:bits], walk.read_queue)),
            walk.read_data.eq(read.data),
            # A completion that waits at the input must not meet its queue enabled anew.
            self.busy.eq(
                walk.busy | Cat(self._waits & (self._next_queue == k) for k in range(queues))
            ),
        ]
        wiring.connect(m, walk.run, wiring.flipped(self.run))
        for k in range(queues):
            with m.If(walk.done & walk.busy[k]):
                m.d.sync += self._read[k].eq(self._read[k] + walk.taken)
            with m.If(~self.active[k] & ~walk.busy[k]):
                m.d.sync += [
                    self._read[k].eq(0),
                    self._written[k].eq(0),
                    self._grouped[k].eq(0),
                    self._closed[k].eq(0),
                ]
            with m.If(start & (pick.queue == k)):
                m.d.sync += self._closed[k].eq(0)
        return m

    def _accept(self, m, write):
        """Put the completion at the input into its queue's room, or drop it."""
        queues, depth = self._queues, self._depth
        # The ready of what is held would go on through those who complete to the DMA engine.
        m.submodules.arrivals = arrivals = ReadyStage(ChainCompletion)
        wiring.connect(m, wiring.flipped(self.complete), arrivals.i)
        arrival = arrivals.o
        self._waits, self._next_queue = ~self.complete.ready, arrival.payload.queue
        held = Signal(ChainCompletion)
        held_valid = Signal()
        advance = Signal()
        queue = held.queue[: ceil_log2(queues)]
        known = Signal()
        full = Signal()
        grouped = Signal()
        level = Signal(len(self._written[0]))
        m.d.comb += [
            known.eq((held.queue < queues) & self.active.bit_select(queue, 1)),
            level.eq(self._written[queue] - self._read[queue]),
            full.eq(level == depth),
            grouped.eq(self._grouped[queue] != self._read[queue]),
            advance.eq(held_valid & ~(known & full)),
            arrival.ready.eq(~held_valid | advance),
            write.en.eq(advance & known),
            write.addr.eq(Cat(self._written[queue][:-1], queue)),
            write.data.id.eq(held.id),
            write.data.written.eq(held.written),
            write.data.slots.eq(held.slots),
            write.data.more.eq(held.more),
        ]
        m.d.sync += [
            # Nothing can leave, so nothing can come in.
            self.fault.valid.eq(held_valid & known & full & ~grouped),
            self.fault.payload.queue.eq(held.queue),
        ]
        with m.If(arrival.ready):
            m.d.sync += [held_valid.eq(arrival.valid), held.eq(arrival.payload)]
        for k in range(queues):
            with m.If(advance & known & (queue == k)):
                m.d.comb += self._accepted[k].eq(1)
                m.d.sync += self._written[k].eq(self._written[k] + 1)
                with m.If(~held.more):
                    m.d.sync += self._grouped[k].eq(self._written[k] + 1)
                with m.If(held.slots > 1):
                    m.d.sync += self._closed[k].eq(1)

    def _wants(self, m, walk, k):
        """Whether queue ``k`` has waited long enough, or has enough."""
        age = Signal(range(self._coalesce + 1), name=f"age_{k}")
        idle = Signal(_IDLE_BITS, name=f"idle_{k}")
        ready = Signal(len(self._written[k]), name=f"ready_{k}")
        wants = Signal(name=f"wants_{k}")
        level = Signal(len(self._written[k]), name=f"level_{k}")
        m.d.comb += [
            level.eq(self._written[k] - self._read[k]),
            ready.eq(self._grouped[k] - self._read[k]),
            wants.eq(
                (ready != 0)
                & self.active[k]
                & ~walk.busy[k]
                & (
                    (ready >= walk.room[k])
                    | (age == self._coalesce)
                    | ((idle == self._idle) & ~self._expected)
                    | self._closed[k]
                    | (level == self._depth)
                )
            ),
        ]
        with m.If((ready == 0) | walk.busy[k]):
            m.d.sync += age.eq(0)
        with m.Elif(age != self._coalesce):
            m.d.sync += age.eq(age + 1)
        with m.If(self._accepted[k]):
            m.d.sync += idle.eq(0)
        with m.Elif(idle != self._idle):
            m.d.sync += idle.eq(idle + 1)
        return wants
