"""The DMA engines against the hard block's model and a host, at both widths."""

from pathlib import Path

import pytest

from tailrace_sim.build import build, emit
from tailrace_sim.run import run

HERE = Path(__file__).parent
TESTS = {
    "dma_cocotb": [
        "one_of_each",
        "random_small_payload",
        "random_large_payload",
        "random_stalls",
    ],
    "dma_errors_cocotb": [
        "completion_status",
        "malformed_completions",
        "discontinued_completions",
        "block_gives_up",
        "unexpected_completions",
        "completion_timeout",
        "bus_master_off",
        "switched_off_in_flight",
        "bad_requests",
        "one_client_stands_still",
    ],
}


@pytest.mark.parametrize("module", TESTS)
@pytest.mark.parametrize("width", [512, 256])
def test_dma(width, module, monkeypatch):
    monkeypatch.syspath_prepend(HERE)
    from dma_top import DmaTop

    source = (HERE / "dma_top.py").read_text()
    verilog = emit(lambda: DmaTop(width), "dma_top", width, source)
    model = build(verilog, "dma_top")
    run(model, module, name=f"pcie_{module}_{width}", tests=TESTS[module], python_path=[HERE])
