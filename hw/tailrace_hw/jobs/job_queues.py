"""The look-aside engine: jobs from rings in host memory, through engines, and back."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from tailrace_hw.errors import ErrorEvent
from tailrace_hw.jobs.chunk_splitter import ChunkSplitter
from tailrace_hw.jobs.completion_writer import CompletionWriter
from tailrace_hw.jobs.copy_engine import CopyEngine
from tailrace_hw.jobs.descriptor_check import DescriptorCheck
from tailrace_hw.jobs.gather import Gather
from tailrace_hw.jobs.job_end import JobEnd
from tailrace_hw.jobs.job_registers import ADDRESS_WIDTH, JobRegisters
from tailrace_hw.jobs.list_reader import ListReader
from tailrace_hw.jobs.operation_issue import OperationIssue
from tailrace_hw.jobs.operations import COPY_ENGINE, COPY_OPERATIONS, MAX_WHOLE, engines_of
from tailrace_hw.jobs.queue_control import QueueControl
from tailrace_hw.jobs.read_share import ReadShare
from tailrace_hw.jobs.ring_fetch import RingFetch
from tailrace_hw.jobs.scatter import Scatter, ScatteredJob
from tailrace_hw.jobs.slot_flags import SlotFlags
from tailrace_hw.jobs.source_reader import SourceReader
from tailrace_hw.jobs.source_store import SourceStore
from tailrace_hw.jobs.types import MAX_ENTRIES, EnginePort, EngineResult, Entry, Job, JobStatus
from tailrace_hw.lib.csr import CsrSignature
from tailrace_hw.lib.fifo import SyncFifo
from tailrace_hw.pcie.dma import DmaReadPort, DmaWritePort
from tailrace_hw.pcie.function import InterruptRequest
from tailrace_hw.pcie.functions import FlrPort

__all__ = ["JobQueues"]

#: Room for the entries of two lists, each of which may break off.
_ENTRIES = 2 * MAX_ENTRIES + 2


class JobQueues(wiring.Component):
    """Several queues of jobs, each of a PCIe function (see :mod:`tailrace_hw.jobs.types`).

    A job's way: its descriptor is read (:class:`RingFetch`) and looked up in the table of
    operations (:class:`DescriptorCheck`); its lists are read (:class:`ListReader`), then its source
    (:class:`SourceReader`, :class:`Gather`, :class:`SourceStore`); its engine gets it
    (:class:`OperationIssue`), and what that gives is written to its destination
    (:class:`Scatter`); when all this has been answered (:class:`JobEnd`), its completion is written
    and its function interrupted (:class:`CompletionWriter`). All of these work on different jobs at
    once. Jobs of all queues stay in the order in which they were taken, one of each queue in turn.

    A job that fails does not disturb the others. Of a job that fails while it is under way any part
    of the destination may have been written; but of one whose operation is ``whole`` nothing, if it
    was its source that could not be read.

    At width 512: COPY of 4 KiB at the rate of the DMA engines, and a job of 64 bytes in at most 20
    cycles, if the host answers in fewer cycles than ``jobs`` jobs take.

    Parameters
    ----------
    width : :class:`int`
        Datapath width in bits.
    functions : :class:`int`
        PCIe functions.
    queues : :class:`int`
        1 to 4.
    jobs : :class:`int`
        In flight at once, of all queues; a power of two up to 128.
    operations : tuple of :class:`~tailrace_hw.jobs.operations.Operation`
        Engine 0 is COPY's.

    Members
    -------
    bus : In(CsrSignature(10))
        Registers of ``regs.rdl``.
    rings, source : Out(DmaReadPort(width))
        Descriptors and lists; data.
    destination, completions : Out(DmaWritePort(width))
    engines : Out(EnginePort(width)), array
        Engines from 1 on; not there if there are none.
    interrupt : Out(stream of InterruptRequest)
    flr : In(FlrPort), array by function
    errors : Out(stream of ErrorEvent)
        A queue has stopped.
    """

    def __init__(
        self,
        width: int,
        functions: int,
        *,
        queues: int = 4,
        jobs: int = 32,
        operations=COPY_OPERATIONS,
    ):
        self._width = width
        self._functions = functions
        self._queues = queues
        self._jobs = jobs
        self._operations = tuple(operations)
        self._engines = engines_of(self._operations)
        members = {
            "bus": In(CsrSignature(ADDRESS_WIDTH)),
            "rings": Out(DmaReadPort(width)),
            "source": Out(DmaReadPort(width)),
            "destination": Out(DmaWritePort(width)),
            "completions": Out(DmaWritePort(width)),
            "interrupt": Out(stream.Signature(InterruptRequest)),
            "flr": In(FlrPort()).array(functions),
            "errors": Out(stream.Signature(ErrorEvent)),
        }
        if self._engines > 1:
            members["engines"] = Out(EnginePort(width)).array(self._engines - 1)
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        width, queues, jobs, engines = self._width, self._queues, self._jobs, self._engines
        m.submodules.registers = self._registers = JobRegisters(queues)
        m.submodules.control = self._control = QueueControl(queues, self._functions, 3)
        m.submodules.fetch = self._fetch = RingFetch(queues, width, jobs)
        m.submodules.check = check = DescriptorCheck(queues, self._operations)
        m.submodules.lists = lists = ListReader(queues, width, jobs)
        m.submodules.share = share = ReadShare(width, 2)
        m.submodules.reader = reader = SourceReader(queues, jobs)
        m.submodules.gather = gather = Gather(width)
        m.submodules.store = store = SourceStore(width, 2 * MAX_WHOLE * 8 // width)
        m.submodules.issue = issue = OperationIssue(width, jobs, engines)
        m.submodules.scatter = scatter = Scatter(queues, width, jobs, engines)
        m.submodules.end = end = JobEnd(jobs, engines)
        m.submodules.writer = self._writer = CompletionWriter(queues, width)

        connect(m, self._fetch.o, check.i)
        connect(m, check.o, lists.i)
        self._read_rings(m, share, lists)
        self._split(m, lists, reader, scatter)
        connect(m, reader.request, flipped(self.source.request))
        connect(m, reader.tokens, gather.tokens)
        connect(m, flipped(self.source.data), gather.data)
        connect(m, gather.o, store.i)
        connect(m, store.o, issue.i)
        connect(m, self._fetch.parameters, issue.parameters)

        connect(m, scatter.request, flipped(self.destination.request))
        connect(m, scatter.data, flipped(self.destination.data))
        connect(m, flipped(self.destination.response), end.response)
        m.submodules.scattered = scattered = SyncFifo(ScatteredJob, jobs)
        connect(m, scatter.o, scattered.i)
        connect(m, scattered.o, end.i)
        connect(m, end.o, self._writer.i)
        connect(m, self._writer.dma, flipped(self.completions))
        connect(m, self._writer.interrupt, flipped(self.interrupt))

        failing = self._connect_engines(m, issue, scatter, end)
        self._flags(m, reader, gather, scatter, end, failing)
        for part in (check, lists, reader, scatter, self._writer):
            m.d.comb += part.resetting.eq(self._control.resetting)
        self._connect_control(m)
        return m

    def _read_rings(self, m, share, lists):
        """Descriptors and lists on one port. Descriptors are always taken, so lists come too."""
        fetch = self._fetch
        connect(m, fetch.request, share.clients[0].request)
        connect(m, share.clients[0].data, fetch.data)
        connect(m, lists.dma, share.clients[1])
        connect(m, share.dma, flipped(self.rings))

    def _split(self, m, lists, reader, scatter):
        """Jobs and their pieces to both sides."""
        both = []
        for name, side, pieces, depth in (
            ("source", reader, lists.sources, self._jobs),
            ("destination", scatter, lists.destinations, self._jobs),
        ):
            entries, chunks = SyncFifo(Entry, _ENTRIES), ChunkSplitter()
            jobs = SyncFifo(Job, depth)
            m.submodules[f"{name}_entries"] = entries
            m.submodules[f"{name}_chunks"] = chunks
            m.submodules[f"{name}_jobs"] = jobs
            connect(m, pieces, entries.i)
            connect(m, entries.o, chunks.i)
            connect(m, chunks.o, side.chunks)
            connect(m, jobs.o, side.jobs)
            both.append(jobs)
        ready = both[0].i.ready & both[1].i.ready
        m.d.comb += lists.o.ready.eq(ready)
        for jobs in both:
            m.d.comb += [
                jobs.i.valid.eq(lists.o.valid & ready),
                jobs.i.payload.eq(lists.o.payload),
            ]

    def _connect_engines(self, m, issue, scatter, end):
        """Every engine by its number; returns a pulse of each: a job has failed in it."""
        failing = []
        for index in range(self._engines):
            if index == COPY_ENGINE:
                m.submodules.copy = copy = CopyEngine(self._width)
                port = copy.port
            else:
                port = flipped(self.engines[index - 1])
            # There is room for the results of all jobs: none waits for those before it.
            results = SyncFifo(EngineResult, self._jobs)
            m.submodules[f"results_{index}"] = results
            connect(m, issue.o[index], port.i)
            connect(m, port.o, scatter.packets[index])
            connect(m, port.result, results.i)
            connect(m, results.o, end.results[index])
            result = results.i.payload
            failed = results.i.valid & results.i.ready & (result.status != JobStatus.OK)
            failing.append((failed, result.slot))
        return failing

    def _flags(self, m, reader, gather, scatter, end, failing):
        """What one part finds out of a job, and others must know."""
        flags = {}
        for name, setters in (
            ("source_fault", [gather.fault]),
            ("dropped", [gather.dropped]),
            ("engine_failed", failing),
            ("destination_fault", [end.unwritten]),
        ):
            flags[name] = SlotFlags(self._jobs, len(setters))
            m.submodules[name] = flags[name]
            m.d.comb += flags[name].clear.eq(self._fetch.begun)
            for pulse, setter in zip(flags[name].set, setters, strict=True):
                if isinstance(setter, tuple):
                    m.d.comb += [pulse.valid.eq(setter[0]), pulse.slot.eq(setter[1])]
                else:
                    m.d.comb += pulse.eq(setter)
        m.d.comb += [
            reader.failed.eq(flags["source_fault"].flags),
            scatter.failed.eq(flags["source_fault"].flags),
            scatter.skip.eq(flags["dropped"].flags | flags["engine_failed"].flags),
            end.source_fault.eq(flags["source_fault"].flags),
            end.dropped.eq(flags["dropped"].flags),
            end.destination_fault.eq(flags["destination_fault"].flags),
        ]

    def _connect_control(self, m):
        """Registers and states to whoever works with them."""
        registers, control = self._registers, self._control
        fetch, writer = self._fetch, self._writer
        connect(m, flipped(self.bus), registers.bus)
        connect(m, control.errors, flipped(self.errors))
        for index, port in enumerate(self.flr):
            connect(m, flipped(port), control.flr[index])
        m.d.comb += [
            control.start.eq(registers.start),
            control.reset.eq(registers.reset),
            control.taken.eq(fetch.taken),
            control.ended.eq(writer.ended),
            control.faults[0].eq(fetch.faults[0]),
            control.faults[1].eq(fetch.faults[1]),
            control.faults[2].eq(writer.fault),
            fetch.running.eq(control.running),
            fetch.clear.eq(control.clear),
            fetch.ended.eq(writer.ended.any()),
            writer.clear.eq(control.clear),
            registers.running.eq(control.running),
            registers.resetting.eq(control.resetting),
            registers.stopped.eq(control.stopped),
            registers.done.eq(writer.done),
            registers.failed.eq(writer.failed),
            registers.dropped.eq(writer.dropped),
            registers.bytes.eq(writer.bytes),
        ]
        for queue in range(self._queues):
            m.d.comb += [
                control.setup[queue].eq(registers.setup[queue]),
                fetch.context[queue].eq(control.context[queue]),
                writer.context[queue].eq(control.context[queue]),
                fetch.tail[queue].eq(registers.tail[queue]),
                fetch.head[queue].eq(registers.head[queue]),
                fetch.written[queue].eq(writer.written[queue]),
                registers.in_flight[queue].eq(control.in_flight[queue]),
                registers.error[queue].eq(control.error[queue]),
                registers.position[queue].eq(fetch.position[queue]),
                registers.written[queue].eq(writer.written[queue]),
            ]
