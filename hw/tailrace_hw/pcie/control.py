"""The control side of PCIe: BAR accesses, MSI-X, function level reset, virtio capabilities."""

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import Cat, Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from tailrace_hw.errors import ErrorEvent
from tailrace_hw.lib.arbiter import RoundRobinArbiter
from tailrace_hw.lib.axis import AxisSignature
from tailrace_hw.lib.csr import CsrSignature
from tailrace_hw.lib.csr_arbiter import CsrArbiter
from tailrace_hw.pcie.capabilities import VirtioCapability
from tailrace_hw.pcie.cfg_ext import ConfigExtend
from tailrace_hw.pcie.completer import Completer, csr_port_name
from tailrace_hw.pcie.dma import DmaWritePort
from tailrace_hw.pcie.function import FunctionState, InterruptRequest
from tailrace_hw.pcie.functions import FlrPort, FlrSequencer
from tailrace_hw.pcie.identity import CONTROL_BAR, MSIX_BAR, FunctionIdentity
from tailrace_hw.pcie.msix import Msix
from tailrace_hw.pcie.usp import CC_USER, CQ_USER, UspConfigSignature, UspStatus

__all__ = ["PcieControl", "PcieFunction"]

#: AXI4ST_CQ_EP_DROP of cfg_local_error_out: the block dropped a poisoned request.
_CQ_POISONED = 0b10110


@dataclass(frozen=True)
class PcieFunction:
    """A physical function: its identity and, for a virtio device, its capabilities."""

    identity: FunctionIdentity
    capabilities: tuple[VirtioCapability, ...] | None = None

    def __post_init__(self):
        if self.identity.virtio != (self.capabilities is not None):
            raise ValueError("a function has virtio capabilities if its identity says so")


class PcieControl(wiring.Component):
    """Everything of PCIe but DMA.

    BAR 0 of each function is a register port of whoever implements the function; BAR 2 is served
    here. What errors, interrupts, resets and accesses mean, and how long they take, is said at
    :class:`Completer`, :class:`Msix`, :class:`FlrSequencer` and :class:`ConfigExtend`.

    Parameters
    ----------
    functions : sequence of :class:`PcieFunction`
        By function number.
    pcie_width : :class:`int`
        Of the hard block's interfaces, 256 or 512.
    width : :class:`int`
        Of the DMA port.

    Members
    -------
    cq, cc : completer interfaces of the hard block
    usp : Out(UspConfigSignature)
        The hard block's other ports.
    csr : Out(CsrSignature) of each function, ``f*F*_bar0``
    interrupt : In(stream of InterruptRequest)
    messages : Out(DmaWritePort(width))
        MSI-X messages: a client of the write engine.
    state : Out(FunctionState), array by function
    flr : Out(FlrPort), array by function
    errors : Out(stream of ErrorEvent)
    """

    def __init__(self, functions: Sequence[PcieFunction], pcie_width: int, width: int):
        self._functions = list(functions)
        self._pcie_width = pcie_width
        self._width = width
        count = len(self._functions)
        keep = pcie_width // 32
        ports = {
            csr_port_name(index, CONTROL_BAR): Out(
                CsrSignature(exact_log2(function.identity.control_size))
            )
            for index, function in enumerate(self._functions)
        }
        super().__init__(
            {
                "cq": In(AxisSignature(pcie_width, user=CQ_USER[pcie_width], keep=keep)),
                "cc": Out(AxisSignature(pcie_width, user=CC_USER[pcie_width], keep=keep)),
                "usp": Out(UspConfigSignature()),
                "interrupt": In(stream.Signature(InterruptRequest)),
                "messages": Out(DmaWritePort(width)),
                "state": Out(FunctionState).array(count),
                "flr": Out(FlrPort()).array(count),
                "errors": Out(stream.Signature(ErrorEvent)),
                **ports,
            }
        )

    def elaborate(self, platform):
        m = Module()
        identities = [function.identity for function in self._functions]
        bars = {
            (index, bar): size
            for index, identity in enumerate(identities)
            for bar, size in identity.bar_sizes.items()
        }
        m.submodules.completer = completer = Completer(self._pcie_width, bars)
        m.submodules.msix = msix = Msix([one.vectors for one in identities], self._width)
        m.submodules.extend = extend = ConfigExtend(
            [function.capabilities for function in self._functions],
            [identity.control_size for identity in identities],
        )
        m.submodules.reports = reports = RoundRobinArbiter(ErrorEvent, 2)
        self._status(m)

        wiring.connect(m, wiring.flipped(self.cq), completer.cq)
        wiring.connect(m, completer.cc, wiring.flipped(self.cc))
        wiring.connect(m, completer.errors, reports.i[0])
        wiring.connect(m, msix.errors, reports.i[1])
        wiring.connect(m, reports.o, wiring.flipped(self.errors))
        wiring.connect(m, wiring.flipped(self.interrupt), msix.interrupt)
        wiring.connect(m, msix.dma, wiring.flipped(self.messages))
        wiring.connect(m, extend.cfg_ext, wiring.flipped(self.usp.cfg_ext))
        error = self.usp.cfg_local_error_out
        m.d.comb += [
            completer.poisoned.eq(self.usp.cfg_local_error_valid & (error == _CQ_POISONED)),
            extend.reset.eq(Cat(state.reset for state in self.state)),
        ]
        for index, function in enumerate(self._functions):
            m.d.comb += msix.state[index].eq(self.state[index])
            wiring.connect(
                m, getattr(completer, csr_port_name(index, MSIX_BAR)), msix.csr[index]
            )
            self._control_bar(m, index, function, completer, extend)
        return m

    def _control_bar(self, m, index, function, completer, extend):
        """BAR 0, from the completer and, for a virtio function, from its configuration window."""
        name = csr_port_name(index, CONTROL_BAR)
        target = wiring.flipped(getattr(self, name))
        if function.capabilities is None:
            wiring.connect(m, getattr(completer, name), target)
            return
        arbiter = CsrArbiter(exact_log2(function.identity.control_size), 2)
        m.submodules[f"share{index}"] = arbiter
        wiring.connect(m, getattr(completer, name), arbiter.i[0])
        wiring.connect(m, getattr(extend, f"f{index}_csr"), arbiter.i[1])
        wiring.connect(m, arbiter.o, target)

    def _status(self, m):
        """Function states, resets, and the block's inputs that never change."""
        usp = self.usp
        count = len(self._functions)
        m.submodules.status = status = UspStatus(count)
        m.submodules.sequencer = sequencer = FlrSequencer(count)
        m.d.comb += [
            status.max_payload.eq(usp.cfg_max_payload),
            status.max_read.eq(usp.cfg_max_read_req),
            status.function_status.eq(usp.cfg_function_status),
            status.msix_enable.eq(usp.cfg_interrupt_msix_enable),
            status.msix_mask.eq(usp.cfg_interrupt_msix_mask),
            status.flr_in_process.eq(usp.cfg_flr_in_process),
            status.lnk_up.eq(usp.user_lnk_up),
            status.hold.eq(sequencer.hold),
            sequencer.in_process.eq(usp.cfg_flr_in_process),
            usp.cfg_flr_done.eq(sequencer.done),
            usp.pcie_cq_np_req.eq(1),
            usp.cfg_config_space_enable.eq(1),
        ]
        # A change of power state needs no preparation here: it is acknowledged at once.
        m.d.sync += usp.cfg_power_state_change_ack.eq(usp.cfg_power_state_change_interrupt)
        for index in range(count):
            m.d.comb += self.state[index].eq(status.state[index])
            wiring.connect(m, sequencer.flr[index], wiring.flipped(self.flr[index]))
