"""Writes what the engines give to the destinations of the jobs."""

from amaranth.hdl import Array, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect

from tailrace_hw.jobs.chunk_splitter import Chunk
from tailrace_hw.jobs.types import LENGTH_BITS, Job, JobStatus, OutputMeta
from tailrace_hw.lib.fifo import SyncFifo
from tailrace_hw.lib.packet import NoMeta, PacketSignature, beat_layout
from tailrace_hw.lib.packet_cut import Cut, PacketCut
from tailrace_hw.lib.stage import ReadyStage
from tailrace_hw.pcie.dma import DmaWriteRequest

__all__ = ["MARK_BITS", "Scatter", "ScatteredJob"]

#: Bits of the count of write requests; many times more than can be unanswered.
MARK_BITS = 16


class ScatteredJob(data.Struct):
    """A job for which all write requests have been made."""

    slot: 8
    queue: 4
    engine: 3
    status: JobStatus
    discard: 1
    interrupt: 1
    cookie: 32
    length: LENGTH_BITS
    #: Write requests so far, of this job and all before it.
    mark: MARK_BITS


class Scatter(wiring.Component):
    """Takes the jobs in order, and of each the packet of its engine, which it cuts to its chunks.

    A job has no packet if it is not OK, has no output or no length, or is told of on ``skip``; then
    its chunks are dropped. A packet without destination is dropped. From the moment on when the
    job's queue is being reset, or ``failed`` tells of the job, no more requests are made; the rest
    of its packet is dropped.

    One beat a cycle within a packet; about 4 cycles more a job.

    Parameters
    ----------
    queues, width, jobs, engines : :class:`int`

    Members
    -------
    resetting : In(queues)
    skip, failed : In(jobs)
        By slot: the engine gives no packet; the packet is not to be used.
    jobs : In(stream of Job)
    chunks : In(stream of Chunk)
        Of the jobs whose ``destination_entries`` is not 0.
    packets : In(PacketSignature(width, OutputMeta)), array by engine
    request : Out(stream of DmaWriteRequest)
        ``tag`` is the job's slot.
    data : Out(PacketSignature(width))
    o : Out(stream of ScatteredJob)
    """

    #: Chunks that may wait for their data.
    _CUTS = 8

    def __init__(self, queues: int, width: int, jobs: int, engines: int):
        self._width = width
        super().__init__(
            {
                "resetting": In(queues),
                "skip": In(jobs),
                "failed": In(jobs),
                "jobs": In(stream.Signature(Job)),
                "chunks": In(stream.Signature(Chunk)),
                "packets": In(PacketSignature(width, OutputMeta)).array(engines),
                "request": Out(stream.Signature(DmaWriteRequest)),
                "data": Out(PacketSignature(width)),
                "o": Out(stream.Signature(ScatteredJob)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.cut = cut = PacketCut(self._width)
        #: The cutter's ready would go on into the engines.
        m.submodules.ready = ready = ReadyStage(beat_layout(self._width, NoMeta))
        connect(m, ready.o, cut.i)
        m.submodules.cuts = cuts = SyncFifo(Cut, self._CUTS)
        #: Of each packet that the cutter makes: whether it is dropped.
        m.submodules.fates = fates = SyncFifo(1, 2 * self._CUTS)
        connect(m, cuts.o, cut.cuts)
        self._finish(m, cut.o, fates.o)

        job = self.jobs.payload
        offered = Array(packet.valid for packet in self.packets)[job.engine]
        beat = Array(packet.payload for packet in self.packets)[job.engine]
        take = Signal()
        for index, packet in enumerate(self.packets):
            m.d.comb += packet.ready.eq(take & (job.engine == index))
        mark = Signal(MARK_BITS)
        self._describe(m, mark)

        #: All of the packet has gone to the cutter; a request was made of all chunks.
        all_beats, all_chunks = Signal(), Signal()
        asked = Signal()
        has_packet = (job.status == JobStatus.OK) & job.output & (job.length != 0)
        moves = Signal()
        m.d.comb += [
            ready.i.payload.data.eq(beat.data),
            ready.i.payload.last.eq(beat.last),
            ready.i.payload.empty.eq(beat.empty),
        ]

        def without_packet():
            with m.If(job.destination_entries != 0):
                m.next = "DROP"
            with m.Else():
                m.next = "END"

        with m.FSM():
            with m.State("JOB"):
                m.d.sync += [all_beats.eq(0), all_chunks.eq(0)]
                with m.If(self.jobs.valid):
                    with m.If(~has_packet):
                        without_packet()
                    with m.Elif(offered & (beat.meta.slot == job.slot)):
                        with m.If(job.discard):
                            m.next = "SWALLOW"
                        with m.Else():
                            m.next = "MOVE"
                    with m.Elif(self.skip.bit_select(job.slot, 1)):
                        without_packet()
            with m.State("MOVE"):
                m.d.comb += [
                    moves.eq(1),
                    ready.i.valid.eq(offered & ~all_beats),
                    take.eq(ready.i.ready & ~all_beats),
                ]
                last_beat = offered & take & beat.last
                last_chunk = asked & self.chunks.payload.last
                m.d.sync += [
                    all_beats.eq(all_beats | last_beat),
                    all_chunks.eq(all_chunks | last_chunk),
                ]
                with m.If((all_beats | last_beat) & (all_chunks | last_chunk)):
                    m.next = "END"
            with m.State("SWALLOW"):
                m.d.comb += take.eq(1)
                with m.If(offered & beat.last):
                    m.next = "END"
            with m.State("DROP"):
                m.d.comb += self.chunks.ready.eq(1)
                with m.If(self.chunks.valid & self.chunks.payload.last):
                    m.next = "END"
            with m.State("END"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.comb += self.jobs.ready.eq(1)
                    m.next = "JOB"
        self._ask(m, moves & ~all_chunks, asked, cuts.i, fates.i, mark)
        return m

    def _describe(self, m, mark):
        job, o = self.jobs.payload, self.o.payload
        for name in (
            "slot", "queue", "engine", "status", "discard", "interrupt", "cookie", "length",
        ):  # fmt: skip
            m.d.comb += o[name].eq(job[name])
        m.d.comb += o.mark.eq(mark)

    def _ask(self, m, may, asked, cuts, fates, mark):
        """Make a request of a chunk, and say where to cut."""
        job, chunk, request = self.jobs.payload, self.chunks.payload, self.request.payload
        dropped = self.resetting.bit_select(job.queue, 1) | self.failed.bit_select(job.slot, 1)
        free = ~self.request.valid | self.request.ready
        m.d.comb += [
            asked.eq(may & self.chunks.valid & cuts.ready & fates.ready & (free | dropped)),
            cuts.valid.eq(asked),
            cuts.payload.length.eq(chunk.length),
            cuts.payload.frame_end.eq(chunk.last),
            fates.valid.eq(asked),
            fates.payload.eq(dropped),
        ]
        with m.If(asked):
            m.d.comb += self.chunks.ready.eq(1)
        with m.If(self.request.ready):
            m.d.sync += self.request.valid.eq(0)
        with m.If(asked & ~dropped):
            m.d.sync += [
                mark.eq(mark + 1),
                self.request.valid.eq(1),
                request.function.eq(job.function),
                request.address.eq(chunk.address),
                request.length.eq(chunk.length),
                request.tag.eq(job.slot),
            ]

    def _finish(self, m, cut, fates):
        """Pass or drop each piece."""
        beat = cut.payload
        m.d.comb += [
            self.data.payload.eq(beat),
            self.data.valid.eq(cut.valid & fates.valid & ~fates.payload),
            cut.ready.eq(fates.valid & (fates.payload | self.data.ready)),
            fates.ready.eq(cut.valid & cut.ready & beat.last),
        ]
