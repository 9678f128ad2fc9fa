"""DMA write engine: clients' data to memory write TLPs."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from tailrace_hw.errors import ErrorEvent
from tailrace_hw.lib.arbiter import RoundRobinArbiter
from tailrace_hw.pcie.barrel import rotate_left
from tailrace_hw.pcie.dma import DmaStatus, DmaWritePort
from tailrace_hw.pcie.dma_events import DmaCounts
from tailrace_hw.pcie.dma_read import DEFAULT_TIMEOUT
from tailrace_hw.pcie.dma_write_client import WriteClient, write_job_layout
from tailrace_hw.pcie.dma_write_order import WriteOrder
from tailrace_hw.pcie.function import FunctionState
from tailrace_hw.pcie.requester import RqHeader, memory_header, rq_chunk_layout
from tailrace_hw.pcie.usp import SEQ_NUM_WIDTH

__all__ = ["DmaWriteEngine"]


class DmaWriteEngine(wiring.Component):
    """Writes host memory for several clients, with posted writes in the order of their requests.

    Requests are cut at Max_Payload_Size (512 bytes at most) and 4 KiB. Clients take turns, a TLP
    each; a TLP's turn comes when all its data has arrived, so a client that is slow with its data
    or takes no responses delays nobody else. The order of TLPs is that of the requests within a
    client; between clients a response is the point of order: what is requested after it is written
    after it.

    A request is answered when its last TLP has passed the integrated block's ordering point, also
    against completions: a register read that is answered after it finds the data in host memory.
    Requests that fail (see :class:`DmaStatus`: BUS_MASTER_OFF, BAD_REQUEST; TIMEOUT when the block
    never reported a TLP) are answered with that status, reported on ``errors`` (``info``: address
    of the first TLP that was not sent) and counted; their data is taken up to its ``last`` and
    dropped. An event that meets an earlier one of the same client still waiting is lost.

    Latency: 7 cycles from the data that completes a TLP to its first chunk on ``rq``, 8 when the
    request comes with the data. Throughput: a chunk a cycle, also across TLPs and clients.
    ``ready`` of the clients' requests comes from registers.

    Parameters
    ----------
    clients : :class:`int`
    width : :class:`int`
        Bits of the clients' and of the RQ interface, 256 or 512.
    functions : :class:`int`
        Physical functions.
    timeout : :class:`int`
        Cycles until a sequence number that does not come back is given up.

    Members
    -------
    clients : In(DmaWritePort(width)) of each client
    functions : In(FunctionState) of each function
    rq : Out(stream of rq_chunk_layout(width))
        To :class:`Requester`; the chunks of a TLP come without a gap.
    rq_follows : Out(1)
        While a chunk is on ``rq``: another one is in the cycle after it is taken.
    seq_num_valid, seq_num : In(1), In(6), two of each
        ``pcie_rq_seq_num_vld0``, ``pcie_rq_seq_num0`` and those of number 1.
    errors : Out(stream of ErrorEvent)
    counts : Out(DmaCounts)
    busy : Out(1)
        Writes are on their way to the ordering point.
    """

    def __init__(
        self, clients: int, width: int, *, functions: int = 1, timeout: int = DEFAULT_TIMEOUT
    ):
        if not 1 <= clients <= 16:
            raise ValueError(f"1 to 16 clients, not {clients}")
        self.width = width
        self.timeout = timeout
        super().__init__(
            {
                "clients": In(DmaWritePort(width)).array(clients),
                "functions": In(FunctionState).array(functions),
                "rq": Out(stream.Signature(rq_chunk_layout(width))),
                "rq_follows": Out(1),
                "seq_num_valid": In(1).array(2),
                "seq_num": In(SEQ_NUM_WIDTH).array(2),
                "errors": Out(stream.Signature(ErrorEvent)),
                "counts": Out(DmaCounts),
                "busy": Out(1),
            }
        )
        self._step_layout = data.StructLayout(
            {
                "valid": 1,
                "header": RqHeader,
                "first": 1,
                "last": 1,
                "dwords": range(width // 32 + 1),
                "turn": range(width // 8),
            }
        )

    def elaborate(self, platform):
        m = Module()
        clients, functions = len(self.clients), len(self.functions)
        m.submodules.jobs = jobs = RoundRobinArbiter(write_job_layout(self.width), clients)
        m.submodules.events = events = RoundRobinArbiter(ErrorEvent, clients)
        m.submodules.order = order = WriteOrder(clients, functions, self.timeout)
        wiring.connect(m, events.o, wiring.flipped(self.errors))
        ports = []
        for index, client in enumerate(self.clients):
            port = WriteClient(self.width, functions)
            m.submodules[f"client{index}"] = port
            wiring.connect(m, wiring.flipped(client), port.client)
            wiring.connect(m, port.job, jobs.i[index])
            wiring.connect(m, port.event, events.i[index])
            m.d.comb += [
                port.ordered_valid.eq(order.ordered_valid[index]),
                port.ordered_status.eq(order.ordered_status),
            ]
            ports.append(port)
        for sink in [order, *ports]:
            for mine, state in zip(sink.functions, self.functions, strict=True):
                m.d.comb += mine.eq(state)
        for index in range(2):
            m.d.comb += [
                order.seq_num_valid[index].eq(self.seq_num_valid[index]),
                order.seq_num[index].eq(self.seq_num[index]),
            ]
        m.d.comb += self.busy.eq(order.busy)
        self._count(m, ports, jobs)
        self._move(m, jobs, ports, order)
        return m

    def _count(self, m, ports, jobs):
        taken = jobs.o.valid & jobs.o.ready
        m.d.comb += self.counts.requests.eq(sum(port.counts.requests for port in ports))
        m.d.comb += [
            self.counts.failed[status.value].eq(
                sum(port.counts.failed[status.value] for port in ports)
            )
            for status in DmaStatus
        ]
        m.d.sync += self.counts.bytes.eq(Mux(taken, jobs.o.payload.length, 0))

    def _move(self, m, jobs, ports, order):
        """One chunk a cycle of the job whose turn it is: from the last beat taken and the next."""
        job, client = jobs.o.payload, jobs.grant
        lanes = self.width // 32
        index = Signal.like(job.chunks)
        dwords = Signal(range(self.width))
        first, last, pop, go, advance = (
            Signal(name=name) for name in ("first", "last", "pop", "go", "advance")
        )
        beats = Array(port.beats.payload for port in ports)[client]
        beat_there = Array(port.beats.valid for port in ports)[client]
        header = Signal(RqHeader)
        m.d.comb += memory_header(
            header, address=job.address, length=job.length, function=job.function, write=True,
            seq_num=Mux(job.last, order.number, 0),
        )  # fmt: skip
        needs = index < job.beats
        m.d.comb += [
            first.eq(index == 0),
            last.eq(index + 1 == job.chunks),
            advance.eq(~self.rq.valid | self.rq.ready),
            go.eq(
                jobs.o.valid & advance & (beat_there | ~needs)
                & (~first | ~job.last | order.ready)
            ),
            pop.eq(go & needs),
            jobs.o.ready.eq(go & last),
            order.take.eq(go & first & job.last),
            order.client.eq(client),
            order.function.eq(job.function),
            dwords.eq(header.descriptor.dword_count),
        ]  # fmt: skip
        for number, port in enumerate(ports):
            m.d.comb += port.beats.ready.eq(pop & (client == number))
        with m.If(go):
            m.d.sync += index.eq(Mux(last, 0, index + 1))
        previous = self._carry(m, client, beats, pop)
        step = Signal(self._step_layout)
        window = Signal(2 * self.width)
        with m.If(advance):
            m.d.sync += [
                step.valid.eq(go),
                step.header.eq(header),
                step.first.eq(first),
                step.last.eq(last),
                step.dwords.eq(Mux(last, (dwords - 1)[: exact_log2(lanes)] + 1, lanes)),
                step.turn.eq(job.turn),
                window.eq(Cat(previous, beats)),
            ]
        self._align(m, step, window, advance)

    def _carry(self, m, client, beats, pop):
        """The last beat taken of each client: TLPs of one request share beats."""
        m.submodules.carries = carries = memory.Memory(
            shape=self.width, depth=max(len(self.clients), 2), init=[]
        )
        write = carries.write_port()
        read = carries.read_port(domain="comb")
        m.d.comb += [
            write.addr.eq(client),
            write.data.eq(beats),
            write.en.eq(pop),
            read.addr.eq(client),
        ]
        return read.data

    def _align(self, m, step, window, advance):
        """Cut ``width`` bits out of the window at byte ``turn`` (0: the upper half), in two
        steps: units of 16 bytes, then bytes."""
        unit = 128
        units = self.width // unit
        coarse = Signal(self._step_layout)
        coarse_data = Signal(self.width + unit)
        padded = Cat(window, Const(0, unit))
        cuts = [padded.bit_select(unit * k, self.width + unit) for k in range(units + 1)]
        select = Mux(step.turn == 0, units, step.turn[4:])
        fine = rotate_left(coarse_data, (-coarse.turn)[:4], 8)
        # Moving down by n is moving up by 16 - n and dropping a unit; by 0, dropping nothing.
        chunk = Mux(coarse.turn[:4] == 0, fine[: self.width], fine[unit:])
        out = self.rq.payload
        m.d.comb += self.rq_follows.eq(coarse.valid)
        with m.If(advance):
            m.d.sync += [
                coarse.eq(step),
                coarse_data.eq(Array(cuts)[select]),
                self.rq.valid.eq(coarse.valid),
                out.header.eq(coarse.header),
                out.first.eq(coarse.first),
                out.last.eq(coarse.last),
                out.dwords.eq(coarse.dwords),
                out.data.eq(chunk),
            ]
