"""The control side of PCIe against the hard block's model and a host."""

from pathlib import Path

import pytest

from tailrace_sim.build import build, emit
from tailrace_sim.run import run

HERE = Path(__file__).parent
TESTS = [
    "enumeration",
    "bar_access",
    "byte_enables",
    "unsupported",
    "doorbells",
    "config_window",
]


@pytest.mark.parametrize("width", [512, 256])
def test_control(width, monkeypatch):
    monkeypatch.syspath_prepend(HERE)
    from control_top import ControlTop

    source = (HERE / "control_top.py").read_text()
    verilog = emit(lambda: ControlTop(width), "control_top", width, source)
    run(
        build(verilog, "control_top"),
        "control_cocotb",
        name=f"pcie_control_{width}",
        tests=TESTS,
        python_path=[HERE],
    )
