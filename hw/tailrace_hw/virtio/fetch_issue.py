"""Decides what is read next, and for which queue."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.pcie.dma import DmaReadRequest
from tailrace_hw.virtio.fetch_cache import filled_layout, taken_layout
from tailrace_hw.virtio.fetch_counts import QueueCounts
from tailrace_hw.virtio.fetch_packed import PackedPlan
from tailrace_hw.virtio.fetch_split import SplitPlan
from tailrace_hw.virtio.fetch_types import (
    HEAD_BURST,
    ChainState,
    EventWrite,
    FlagOp,
    Flags,
    Head,
    Init,
    Job,
    JobKind,
    Polled,
    QueueConfig,
    Rewind,
    TableRead,
    TableWrite,
    Touch,
    misfit_layout,
)

__all__ = ["FetchIssue"]


class FetchIssue(wiring.Component):
    """Picks a queue that wants something, round robin, and issues one read or event write for it.

    Heads of the available ring that were read already go before queues. A pick takes 5 cycles, a
    head 3. Nothing is begun unless its request and its job have a place, so the part never waits
    in the middle and always comes back to listen to the assembler.

    A queue with nothing to do or no room loses ``ready`` until something of it changes.

    Members
    -------
    request : ``Out(stream(DmaReadRequest))``
    jobs : ``Out(stream(Job))``
        One a request, in the same order, and one for a head that became stale.
    heads : ``In(stream(Head))``
    heads_free : ``In``
        Entries of the available ring that may be asked for.
    heads_claimed : ``Out``
        As many are asked for now.
    event : ``Out(stream(EventWrite))``
    rewind : ``In(Rewind)``
    hold : ``In(1)``
        Begin nothing.
    halt : ``In(1)``
        Heads are stale.
    quiet : ``Out(1)``
        Nothing is being prepared, and nothing will be in this cycle if ``hold`` is set.
    config, position_now, issued_now, done, filled, taken, polled, chain, misfit :
        ``Out(TableRead)``
    position, issued : ``Out(TableWrite)``
    look, flags : flags of the queue
    touches : array of 2 ``In(Touch)``
    want : ``In(queues)``
    init : ``In(Init)``
    function : ``In(8)``
    """

    def __init__(self, queues: int, depth: int, progress, slot_bits: int, heads: int):
        self._queues = queues
        self._depth = depth
        self._progress = progress
        self._slot_bits = slot_bits
        super().__init__(
            {
                "request": Out(stream.Signature(DmaReadRequest)),
                "jobs": Out(stream.Signature(Job)),
                "heads": In(stream.Signature(Head)),
                "heads_free": In(range(heads + 1)),
                "heads_claimed": Out(6),
                "event": Out(stream.Signature(EventWrite)),
                "rewind": In(Rewind()),
                "hold": In(1),
                "halt": In(1),
                "quiet": Out(1),
                "config": Out(TableRead(QueueConfig)),
                "position_now": Out(TableRead(16)),
                "issued_now": Out(TableRead(progress)),
                "done": Out(TableRead(progress)),
                "filled": Out(TableRead(filled_layout(slot_bits))),
                "taken": Out(TableRead(taken_layout(slot_bits))),
                "polled": Out(TableRead(Polled)),
                "chain": Out(TableRead(ChainState)),
                "misfit": Out(TableRead(misfit_layout(slot_bits))),
                "position": Out(TableWrite(16)),
                "issued": Out(TableWrite(progress)),
                "look": Out(TableRead(Flags)),
                "flags": Out(FlagOp()),
                "touches": In(Touch()).array(2),
                "want": In(queues),
                "init": In(Init()),
                "function": In(8),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._queue = Signal(8)
        self._config = Signal(QueueConfig)
        self._head = Signal(Head)
        self._flags = Signal(Flags)
        self._position = Signal(16)
        self._touched = Signal()
        self._pick(m)
        self._readers(m)
        self._counts(m)
        self._packed = m.submodules.packed = PackedPlan(self._slot_bits)
        self._split = m.submodules.split = SplitPlan(self._slot_bits)
        self._plans(m)

        free = ~self.request.valid & ~self.jobs.valid
        with m.If(self.request.ready):
            m.d.sync += self.request.valid.eq(0)
        with m.If(self.jobs.ready):
            m.d.sync += self.jobs.valid.eq(0)
        with m.FSM() as fsm:
            with m.State("PICK"):
                self._listen(m, free)
            with m.State("READ"):
                self._latch(m)
                m.next = "ROOM"
            with m.State("ROOM"):
                m.next = "PLAN"
            with m.State("PLAN"):
                m.next = "ACT"
            with m.State("ACT"):
                self._act(m)
                m.next = "PICK"
            with m.State("HEAD"):
                self._latch(m)
                m.next = "HEAD_ACT"
            with m.State("HEAD_ACT"):
                self._head_act(m)
                m.next = "PICK"
        m.d.comb += self.quiet.eq(fsm.ongoing("PICK"))
        return m

    def _pick(self, m):
        """Round robin: the first that wants after the one served last."""
        last = Signal(range(max(self._queues, 2)))
        self._next = Signal(8)
        self._any = Signal()
        m.d.comb += self._any.eq(self.want.any())
        for queue in reversed(range(self._queues)):
            with m.If(self.want[queue]):
                m.d.comb += self._next.eq(queue)
        for queue in reversed(range(self._queues)):
            with m.If(self.want[queue] & (queue > last)):
                m.d.comb += self._next.eq(queue)
        self._last = last

    def _readers(self, m):
        for reader in (
            self.config, self.position_now, self.issued_now, self.done, self.filled, self.taken,
            self.polled, self.chain, self.misfit, self.look,
        ):  # fmt: skip
            m.d.comb += reader.queue.eq(self._queue)
        m.d.comb += [self.flags.queue.eq(self._queue), self.issued.queue.eq(self._queue)]
        for touch in self.touches:
            with m.If(touch.valid & (touch.queue == self._queue)):
                m.d.sync += self._touched.eq(1)
        # A touch in this very cycle sets ``ready``, which wins over the clearing; and what fills
        # the cache alone, with nothing in flight, no touch can change.
        self._unchanged = ~self._touched

    def _latch(self, m):
        m.d.sync += [
            self._config.eq(self.config.value),
            self._flags.eq(self.look.value),
            self._position.eq(self.position_now.value),
        ]

    def _counts(self, m):
        """Registered a cycle after the tables were read."""
        counts = self._count = m.submodules.counts = QueueCounts(
            self._depth, self._progress, self._slot_bits
        )
        self._left = Signal(16)
        self._window = Signal(3)
        #: Of the plans' counts, which are made of ``room`` a cycle before.
        self._grain = Signal(3)
        m.d.comb += [
            counts.filled.eq(self.filled.value),
            counts.taken.eq(self.taken.value),
            counts.issued.eq(self.issued_now.value),
            counts.done.eq(self.done.value),
            counts.chain.eq(self.chain.value),
            counts.misfit.eq(self.misfit.value),
        ]
        m.d.sync += [
            self._left.eq(self.polled.value.index - self.position_now.value),
            self._window.eq(self.chain.value.window),
            self._grain.eq(counts.grain),
        ]

    def _plans(self, m):
        for plan in (self._packed, self._split):
            m.d.comb += [
                plan.size.eq(self._config.size),
                plan.position.eq(self._position),
                plan.room.eq(self._count.room),
                # Use what room there is, if only for one.
                plan.meagre.eq(self._count.meagre),
                plan.single.eq(self._flags.starved),
            ]
        m.d.comb += [
            self._packed.reads.eq(self._count.reads),
            self._packed.window.eq(self._window),
            self._split.left.eq(self._left),
            self._split.weight.eq(self._count.weight),
        ]

    def _listen(self, m, free):
        m.d.sync += self._touched.eq(0)
        m.d.comb += self.position.queue.eq(self.rewind.queue)
        with m.If(self.rewind.valid):
            m.d.comb += [
                self.rewind.ready.eq(1),
                self.position.valid.eq(1),
                self.position.value.eq(self.rewind.position),
            ]
        with m.Elif(self.init.valid):
            m.d.comb += [
                self.init.ready.eq(1),
                self.position.valid.eq(1),
                self.position.queue.eq(self.init.queue),
                # The wrap counter of a packed ring starts at 1 (2.8.1).
                self.position.value.eq(self.init.packed_ring << 15),
            ]
        with m.Elif(free & ~self.hold):
            with m.If(self.heads.valid):
                m.d.comb += self.heads.ready.eq(1)
                m.d.sync += [
                    self._queue.eq(self.heads.payload.queue),
                    self._head.eq(self.heads.payload),
                ]
                m.next = "HEAD"
            with m.Elif(self._any):
                m.d.sync += [self._queue.eq(self._next), self._last.eq(self._next)]
                m.next = "READ"

    def _act(self, m):
        config, flags = self._config, self._flags
        with m.If(config.packed_ring):
            self._act_packed(m)
        with m.Elif(flags.active):
            self._act_entries(m)
        with m.Elif(flags.pending):
            self._read(m, JobKind.INDEX, 0, config.driver + 2, 2)
            m.d.comb += [
                self.flags.valid.eq(1),
                self.flags.clear.pending.eq(1),
                self.flags.set.polling.eq(1),
            ]
        with m.Elif(flags.due & self.event.ready):
            m.d.comb += [
                self.event.valid.eq(1),
                self.event.payload.queue.eq(self._queue),
                # After the used ring: flags, index, size elements of 8 bytes (2.7.8).
                self.event.payload.address.eq(config.device + 4 + (config.size << 3)),
                self.event.payload.value.eq(self.polled.value.index),
                self.flags.valid.eq(1),
                self.flags.clear.due.eq(1),
                self.flags.set.writing.eq(1),
            ]

    def _sleep(self, m):
        with m.If(self._unchanged):
            m.d.comb += [self.flags.valid.eq(1), self.flags.clear.ready.eq(1)]

    def _starving(self):
        """A chain that did not fit is read one piece at a time, if nothing else is in its way."""
        flags, counts = self._flags, self._count
        starved = flags.starved & (counts.no_fit | counts.busy)
        return starved | (flags.oversize & counts.busy)

    def _act_packed(self, m):
        plan = self._packed
        with m.If(self._starving() | (plan.count == 0)):
            self._sleep(m)
            with m.If(self._no_room_at_all() & self._unchanged & ~self._flags.oversize):
                m.d.comb += self.flags.set.oversize.eq(1)
        with m.Else():
            offset = self._position[:15]
            self._read(
                m, JobKind.PACKED, plan.count, self._config.desc + (offset << 4), plan.count << 4
            )
            m.d.comb += [
                self.position.valid.eq(1),
                self.position.queue.eq(self._queue),
                self.position.value.eq(plan.after),
            ]
            # What made the queue pending is seen by this read, if it is the first.
            with m.If(~self._flags.active):
                m.d.comb += [
                    self.flags.valid.eq(1),
                    self.flags.set.active.eq(1),
                    self.flags.clear.pending.eq(1),
                ]

    def _no_room_at_all(self):
        """The cache is full of one chain that is not whole yet."""
        counts = self._count
        return counts.no_whole_chain & (counts.reserved == 0) & counts.full

    def _act_entries(self, m):
        plan = self._split
        with m.If(self._left == 0):
            self._drained(m)
        with m.Elif(self._starving() | (plan.count == 0)):
            self._sleep(m)
        # Too few places for heads: they drain by themselves, so try again.
        with m.Elif(plan.count <= self.heads_free):
            index = self._position & (self._config.size - 1)[:16]
            # After flags and index: entries of 2 bytes (2.7.6).
            address = self._config.driver + 4 + (index << 1)
            self._read(m, JobKind.ENTRIES, plan.count, address, plan.count << 1)
            m.d.comb += [
                self.heads_claimed.eq(plan.count),
                self.position.valid.eq(1),
                self.position.queue.eq(self._queue),
                self.position.value.eq(self._position + plan.count),
            ]
            with m.If(plan.count == self._left):
                self._drained(m)

    def _drained(self, m):
        """All entries seen are asked for: look at the available index once more."""
        m.d.comb += [
            self.flags.valid.eq(1),
            self.flags.clear.active.eq(1),
            self.flags.set.pending.eq(1),
        ]

    def _read(self, m, kind, count, address, length):
        m.d.sync += [
            self.request.valid.eq(1),
            self.request.payload.function.eq(self.function),
            self.request.payload.address.eq(address),
            self.request.payload.length.eq(length),
            self.request.payload.tag.eq(self._queue),
        ]
        self._job(m, kind, count, reads=1)

    def _job(self, m, kind, count, reads):
        job = self.jobs.payload
        m.d.sync += [
            self.jobs.valid.eq(1),
            job.kind.eq(kind),
            job.queue.eq(self._queue),
            job.epoch.eq(self._flags.epoch),
            job.count.eq(count),
            job.grain.eq(self._grain),
            job.position.eq(self._position),
        ]
        m.d.comb += [
            self.issued.valid.eq(1),
            self.issued.value.reads.eq(self.issued_now.value.reads + reads),
            self.issued.value.slots.eq(self.issued_now.value.slots + (count << self._grain)),
        ]

    def _head_act(self, m):
        head, config, flags = self._head, self._config, self._flags
        job = self.jobs.payload
        index = Signal(16)
        behind = (config.size - index)[:16]
        burst = Mux(behind < HEAD_BURST, 1, HEAD_BURST)
        stale = ~flags.enabled | flags.failed | self.halt | (flags.epoch != head.epoch)
        # A bad index is found by the assembler; until then it must not lead out of the table.
        m.d.comb += index.eq(head.head & (config.size - 1)[:16])
        with m.If(stale):
            self._job(m, JobKind.DROP, 0, reads=0)
        with m.Else():
            self._read(m, JobKind.HEAD, 0, config.desc + (index << 4), burst << 4)
        m.d.sync += [
            job.grain.eq(head.grain),
            job.head.eq(head.head),
            job.position.eq(head.position),
            job.epoch.eq(head.epoch),
        ]
