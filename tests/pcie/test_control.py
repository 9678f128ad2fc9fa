"""PCIe against the hard block's model and a host: the control side alone, and the subsystem."""

from pathlib import Path

import pytest

from tailrace_sim.build import build, emit
from tailrace_sim.run import run

HERE = Path(__file__).parent
CONTROL = {
    "control_cocotb": [
        "enumeration",
        "bar_access",
        "byte_enables",
        "unsupported",
        "doorbells",
        "config_window",
    ],
    "msix_cocotb": [
        "table_access",
        "messages",
        "masks_and_pending",
        "bad_vectors",
        "function_level_reset",
    ],
}
SUBSYSTEM = {**CONTROL, "subsystem_cocotb": ["interrupt_after_data", "faults_and_resets"]}


def simulate(make, name, key, modules):
    source = (HERE / "control_top.py").read_text()
    model = build(emit(make, name, key, source), name)
    for module, tests in modules.items():
        run(model, module, name=f"{name}_{module}", tests=tests, python_path=[HERE])


@pytest.fixture(autouse=True)
def _path(monkeypatch):
    monkeypatch.syspath_prepend(HERE)


def test_control_256():
    """The control side at 256 bits; its messages are TLPs of the testbench's own making."""
    from control_top import ControlTop

    simulate(lambda: ControlTop(256), "control_top", 256, CONTROL)


def test_subsystem_512():
    """Control side and DMA engines at 512 bits, clients at 256."""
    from control_top import FUNCTIONS

    from tailrace_hw.pcie.subsystem import PcieSubsystem

    def make():
        return PcieSubsystem(FUNCTIONS, width=256, pcie_width=512, reads=1, writes=1)

    simulate(make, "pcie_subsystem", (256, 512, 1), SUBSYSTEM)
