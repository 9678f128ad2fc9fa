"""The two backends: what must be the same between runs, and that cocotb's is not forgotten.

The rest of tests/system runs on the backend that ``--backend`` chooses.
"""

import json
from pathlib import Path

import pytest

from tailrace_hw.config import Config, VirtioNetConfig
from tailrace_sim.device import BACKENDS, NO_CIPHER, build_device, default_backend
from tailrace_sim.run import pick_seed, run

HERE = Path(__file__).parent
NARROW = Config(width=64, virtio_net=VirtioNetConfig(queue_pairs=2), jobs=NO_CIPHER)


def _footprint(seed: int, number: int) -> dict:
    result = run(
        build_device(NARROW, backend="fast"), "backends_cocotb",
        name=f"system_footprint_{number}", tests=["footprint"], seed=seed,
        parameters={"config": NARROW.to_dict()}, python_path=[HERE],
    )  # fmt: skip
    return json.loads((result.directory / "footprint.json").read_text())


def test_same_seed_same_frames_and_cycles():
    seed = pick_seed()
    first, second = (_footprint(seed, number) for number in range(2))
    assert first["frames"]
    assert first == second
    assert _footprint(seed + 1, 2)["frames"] != first["frames"]


def test_the_smallest_test_of_the_documentation_on_cocotb():
    run(
        build_device(NARROW, backend="cocotb"), "minimum_cocotb", name="system_minimum_cocotb",
        tests=["minimum"], parameters={"config": NARROW.to_dict()}, python_path=[HERE],
    )  # fmt: skip


def test_an_unknown_backend_is_refused(monkeypatch):
    monkeypatch.setenv("TAILRACE_BACKEND", "quick")
    with pytest.raises(Exception, match="TAILRACE_BACKEND must be fast or cocotb, not quick"):
        default_backend()
    assert BACKENDS == ("fast", "cocotb")
