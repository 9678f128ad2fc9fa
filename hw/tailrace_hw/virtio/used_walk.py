"""Turns one queue's waiting elements into runs for the ring."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.virtio.interfaces import QueueCommand
from tailrace_hw.virtio.used_types import SLOT_COUNT_BITS, UsedElement, UsedRun

__all__ = ["HeldCompletion", "UsedWalker"]

_INDEX_BITS = 10


class HeldCompletion(data.Struct):
    """A completion while it waits; members as in :class:`ChainCompletion`."""

    id: 16
    slots: 16
    written: 32
    more: 1


class _Geometry(data.Struct):
    """What of a queue's context decides where its elements lie."""

    size: 16
    packed_ring: 1
    #: Place of the descriptor area in its 64-byte line, in elements of a packed ring.
    align: 2


class _Place(data.Struct):
    """A position in a ring: split: the free-running used index; packed: entry and wrap counter."""

    index: 16
    wrap: 1


class UsedWalker(wiring.Component):
    """Walks over a queue's elements, one a cycle, and cuts them into runs.

    A run ends at the end of a 64-byte line (split: after the entry whose index is 7 modulo 8,
    whatever the alignment of the ring), at the end of the ring, at an element that occupies more
    than one descriptor of a packed ring, and at the last of the elements. A walk is over with the
    first run that ends a group; what is left is for the next walk. Where the runs of a group that
    needs several go, and in which order, is told in :class:`UsedCollector`.

    It keeps each queue's position: split: 0 at the start; packed: entry 0, wrap counter 1 (2.8.1).

    Parameters
    ----------
    queues : :class:`int`

    Members
    -------
    configure, context, run : as in :class:`UsedCollector`
    idle : Out(1)
        A walk can start.
    start : In(1)
        Walk over ``elements`` elements of ``queue`` from index ``first`` of its room; the last of
        them ends a group.
    queue : In(range(queues))
    first, elements : In
    busy : Out(queues)
        The queue that is walked over.
    done : Out(1)
        The walk ends in this cycle and took ``taken`` elements.
    taken : Out
    read_enable, read_queue, read_index, read_data
        Port to the elements; ``read_data`` is that of the last enabled read, a cycle later. While
        ``idle`` it follows ``queue`` and ``first``, so that a walk starts with its first element.
    room : Out(array of 4 bits)
        Elements that fit between a queue's position and the end of the line.
    """

    def __init__(self, queues: int):
        self._queues = queues
        super().__init__(
            {
                "configure": In(1),
                "context": In(QueueCommand),
                "idle": Out(1),
                "start": In(1),
                "queue": In(range(queues)),
                "first": In(_INDEX_BITS),
                "elements": In(_INDEX_BITS + 1),
                "busy": Out(queues),
                "done": Out(1),
                "taken": Out(_INDEX_BITS + 1),
                "read_enable": Out(1),
                "read_queue": Out(range(queues)),
                "read_index": Out(_INDEX_BITS),
                "read_data": In(HeldCompletion),
                "run": Out(stream.Signature(UsedRun)),
                "room": Out(data.ArrayLayout(4, queues)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        #: Where the next element goes, and the ring of the queue that is walked over.
        self._place = Signal(_Place)
        self._geometry = Signal(_Geometry)
        self._run_index = Signal(16)
        self._run_wrap = Signal()
        self._run_count = Signal(4)
        self._run_slots = Signal(SLOT_COUNT_BITS)
        self._line = Signal(data.ArrayLayout(UsedElement, 8))
        #: Queue of the walk, and index of the element that is read next.
        self._current = Signal.like(self.queue)
        self._index = Signal(_INDEX_BITS)
        #: The last element of the run does not end its group.
        self._more = Signal()
        #: Elements the walk has not come to.
        self._left = Signal(_INDEX_BITS + 1)
        #: The first run was put off to the end; the walk is back at it.
        self._put_off = Signal()
        self._again = Signal()
        self._off_first = Signal(_INDEX_BITS)
        self._off = Signal(data.StructLayout({"index": 16, "wrap": 1, "count": 4}))

        run = self.run.payload
        m.d.comb += [
            self.read_queue.eq(self._current),
            self.read_index.eq(self._index),
            run.queue.eq(self._current),
            run.packed_ring.eq(self._geometry.packed_ring),
            run.index.eq(self._run_index),
            run.wrap.eq(self._run_wrap),
            run.count.eq(self._run_count),
            run.elements.eq(self._line),
            run.visible.eq(Mux(self._put_off, self._again, ~self._more)),
            run.position.eq(self._place.index),
            run.position_wrap.eq(self._place.wrap),
            run.slots.eq(self._run_slots),
        ]
        place, geometry = self._keep_positions(m)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [
                    self.idle.eq(1),
                    self.read_enable.eq(1),
                    self.read_queue.eq(self.queue),
                    self.read_index.eq(self.first),
                ]
                m.d.sync += [
                    self._current.eq(self.queue),
                    self._index.eq(self.first + 1),
                    self._place.eq(place),
                    self._geometry.eq(geometry),
                    self._off_first.eq(self.first),
                    self._left.eq(self.elements),
                    self.taken.eq(0),
                    self._put_off.eq(0),
                    self._again.eq(0),
                    self._run_slots.eq(0),
                ]
                self._begin_run(m, place, geometry)
                with m.If(self.start):
                    m.d.sync += self.busy.eq(1 << self.queue)
                    m.next = "WALK"
            with m.State("WALK"):
                self._step(m)
            with m.State("GIVE"):
                self._give(m)
            with m.State("AGAIN"):
                m.d.comb += self.read_enable.eq(1)
                m.d.sync += self._index.eq(self._index + 1)
                m.next = "WALK"
        return m

    def _begin_run(self, m, place, geometry):
        index = Mux(geometry.packed_ring, place.index, place.index & (geometry.size - 1))
        m.d.sync += [
            self._run_index.eq(index),
            self._run_wrap.eq(place.wrap),
            self._run_count.eq(0),
        ]

    def _step(self, m):
        """Take one element into the line."""
        element = self.read_data
        after, slots, line_ends = self._after(m, element)
        m.d.comb += self.read_enable.eq(1)
        m.d.sync += [
            self._index.eq(self._index + 1),
            self._run_count.eq(self._run_count + 1),
            self._more.eq(element.more),
        ]
        for k in range(8):
            with m.If(self._run_count == k):
                m.d.sync += [
                    self._line[k].id.eq(element.id),
                    self._line[k].written.eq(element.written),
                ]
        with m.If(self._again):
            with m.If(self._run_count + 1 == self._off.count):
                m.next = "GIVE"
        with m.Else():
            m.d.sync += [
                self._place.eq(after),
                self._left.eq(self._left - 1),
                self.taken.eq(self.taken + 1),
                self._run_slots.eq(self._run_slots + slots),
            ]
            with m.If(line_ends | (self._left == 1)):
                m.next = "GIVE"

    def _after(self, m, element):
        """The place after ``element``, the descriptors it uses, and whether it ends its line."""
        place, geometry = self._place, self._geometry
        after = Signal(_Place)
        slots = Signal(16)
        line_ends = Signal()
        total = Signal(17)
        over = Signal()
        m.d.comb += [
            total.eq(place.index + element.slots),
            over.eq(total >= geometry.size),
        ]
        with m.If(geometry.packed_ring):
            m.d.comb += [
                after.index.eq(Mux(over, total - geometry.size, total)),
                after.wrap.eq(place.wrap ^ over),
                slots.eq(element.slots),
                line_ends.eq(
                    ((place.index + geometry.align)[:2] == 3) | (element.slots != 1) | over
                ),
            ]
        with m.Else():
            m.d.comb += [
                after.index.eq(place.index + 1),
                slots.eq(1),
                line_ends.eq((place.index[:3] == 7) | ~(after.index & (geometry.size - 1)).any()),
            ]
        return after, slots, line_ends

    def _give(self, m):
        """Hand over the run, or put it off; then go on or end."""
        begins_group = self._geometry.packed_ring & ~self._put_off & self._more
        with m.If(begins_group):
            m.d.sync += [
                self._put_off.eq(1),
                self._off.index.eq(self._run_index),
                self._off.wrap.eq(self._run_wrap),
                self._off.count.eq(self._run_count),
            ]
            self._begin_run(m, self._place, self._geometry)
            m.next = "WALK"
        with m.Else():
            m.d.comb += self.run.valid.eq(1)
        with m.If(self.run.valid & self.run.ready):
            with m.If(self.run.payload.visible):
                m.d.comb += self.done.eq(1)
                m.d.sync += self.busy.eq(0)
                m.next = "IDLE"
            with m.Elif(self._put_off & ~self._more):
                m.d.sync += [
                    self._again.eq(1),
                    self._index.eq(self._off_first),
                    self._run_index.eq(self._off.index),
                    self._run_wrap.eq(self._off.wrap),
                    self._run_count.eq(0),
                ]
                m.next = "AGAIN"
            with m.Else():
                self._begin_run(m, self._place, self._geometry)
                m.next = "WALK"

    def _keep_positions(self, m):
        """Store the positions between walks; returns place and geometry of the current queue."""
        m.submodules.geometries = geometries = memory.Memory(
            shape=_Geometry, depth=self._queues, init=[]
        )
        m.submodules.places = places = memory.Memory(shape=_Place, depth=self._queues, init=[])
        #: The queue has been enabled and not yet been walked over.
        fresh = Signal(self._queues)
        context = self.context
        geometry_write = geometries.write_port()
        geometry_read = geometries.read_port(domain="comb")
        place_write = places.write_port()
        place_read = places.read_port(domain="comb")
        place = Signal(_Place)
        m.d.comb += [
            geometry_write.addr.eq(context.queue),
            geometry_write.data.size.eq(context.size),
            geometry_write.data.packed_ring.eq(context.packed_ring),
            geometry_write.data.align.eq(context.desc[4:6]),
            geometry_write.en.eq(self.configure),
            geometry_read.addr.eq(self.read_queue),
            place_write.addr.eq(self._current),
            place_write.data.eq(self._place),
            place_write.en.eq(self.done),
            place_read.addr.eq(self.read_queue),
            place.eq(place_read.data),
        ]
        with m.If(fresh.bit_select(self.read_queue, 1)):
            m.d.comb += [place.index.eq(0), place.wrap.eq(1)]
        for k in range(self._queues):
            with m.If(self.configure & (context.queue == k)):
                m.d.sync += [
                    fresh[k].eq(1),
                    self.room[k].eq(Mux(context.packed_ring, 4 - context.desc[4:6], 8)),
                ]
            with m.Elif(self.done & self.busy[k]):
                quarter = (self._place.index + self._geometry.align)[:2]
                m.d.sync += [
                    fresh[k].eq(0),
                    self.room[k].eq(
                        Mux(
                            self._geometry.packed_ring,
                            4 - quarter,
                            8 - self._place.index[:3],
                        )
                    ),
                ]
        return place, geometry_read.data
