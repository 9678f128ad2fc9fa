"""The virtio-net path of the whole device in its pyuvm environment."""

import json
from pathlib import Path

import pytest

from tailrace_hw.config import Config
from tailrace_sim.build import build_root
from tailrace_sim.device import NO_CIPHER, build_device
from tailrace_sim.run import Result, run
from tailrace_sim.uvm.coverage_report import write_coverage

HERE = Path(__file__).parent


@pytest.fixture
def simulate():
    """Run one cocotb test on the default device."""
    config = Config(jobs=NO_CIPHER)
    model = build_device(config)

    def start(test: str, module: str = "uvm_cocotb", **parameters) -> Result:
        parameters["config"] = config.to_dict()
        return run(model, module, name=f"uvm_{test}", tests=[test], parameters=parameters,
                   python_path=[HERE])  # fmt: skip

    return start


def test_every_pair_of_conditions_is_covered(simulate):
    """Ring type, chain length, alignment, size, flags and stalls, both ways, all frames right."""
    path = build_root() / "run" / "uvm_coverage.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    result = simulate("traffic", coverage=str(path))
    coverage = json.loads(path.read_text())
    path.replace(result.directory / "coverage.json")
    write_coverage(result.directory / "coverage.html", coverage, seed=result.seed)
    assert set(coverage) == {"receive", "transmit", "receive fate", "transmit fate"}
    for name, group in coverage.items():
        assert group["samples"] > 0, f"{name}: nothing was compared"
        assert group["share"] == 1, f"{name}: {'; '.join(group['missing'])}"


def test_a_planted_fault_is_found(simulate):
    """One bit wrong in one frame: the cocotb test passes if the scoreboard raises."""
    simulate("planted_fault")


def test_every_register_of_the_management_function(simulate):
    """Reset values and access rights, against the SystemRDL maps."""
    simulate("registers")


def test_the_smallest_test_of_the_documentation(simulate):
    simulate("minimum", "minimum_cocotb")
