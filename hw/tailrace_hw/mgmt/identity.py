"""Device identification registers."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw import regs
from tailrace_hw.lib.csr import CsrSignature
from tailrace_hw.lib.csr_bank import CsrBank

__all__ = ["INTERFACE_VERSION", "Identity"]

#: Version of the register interface, semantic versioning.
INTERFACE_VERSION = (0, 1, 0)


class Identity(wiring.Component):
    """Registers of ``identity.rdl``, and the device's cycle counter.

    Parameters
    ----------
    configuration_hash : first 32 bits of the configuration's hash
    width : datapath width in bits
    ports, functions, queue_pairs : shape of the device
    clock_hz : frequency of the core clock

    Members
    -------
    bus : ``In(CsrSignature(5))``
    cycle : 64 bits out, core clock cycles since reset
    """

    bus: In(CsrSignature(5))
    cycle: Out(64)

    def __init__(
        self,
        *,
        configuration_hash: int,
        width: int,
        ports: int,
        functions: int,
        queue_pairs: int,
        clock_hz: int,
    ):
        self._values = {
            "version": dict(
                zip(("major_version", "minor_version", "patch_version"), INTERFACE_VERSION,
                    strict=True)
            ),
            "configuration": {"hash": configuration_hash},
            "shape": {
                "width_bytes": width // 8,
                "ports": ports,
                "functions": functions,
                "queue_pairs": queue_pairs,
            },
            "clock": {"hertz": clock_hz},
        }  # fmt: skip
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.bank = bank = CsrBank(regs.load("mgmt/identity.rdl"), address_width=5)
        wiring.connect(m, wiring.flipped(self.bus), bank.bus)
        for register, fields in self._values.items():
            for field, value in fields.items():
                m.d.comb += getattr(getattr(bank, register), field).eq(value)
        m.d.sync += self.cycle.eq(self.cycle + 1)
        m.d.comb += bank.cycles.value.eq(1)
        return m
