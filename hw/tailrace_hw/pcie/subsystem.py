"""PCIe as the rest of the device sees it: registers, DMA ports, interrupts, resets."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from tailrace_hw.errors import ErrorEvent
from tailrace_hw.lib.arbiter import RoundRobinArbiter
from tailrace_hw.lib.csr import CsrSignature
from tailrace_hw.lib.csr_bank import CsrBank
from tailrace_hw.pcie.client_width import ReadClientWidth, WriteClientWidth
from tailrace_hw.pcie.completer import csr_port_name
from tailrace_hw.pcie.control import PcieControl, PcieFunction
from tailrace_hw.pcie.dma import DmaReadPort, DmaWritePort
from tailrace_hw.pcie.dma_read import DEFAULT_TIMEOUT, DmaReadEngine
from tailrace_hw.pcie.dma_write import DmaWriteEngine
from tailrace_hw.pcie.function import FunctionState, InterruptRequest
from tailrace_hw.pcie.functions import ExtendedTags, FlrPort
from tailrace_hw.pcie.identity import CONTROL_BAR
from tailrace_hw.pcie.requester import Requester
from tailrace_hw.pcie.usp import UspConfigSignature, UspSignature
from tailrace_hw.regs import load

__all__ = ["REGISTERS_ADDRESS_WIDTH", "PcieSubsystem"]

REGISTERS_ADDRESS_WIDTH = 10


class PcieSubsystem(wiring.Component):
    """Everything between the integrated block and the blocks of the device.

    See :class:`PcieControl` for accesses, interrupts and resets, :class:`DmaReadEngine` and
    :class:`DmaWriteEngine` for DMA. MSI-X messages are one more client of the write engine, so a
    block that asks for an interrupt after it had the response to its writes knows that the message
    comes behind them.

    Parameters
    ----------
    functions : sequence of :class:`PcieFunction`
        By function number.
    width, pcie_width : :class:`int`
        Data bits of the client ports and of the integrated block's interfaces (256 or 512). Where
        they differ every client has a width converter.
    reads, writes : :class:`int`
        Clients of each kind; at least 1.
    tags, timeout : :class:`int`
        Reads outstanding at most, and cycles until an unanswered one is given up.

    Members
    -------
    pcie : Out(UspSignature(pcie_width))
    reads : In(DmaReadPort(width)), array
    writes : In(DmaWritePort(width)), array
    interrupt : In(stream of InterruptRequest)
    csr : Out(CsrSignature) of each function's BAR 0, ``f*F*_bar0``
    registers : In(CsrSignature(10))
        The block's own registers, regs.rdl.
    state : Out(FunctionState), array by function
    flr : Out(FlrPort), array by function
    errors : Out(stream of ErrorEvent)
    """

    def __init__(
        self,
        functions: Sequence[PcieFunction],
        *,
        width: int,
        pcie_width: int,
        reads: int,
        writes: int,
        tags: int = 128,
        timeout: int = DEFAULT_TIMEOUT,
    ):
        self._functions = list(functions)
        self._width = width
        self._pcie_width = pcie_width
        self._tags = tags
        self._timeout = timeout
        count = len(self._functions)
        ports = {
            csr_port_name(index, CONTROL_BAR): Out(
                CsrSignature(exact_log2(function.identity.control_size))
            )
            for index, function in enumerate(self._functions)
        }
        super().__init__(
            {
                "pcie": Out(UspSignature(pcie_width)),
                "reads": In(DmaReadPort(width)).array(reads),
                "writes": In(DmaWritePort(width)).array(writes),
                "interrupt": In(stream.Signature(InterruptRequest)),
                "registers": In(CsrSignature(REGISTERS_ADDRESS_WIDTH)),
                "state": Out(FunctionState).array(count),
                "flr": Out(FlrPort()).array(count),
                "errors": Out(stream.Signature(ErrorEvent)),
                **ports,
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.control = control = PcieControl(
            self._functions, self._pcie_width, self._pcie_width
        )
        m.submodules.read = read = DmaReadEngine(
            len(self.reads),
            self._pcie_width,
            functions=len(self._functions),
            tags=self._tags,
            timeout=self._timeout,
        )
        m.submodules.write = write = DmaWriteEngine(
            len(self.writes) + 1,
            self._pcie_width,
            functions=len(self._functions),
            timeout=self._timeout,
        )
        m.submodules.tags = tags = ExtendedTags(len(self._functions))
        tags.listen(m, self.pcie.cfg_ext)
        m.d.comb += read.extended_tags.eq(tags.enable)
        self._link(m, control, read, write)
        self._clients(m, control, read, write)
        self._outward(m, control, read, write)
        self._registers(m, control, read, write, tags)
        return m

    def _link(self, m, control, read, write):
        """To the integrated block."""
        pcie = self.pcie
        m.submodules.requester = requester = Requester(self._pcie_width)
        wiring.connect(m, read.rq, requester.read)
        wiring.connect(m, write.rq, requester.write)
        wiring.connect(m, requester.rq, wiring.flipped(pcie.rq))
        wiring.connect(m, wiring.flipped(pcie.rc), read.rc)
        wiring.connect(m, wiring.flipped(pcie.cq), control.cq)
        wiring.connect(m, control.cc, wiring.flipped(pcie.cc))
        wiring.connect(m, control.usp.cfg_ext, wiring.flipped(pcie.cfg_ext))
        for name, member in UspConfigSignature().members.items():
            if name != "cfg_ext":
                ours, blocks = getattr(control.usp, name), getattr(pcie, name)
                m.d.comb += blocks.eq(ours) if member.flow == Out else ours.eq(blocks)
        m.d.comb += [
            requester.write_follows.eq(write.rq_follows),
            write.seq_num_valid[0].eq(pcie.pcie_rq_seq_num_vld0),
            write.seq_num_valid[1].eq(pcie.pcie_rq_seq_num_vld1),
            write.seq_num[0].eq(pcie.pcie_rq_seq_num0),
            write.seq_num[1].eq(pcie.pcie_rq_seq_num1),
        ]

    def _clients(self, m, control, read, write):
        same = self._width == self._pcie_width
        for kind, outer, inner, adapter in (
            ("read", self.reads, read.clients, ReadClientWidth),
            ("write", self.writes, write.clients, WriteClientWidth),
        ):
            for index, port in enumerate(outer):
                if same:
                    wiring.connect(m, wiring.flipped(port), inner[index])
                    continue
                converter = adapter(self._width, self._pcie_width)
                m.submodules[f"{kind}_width{index}"] = converter
                wiring.connect(m, wiring.flipped(port), converter.client)
                wiring.connect(m, converter.engine, inner[index])
        wiring.connect(m, control.messages, write.clients[len(self.writes)])

    def _outward(self, m, control, read, write):
        """To the blocks of the device."""
        m.submodules.reports = reports = RoundRobinArbiter(ErrorEvent, 3)
        for index, source in enumerate((control, read, write)):
            wiring.connect(m, source.errors, reports.i[index])
        wiring.connect(m, reports.o, wiring.flipped(self.errors))
        wiring.connect(m, wiring.flipped(self.interrupt), control.interrupt)
        for index in range(len(self._functions)):
            name = csr_port_name(index, CONTROL_BAR)
            wiring.connect(m, getattr(control, name), wiring.flipped(getattr(self, name)))
            wiring.connect(m, control.flr[index], wiring.flipped(self.flr[index]))
            m.d.comb += [
                self.state[index].eq(control.state[index]),
                read.functions[index].eq(control.state[index]),
                write.functions[index].eq(control.state[index]),
            ]

    def _registers(self, m, control, read, write, tags):
        bank = CsrBank(load("pcie/regs.rdl"), address_width=REGISTERS_ADDRESS_WIDTH)
        m.submodules.registers = bank
        wiring.connect(m, wiring.flipped(self.registers), bank.bus)
        resetting = Signal(len(self._functions))
        started = Signal(len(self._functions))
        request = control.messages.request
        m.d.comb += [
            started.eq(Cat(port.request for port in control.flr) & ~resetting),
            bank.function_resets.value.eq(sum(started[k] for k in range(len(started)))),
            bank.messages.value.eq(request.valid & request.ready),
            bank.read_requests.value.eq(read.counts.requests),
            bank.read_bytes.value.eq(read.counts.bytes),
            bank.write_requests.value.eq(write.counts.requests),
            bank.write_bytes.value.eq(write.counts.bytes),
            bank.unexpected_completions.value.eq(read.counts.unexpected),
            bank.status.max_payload.eq(control.state[0].max_payload),
            bank.status.max_read.eq(control.state[0].max_read),
            bank.status.extended_tags.eq(tags.enable),
            bank.status.reading.eq(read.busy),
            bank.status.writing.eq(write.busy),
        ]
        m.d.sync += resetting.eq(Cat(port.request for port in control.flr))
        for status in range(1, 7):
            m.d.comb += [
                bank.read_failed[status - 1].value.eq(read.counts.failed[status]),
                bank.write_failed[status - 1].value.eq(write.counts.failed[status]),
            ]
