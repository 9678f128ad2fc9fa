"""Makes chains of segments out of what was read."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.errors import ErrorCode, ErrorEvent, ErrorSource
from tailrace_hw.pcie.dma import DmaReadRequest
from tailrace_hw.virtio.fetch_cache import filled_layout, store_layout, taken_layout
from tailrace_hw.virtio.fetch_check import BALANCE_BITS, DescriptorCheck, DescriptorReport
from tailrace_hw.virtio.fetch_ring import RingStates
from tailrace_hw.virtio.fetch_types import (
    ChainState,
    Chunk,
    EventDone,
    Fault,
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
from tailrace_hw.virtio.fetch_walk import WalkStates

__all__ = ["ChainAssembler"]


class ChainAssembler(RingStates, WalkStates, wiring.Component):
    """Serves the jobs in order: checks each descriptor and stores it as a segment.

    A ring descriptor takes 1 cycle, a job 3 besides. Chains that go through an indirect table or
    from one split descriptor to another that is not its neighbour are walked on the ``chain``
    port, during which the jobs behind wait; TableAhead has asked for most tables before. The part
    never waits for another TAKE than the one that is being answered: a chain that finds no place in
    the cache is dropped and fetched again later (``starved``), or while it is being given
    (``oversize``).

    Members
    -------
    jobs, ring : ``In``
        A packet of chunks for each job except DROP.
    asked, request : ``In(stream(Chunk))``, ``Out(stream(DmaReadRequest))``
    tables : ``In(stream(Chunk))``
        Data of tables that were asked for ahead.
    heads : ``Out(stream(Head))``
        Has a place for every entry that was asked for.
    heads_returned : ``Out(6)``
        As many places are not needed.
    faults, events : ``In``
        Failures found elsewhere; answers to avail_event writes.
    errors : ``Out(stream(ErrorEvent))``
    rewind, hold, quiet : to the issuing part
    config, position, issued, taken, done_now, filled_now, chain_now, look : ``Out(TableRead)``
    done, filled, chain_state, polled, misfit : ``Out(TableWrite)``
    flags, touch : ``Out``
    store, store_valid : to the cache
    streaming, streaming_queue, halt, function : ``In``
    init : ``In(Init)``
    """

    def __init__(self, queues: int, depth: int, progress, slot_bits: int):
        self._depth = depth
        self._slot_bits = slot_bits
        super().__init__(
            {
                "jobs": In(stream.Signature(Job)),
                "ring": In(stream.Signature(Chunk)),
                "asked": In(stream.Signature(Chunk)),
                "tables": In(stream.Signature(Chunk)),
                "request": Out(stream.Signature(DmaReadRequest)),
                "heads": Out(stream.Signature(Head)),
                "heads_returned": Out(6),
                "faults": In(stream.Signature(Fault)),
                "events": In(stream.Signature(EventDone)),
                "errors": Out(stream.Signature(ErrorEvent)),
                "rewind": Out(Rewind()),
                "hold": Out(1),
                "quiet": In(1),
                "config": Out(TableRead(QueueConfig)),
                "position": Out(TableRead(16)),
                "issued": Out(TableRead(progress)),
                "taken": Out(TableRead(taken_layout(slot_bits))),
                "done_now": Out(TableRead(progress)),
                "filled_now": Out(TableRead(filled_layout(slot_bits))),
                "chain_now": Out(TableRead(ChainState)),
                "look": Out(TableRead(Flags)),
                "done": Out(TableWrite(progress)),
                "filled": Out(TableWrite(filled_layout(slot_bits))),
                "chain_state": Out(TableWrite(ChainState)),
                "polled": Out(TableWrite(Polled)),
                "misfit": Out(TableWrite(misfit_layout(slot_bits))),
                "flags": Out(FlagOp()),
                "touch": Out(Touch()),
                "store": Out(store_layout(slot_bits)),
                "store_valid": Out(1),
                "streaming": In(1),
                "streaming_queue": In(8),
                "halt": In(1),
                "function": In(8),
                "init": In(Init()),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._registers()
        self.walk_registers(m)
        self._connections(m)
        self._check(m)
        m.d.sync += self.store_valid.eq(0)
        with m.FSM():
            with m.State("IDLE"):
                self._idle(m)
            with m.State("LOAD"):
                self._load(m)
            self.ring_states(m)
            self.walk_states(m)
            with m.State("FAIL"):
                self._report(m)
            with m.State("FAILED"):
                self._failed(m)
            with m.State("DRAIN"):
                self._drain(m)
            with m.State("FINISH"):
                self._finish(m)
        return m

    def _registers(self):
        self._queue = Signal(8)
        self._job = Signal(Job)
        self._config = Signal(QueueConfig)
        self._in_job = Signal()
        self._loaded = Signal()
        #: The ring port's packet of this job has chunks that were not taken.
        self._ring_open = Signal()
        self._position = Signal(16)
        #: Descriptors or entries not looked at yet, and cache slots held for the chain under way.
        self._left = Signal(6)
        self._credit = Signal(self._slot_bits)
        self._lane = Signal(3)
        # The chain so far.
        self._start = Signal(16)
        self._count = Signal(16)
        self._slots = Signal(16)
        self._balance = Signal(BALANCE_BITS)
        #: A chain became whole in this job.
        self._made = Signal()
        self._writable = Signal()
        self._id = Signal(16)
        self._window = Signal(3)
        self._weight = Signal(3)
        # Own copies of the queue's rows, written back all the time.
        self._written = Signal(self._slot_bits)
        self._whole = Signal(self._slot_bits)
        self._reads = Signal(8)
        self._done_slots = Signal(self._slot_bits)
        self._code = Signal(ErrorCode)
        self._info = Signal(64)

    def _connections(self, m):
        for reader in (
            self.config, self.position, self.issued, self.taken, self.done_now, self.filled_now,
            self.chain_now, self.look,
        ):  # fmt: skip
            m.d.comb += reader.queue.eq(self._queue)
        for port in (self.done, self.filled, self.chain_state, self.polled, self.misfit):
            m.d.comb += port.queue.eq(self._queue)
        state = self.chain_state.value
        m.d.comb += [
            self.flags.queue.eq(self._queue),
            self.touch.queue.eq(self._queue),
            self.rewind.queue.eq(self._queue),
            self.done.valid.eq(self._loaded),
            self.done.value.reads.eq(self._reads),
            self.done.value.slots.eq(self._done_slots),
            self.filled.valid.eq(self._loaded),
            self.filled.value.written.eq(self._written),
            self.filled.value.whole.eq(self._whole),
            state.start.eq(self._start),
            state.count.eq(self._count),
            state.balance.eq(self._balance),
            state.writable.eq(self._writable),
            state.window.eq(self._window),
            state.weight.eq(self._weight),
            self.errors.payload.source.eq(ErrorSource.VIRTIO_FETCH),
            self.errors.payload.code.eq(self._code),
            self.errors.payload.function.eq(self.function),
            self.errors.payload.queue.eq(self._queue),
            self.errors.payload.info.eq(self._info),
        ]

    def _check(self, m):
        check = self._judge = m.submodules.check = DescriptorCheck()
        report = self._wrong = m.submodules.report = DescriptorReport()
        m.d.comb += [
            check.chunk.eq(Mux(self._on_chain, self.chain.payload, self.ring.payload)),
            check.packed_ring.eq(self._config.packed_ring),
            check.indirect_allowed.eq(self._config.indirect),
            check.size.eq(self._config.size),
            check.in_table.eq(self._in_table),
            check.count.eq(self._count),
            check.balance.eq(self._balance),
            check.writable.eq(self._writable),
            report.wrong.eq(check.wrong),
            report.chunk.eq(check.chunk),
            report.index.eq(Mux(self._walking, self._wanted, self._position)),
        ]

    def _gone(self):
        look = self.look.value
        return ~look.enabled | look.failed | self.halt

    def fail(self, m, code, info):
        """Go on with failing the queue."""
        m.d.sync += [self._code.eq(code), self._info.eq(info)]
        m.next = "FAIL"

    def note_wrong(self, m):
        """Keeps what is wrong with the judged descriptor, whether it is or not: that comes late."""
        m.d.sync += [self._code.eq(self._wrong.code), self._info.eq(self._wrong.info)]

    def _idle(self, m):
        m.d.comb += self.jobs.ready.eq(~self.init.valid & ~self.faults.valid & ~self.events.valid)
        fault, event = self.faults.payload, self.events.payload
        m.d.sync += [self._in_job.eq(0), self._loaded.eq(0)]
        with m.If(self.faults.valid):
            m.d.comb += self.faults.ready.eq(1)
            m.d.sync += self._queue.eq(fault.queue)
            self.fail(m, fault.code, fault.info)
        with m.Elif(self.events.valid):
            m.d.comb += self.events.ready.eq(1)
            with m.If(event.fault):
                m.d.sync += self._queue.eq(event.queue)
                self.fail(m, ErrorCode.QUEUE_FETCH_FAULT, event.address)
            with m.Else():
                m.d.comb += [
                    self.flags.valid.eq(1),
                    self.flags.queue.eq(event.queue),
                    self.flags.clear.writing.eq(1),
                    self.flags.set.armed.eq(1),
                    self.flags.set.pending.eq(1),
                ]
        with m.Elif(self.init.valid):
            m.d.comb += self.init.ready.eq(1)
            for port in (self.filled, self.chain_state, self.polled):
                m.d.comb += [port.valid.eq(1), port.queue.eq(self.init.queue), port.value.eq(0)]
        with m.Elif(self.jobs.valid):
            m.d.sync += [
                self._queue.eq(self.jobs.payload.queue),
                self._job.eq(self.jobs.payload),
                self._in_job.eq(1),
            ]
            m.next = "LOAD"

    def _load(self, m):
        job = self._job
        chain, filled, done = self.chain_now.value, self.filled_now.value, self.done_now.value
        m.d.sync += [
            self._config.eq(self.config.value),
            self._loaded.eq(1),
            self._ring_open.eq(job.kind != JobKind.DROP),
            # An index counts from where the queue is now: it may have been rewound.
            self._position.eq(Mux(job.kind == JobKind.INDEX, self.position.value, job.position)),
            self._left.eq(job.count),
            self._credit.eq(((job.kind == JobKind.HEAD) | (job.kind == JobKind.DROP)) << job.grain),
            self._lane.eq(0),
            self._made.eq(0),
            self._start.eq(Mux(job.kind == JobKind.HEAD, job.position, chain.start)),
            self._count.eq(chain.count),
            self._slots.eq(chain.count),
            self._balance.eq(chain.balance),
            self._writable.eq(chain.writable),
            self._window.eq(chain.window),
            self._weight.eq(chain.weight),
            self._written.eq(filled.written),
            self._whole.eq(filled.whole),
            self._reads.eq(done.reads),
            self._done_slots.eq(done.slots),
            self._in_table.eq(0),
            self._on_chain.eq(0),
            self._walking.eq(0),
            self._walked.eq(0),
        ]
        m.next = "DRAIN"
        with m.If(~self._gone() & (job.kind == JobKind.INDEX)):
            m.next = "INDEX"
        with m.Elif(~self._gone() & (job.epoch == self.look.value.epoch)):
            with m.Switch(job.kind):
                with m.Case(JobKind.PACKED):
                    m.next = "SCAN"
                with m.Case(JobKind.ENTRIES):
                    m.next = "ENTRIES"
                with m.Case(JobKind.HEAD):
                    self.begin_head(m)

    def keep(self, m, last, chain_id, slots):
        """Stores the judged descriptor as a segment; with ``last`` its chain is whole."""
        judge, segment = self._judge, self.store.segment
        m.d.sync += [
            self.store_valid.eq(1),
            self.store.queue.eq(self._queue),
            self.store.slot.eq(self._written),
            self.store.whole.eq(last),
            segment.address.eq(judge.chunk.address),
            segment.length.eq(judge.chunk.length),
            segment.writable.eq(judge.writes),
            segment.last.eq(last),
            segment.id.eq(chain_id),
            segment.slots.eq(slots),
            self._written.eq(self._written + 1),
            self._count.eq(self._count + 1),
            self._balance.eq(judge.balance_after),
            self._writable.eq(judge.writes),
        ]
        with m.If(last):
            m.d.sync += [self._whole.eq(self._written + 1), self._made.eq(1)]
            self.forget_chain(m)

    def forget_chain(self, m):
        m.d.sync += [
            self._count.eq(0),
            self._slots.eq(0),
            self._balance.eq(0),
            self._writable.eq(0),
        ]

    def next_epoch(self, m):
        """Makes all reads of the queue that are in flight stale.

        One bit is enough: before a read of the new epoch is answered, all older ones were.
        """
        epoch = self.look.value.epoch
        m.d.comb += [
            self.flags.valid.eq(1),
            self.flags.set.epoch.eq(~epoch),
            self.flags.clear.epoch.eq(epoch),
        ]

    def _report(self, m):
        m.d.comb += self.errors.valid.eq(~self._gone())
        with m.If(self.errors.ready | self._gone()):
            m.next = "FAILED"

    def _failed(self, m):
        """A cycle later, for the error port's ready comes late."""
        m.d.comb += self.flags.valid.eq(1)
        for name in ("active", "pending", "due", "polling", "writing"):
            m.d.comb += self.flags.clear[name].eq(1)
        m.d.comb += self.flags.set.failed.eq(1)
        m.next = "IDLE"
        with m.If(self._in_job):
            m.next = "DRAIN"

    def _drain(self, m):
        """What is left of this job's packets is of no use."""
        m.d.comb += [
            self.ring.ready.eq(self._ring_open),
            self.chain.ready.eq(self._chain_open),
        ]
        with m.If(self.ring.valid & self.ring.payload.last):
            m.d.sync += self._ring_open.eq(0)
        with m.If(self.chain.valid & self.chain.payload.last):
            m.d.sync += self._chain_open.eq(0)
        dropped = Signal()
        m.d.comb += dropped.eq(self.ring.valid & self.ring.ready & self.ring.payload.table)
        next_table = ~self._chain_open & (self._owed != 0)
        m.d.sync += self._owed.eq(self._owed + dropped - next_table)
        with m.If(next_table):
            m.d.sync += [self._chain_open.eq(1), self.from_table.eq(1)]
        with m.Elif(~self._ring_open & ~self._chain_open):
            m.next = "FINISH"

    def _finish(self, m):
        read = self._job.kind != JobKind.DROP
        m.d.comb += [
            self.done.value.reads.eq(self._reads + read),
            self.done.value.slots.eq(
                self._done_slots + (self._left << self._job.grain) + self._credit
            ),
            self.chain_state.valid.eq(1),
            self.touch.valid.eq(1),
            self.flags.valid.eq(self._made),
            self.flags.clear.starved.eq(1),
        ]
        with m.If(self._job.kind == JobKind.ENTRIES):
            m.d.comb += self.heads_returned.eq(self._left)
        m.d.sync += [self._loaded.eq(0), self._in_job.eq(0)]
        m.next = "IDLE"
