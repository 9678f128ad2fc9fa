"""The counters of the DMA engines as registers of the management function."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from tailrace_hw import regs
from tailrace_hw.lib.csr import CsrSignature
from tailrace_hw.lib.csr_bank import CsrBank
from tailrace_hw.pcie.dma import DmaStatus
from tailrace_hw.pcie.dma_events import DmaCounts

__all__ = ["ADDRESS_WIDTH", "DmaCounters"]

#: Bits of an address in the block.
ADDRESS_WIDTH = 7

#: Failures of each direction that can happen in it.
_READ_FAILURES = [status for status in DmaStatus if status is not DmaStatus.OK]
_WRITE_FAILURES = [DmaStatus.TIMEOUT, DmaStatus.BUS_MASTER_OFF, DmaStatus.BAD_REQUEST]


class DmaCounters(wiring.Component):
    """Registers of ``regs.rdl``. An event is in its register 2 cycles after it was given.

    Members
    -------
    bus : ``In(CsrSignature(ADDRESS_WIDTH))``
    read, write : In(DmaCounts), from the engines
    """

    bus: In(CsrSignature(ADDRESS_WIDTH))
    read: In(DmaCounts)
    write: In(DmaCounts)

    def elaborate(self, platform):
        m = Module()
        m.submodules.bank = bank = CsrBank(
            regs.load("pcie/regs.rdl"), address_width=ADDRESS_WIDTH
        )
        wiring.connect(m, wiring.flipped(self.bus), bank.bus)
        sides = (("read", self.read, _READ_FAILURES), ("write", self.write, _WRITE_FAILURES))
        for name, counts, failures in sides:
            m.d.sync += [
                getattr(bank, f"{name}_requests").value.eq(counts.requests),
                getattr(bank, f"{name}_bytes").value.eq(counts.bytes),
            ]
            for status in failures:
                register = getattr(bank, f"{name}_{status.name.lower()}")
                m.d.sync += register.value.eq(counts.failed[status.value])
        m.d.sync += bank.unexpected_completions.value.eq(self.read.unexpected)
        return m
