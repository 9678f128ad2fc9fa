"""The used-ring writer under cocotb: pytest side."""

from pathlib import Path

import pytest

from tailrace_hw.virtio.used import UsedWriter
from tailrace_sim import build
from tailrace_sim.run import run

HERE = Path(__file__).parent
#: width, queues
MODELS = {"wide": (512, 5), "narrow": (64, 8)}


def simulate(kind, tests, **parameters):
    width, queues = MODELS[kind]
    source = build.emit(lambda: UsedWriter(queues, width), "used_writer", (width, queues))
    model = build.build(source, "used_writer")
    run(
        model,
        "cocotb_used",
        name=f"used-{kind}-{tests[0]}",
        tests=tests,
        parameters={"width": width, "queues": queues, **parameters},
        python_path=[HERE],
    )


@pytest.mark.parametrize("kind", MODELS)
def test_random_traffic(kind):
    simulate(kind, ["random_traffic"], rounds=6, cycles=3000)


@pytest.mark.parametrize("kind", MODELS)
def test_resets_and_faults(kind):
    simulate(kind, ["reset_in_traffic", "faults", "nonsense", "no_vector"], rounds=10)


def test_rate():
    simulate("wide", ["full_rate", "latency", "bounded_delay", "expected"], count=1000)


def test_index_wraps():
    simulate("wide", ["index_wraps"])
