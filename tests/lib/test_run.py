"""What is said of a simulation that fails."""

import shutil
from pathlib import Path

import cocotb_tools.config
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


def test_a_model_outlives_the_environment_it_was_linked_in(monkeypatch, tmp_path):
    libraries, name = tmp_path / "libs", "outlives"
    source = emit(lambda: PacketFifo(64, 8, 16), name, (64, 8, 16))
    with monkeypatch.context() as there:
        libraries.symlink_to(cocotb_tools.config.libs_dir)
        there.setattr(cocotb_tools.config, "libs_dir", libraries)
        linked = build(source, name)
    libraries.unlink()
    try:
        # It fails as it should: the simulation has started.
        with pytest.raises(SimulationError, match="the reason is this"):
            run(linked, "failing_cocotb", name=name, tests=["fails_with_a_reason"],
                python_path=[HERE])  # fmt: skip
    finally:
        shutil.rmtree(linked.path)  # the next run of this test shall link one too
