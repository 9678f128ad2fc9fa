"""Device memory behind a design's AXI4 manager: one agent on both backends."""

from pathlib import Path

import pytest

from tailrace_sim.build import Model, build, emit
from tailrace_sim.fast.library import build_library
from tailrace_sim.run import run

HERE = Path(__file__).parent
TESTS = ["copies", "errors", "what_cannot_be"]


@pytest.mark.parametrize("backend", ["fast", "cocotb"])
def test_a_design_copies_its_memory(monkeypatch, backend):
    monkeypatch.syspath_prepend(HERE)
    from axi_copy import AxiCopy

    verilog = emit(AxiCopy, "axi_copy", 0, (HERE / "axi_copy.py").read_text())
    if backend == "fast":
        model = Model("axi_copy", build_library(verilog, "axi_copy").path, False, "fast")
    else:
        model = build(verilog, "axi_copy")
    run(model, "axi_cocotb", name=f"axi-{backend}", tests=TESTS, python_path=[HERE])
