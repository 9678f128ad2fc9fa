"""The cipher engine through PCIe and the job queue, on the fast backend: pytest side."""

import json
from pathlib import Path

import pytest

from tailrace_hw.config import Config
from tailrace_sim.device import build_device
from tailrace_sim.run import run

pytestmark = pytest.mark.large
HERE = Path(__file__).parent
#: NIST's cases: all of GCM, and those of XTS with whole bytes.
GCM_CASES, XTS_CASES = 47_250, 2_800


def simulate(name, module="device_cocotb", **settings) -> dict:
    config = Config()
    result = run(
        build_device(config, backend="fast"), module, name=f"crypto-device-{name}", tests=[name],
        parameters={"config": config.to_dict(), **settings}, python_path=[HERE],
    )  # fmt: skip
    path = result.directory / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


@pytest.mark.parametrize("every", [120, pytest.param(1, marks=pytest.mark.soak)])
def test_gcm_vectors(every):
    found = simulate("gcm_vectors", every=every)
    print(found)
    assert abs(found["cases"] - GCM_CASES / every) < 1


@pytest.mark.parametrize("every", [40, pytest.param(1, marks=pytest.mark.soak)])
def test_xts_vectors(every):
    found = simulate("xts_vectors", every=every)
    print(found)
    assert abs(found["cases"] - XTS_CASES / every) < 1


@pytest.mark.parametrize("packets", [200, pytest.param(10_000, marks=pytest.mark.soak)])
def test_nothing_leaks(packets):
    print(simulate("nothing_leaks", packets=packets))


def test_random_messages():
    simulate("random_messages", rounds=4)


@pytest.mark.parametrize(
    "name", ["wrong_jobs", "bad_memory", "key_dies_in_traffic", "resets", "self_test"]
)
def test_bad(name):
    simulate(name, "device_bad_cocotb")
