"""DMA read engine: clients' requests to read TLPs, completions to data packets in order."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.errors import ErrorCode, ErrorEvent, ErrorSource
from tailrace_hw.lib.arbiter import RoundRobinArbiter
from tailrace_hw.lib.axis import AxisSignature
from tailrace_hw.lib.fifo import SyncFifo
from tailrace_hw.lib.ram import SimpleDualPortRam
from tailrace_hw.lib.stage import ReadyStage
from tailrace_hw.pcie.dma import DmaReadPort, DmaStatus
from tailrace_hw.pcie.dma_events import DmaCounts, error_code
from tailrace_hw.pcie.dma_read_client import EPOCH_WIDTH, ReadClient, read_job_layout
from tailrace_hw.pcie.dma_read_complete import ReadCompletions
from tailrace_hw.pcie.dma_read_out import ReadOut
from tailrace_hw.pcie.dma_read_tags import BASE_TAGS, ReadTags
from tailrace_hw.pcie.dma_splitter import MAX_PIECE, piece_layout
from tailrace_hw.pcie.function import FunctionState
from tailrace_hw.pcie.rc import RcUnpack
from tailrace_hw.pcie.requester import RqHeader, memory_header
from tailrace_hw.pcie.usp import RC_USER

__all__ = ["DEFAULT_TIMEOUT", "DmaReadEngine"]

#: 50 ms at 250 MHz, the default completion time-out (PCIe 5.0, 7.5.3.16).
DEFAULT_TIMEOUT = 12_500_000
_NO_QUEUE = 0xFFFF
#: Smallest Read Completion Boundary (PCIe 5.0, 2.3.1.1), as a power of two.
_RCB_BITS = 6
_PIECE_COMPLETIONS = MAX_PIECE >> _RCB_BITS


class DmaReadEngine(wiring.Component):
    """Reads host memory for several clients, with many requests under way.

    Requests are cut at Max_Read_Request_Size (512 bytes at most) and 4 KiB. Each piece gets a tag
    and a slot of the reorder memory; completions may come in any order; each client gets its data
    in the order of its requests, packed from byte 0 of the first beat. Clients take turns, a piece
    each, for the link and for the readout; one that takes no data delays nobody else.

    A request ends with a status (see :class:`DmaStatus`): the first failure among its pieces. A
    failed piece reads as zeros. Each failed request is reported on ``errors`` (``info``: address of
    the first failed piece) and in ``counts``; a completion that nobody waits for is dropped and
    reported (``info``: its tag). When the queue of 8 error events is full further ones are lost;
    the counts stay exact.

    A function that loses Bus Master Enable or goes into reset: its requests end with
    BUS_MASTER_OFF, also those under way, as soon as their completions have come or a sixteenth of
    the time-out has passed.

    Latency: 5 cycles from a request to its header on ``rq``; 14 from the last beat of a completion
    to the first beat of data. Throughput: a piece each cycle on ``rq``; a line a cycle in and out.
    ``ready`` of the clients' requests comes from registers.

    Parameters
    ----------
    clients : :class:`int`
    width : :class:`int`
        Bits of the clients' and of the RC interface, 256 or 512.
    functions : :class:`int`
        Physical functions.
    tags : :class:`int`
        Reads under way, 32 to 256, a power of two.
    max_completions : :class:`int`
        Completions under way when the host splits reads at each Read Completion Boundary of 64
        bytes. The integrated block advertises infinite completion credits but has room for 256
        headers and about 32 KiB (PG213), and drops what does not fit: the default keeps that from
        happening however slowly the completions leave the block.
    timeout : :class:`int`
        Cycles without (the rest of) the completions before a read is given up.

    Members
    -------
    clients : In(DmaReadPort(width)) of each client
    functions : In(FunctionState) of each function
    extended_tags : In(1)
        More than 32 tags may be used (PCIe 5.0, 7.5.3.4, Extended Tag Field Enable). Must not fall
        while the engine is out of reset.
    rq : Out(stream of RqHeader)
        To :class:`Requester`.
    rc : In(AxisSignature)
        ``m_axis_rc`` of the integrated block, see :class:`RcUnpack`.
    errors : Out(stream of ErrorEvent)
    counts : Out(DmaCounts)
    busy : Out(1)
        Reads are under way.
    """

    def __init__(
        self,
        clients: int,
        width: int,
        *,
        functions: int = 1,
        tags: int = 128,
        max_completions: int = 256,
        timeout: int = DEFAULT_TIMEOUT,
    ):
        if tags & (tags - 1):
            raise ValueError(f"the count of tags must be a power of two, not {tags}")
        if clients < 1 or clients > BASE_TAGS // 2:
            raise ValueError(f"1 to {BASE_TAGS // 2} clients, not {clients}")
        if max_completions < 2 * _PIECE_COMPLETIONS:
            raise ValueError(f"max_completions must be at least {2 * _PIECE_COMPLETIONS}")
        self.width = width
        self.tags = tags
        self.max_completions = max_completions
        self.timeout = timeout
        super().__init__(
            {
                "clients": In(DmaReadPort(width)).array(clients),
                "functions": In(FunctionState).array(functions),
                "extended_tags": In(1),
                "rq": Out(stream.Signature(RqHeader)),
                "rc": In(AxisSignature(width, user=RC_USER[width], keep=width // 32)),
                "errors": Out(stream.Signature(ErrorEvent)),
                "counts": Out(DmaCounts),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        functions, clients = len(self.functions), len(self.clients)
        tags = m.submodules.tags = ReadTags(self.tags, functions, self.timeout)
        unpack = m.submodules.unpack = RcUnpack(self.width)
        completions = m.submodules.completions = ReadCompletions(self.width, self.tags)
        out = m.submodules.out = ReadOut(self.width, clients, self.tags, functions)
        m.d.comb += tags.extended.eq(self.extended_tags)
        wiring.connect(m, unpack.rc, wiring.flipped(self.rc))
        epochs = self._epochs(m)
        for mine, first, second in zip(epochs, tags.epochs, out.epochs, strict=True):
            m.d.comb += [first.eq(mine), second.eq(mine)]
        ports = self._clients(m, tags, out)
        self._issue(m, ports, tags, completions, epochs)
        self._complete(m, tags, unpack, completions, out)
        self._memory(m, completions, out)
        self._report(m, tags, completions, out)
        return m

    def _epochs(self, m):
        """Count of times each function was switched off, modulo 16."""
        epochs = []
        for index, function in enumerate(self.functions):
            epoch = Signal(EPOCH_WIDTH, name=f"epoch{index}")
            enabled = Signal(name=f"enabled{index}")
            now = function.bus_master & ~function.reset
            m.d.sync += enabled.eq(now)
            with m.If(enabled & ~now):
                m.d.sync += epoch.eq(epoch + 1)
            epochs.append(epoch)
        return epochs

    def _clients(self, m, tags, out):
        """One :class:`ReadClient` each, between the arbiters."""
        clients = len(self.clients)
        reserve = max(1, BASE_TAGS // (4 * clients))
        ports = []
        plenty = Signal()
        # Requests between the clients and the tags (a register and the arbiter's) are the margin,
        # with one for this register.
        m.d.sync += plenty.eq(tags.count > clients * reserve + 5)
        for index, client in enumerate(self.clients):
            port = ReadClient(self.width, len(self.functions), self.tags, reserve)
            m.submodules[f"client{index}"] = port
            wiring.connect(m, wiring.flipped(client), port.client)
            wiring.connect(m, port.job, out.job[index])
            m.d.comb += [
                port.plenty.eq(plenty),
                port.done.eq(tags.done),
                port.beat_valid.eq(out.beat_valid[index]),
                port.beat.eq(out.beat),
            ]
            for mine, state in zip(port.functions, self.functions, strict=True):
                m.d.comb += mine.eq(state)
            ports.append(port)
        return ports

    def _issue(self, m, ports, tags, completions, epochs):
        """Give the next piece a tag and send its request."""
        m.submodules.arbiter = arbiter = RoundRobinArbiter(piece_layout(self.width), len(ports))
        for mine, port in zip(arbiter.i, ports, strict=True):
            wiring.connect(m, port.piece, mine)
        # The link's ready goes back to all clients, so it is cut where it enters.
        m.submodules.rq_stage = rq_stage = ReadyStage(RqHeader)
        wiring.connect(m, rq_stage.o, wiring.flipped(self.rq))
        rq = rq_stage.i
        piece = arbiter.o.payload
        good, fire = Signal(), Signal()
        expected = Signal(range(_PIECE_COMPLETIONS + 1))
        length = Signal(range(MAX_PIECE + 1))
        room = self._outstanding(m, fire & good, expected, tags, completions)
        m.d.comb += [
            good.eq(piece.status == DmaStatus.OK),
            length.eq(Mux(good, piece.length, 1)),
            expected.eq(
                (piece.address[:_RCB_BITS] + length + (1 << _RCB_BITS) - 1) >> _RCB_BITS
            ),
            fire.eq(
                arbiter.o.valid & tags.free
                & (~good | (room & (~rq.valid | rq.ready)))
            ),
            arbiter.o.ready.eq(fire),
            tags.take.eq(fire),
            tags.opened.eq(good),
            tags.info.address.eq(piece.address),
            tags.info.length.eq(length),
            tags.info.completions.eq(expected),
            tags.info.function.eq(piece.function),
            tags.info.epoch.eq(Array(epochs)[piece.function]),
        ]  # fmt: skip
        self._addresses = addresses = SimpleDualPortRam(64, self.tags)
        m.submodules.addresses = addresses
        m.d.comb += [
            addresses.write_address.eq(tags.tag),
            addresses.write_data.eq(piece.address),
            addresses.write_enable.eq(fire),
        ]
        header = Signal(RqHeader)
        m.d.comb += memory_header(
            header, address=piece.address, length=length, function=piece.function, write=False,
            tag=tags.tag,
        )  # fmt: skip
        with m.If(fire & good):
            m.d.sync += [rq.valid.eq(1), rq.payload.eq(header)]
        with m.Elif(rq.ready):
            m.d.sync += rq.valid.eq(0)
        self._place(m, ports, arbiter, tags, fire, length, epochs)

    def _place(self, m, ports, arbiter, tags, fire, length, epochs):
        """Tell the client which tag its piece got, whatever comes of it."""
        piece = arbiter.o.payload
        placed = Signal(read_job_layout(self.width))
        m.d.sync += [
            placed.tag.eq(tags.tag),
            placed.first_byte.eq(piece.address),
            placed.length.eq(length),
            placed.offset.eq(piece.offset),
            placed.last.eq(piece.last),
            placed.client_tag.eq(piece.tag),
            placed.status.eq(piece.status),
            placed.function.eq(piece.function),
            placed.epoch.eq(Array(epochs)[piece.function]),
        ]
        for index, port in enumerate(ports):
            placed_valid = Signal(name=f"placed_valid{index}")
            m.d.sync += placed_valid.eq(fire & (arbiter.grant == index))
            m.d.comb += [port.placed.eq(placed), port.placed_valid.eq(placed_valid)]

    def _outstanding(self, m, opens, expected, tags, completions):
        """Completions that may still come; returns whether there is room for another piece's."""
        under_way = Signal(range(self.max_completions + 1))
        # What comes free, a cycle late: until then it only counts as under way.
        closed, expired = Signal.like(expected), Signal.like(expected)
        m.d.sync += [
            closed.eq(Mux(completions.close_valid, completions.close_completions, 0)),
            expired.eq(Mux(tags.expire_valid, tags.expire_completions, 0)),
            under_way.eq(under_way + Mux(opens, expected, 0) - closed - expired),
        ]
        m.d.comb += self.busy.eq(under_way != 0)
        return under_way <= self.max_completions - _PIECE_COMPLETIONS

    def _complete(self, m, tags, unpack, completions, out):
        """Completions to the tag table and back."""
        m.d.comb += [
            completions.chunk_valid.eq(unpack.valid),
            completions.chunk.eq(unpack.chunk),
            completions.open.eq(tags.open),
            completions.opened_valid.eq(tags.take),
            completions.opened_tag.eq(tags.tag),
            tags.lookup.eq(completions.lookup),
            tags.looks_up.eq(completions.looks_up),
            completions.looked_up.eq(tags.looked_up),
            tags.close_valid.eq(completions.close_valid),
            tags.close_tag.eq(completions.close_tag),
            tags.finish_valid.eq(completions.finish_valid),
            tags.finish_tag.eq(completions.finish_tag),
            completions.result_tag.eq(out.result_tag),
            out.result.eq(completions.result),
            out.expired.eq(tags.expired),
            tags.release_valid.eq(out.release_valid),
            tags.release_tag.eq(out.release_tag),
            tags.release_late.eq(out.release_late),
        ]

    def _memory(self, m, completions, out):
        """Reorder memory, a bank a dword lane."""
        lanes = self.width // 32
        answers = []
        for lane in range(lanes):
            bank = SimpleDualPortRam(32, self.tags * MAX_PIECE // (4 * lanes))
            m.submodules[f"bank{lane}"] = bank
            m.d.comb += [
                bank.write_enable.eq(completions.write_enable[lane]),
                bank.write_address.eq(completions.write_address[lane]),
                bank.write_data.eq(completions.write_data[lane]),
                bank.read_enable.eq(out.read_enable),
                bank.read_address.eq(out.read_address),
            ]
            answers.append(bank.read_data)
        m.d.comb += out.read_data.eq(Cat(answers))

    def _report(self, m, tags, completions, out):
        """Counter pulses, and events through a short queue."""
        failed = Signal()
        m.d.comb += failed.eq(out.ended_valid & out.ended_last & (out.ended_status != DmaStatus.OK))
        m.d.sync += [
            self.counts.requests.eq(out.ended_valid & out.ended_last),
            self.counts.bytes.eq(Mux(out.ended_valid, out.ended_bytes, 0)),
            *(
                self.counts.failed[status.value].eq(failed & (out.ended_status == status))
                for status in DmaStatus
            ),
            self.counts.unexpected.eq(completions.unexpected),
        ]
        m.submodules.events = events = SyncFifo(ErrorEvent, 8)
        wiring.connect(m, events.o, wiring.flipped(self.errors))
        #: A failure's event is formed when the address has been read.
        reported = Signal(ErrorEvent)
        report = Signal()
        stray, stray_tag = Signal(), Signal(8)
        m.d.comb += [
            self._addresses.read_address.eq(out.ended_tag),
            self._addresses.read_enable.eq(1),
        ]
        m.d.sync += [
            report.eq(failed),
            reported.source.eq(ErrorSource.DMA_READ),
            reported.code.eq(error_code(out.ended_status)),
            reported.function.eq(out.ended_function),
            reported.queue.eq(_NO_QUEUE),
        ]
        with m.If(completions.unexpected):
            m.d.sync += [stray.eq(1), stray_tag.eq(completions.unexpected_tag)]
        with m.Elif(~report):
            m.d.sync += stray.eq(0)
        m.d.comb += events.i.valid.eq(report | stray)
        with m.If(report):
            m.d.comb += [
                events.i.payload.eq(reported), events.i.payload.info.eq(self._addresses.read_data),
            ]  # fmt: skip
        with m.Else():
            m.d.comb += [
                events.i.payload.source.eq(ErrorSource.DMA_READ),
                events.i.payload.code.eq(ErrorCode.DMA_UNEXPECTED_COMPLETION),
                events.i.payload.queue.eq(_NO_QUEUE),
                events.i.payload.info.eq(stray_tag),
            ]
