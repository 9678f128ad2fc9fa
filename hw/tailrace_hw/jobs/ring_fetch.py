"""Takes descriptors from the rings."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.errors import ErrorCode
from tailrace_hw.jobs.queue_control import QueueFault
from tailrace_hw.jobs.slot_flags import SlotPulse
from tailrace_hw.jobs.types import (
    DESCRIPTOR_BYTES,
    Descriptor,
    OperationMeta,
    QueueContext,
    RawJob,
)
from tailrace_hw.lib.fifo import SyncFifo
from tailrace_hw.lib.packet import PacketSignature
from tailrace_hw.pcie.dma import DmaReadMeta, DmaReadRequest, DmaStatus

__all__ = ["RingFetch"]


class _Read(data.Struct):
    """A descriptor that is being read."""

    slot: 8
    queue: 4
    function: 8
    index: 16


class RingFetch(wiring.Component):
    """Reads one descriptor after the other, of the queues in turn, and numbers the jobs.

    A queue has its turn when it runs, its tail is ahead of what was taken, and the completion has a
    place in its ring, all those of jobs in flight counted. A tail further ahead than the ring is
    long, or a head ahead of the completions written, is a fault (JOB_INDEX_JUMP). A descriptor that
    can't be read gives a job with ``fault``, and a fault of the queue (JOB_DESCRIPTOR_FAULT).

    One descriptor in 4 cycles; as many read ahead as jobs may be in flight. ``data`` is taken
    whatever becomes of the jobs: there is room for all of them.

    Parameters
    ----------
    queues, width : :class:`int`
    jobs : :class:`int`
        In flight at most, a power of two up to 128.

    Members
    -------
    context : In(QueueContext), array by queue
    running, clear : In(queues)
        As of :class:`QueueControl`.
    tail, head, written : In(16), arrays by queue
        Indices: of the doorbells, and of the completions.
    ended : In(1)
        A job has ended; its number is free.
    request : Out(stream of DmaReadRequest)
    data : In(PacketSignature(width, DmaReadMeta))
    o : Out(stream of RawJob)
    parameters : Out(stream of OperationMeta), always ready
        Of each job, before it is on ``o``.
    taken : Out(queues)
        Pulses: a job begins.
    begun : Out(SlotPulse)
        The same, by number.
    position : Out(16), array by queue
        Descriptors taken.
    faults : Out(QueueFault), array of 2
    """

    def __init__(self, queues: int, width: int, jobs: int):
        if not 2 <= jobs <= 128 or jobs & (jobs - 1):
            raise ValueError(f"jobs must be a power of two from 2 to 128, not {jobs}")
        self._queues = queues
        self._width = width
        self._jobs = jobs
        super().__init__(
            {
                "context": In(QueueContext).array(queues),
                "running": In(queues),
                "clear": In(queues),
                "tail": In(16).array(queues),
                "head": In(16).array(queues),
                "written": In(16).array(queues),
                "ended": In(1),
                "request": Out(stream.Signature(DmaReadRequest)),
                "data": In(PacketSignature(width, DmaReadMeta)),
                "o": Out(stream.Signature(RawJob)),
                "parameters": Out(stream.Signature(OperationMeta, always_ready=True)),
                "taken": Out(queues),
                "begun": Out(SlotPulse),
                "position": Out(16).array(queues),
                "faults": Out(QueueFault).array(2),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.reads = reads = SyncFifo(_Read, self._jobs)
        m.submodules.raw = raw = SyncFifo(RawJob, self._jobs)
        wiring.connect(m, raw.o, wiring.flipped(self.o))
        eligible, jumped = Signal(self._queues), Signal(self._queues)
        for queue in range(self._queues):
            self._look(m, queue, eligible, jumped)
        self._issue(m, eligible, jumped, reads.i)
        self._unpack(m, reads.o, raw.i)
        return m

    def _look(self, m, queue, eligible, jumped):
        """What a queue wants, one cycle late."""
        context = self.context[queue]
        ahead = Signal(16, name=f"ahead_{queue}")
        unread = Signal(16, name=f"unread_{queue}")
        owed = Signal(16, name=f"owed_{queue}")
        ring = Const(1) << context.ring_log2
        completions = Const(1) << context.completions_log2
        m.d.comb += [
            ahead.eq(self.tail[queue] - self.position[queue]),
            unread.eq(self.written[queue] - self.head[queue]),
            owed.eq(self.position[queue] - self.head[queue]),
        ]
        jump = self.running[queue] & ((ahead > ring) | (unread > completions))
        m.d.sync += [
            jumped[queue].eq(jump),
            eligible[queue].eq(self.running[queue] & (ahead != 0) & (owed < completions) & ~jump),
        ]

    def _issue(self, m, eligible, jumped, reads):
        """Choose a queue, ask for its descriptor."""
        queues = self._queues
        slot = Signal(range(self._jobs))
        in_flight = Signal(range(self._jobs + 1))
        #: Queues behind the last one that had its turn.
        after = Signal(queues)
        one_hot = Signal(queues)
        chosen = Signal(4)
        context = Signal(QueueContext)
        index = Signal(16)
        begins = Signal()
        later = eligible & after
        request, read, jump = self.request, reads.payload, self.faults[0]
        m.d.sync += in_flight.eq(in_flight + begins - self.ended)
        with m.If(request.ready):
            m.d.sync += request.valid.eq(0)
        first = Mux(later.any(), later & ~(later - 1), eligible & ~(eligible - 1))
        with m.FSM():
            with m.State("LOOK"):
                # The indices may have changed in the last cycle: what is seen of them is late.
                m.next = "CHOOSE"
            with m.State("CHOOSE"):
                with m.If(jumped.any()):
                    for queue in reversed(range(queues)):
                        with m.If(jumped[queue]):
                            m.d.comb += [
                                jump.queue.eq(queue),
                                jump.info.eq(self.tail[queue]),
                            ]
                    m.d.comb += [jump.valid.eq(1), jump.code.eq(ErrorCode.JOB_INDEX_JUMP)]
                    m.next = "LOOK"
                with m.Elif(eligible.any() & (in_flight != self._jobs)):
                    m.d.sync += one_hot.eq(first)
                    m.next = "LOAD"
            with m.State("LOAD"):
                for queue in range(queues):
                    with m.If(one_hot[queue]):
                        m.d.sync += [
                            chosen.eq(queue),
                            context.eq(self.context[queue]),
                            index.eq(self.position[queue]),
                            after.eq((1 << queues) - (2 << queue)),
                        ]
                m.next = "ASK"
            with m.State("ASK"):
                with m.If(~(self.running & one_hot).any()):
                    m.next = "LOOK"
                with m.Elif((~request.valid | request.ready) & reads.ready):
                    m.d.comb += begins.eq(1)
                    m.next = "LOOK"
        mask = (Const(1) << context.ring_log2) - 1
        with m.If(begins):
            m.d.comb += self.taken.eq(one_hot)
            m.d.sync += [
                request.valid.eq(1),
                request.payload.function.eq(context.function),
                request.payload.address.eq(
                    context.ring + ((index & mask) * DESCRIPTOR_BYTES)
                ),
                request.payload.length.eq(DESCRIPTOR_BYTES),
                slot.eq(slot + 1),
            ]
        m.d.comb += [
            reads.valid.eq(begins),
            read.slot.eq(slot),
            read.queue.eq(chosen),
            read.function.eq(context.function),
            read.index.eq(index),
            self.begun.valid.eq(begins),
            self.begun.slot.eq(slot),
        ]
        for queue in range(queues):
            with m.If(begins & one_hot[queue]):
                m.d.sync += self.position[queue].eq(index + 1)
            with m.If(self.clear[queue]):
                m.d.sync += self.position[queue].eq(0)

    def _unpack(self, m, reads, raw):
        """Gather the beats of a descriptor."""
        width = self._width
        beats = -(-DESCRIPTOR_BYTES * 8 // width)
        beat = self.data.payload
        count = Signal(range(beats + 1))
        word = Signal(Descriptor)
        read = Signal(_Read)
        complete, failed = Signal(), Signal()
        parts = Array(word.as_value()[k * width : (k + 1) * width] for k in range(beats))
        taken = self.data.valid & self.data.ready
        m.d.comb += [self.data.ready.eq(reads.valid), reads.ready.eq(taken & beat.last)]
        m.d.sync += complete.eq(taken & beat.last)
        with m.If(taken):
            # A read that fails may give any number of beats.
            with m.If(count != beats):
                m.d.sync += [parts[count].eq(beat.data), count.eq(count + 1)]
            m.d.sync += [read.eq(reads.payload), failed.eq(beat.meta.status != DmaStatus.OK)]
            with m.If(beat.last):
                m.d.sync += count.eq(0)
        job, fault = raw.payload, self.faults[1]
        m.d.comb += [raw.valid.eq(complete), job.fault.eq(failed)]
        for name in ("slot", "queue", "function"):
            m.d.comb += job[name].eq(read[name])
        for name in (
            "opcode", "flags", "cookie", "source", "destination", "length", "source_entries",
            "destination_entries",
        ):  # fmt: skip
            m.d.comb += job[name].eq(word[name])
        m.d.comb += [
            fault.valid.eq(complete & failed),
            fault.queue.eq(read.queue),
            fault.code.eq(ErrorCode.JOB_DESCRIPTOR_FAULT),
            fault.info.eq(read.index),
        ]
        parameters = self.parameters.payload
        m.d.comb += [
            self.parameters.valid.eq(complete),
            parameters.slot.eq(read.slot),
            parameters.function.eq(read.function),
            parameters.j0.eq(word.flags.j0),
            parameters.tag_length.eq(_at_most(word.tag_length, 5)),
            parameters.aad_length.eq(_at_most(word.aad_length, 7)),
            parameters.length.eq(word.length),
        ]
        for name in ("opcode", "key", "iv", "tag", "aad"):
            m.d.comb += parameters[name].eq(word[name])


def _at_most(value, bits):
    """The low bits, or the most that they can say if the value is more."""
    return value[:bits] | Cat(value[bits:].any()).replicate(bits)
