"""Writes completions and asks for interrupts."""

from amaranth.hdl import Array, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from tailrace_hw.errors import ErrorCode
from tailrace_hw.jobs.job_end import EndedJob
from tailrace_hw.jobs.queue_control import QueueFault
from tailrace_hw.jobs.types import (
    COMPLETION_BYTES,
    LENGTH_BITS,
    NO_VECTOR,
    Completion,
    JobStatus,
    QueueContext,
)
from tailrace_hw.lib.fifo import SyncFifo
from tailrace_hw.lib.width import WidthConverter
from tailrace_hw.pcie.dma import DmaStatus, DmaWritePort
from tailrace_hw.pcie.function import InterruptRequest

__all__ = ["CompletionWriter"]


class _Sent(data.Struct):
    """A completion that waits for its response."""

    queue: 4
    function: 8
    #: NO_VECTOR if nobody asked.
    vector: 16
    good: 1
    length: LENGTH_BITS
    index: 16
    #: It was written; else the job is only to be forgotten.
    written: 1


class CompletionWriter(wiring.Component):
    """Writes each job's completion to the next place in its queue's ring, then interrupts.

    The interrupt is asked for when the DMA engine has answered the write, so that the message comes
    behind it. While a queue is being reset its jobs are dropped; an interrupt is dropped as well.
    A completion that can't be written is a fault of the queue (JOB_COMPLETION_FAULT), and its job
    counts as dropped. ``ended`` is given when nothing is left to be done for a job.

    A completion in 3 cycles; 16 may wait for their response.

    Parameters
    ----------
    queues, width : :class:`int`

    Members
    -------
    context : In(QueueContext), array by queue
    resetting, clear : In(queues)
        As of :class:`QueueControl`.
    i : In(stream of EndedJob)
    dma : Out(DmaWritePort(width))
    interrupt : Out(stream of InterruptRequest)
    written : Out(16), array by queue
        Completions begun to be written.
    ended : Out(queues)
        Pulses.
    done, failed, dropped : Out(queues)
        One of them pulses with ``ended``.
    bytes : Out(LENGTH_BITS)
        With ``done``: bytes of the job's source.
    fault : Out(QueueFault)
    """

    _WAITING = 16

    def __init__(self, queues: int, width: int):
        self._queues = queues
        self._width = width
        super().__init__(
            {
                "context": In(QueueContext).array(queues),
                "resetting": In(queues),
                "clear": In(queues),
                "i": In(stream.Signature(EndedJob)),
                "dma": Out(DmaWritePort(width)),
                "interrupt": Out(stream.Signature(InterruptRequest)),
                "written": Out(16).array(queues),
                "ended": Out(queues),
                "done": Out(queues),
                "failed": Out(queues),
                "dropped": Out(queues),
                "bytes": Out(LENGTH_BITS),
                "fault": Out(QueueFault),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bits = COMPLETION_BYTES * 8
        m.submodules.sent = sent = SyncFifo(_Sent, self._WAITING)
        m.submodules.width = width = WidthConverter(bits, self._width)
        connect(m, width.o, flipped(self.dma.data))
        self._write(m, width.i, sent.i)
        self._answer(m, sent.o)
        return m

    def _write(self, m, words, sent):
        """Look the queue up, then write, or not."""
        job = self.i.payload
        context, index = Signal(QueueContext), Signal(16)
        request = self.dma.request.payload
        free = ~self.dma.request.valid | self.dma.request.ready
        writes, goes = Signal(), Signal()
        word, kept = Signal(Completion), Signal(Completion)
        mask = (Const(1) << context.completions_log2) - 1
        wraps = Signal()
        m.d.comb += [
            wraps.eq((index >> context.completions_log2)[0]),
            writes.eq(~self.resetting.bit_select(job.queue, 1)),
            words.payload.data.eq(kept),
            words.payload.last.eq(1),
            word.status.eq(job.status),
            word.phase.eq(~wraps),
            word.queue.eq(job.queue),
            word.cookie.eq(job.cookie),
            word.length.eq(Mux(job.written, job.length, 0)),
            word.crc.eq(job.crc),
            word.tag.eq(job.tag),
            sent.payload.queue.eq(job.queue),
            sent.payload.function.eq(context.function),
            sent.payload.vector.eq(Mux(job.interrupt, context.vector, NO_VECTOR)),
            sent.payload.good.eq(job.status == JobStatus.OK),
            sent.payload.length.eq(job.length),
            sent.payload.index.eq(index),
            sent.payload.written.eq(writes),
        ]
        with m.If(self.dma.request.ready):
            m.d.sync += self.dma.request.valid.eq(0)
        with m.If(words.ready):
            m.d.sync += words.valid.eq(0)
        with m.FSM():
            with m.State("LOOK"):
                m.d.sync += [
                    context.eq(Array(self.context)[job.queue]),
                    index.eq(Array(self.written)[job.queue]),
                ]
                with m.If(self.i.valid):
                    m.next = "WRITE"
            with m.State("WRITE"):
                m.d.comb += [
                    goes.eq(sent.ready & (~writes | (free & (~words.valid | words.ready)))),
                    sent.valid.eq(goes),
                    self.i.ready.eq(goes),
                ]
                with m.If(goes):
                    m.next = "LOOK"
        with m.If(goes & writes):
            m.d.sync += [
                words.valid.eq(1),
                kept.eq(word),
                self.dma.request.valid.eq(1),
                request.function.eq(context.function),
                request.address.eq(context.completions + ((index & mask) * COMPLETION_BYTES)),
                request.length.eq(COMPLETION_BYTES),
            ]
        for queue in range(self._queues):
            with m.If(goes & writes & (job.queue == queue)):
                m.d.sync += self.written[queue].eq(index + 1)
            with m.If(self.clear[queue]):
                m.d.sync += self.written[queue].eq(0)

    def _answer(self, m, sent):
        """Take a response, interrupt, and say that the job has ended."""
        entry = sent.payload
        response = self.dma.response
        interrupt = self.interrupt.payload
        resetting = self.resetting.bit_select(entry.queue, 1)
        lost = Signal()
        ends = Signal()
        interrupts = (entry.vector != NO_VECTOR) & ~lost & ~resetting
        m.d.comb += [
            lost.eq(~entry.written | (response.payload.status != DmaStatus.OK)),
            self.fault.queue.eq(entry.queue),
            self.fault.code.eq(ErrorCode.JOB_COMPLETION_FAULT),
            self.fault.info.eq(entry.index),
            self.bytes.eq(entry.length),
        ]
        with m.If(self.interrupt.ready):
            m.d.sync += self.interrupt.valid.eq(0)
        with m.FSM():
            with m.State("RESPONSE"):
                with m.If(sent.valid & (response.valid | ~entry.written)):
                    m.d.comb += [
                        response.ready.eq(entry.written),
                        self.fault.valid.eq(lost & entry.written),
                    ]
                    with m.If(interrupts):
                        m.d.sync += [
                            self.interrupt.valid.eq(1),
                            interrupt.function.eq(entry.function),
                            interrupt.vector.eq(entry.vector),
                        ]
                        m.next = "INTERRUPT"
                    with m.Else():
                        m.d.comb += ends.eq(1)
            with m.State("INTERRUPT"):
                m.d.comb += ends.eq(self.interrupt.ready)
                with m.If(ends):
                    m.next = "RESPONSE"
        m.d.comb += sent.ready.eq(ends)
        for queue in range(self._queues):
            here = ends & (entry.queue == queue)
            in_response = response.ready | ~entry.written
            m.d.comb += [
                self.ended[queue].eq(here),
                self.dropped[queue].eq(here & in_response & lost),
                self.done[queue].eq(here & ~(in_response & lost) & entry.good),
                self.failed[queue].eq(here & ~(in_response & lost) & ~entry.good),
            ]
