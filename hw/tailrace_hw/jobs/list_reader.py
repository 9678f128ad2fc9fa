"""Reads scatter and gather lists, and says of every job which pieces it has."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.jobs.types import ENTRY_BYTES, LENGTH_BITS, Entry, Job, JobStatus, ListEntry
from tailrace_hw.lib.fifo import SyncFifo
from tailrace_hw.lib.width import WidthConverter
from tailrace_hw.pcie.dma import DmaReadMeta, DmaReadPort, DmaReadRequest, DmaStatus

__all__ = ["ListReader"]


class _Asked(data.Struct):
    """A job with the lists that are being read for it."""

    job: Job
    source: 1
    destination: 1


class _Side(enum.Enum, shape=1):
    SOURCE = 0
    DESTINATION = 1


class ListReader(wiring.Component):
    """Turns a job's source and destination into entries, whether they are lists or not.

    Of each job come, in this order: the entries of its source, those of its destination, and on
    ``o`` the job itself. Entries that hold nothing of the job are left out, and the last one is cut
    to its length. A job without any (no length, no destination, or a status that was not OK before)
    has ``source_entries`` or ``destination_entries`` 0 on ``o``, else 1: then there is one with
    ``last``, and it may be one of length 0 if the list breaks off.

    A job that was OK becomes: LIST_FAULT, a list could not be read; BAD_LIST, a list holds less
    than the job's length; SOURCE_FAULT or DESTINATION_FAULT, a piece goes beyond the last address.
    RESET, if its queue is being reset: then its lists are not read.

    The lists of later jobs are read while earlier ones are worked on. An entry of a list a cycle,
    and 4 cycles a job.

    Parameters
    ----------
    queues, width : :class:`int`
    jobs : :class:`int`
        Jobs whose lists are read ahead.

    Members
    -------
    resetting : In(queues)
    i : In(stream of Job)
    dma : Out(DmaReadPort(width))
    sources, destinations : Out(stream of Entry)
        Must have room for the entries of a list (64, and 1) without ``o`` being taken.
    o : Out(stream of Job)
    """

    def __init__(self, queues: int, width: int, jobs: int):
        self._width = width
        self._jobs = jobs
        super().__init__(
            {
                "resetting": In(queues),
                "i": In(stream.Signature(Job)),
                "dma": Out(DmaReadPort(width)),
                "sources": Out(stream.Signature(Entry)),
                "destinations": Out(stream.Signature(Entry)),
                "o": Out(stream.Signature(Job)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.asked = asked = SyncFifo(_Asked, self._jobs)
        self._ask(m, asked.i)
        entries = self.dma.data
        if self._width != ENTRY_BYTES * 8:
            m.submodules.width = width = WidthConverter(
                self._width, ENTRY_BYTES * 8, DmaReadMeta
            )
            wiring.connect(m, wiring.flipped(self.dma.data), width.i)
            entries = width.o
        self._collect(m, asked.o, entries)
        return m

    def _ask(self, m, asked):
        """Ask for both lists of a job, then let it go."""
        job = self.i.payload
        request: DmaReadRequest = self.dma.request.payload
        free = ~self.dma.request.valid | self.dma.request.ready
        ok = (job.status == JobStatus.OK) & ~self.resetting.bit_select(job.queue, 1)
        source = ok & job.source_list & (job.source_entries != 0)
        destination = ok & job.destination_list & (job.destination_entries != 0)
        second = Signal()
        asks, ends = Signal(), Signal()
        with m.If(self.dma.request.ready):
            m.d.sync += self.dma.request.valid.eq(0)
        m.d.comb += [
            asks.eq(self.i.valid & asked.ready & free & (second | source | destination)),
            ends.eq(
                self.i.valid
                & asked.ready
                & Mux(second | (source ^ destination), free, ~source & ~destination)
            ),
            self.i.ready.eq(ends),
            asked.valid.eq(ends),
            asked.payload.job.eq(job),
            asked.payload.source.eq(second | source),
            asked.payload.destination.eq(second | destination),
        ]
        with m.If(~second & (job.status == JobStatus.OK) & ~ok):
            m.d.comb += asked.payload.job.status.eq(JobStatus.RESET)
        with m.If(asks):
            first = ~second & source
            m.d.sync += [
                self.dma.request.valid.eq(1),
                request.function.eq(job.function),
                request.address.eq(Mux(first, job.source, job.destination)),
                request.length.eq(
                    Mux(first, job.source_entries, job.destination_entries) * ENTRY_BYTES
                ),
                second.eq(~second & source & destination),
            ]

    def _collect(self, m, asked, entries):
        """One side after the other, then the job."""
        job = asked.payload.job
        side = Signal(_Side)
        is_source = side == _Side.SOURCE
        status = Signal(JobStatus)
        left = Signal(LENGTH_BITS)
        #: Sides that have entries.
        has = Signal(2)
        piece = Signal(Entry)
        valid = Signal()
        room = Mux(is_source, self.sources.ready, self.destinations.ready)
        m.d.comb += [
            self.sources.payload.eq(piece),
            self.destinations.payload.eq(piece),
            self.sources.valid.eq(valid & is_source),
            self.destinations.valid.eq(valid & ~is_source),
            self.o.payload.eq(job),
            self.o.payload.status.eq(status),
            self.o.payload.source_entries.eq(has[0]),
            self.o.payload.destination_entries.eq(has[1]),
        ]
        in_list = Mux(is_source, job.source_list, job.destination_list)
        reads = Mux(is_source, asked.payload.source, asked.payload.destination)
        fault = Mux(is_source, JobStatus.SOURCE_FAULT, JobStatus.DESTINATION_FAULT)
        bad = Signal(JobStatus)
        bad_now = Signal()

        def fail(code):
            m.d.comb += [bad_now.eq(1), bad.eq(code)]

        def next_side(has_entries):
            m.d.sync += [has.bit_select(side.as_value(), 1).eq(has_entries), left.eq(job.length)]
            with m.If(is_source & ~job.discard):
                m.d.sync += side.eq(_Side.DESTINATION)
                m.next = "SIDE"
            with m.Else():
                m.next = "JOB"

        with m.If(bad_now & (status == JobStatus.OK)):
            m.d.sync += status.eq(bad)
        with m.FSM():
            with m.State("FIRST"):
                m.d.sync += [
                    status.eq(job.status),
                    left.eq(job.length),
                    side.eq(_Side.SOURCE),
                    has.eq(0),
                ]
                with m.If(asked.valid):
                    with m.If(job.status == JobStatus.OK):
                        m.next = "SIDE"
                    with m.Else():
                        m.next = "JOB"
            with m.State("SIDE"):
                m.d.comb += [
                    piece.address.eq(Mux(is_source, job.source, job.destination)),
                    piece.length.eq(job.length),
                    piece.last.eq(1),
                ]
                with m.If(in_list & reads):
                    m.next = "ENTRIES"
                with m.Elif(job.length == 0):
                    next_side(0)
                with m.Elif(in_list):
                    fail(JobStatus.BAD_LIST)
                    next_side(0)
                with m.Else():
                    m.d.comb += valid.eq(1)
                    with m.If(room):
                        with m.If(_wraps(piece.address, piece.length)):
                            fail(fault)
                        next_side(1)
            with m.State("ENTRIES"):
                self._entry(m, entries, piece, valid, room, left)
                with m.If(entries.valid & entries.ready & entries.payload.last):
                    # What a read that failed gave before means nothing, so this comes first.
                    with m.If(entries.payload.meta.status != DmaStatus.OK):
                        fail(JobStatus.LIST_FAULT)
                    with m.Elif(self._wrapped_now):
                        fail(fault)
                    with m.Elif(self._left_after != 0):
                        fail(JobStatus.BAD_LIST)
                    with m.If(self._left_after == 0):
                        next_side(job.length != 0)
                    with m.Else():
                        m.next = "BREAK"
            with m.State("BREAK"):
                m.d.comb += [valid.eq(1), piece.length.eq(0), piece.last.eq(1)]
                with m.If(room):
                    next_side(1)
            with m.State("JOB"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.comb += asked.ready.eq(1)
                    m.next = "FIRST"

    def _entry(self, m, entries, piece, valid, room, left):
        """Pass what the job has of an entry."""
        entry = ListEntry(entries.payload.data)
        some = (entry.length != 0) & (left != 0)
        enough = entry.length >= left
        self._left_after = left_after = Signal(LENGTH_BITS)
        #: A piece of the list goes beyond the last address, up to the last entry and with it.
        wrapped = Signal()
        self._wrapped_now = wrapped_now = Signal()
        m.d.comb += [
            piece.address.eq(entry.address),
            piece.length.eq(Mux(enough, left, entry.length)),
            piece.last.eq(enough),
            valid.eq(entries.valid & some),
            entries.ready.eq(room | ~some),
            left_after.eq(left - Mux(some, piece.length, 0)),
            wrapped_now.eq(wrapped | (some & _wraps(piece.address, piece.length))),
        ]
        with m.If(entries.valid & entries.ready):
            m.d.sync += [
                left.eq(left_after),
                wrapped.eq(wrapped_now & ~entries.payload.last),
            ]


def _wraps(address, length):
    """Whether the last byte is not above the first one."""
    over = (address[:LENGTH_BITS] + length) > (1 << LENGTH_BITS)
    return address[LENGTH_BITS:].all() & over
