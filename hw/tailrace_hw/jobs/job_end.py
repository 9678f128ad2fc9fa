"""How a job has ended, when all is known."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.jobs.scatter import MARK_BITS, ScatteredJob
from tailrace_hw.jobs.slot_flags import SlotPulse
from tailrace_hw.jobs.types import LENGTH_BITS, EngineResult, JobStatus
from tailrace_hw.lib.stage import RegisterStage
from tailrace_hw.pcie.dma import DmaStatus, DmaWriteResponse

__all__ = ["EndedJob", "JobEnd"]


class EndedJob(data.Struct):
    """What is written in a completion, and who gets it."""

    queue: 4
    status: JobStatus
    interrupt: 1
    cookie: 32
    #: Bytes of the source.
    length: LENGTH_BITS
    #: They were written to the destination.
    written: 1
    crc: 32
    tag: 128


class JobEnd(wiring.Component):
    """Waits until a job's writes are all answered and its engine has given a result.

    The status is the job's own if that is not OK; else SOURCE_FAULT, that of the engine,
    DESTINATION_FAULT, or OK. Jobs leave in order, one a cycle; latency 1 cycle from the last thing
    known.

    Parameters
    ----------
    jobs, engines : :class:`int`

    Members
    -------
    i : In(stream of ScatteredJob)
    response : In(stream of DmaWriteResponse)
        Always taken.
    results : In(stream of EngineResult), array by engine
    source_fault, dropped, destination_fault : In(jobs)
        By slot. A job that was dropped never came to its engine.
    unwritten : Out(SlotPulse)
        A write of a job has failed.
    o : Out(stream of EndedJob)
    """

    def __init__(self, jobs: int, engines: int):
        super().__init__(
            {
                "i": In(stream.Signature(ScatteredJob)),
                "response": In(stream.Signature(DmaWriteResponse)),
                "results": In(stream.Signature(EngineResult)).array(engines),
                "source_fault": In(jobs),
                "dropped": In(jobs),
                "destination_fault": In(jobs),
                "unwritten": Out(SlotPulse),
                "o": Out(stream.Signature(EndedJob)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.output = output = RegisterStage(EndedJob)
        wiring.connect(m, output.o, wiring.flipped(self.o))
        answered = Signal(MARK_BITS)
        response = self.response.payload
        m.d.comb += [
            self.response.ready.eq(1),
            self.unwritten.valid.eq(self.response.valid & (response.status != DmaStatus.OK)),
            self.unwritten.slot.eq(response.tag),
        ]
        with m.If(self.response.valid):
            m.d.sync += answered.eq(answered + 1)

        job, end = self.i.payload, output.i.payload
        result = Signal(EngineResult)
        result_valid, wants, has, reached = Signal(), Signal(), Signal(), Signal()
        ahead = Signal(MARK_BITS)
        slot = job.slot
        m.d.comb += [
            result.eq(Array(port.payload for port in self.results)[job.engine]),
            result_valid.eq(Array(port.valid for port in self.results)[job.engine]),
            wants.eq((job.status == JobStatus.OK) & ~self.dropped.bit_select(slot, 1)),
            has.eq(result_valid & (result.slot == slot)),
            # Counts that are never far apart: the sign of their difference.
            ahead.eq(answered - job.mark),
            reached.eq(~ahead[-1]),
            output.i.valid.eq(self.i.valid & reached & (has | ~wants)),
            self.i.ready.eq(output.i.ready & reached & (has | ~wants)),
        ]
        for index, port in enumerate(self.results):
            here = job.engine == index
            m.d.comb += port.ready.eq(output.i.valid & output.i.ready & wants & here)
        with m.If(job.status != JobStatus.OK):
            m.d.comb += end.status.eq(job.status)
        with m.Elif(self.source_fault.bit_select(slot, 1)):
            m.d.comb += end.status.eq(JobStatus.SOURCE_FAULT)
        with m.Elif(result.status != JobStatus.OK):
            m.d.comb += end.status.eq(result.status)
        with m.Elif(self.destination_fault.bit_select(slot, 1)):
            m.d.comb += end.status.eq(JobStatus.DESTINATION_FAULT)
        good = end.status == JobStatus.OK
        m.d.comb += [
            end.queue.eq(job.queue),
            end.interrupt.eq(job.interrupt),
            end.cookie.eq(job.cookie),
            end.length.eq(job.length),
            end.written.eq(good & ~job.discard),
            end.crc.eq(Mux(good, result.crc, 0)),
            end.tag.eq(Mux(good, result.tag, 0)),
        ]
        return m
