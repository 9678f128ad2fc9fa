"""The virtqueue engine under cocotb: pytest side."""

from pathlib import Path

import pytest

from tailrace_hw.virtio.engine import VirtqueueEngine
from tailrace_sim import build
from tailrace_sim.run import run

HERE = Path(__file__).parent
#: width, queues
MODELS = {"wide": (512, 4), "narrow": (128, 5)}


def simulate(kind, tests, **parameters):
    width, queues = MODELS[kind]
    source = build.emit(lambda: VirtqueueEngine(queues, width), "engine", (width, queues))
    model = build.build(source, "engine")
    run(
        model,
        "cocotb_engine",
        name=f"engine-{kind}-{tests[0]}",
        tests=tests,
        parameters={"width": width, "queues": queues, **parameters},
        python_path=[HERE],
    )


@pytest.mark.parametrize("test", ["random_chains", "resets"])
@pytest.mark.parametrize("kind", MODELS)
def test_engine(kind, test):
    simulate(kind, [test], cycles=4000, rounds=6)


@pytest.mark.parametrize("test", ["rate_of_one", "rate_of_all"])
def test_rate(test):
    # Many chains: the rate moves with how the driver's batches meet the reads that look for them,
    # between 2.6 and 4.4 cycles over windows of 1500 chains of one queue.
    simulate("wide", [test], count=10000)
