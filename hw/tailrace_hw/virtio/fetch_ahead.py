"""Asks for indirect tables before their turn (virtio 1.2, 2.7.5.3 and 2.8.7)."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.pcie.dma import DmaReadRequest
from tailrace_hw.virtio.fetch_types import (
    BATCH,
    DESC_F_AVAIL,
    DESC_F_INDIRECT,
    DESC_F_NEXT,
    DESC_F_USED,
    TABLE_TAG,
    Chunk,
    Flags,
    Job,
    JobKind,
    QueueConfig,
    TableRead,
    Touch,
)

__all__ = ["TABLES", "TableAhead"]

#: Tables of which the first burst may be in flight or waiting.
TABLES = 32


class TableAhead(wiring.Component):
    """Looks at ring data on its way to the assembler, and reads the tables that it refers to.

    Jobs and chunks pass in order. For each descriptor that the assembler is likely to follow into a
    table, the table's first burst is asked for, and the chunk's ``table`` is set: the assembler
    must take one packet of table data for it, whether it needs it or not. A table that is not asked
    for here is read by the assembler itself, when it comes to it.

    Only what the driver has made available is followed: behind a packed descriptor that is not
    available nothing is, until the assembler has come to it and the queue's epoch has changed.

    The second descriptor of a split head is dropped when the chain does not go on there.

    Latency 2 cycles for a job, none for its chunks. Throughput: one chunk a cycle, 2 cycles between
    jobs. A chunk whose table has to wait for its request or for room waits with it.

    Parameters
    ----------
    queues : 1 to 33

    Members
    -------
    jobs, ring : ``In``
    jobs_on, ring_on : ``Out``
        The same for the assembler.
    request : ``Out(stream(DmaReadRequest))``
        With TABLE_TAG set in its tag.
    returned : ``In(1)``
        A packet of table data was taken: there is room for one more.
    config : ``Out(TableRead(QueueConfig))``
    look : ``Out(TableRead(Flags))``
    forget : ``In(Touch)``
        The queue starts afresh.
    halt, function : ``In``
    """

    def __init__(self, queues: int):
        self._queues = queues
        super().__init__(
            {
                "jobs": In(stream.Signature(Job)),
                "ring": In(stream.Signature(Chunk)),
                "jobs_on": Out(stream.Signature(Job)),
                "ring_on": Out(stream.Signature(Chunk)),
                "request": Out(stream.Signature(DmaReadRequest)),
                "returned": In(1),
                "config": Out(TableRead(QueueConfig)),
                "look": Out(TableRead(Flags)),
                "forget": In(Touch()),
                "halt": In(1),
                "function": In(8),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._job = job = Signal(Job)
        self._config = Signal(QueueConfig)
        #: Nothing of this job is to be followed any more.
        self._blind = Signal()
        self._known_dry = Signal()
        self._decode(m)
        self._ask(m)
        m.d.comb += [
            self.config.queue.eq(job.queue),
            self.look.queue.eq(job.queue),
            self.jobs_on.payload.eq(self.jobs.payload),
            self.ring_on.payload.eq(self.ring.payload),
            self.ring_on.payload.table.eq(self._follow),
        ]
        with m.FSM():
            with m.State("JOB"):
                m.d.comb += [
                    self.jobs_on.valid.eq(self.jobs.valid),
                    self.jobs.ready.eq(self.jobs_on.ready),
                ]
                m.d.sync += job.eq(self.jobs.payload)
                with m.If(
                    self.jobs.valid & self.jobs.ready & (self.jobs.payload.kind != JobKind.DROP)
                ):
                    m.next = "LOAD"
            with m.State("LOAD"):
                look = self.look.value
                m.d.sync += [
                    self._config.eq(self.config.value),
                    self._blind.eq(
                        self._known_dry
                        | ~look.enabled
                        | look.failed
                        | (look.epoch != job.epoch)
                        | self.halt
                    ),
                ]
                m.next = "PASS"
            with m.State("PASS"):
                self._pass(m)
            with m.State("SKIP"):
                m.d.comb += self.ring.ready.eq(1)
                with m.If(self.ring.valid & self.ring.payload.last):
                    m.next = "JOB"
        self._dry_queues(m)
        return m

    def _decode(self, m):
        """Is the chunk in front a descriptor that leads into a table that can be read?"""
        chunk, job, config = self.ring.payload, self._job, self._config
        low, high = chunk.raw[96:112], chunk.raw[112:128]
        flags = Signal(16)
        entries = chunk.length[4:]
        here = Signal()
        good_table = Signal()
        #: Behind this chunk nothing of the queue is known to be available.
        self._dry = Signal()
        self._ends_chain = Signal()
        self._follow = Signal()
        self._burst = Signal(range(BATCH + 1))
        packed, head = job.kind == JobKind.PACKED, job.kind == JobKind.HEAD
        wrap = job.position[15]
        m.d.comb += [
            flags.eq(Mux(packed, high, low)),
            here.eq((flags[DESC_F_AVAIL] == wrap) & (flags[DESC_F_USED] != wrap)),
            self._dry.eq(packed & (~here | chunk.fault)),
            self._ends_chain.eq(
                head & ~chunk.fault & (~flags[DESC_F_NEXT] | flags[DESC_F_INDIRECT])
            ),
            good_table.eq(
                config.indirect & ~chunk.ragged & ~chunk.wraps & (entries <= config.size)
            ),
            self._follow.eq(
                (head | (packed & ~self._dry))
                & ~self._blind
                & (Cat(flags[DESC_F_NEXT], flags[DESC_F_INDIRECT]) == 2)
                & good_table
                & ~chunk.fault
            ),
            self._burst.eq(Mux(entries < BATCH, entries, BATCH)),
        ]

    def _ask(self, m):
        """The request of the chunk in front, when it is passed on."""
        credit = Signal(range(TABLES + 1), init=TABLES)
        self._waits = Signal()
        asked = Signal()
        request = self.request.payload
        m.d.comb += [
            self._waits.eq(self._follow & (self.request.valid | (credit == 0))),
            asked.eq(self.ring_on.valid & self.ring_on.ready & self._follow),
        ]
        m.d.sync += credit.eq(credit + self.returned - asked)
        with m.If(self.request.ready):
            m.d.sync += self.request.valid.eq(0)
        with m.If(asked):
            m.d.sync += [
                self.request.valid.eq(1),
                request.function.eq(self.function),
                request.address.eq(self.ring.payload.address),
                request.length.eq(self._burst << 4),
                request.tag.eq(self._job.queue | TABLE_TAG),
            ]

    def _pass(self, m):
        chunk = self.ring.payload
        m.d.comb += [
            self.ring_on.valid.eq(self.ring.valid & ~self._waits),
            self.ring.ready.eq(self.ring_on.ready & ~self._waits),
            self.ring_on.payload.last.eq(chunk.last | self._ends_chain),
        ]
        with m.If(self.ring.valid & self.ring.ready):
            # The neighbour of a head may be of another chain: only the assembler knows.
            with m.If(self._dry | (self._job.kind == JobKind.HEAD)):
                m.d.sync += self._blind.eq(1)
            with m.If(chunk.last):
                m.next = "JOB"
            with m.Elif(self._ends_chain):
                m.next = "SKIP"

    def _dry_queues(self, m):
        """Queues with reads in flight behind a descriptor that was not available."""
        dry = Signal(self._queues)
        epoch = Signal(self._queues)
        queue = self._job.queue
        m.d.comb += self._known_dry.eq(
            dry.bit_select(queue, 1) & (epoch.bit_select(queue, 1) == self._job.epoch)
        )
        with m.If(self.ring.valid & self.ring.ready & self._dry):
            m.d.sync += [
                dry.bit_select(queue, 1).eq(1),
                epoch.bit_select(queue, 1).eq(self._job.epoch),
            ]
        with m.If(self.forget.valid):
            m.d.sync += dry.bit_select(self.forget.queue, 1).eq(0)
