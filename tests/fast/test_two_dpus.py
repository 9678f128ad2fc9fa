"""Two DPUs in one process, joined by a cable with faults."""

import json
from pathlib import Path

import pytest

from tailrace_hw.config import Config, VirtioNetConfig
from tailrace_sim.device import NO_CIPHER, build_device
from tailrace_sim.fast.link import Faults
from tailrace_sim.look import Look
from tailrace_sim.run import run

HERE = Path(__file__).parent
#: Two queue pairs at 64 bits: the fastest device that still has a choice of queues.
NARROW = Config(width=64, virtio_net=VirtioNetConfig(queue_pairs=2), jobs=NO_CIPHER)
LOSSY = {"delay_ns": 1000, "loss": 0.01, "reorder": 0.05, "reorder_ns": 4000}


def simulate(name, tests, devices=2, look=None, **settings):
    return run(
        build_device(NARROW, backend="fast"), "two_dpus_cocotb", name=f"two_dpus_{name}",
        tests=tests, parameters={"config": NARROW.to_dict(), **settings}, python_path=[HERE],
        devices=devices, look=look,
    )  # fmt: skip


def exchange(name, frames, faults, look=None):
    result = simulate(name, ["exchange"], frames=frames, faults=faults, look=look)
    found = json.loads((result.directory / "exchange.json").read_text())
    print(found)
    return found["ways"]


def test_lossy_link():
    """10,000 frames each way, 1 % loss and reordering: what is missing was lost by the link."""
    for way in exchange("lossy", 10_000, LOSSY):
        assert way["received"] + way["lost"] == 10_000
        assert 50 < way["lost"] < 170
        assert way["late"] > 50


def test_every_fault():
    """Duplicates, and corrupted frames that the receiving device drops as such."""
    faults = {"loss": 0.05, "duplicate": 0.1, "corrupt": 0.1, "reorder": 0.2}
    for way in exchange("faults", 400, faults):
        assert min(way[name] for name in ("lost", "duplicated", "corrupted", "reordered")) > 3


def test_a_trace_shows_the_cable(tmp_path):
    """Every frame at both of its ports, each line with the device; a bad FCS is named."""
    look = Look(trace=("frames",), trace_file=tmp_path / "trace.txt")
    ways = exchange("trace", 60, {"loss": 0.1, "duplicate": 0.1, "corrupt": 0.2}, look)
    lines = look.trace_file.read_text().splitlines()
    for source, way in enumerate(ways):
        out = [line for line in lines if f"  dpu {source}  port 0 out " in line]
        there = [line for line in lines if f"  dpu {1 - source}  port 0 in " in line]
        assert len(out) == 60
        assert len(there) == way["delivered"]
        assert sum(line.endswith("  bad FCS") for line in there) == way["corrupted"]
        assert not any("bad FCS" in line for line in out)
    assert len(lines) == sum(60 + way["delivered"] for way in ways)


def test_a_port_to_itself():
    simulate("loop", ["loop"], devices=1)


@pytest.mark.parametrize(
    "wrong", [{"loss": -0.1}, {"reorder": 1.01}, {"delay_ns": -1}, {"reorder_ns": 1e12}]
)
def test_faults_that_cannot_be(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        Faults(**wrong)
