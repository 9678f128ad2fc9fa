"""Test-only top: the control side of PCIe, with its messages sent as plain RQ writes."""

from amaranth.hdl import C, Cat, Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from tailrace_hw.errors import ErrorEvent
from tailrace_hw.lib.csr import CsrSignature
from tailrace_hw.pcie.capabilities import virtio_net_capabilities
from tailrace_hw.pcie.control import PcieControl, PcieFunction
from tailrace_hw.pcie.function import FunctionState, InterruptRequest
from tailrace_hw.pcie.functions import FlrPort
from tailrace_hw.pcie.identity import management, virtio_net
from tailrace_hw.pcie.usp import UspConfigSignature, UspSignature

#: Odd sizes on purpose: nothing may depend on a power of two.
FUNCTIONS = (
    PcieFunction(management(vectors=5)),
    PcieFunction(virtio_net(vectors=37), virtio_net_capabilities(9)),
)
IDENTITIES = [function.identity for function in FUNCTIONS]


class ControlTop(wiring.Component):
    """PcieControl behind a whole hard-block port."""

    def __init__(self, pcie_width: int):
        self._width = pcie_width
        bars = {
            f"f{index}_bar0": Out(CsrSignature(exact_log2(one.control_size)))
            for index, one in enumerate(IDENTITIES)
        }
        super().__init__(
            {
                "pcie": Out(UspSignature(pcie_width)),
                "interrupt": In(stream.Signature(InterruptRequest)),
                "state": Out(FunctionState).array(2),
                "flr": Out(FlrPort()).array(2),
                "errors": Out(stream.Signature(ErrorEvent)),
                **bars,
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.control = control = PcieControl(FUNCTIONS, self._width, self._width)
        pcie = self.pcie
        wiring.connect(m, wiring.flipped(pcie.cq), control.cq)
        wiring.connect(m, control.cc, wiring.flipped(pcie.cc))
        wiring.connect(m, control.usp.cfg_ext, wiring.flipped(pcie.cfg_ext))
        for name, member in UspConfigSignature().members.items():
            if name != "cfg_ext":
                ours, theirs = getattr(control.usp, name), getattr(pcie, name)
                m.d.comb += theirs.eq(ours) if member.flow == Out else ours.eq(theirs)
        for name in ("interrupt", "errors", "f0_bar0", "f1_bar0"):
            port, inner = getattr(self, name), getattr(control, name)
            if name == "interrupt":
                wiring.connect(m, wiring.flipped(port), inner)
            else:
                wiring.connect(m, inner, wiring.flipped(port))
        for index in range(2):
            m.d.comb += self.state[index].eq(control.state[index])
            wiring.connect(m, control.flr[index], wiring.flipped(self.flr[index]))
        self._messages(m, control.messages)
        return m

    def _messages(self, m, port):
        """One dword write a message: descriptor and data in one beat (PG213)."""
        rq = self.pcie.rq
        request = port.request.payload
        fire = port.request.valid & port.data.valid
        descriptor = Cat(
            request.address,
            C(1, 11),
            C(1, 4),
            C(0, 1),
            request.function,
            C(0, 128 - 64 - 24),
            port.data.payload.data[:32],
        )
        m.d.comb += [
            rq.tvalid.eq(fire),
            rq.tdata.eq(descriptor),
            rq.tkeep.eq(0x1F),
            rq.tlast.eq(1),
            rq.tuser[0:4].eq(0xF),
            port.request.ready.eq(fire & rq.tready),
            port.data.ready.eq(fire & rq.tready),
            self.pcie.rc.tready.eq(1),
        ]
        if self._width == 512:
            m.d.comb += [rq.tuser[20].eq(1), rq.tuser[26].eq(1), rq.tuser[28:32].eq(4)]
