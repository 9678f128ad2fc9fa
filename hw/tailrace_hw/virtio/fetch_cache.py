"""Segment cache: fetched chains wait here to be taken."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.errors import ErrorCode
from tailrace_hw.virtio.fetch_types import (
    Fault,
    FlagOp,
    Flags,
    Init,
    TableRead,
    TableWrite,
    Touch,
    segment_layout,
)
from tailrace_hw.virtio.interfaces import Segment, TakeAction, TakeRequest

__all__ = ["SegmentCache", "filled_layout", "store_layout", "taken_layout"]

#: Cycles after which what the other parts know of the requests before has settled.
SETTLE = 6


def filled_layout(slot_bits: int) -> data.StructLayout:
    """How far a queue's cache is written, and up to where in whole chains."""
    return data.StructLayout({"written": slot_bits, "whole": slot_bits})


def taken_layout(slot_bits: int) -> data.StructLayout:
    """How far a queue's cache was given, and up to where for good."""
    return data.StructLayout({"given": slot_bits, "freed": slot_bits})


def store_layout(slot_bits: int) -> data.StructLayout:
    """A segment to be stored; ``whole``: with it the queue has one more whole chain."""
    return data.StructLayout(
        {"queue": 8, "slot": slot_bits, "segment": segment_layout(), "whole": 1}
    )


