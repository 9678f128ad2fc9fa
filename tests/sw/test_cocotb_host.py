"""The driver's host under cocotb, on the PCIe control side's gateware."""

from pathlib import Path

import pytest

from tailrace_sim.build import build, emit
from tailrace_sim.run import run

HERE = Path(__file__).parent
PCIE = HERE.parent / "pcie"


@pytest.fixture(autouse=True)
def _path(monkeypatch):
    monkeypatch.syspath_prepend(PCIE)
    monkeypatch.syspath_prepend(HERE)


def test_host_on_the_pcie_agent():
    """The same model as tests/pcie/test_control.py, from the cache when that has run."""
    from control_top import ControlTop

    source = (PCIE / "control_top.py").read_text()
    model = build(emit(lambda: ControlTop(256), "control_top", 256, source), "control_top")
    run(
        model,
        "host_cocotb",
        name="cocotb_host",
        tests=["enumeration", "accesses_and_time", "interrupts", "reset"],
        python_path=[HERE, PCIE],
    )
