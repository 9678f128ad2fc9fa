"""Job queues and cipher engine together under cocotb: pytest side."""

from pathlib import Path

import pytest

from tailrace_hw.config import JobsConfig
from tailrace_hw.jobs.look_aside import LookAside
from tailrace_sim import build
from tailrace_sim.run import run

HERE = Path(__file__).parent
#: width, rounds of random jobs at most, and jobs of each queue at least
MODELS = {"narrow": (64, 300, 300), "wide": (512, 300, 100)}
FUNCTIONS, KEYS = 3, 64


def simulate(kind, tests):
    width, rounds, least = MODELS[kind]
    config = JobsConfig(keys=KEYS)
    source = build.emit(lambda: LookAside(config, width, FUNCTIONS), "look_aside", (config, width))
    run(
        build.build(source, "look_aside"),
        "cocotb_look_aside",
        name=f"look-aside-{kind}-{tests[0]}",
        tests=tests,
        parameters={"width": width, "keys": KEYS, "rounds": rounds, "least": least},
        python_path=[HERE],
    )


@pytest.mark.parametrize("kind", ["narrow", pytest.param("wide", marks=pytest.mark.soak)])
@pytest.mark.parametrize(
    "name",
    ["random_jobs", "function_reset", "failed_self_test", "rows_of_the_self_test", "full_rate"],
)
def test_look_aside(kind, name):
    simulate(kind, [name])