class SegmentCache(wiring.Component):
    """A ring buffer of segments for each queue in one RAM, and the answers to TAKEs.

    Requests are served one after the other: a TAKE that waits for a fetch holds up those behind
    it. A one-segment chain takes 2 cycles, each further segment 1. See :class:`DescriptorFetch`
    for what is answered when.

    Parameters
    ----------
    queues : 1 to 33
    depth : segments a queue, a power of two

    Members
    -------
    take, segments, available : see ChainPort
    store, store_valid : ``In``
        A segment of the assembler; stored at the end of the cycle, as is ``filled``.
    filled, issued, done : ``Out(TableRead)``
    taken_now : ``Out(TableRead)``
        The own table.
    taken : ``Out(TableWrite)``
    look : ``Out(TableRead(Flags))``
    flags : ``Out(FlagOp)``
    touch : ``Out(Touch)``
        Slots were given or freed.
    usable, oversize : ``In(queues)``
    init : ``In(Init)``
    fault : ``Out(stream(Fault))``
        QUEUE_CHAIN_TOO_LONG: a TAKE of a chain that the cache cannot hold.
    streaming, busy, queue : ``Out(1)``, ``Out(1)``, ``Out(8)``
        An oversize chain of ``queue`` is being given; a TAKE of it is being answered.
    """

    def __init__(self, queues: int, depth: int, progress, slot_bits: int):
        self._queues = queues
        self._depth = depth
        self._slot_bits = slot_bits
        super().__init__(
            {
                "take": In(stream.Signature(TakeRequest)),
                "segments": Out(stream.Signature(Segment)),
                "available": Out(queues),
                "store": In(store_layout(slot_bits)),
                "store_valid": In(1),
                "filled": Out(TableRead(filled_layout(slot_bits))),
                "issued": Out(TableRead(progress)),
                "done": Out(TableRead(progress)),
                "taken_now": Out(TableRead(taken_layout(slot_bits))),
                "taken": Out(TableWrite(taken_layout(slot_bits))),
                "look": Out(TableRead(Flags)),
                "flags": Out(FlagOp()),
                "touch": Out(Touch()),
                "usable": In(queues),
                "oversize": In(queues),
                "init": In(Init()),
                "fault": Out(stream.Signature(Fault)),
                "streaming": Out(1),
                "busy": Out(1),
                "queue": Out(8),
            }
        )

    def elaborate(self, platform):
        m = Module()
        request = Signal(TakeRequest)
        settle = Signal(range(SETTLE + 1))
        self._memory(m)
        self._availability(m)
        self._conditions(m, request)
        place = Signal(self._slot_bits)
        after = Signal(self._slot_bits)
        commits = request.action == TakeAction.TAKE_COMMIT
        current = Signal(8)
        m.d.comb += [
            after.eq(place + 1),
            self.queue.eq(request.queue),
            current.eq(request.queue),
            self.filled.queue.eq(current),
            self.issued.queue.eq(request.queue),
            self.done.queue.eq(request.queue),
            self.taken_now.queue.eq(current),
            self.taken.queue.eq(current),
            self.look.queue.eq(request.queue),
            self.flags.queue.eq(request.queue),
            self.touch.queue.eq(current),
            self.fault.payload.queue.eq(request.queue),
            self.fault.payload.code.eq(ErrorCode.QUEUE_CHAIN_TOO_LONG),
            self.fault.payload.info.eq(self._depth),
        ]
        out_free = ~self.segments.valid | self.segments.ready
        with m.If(self.segments.ready):
            m.d.sync += self.segments.valid.eq(0)

        with m.FSM() as fsm:
            with m.State("IDLE"):
                self._idle(m, current, request, place, settle)
            with m.State("INIT"):
                m.d.comb += current.eq(self.init.queue)
                m.d.comb += [self.taken.valid.eq(1), self.init.ready.eq(1), self._off.eq(1)]
                m.next = "IDLE"
            with m.State("GIVE"):
                with m.If(out_free):
                    self._push(m)
                    m.d.comb += [self._slot.eq(after), self._fetch.eq(1)]
                    m.d.sync += place.eq(after)
                    with m.If(self._stored.last):
                        m.d.comb += [
                            self.taken.valid.eq(1),
                            self.taken.value.given.eq(after),
                            self.taken.value.freed.eq(
                                Mux(commits, after, self.taken_now.value.freed)
                            ),
                            self.touch.valid.eq(1),
                            self._off.eq(self.filled.value.whole == after),
                        ]
                        m.next = "IDLE"
            self._waiting(m, commits, place, out_free, settle)
            self._stream(m, place, after, out_free)
        m.d.comb += self.busy.eq(~fsm.ongoing("IDLE") & ~fsm.ongoing("INIT"))
        return m

    def _memory(self, m):
        """The RAM; what it gives belongs to the slot asked for in the cycle before."""
        slots = max(self._queues, 2) * self._depth
        ram = m.submodules.ram = memory.Memory(shape=segment_layout(), depth=slots, init=[])
        write, read = ram.write_port(), ram.read_port()
        index_bits = self._slot_bits - 1
        self._slot = Signal(self._slot_bits)
        self._fetch = Signal()
        self._stored = read.data
        m.d.comb += [
            write.en.eq(self.store_valid),
            write.addr.eq(Cat(self.store.slot[:index_bits], self.store.queue)),
            write.data.eq(self.store.segment),
            read.en.eq(self._fetch),
            read.addr.eq(Cat(self._slot[:index_bits], self.filled.queue)),
        ]

    def _availability(self, m):
        """A chain is there: set with its last segment, cleared when the last chain is given."""
        whole = Signal(self._queues)
        self._off = Signal()
        self._on = Signal()
        for queue in range(self._queues):
            here = self.filled.queue == queue
            stored = self.store_valid & self.store.whole & (self.store.queue == queue)
            with m.If(stored | (self._on & here)):
                m.d.sync += whole[queue].eq(1)
            with m.Elif(self._off & here):
                m.d.sync += whole[queue].eq(0)
        self._whole = whole & self.usable
        m.d.comb += self.available.eq(self._whole | self.oversize)

    def _push(self, m):
        """The stored segment goes out."""
        out = self.segments.payload
        m.d.sync += [
            self.segments.valid.eq(1),
            out.queue.eq(self.queue),
            out.none.eq(0),
            out.crowded.eq(0),
        ]
        for name in ("address", "length", "writable", "last", "id", "slots"):
            m.d.sync += out[name].eq(self._stored[name])

    def _idle(self, m, current, request, place, settle):
        asked = self.take.payload
        whole = self.filled.value.whole
        taken = self.taken_now.value
        known = asked.queue < self._queues
        with m.If(self.init.valid):
            m.next = "INIT"
        with m.Elif(self.take.valid):
            m.d.comb += [current.eq(asked.queue), self.take.ready.eq(1)]
            m.d.sync += request.eq(asked)
            with m.Switch(asked.action):
                with m.Case(TakeAction.COMMIT):
                    m.d.comb += [
                        self.taken.value.given.eq(taken.given),
                        self.taken.value.freed.eq(taken.given),
                        self.taken.valid.eq(1),
                        self.touch.valid.eq(1),
                    ]
                with m.Case(TakeAction.ROLLBACK):
                    m.d.comb += [
                        self.taken.value.given.eq(taken.freed),
                        self.taken.value.freed.eq(taken.freed),
                        self.taken.valid.eq(1),
                        self.touch.valid.eq(1),
                        self._on.eq(known & (whole != taken.freed)),
                    ]
                with m.Default():
                    m.d.comb += [self._slot.eq(taken.given), self._fetch.eq(1)]
                    m.d.sync += [place.eq(taken.given), settle.eq(0)]
                    with m.If(known & self._whole.bit_select(asked.queue, 1)):
                        m.next = "GIVE"
                    with m.Else():
                        m.next = "WAIT"

    def _conditions(self, m, request):
        """What is known of the queue of a waiting TAKE, all of one cycle, a register later."""
        look = self.look.value
        known = request.queue < self._queues
        quiet = Signal()
        self._here, self._refuse, self._too_long = Signal(), Signal(), Signal()
        self._cut = Signal()
        self._crowded = Signal()
        usable = known & self.usable.bit_select(request.queue, 1)
        # A packed ring is known empty as soon as a descriptor was seen that is not available.
        working = look.pending | look.active | look.due | look.writing
        empty = ~working & (look.packed_ring | quiet)
        # Looked at, and there is no room beside what was taken and is not committed yet.
        stuck = look.active & ~look.ready & quiet & ~look.oversize
        m.d.comb += quiet.eq(self.issued.value == self.done.value)
        m.d.sync += [
            self._here.eq(known & self._whole.bit_select(request.queue, 1)),
            self._refuse.eq(~usable | look.failed | empty | stuck),
            self._crowded.eq(usable & ~look.failed & stuck),
            self._too_long.eq(look.oversize),
            self._cut.eq(~usable | look.failed),
        ]

    def _waiting(self, m, commits, place, out_free, settle):
        """A TAKE that finds no whole chain: wait for one, or find that there is none."""
        crowded = Signal()
        with m.State("WAIT"):
            m.d.comb += [self._slot.eq(place), self._fetch.eq(1)]
            m.d.sync += crowded.eq(self._crowded)
            with m.If(settle != SETTLE):
                m.d.sync += settle.eq(settle + 1)
            with m.Elif(self._here):
                m.next = "GIVE"
            with m.Elif(self._refuse):
                m.next = "NONE"
            with m.Elif(self._too_long):
                m.next = "TOO_LONG"
                with m.If(commits):
                    m.d.comb += self.touch.valid.eq(1)
                    m.next = "STREAM"
        with m.State("TOO_LONG"):
            m.d.comb += self.fault.valid.eq(1)
            with m.If(self.fault.ready):
                m.next = "TOLD"
        with m.State("TOLD"):
            with m.If(self._cut):
                m.next = "NONE"
        with m.State("NONE"):
            with m.If(out_free):
                out = self.segments.payload
                m.d.sync += [
                    self.segments.valid.eq(1),
                    out.eq(0),
                    out.queue.eq(self.queue),
                    out.last.eq(1),
                    out.none.eq(1),
                    out.crowded.eq(crowded),
                ]
                m.next = "IDLE"

    def _stream(self, m, place, after, out_free):
        """A chain longer than the cache goes out, and its slots are freed, while it is fetched."""
        with m.State("STREAM"):
            m.d.comb += [self.streaming.eq(1), self._slot.eq(place), self._fetch.eq(1)]
            with m.If(self._cut):
                m.next = "CUT"
            with m.Elif(self.filled.value.written != place):
                m.next = "STREAM_GIVE"
        with m.State("STREAM_GIVE"):
            m.d.comb += self.streaming.eq(1)
            with m.If(out_free):
                self._push(m)
                m.d.comb += [
                    self.taken.valid.eq(1),
                    self.taken.value.given.eq(after),
                    self.taken.value.freed.eq(after),
                    self.touch.valid.eq(1),
                ]
                m.d.sync += place.eq(after)
                m.next = "STREAM"
                with m.If(self._stored.last):
                    m.d.comb += [
                        self.flags.valid.eq(1),
                        self.flags.clear.oversize.eq(1),
                        self._off.eq(self.filled.value.whole == after),
                    ]
                    m.next = "IDLE"
        with m.State("CUT"):
            m.d.comb += [
                self.taken.valid.eq(1),
                self.taken.value.given.eq(self.filled.value.whole),
                self.taken.value.freed.eq(self.filled.value.whole),
                self._off.eq(1),
            ]
            m.next = "NONE"
