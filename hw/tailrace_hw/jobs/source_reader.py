"""Asks for the sources of the jobs."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.jobs.chunk_splitter import CHUNK, Chunk
from tailrace_hw.jobs.types import LENGTH_BITS, Job, JobStatus
from tailrace_hw.lib.fifo import SyncFifo
from tailrace_hw.pcie.dma import DmaReadRequest

__all__ = ["SourceReader", "SourceToken"]


class SourceToken(data.Struct):
    """A step in the making of a job's packet."""

    slot: 8
    engine: 3
    whole: 1
    #: Bytes of the job.
    length: LENGTH_BITS
    #: A chunk of ``chunk`` bytes has been asked for; else there is nothing (more) to come.
    read: 1
    chunk: range(CHUNK + 1)
    #: The job's last one.
    last: 1


class SourceReader(wiring.Component):
    """Makes a DMA read of each chunk of a job's source, and a token of each read.

    A job that is not OK has no token; its chunks are dropped. A job without length has one token
    without a read. When the queue is reset, or a read of the job has failed, the token after the
    last read says that there is nothing more. So far ahead as tokens have room: 64 chunks. A chunk
    a cycle.

    Parameters
    ----------
    queues : :class:`int`
    jobs : :class:`int`
        In flight at most.

    Members
    -------
    resetting : In(queues)
    failed : In(jobs)
        By slot: a read of it has failed.
    jobs : In(stream of Job)
    chunks : In(stream of Chunk)
        Of the jobs whose ``source_entries`` is not 0.
    request : Out(stream of DmaReadRequest)
    tokens : Out(stream of SourceToken)
        Never before the read.
    """

    #: Reads that wait for their data, at most.
    _AHEAD = 64

    def __init__(self, queues: int, jobs: int):
        super().__init__(
            {
                "resetting": In(queues),
                "failed": In(jobs),
                "jobs": In(stream.Signature(Job)),
                "chunks": In(stream.Signature(Chunk)),
                "request": Out(stream.Signature(DmaReadRequest)),
                "tokens": Out(stream.Signature(SourceToken)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = SyncFifo(SourceToken, self._AHEAD)
        wiring.connect(m, queue.o, wiring.flipped(self.tokens))
        job, chunk = self.jobs.payload, self.chunks.payload
        request, token = self.request.payload, queue.i.payload
        free = ~self.request.valid | self.request.ready
        #: The rest of the job's chunks are not read.
        dropping = Signal()
        drop, none, reads, step, ends = Signal(), Signal(), Signal(), Signal(), Signal()
        broken = self.resetting.bit_select(job.queue, 1) | self.failed.bit_select(job.slot, 1)
        ok = job.status == JobStatus.OK
        m.d.comb += [
            none.eq(job.source_entries == 0),
            # A token without a read is the last one, so what comes behind it is only dropped.
            drop.eq(dropping | ~ok),
            reads.eq(~drop & ~none & ~broken),
            step.eq(
                self.jobs.valid
                & (self.chunks.valid | none)
                & (drop | (queue.i.ready & (free | ~reads)))
            ),
            ends.eq(none | chunk.last),
            self.jobs.ready.eq(step & ends),
            self.chunks.ready.eq(step & ~none),
            queue.i.valid.eq(step & ~drop),
            token.slot.eq(job.slot),
            token.engine.eq(job.engine),
            token.whole.eq(job.whole),
            token.length.eq(job.length),
            token.read.eq(reads),
            token.chunk.eq(chunk.length),
            token.last.eq(Mux(reads, chunk.last, 1)),
        ]
        with m.If(self.request.ready):
            m.d.sync += self.request.valid.eq(0)
        with m.If(step):
            m.d.sync += dropping.eq((drop | ~reads) & ~ends)
            with m.If(reads):
                m.d.sync += [
                    self.request.valid.eq(1),
                    request.function.eq(job.function),
                    request.address.eq(chunk.address),
                    request.length.eq(chunk.length),
                ]
        return m
