"""The job queues under cocotb: pytest side."""

from pathlib import Path

import pytest

from tailrace_sim import build
from tailrace_sim.models.jobs import crc32c
from tailrace_sim.run import run

HERE = Path(__file__).parent
#: width
MODELS = {"wide": 512, "narrow": 64}
FUNCTIONS = 3


def simulate(kind, tests, monkeypatch, module="cocotb_jobs", **parameters):
    monkeypatch.syspath_prepend(HERE)
    from jobs_top import JobsTop

    width = MODELS[kind]
    text = "".join((HERE / name).read_text() for name in ("jobs_top.py", "stand_in_engine.py"))
    source = build.emit(lambda: JobsTop(width, FUNCTIONS), "jobs_top", (width, text))
    model = build.build(source, "jobs_top")
    run(
        model,
        module,
        name=f"jobs-{kind}-{tests[0]}",
        tests=tests,
        parameters={"width": width, **parameters},
        python_path=[HERE],
    )


def test_model_crc():
    """The examples of RFC 3720, B.4, and the usual check value."""
    assert crc32c(bytes(32)) == int.from_bytes(bytes.fromhex("aa36918a"), "little")
    assert crc32c(b"\xff" * 32) == int.from_bytes(bytes.fromhex("43aba862"), "little")
    assert crc32c(bytes(range(32))) == int.from_bytes(bytes.fromhex("4e79dd46"), "little")
    assert crc32c(bytes(range(31, -1, -1))) == int.from_bytes(bytes.fromhex("5cdb3f11"), "little")
    assert crc32c(b"123456789") == 0xE3069283


@pytest.mark.parametrize("kind", MODELS)
def test_random_jobs(kind, monkeypatch):
    simulate(kind, ["random_jobs"], monkeypatch, rounds=400)


@pytest.mark.parametrize("kind", MODELS)
def test_edges(kind, monkeypatch):
    simulate(kind, ["last_address", "failed_source_stops"], monkeypatch)


@pytest.mark.parametrize("kind", MODELS)
def test_longest(kind, monkeypatch):
    simulate(kind, ["longest"], monkeypatch)


def test_rate(monkeypatch):
    simulate("wide", ["full_rate", "full_rate_lists", "small_jobs", "in_turn"], monkeypatch)


@pytest.mark.parametrize("kind", MODELS)
def test_bad_queues(kind, monkeypatch):
    tests = ["bad_rings", "index_jumps", "descriptor_fault", "completion_fault", "without_vector"]
    simulate(kind, tests, monkeypatch, "cocotb_jobs_bad")


@pytest.mark.parametrize("kind", MODELS)
def test_resets(kind, monkeypatch):
    tests = ["resets_in_traffic", "reset_of_a_long_job", "function_reset", "reset_of_a_stopped"]
    simulate(kind, tests, monkeypatch, "cocotb_jobs_bad", rounds=25)


@pytest.mark.soak
def test_index_wraps(monkeypatch):
    simulate("wide", ["index_wraps"], monkeypatch)
