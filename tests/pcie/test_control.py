"""The control side of PCIe against the hard block's model and a host."""

from pathlib import Path

import pytest

from tailrace_sim.build import build, emit
from tailrace_sim.run import run

HERE = Path(__file__).parent
TESTS = {
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


@pytest.mark.parametrize("width", [512, 256])
def test_control(width, monkeypatch):
    monkeypatch.syspath_prepend(HERE)
    from control_top import ControlTop

    source = (HERE / "control_top.py").read_text()
    verilog = emit(lambda: ControlTop(width), "control_top", width, source)
    model = build(verilog, "control_top")
    for module, tests in TESTS.items():
        run(model, module, name=f"pcie_{module}_{width}", tests=tests, python_path=[HERE])
