"""What a descriptor asks for, and whether it can be had."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.jobs.operations import Destination
from tailrace_hw.jobs.types import MAX_ENTRIES, Job, JobStatus, RawJob
from tailrace_hw.lib.stage import RegisterStage

__all__ = ["DescriptorCheck"]


class DescriptorCheck(wiring.Component):
    """Looks the operation up and refuses what it can't do.

    The status is the first of these that applies: DESCRIPTOR_FAULT; RESET, of a queue that is being
    reset; BAD_OPCODE; BAD_LENGTH; BAD_LIST, more than 64 entries. Everything leaves, in order. One
    job a cycle, latency 1.

    A descriptor that can't be read interrupts, and its job has the cookie 0.

    Parameters
    ----------
    queues : :class:`int`
    operations : tuple of :class:`~tailrace_hw.jobs.operations.Operation`

    Members
    -------
    resetting : In(queues)
    i : In(stream of RawJob)
    o : Out(stream of Job)
    """

    def __init__(self, queues: int, operations):
        self._operations = operations
        super().__init__(
            {
                "resetting": In(queues),
                "i": In(stream.Signature(RawJob)),
                "o": Out(stream.Signature(Job)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.output = output = RegisterStage(Job)
        wiring.connect(m, output.o, wiring.flipped(self.o))
        raw, job = self.i.payload, output.i.payload
        known, fits, optional, never = Signal(), Signal(), Signal(), Signal()
        with m.Switch(raw.opcode):
            for operation in self._operations:
                with m.Case(operation.opcode):
                    longest = raw.length <= operation.longest
                    shortest = raw.length >= operation.shortest
                    m.d.comb += [
                        known.eq(1),
                        fits.eq(longest & (shortest if operation.shortest else 1)),
                        optional.eq(operation.destination is Destination.OPTIONAL),
                        never.eq(operation.destination is Destination.NEVER),
                        job.engine.eq(operation.engine),
                        job.whole.eq(operation.whole),
                        job.output.eq(operation.output),
                    ]
        destination_list = raw.flags.destination_list & ~never
        too_many = (raw.flags.source_list & (raw.source_entries > MAX_ENTRIES)) | (
            destination_list & (raw.destination_entries > MAX_ENTRIES)
        )
        with m.If(raw.fault):
            m.d.comb += job.status.eq(JobStatus.DESCRIPTOR_FAULT)
        with m.Elif(self.resetting.bit_select(raw.queue, 1)):
            m.d.comb += job.status.eq(JobStatus.RESET)
        with m.Elif(~known):
            m.d.comb += job.status.eq(JobStatus.BAD_OPCODE)
        with m.Elif(~fits):
            m.d.comb += job.status.eq(JobStatus.BAD_LENGTH)
        with m.Elif(too_many):
            m.d.comb += job.status.eq(JobStatus.BAD_LIST)
        none = optional & ~destination_list & (raw.destination == 0)
        m.d.comb += [
            output.i.valid.eq(self.i.valid),
            self.i.ready.eq(output.i.ready),
            job.discard.eq(never | none),
            job.interrupt.eq(raw.flags.interrupt | raw.fault),
            job.cookie.eq(Mux(raw.fault, 0, raw.cookie)),
            job.source_list.eq(raw.flags.source_list),
            job.destination_list.eq(destination_list),
        ]
        for name in (
            "slot", "queue", "function", "length", "source", "destination", "source_entries",
            "destination_entries",
        ):  # fmt: skip
            m.d.comb += job[name].eq(raw[name])
        return m
