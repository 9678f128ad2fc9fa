"""What is said of a simulation that fails."""

from pathlib import Path

import pytest

from tailrace_hw.lib.packet_fifo import PacketFifo
from tailrace_sim.build import build, emit
from tailrace_sim.run import SimulationError, own_run, run

HERE = Path(__file__).parent


@pytest.fixture
def model():
    """The one of tests/lib/test_checker.py, from the cache when that has run."""
    name = "lib_packet_fifo"
    return build(emit(lambda: PacketFifo(64, 8, 16, stall=True), name, (64, 8, 16)), name)


def test_a_filter_that_matches_nothing_is_an_error(model):
    with pytest.raises(SimulationError, match=r"expected tests|failed"):
        run(model, "failing_cocotb", name="no_such", tests=["no_such"], python_path=[HERE])
    with pytest.raises(SimulationError, match="no test was named"):
        run(model, "failing_cocotb", name="none", tests=[], python_path=[HERE])


def test_two_runs_at_once_have_a_folder_each(monkeypatch, tmp_path):
    monkeypatch.setenv("TAILRACE_BUILD", str(tmp_path))
    with own_run("demo") as first, own_run("demo") as second:
        assert (first, second) == ("demo", "demo-2")
    with own_run("demo") as again:
        assert again == "demo"
