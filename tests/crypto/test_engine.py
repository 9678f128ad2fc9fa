"""The cipher engine with its self-test under cocotb: pytest side."""

from pathlib import Path

import pytest

from tailrace_hw.crypto.tested_cipher import TestedCipher
from tailrace_sim import build
from tailrace_sim.run import run

HERE = Path(__file__).parent
#: width, keys, xts
MODELS = {
    "narrow": (128, 16, True),
    "wide": (512, 1024, True),
    "narrowest": (64, 16, True),
    "without-xts": (128, 16, False),
    "w256": (256, 64, True),
    "widest": (1024, 64, True),
}
#: The wide one is the device's; its model takes minutes to make.
KINDS = [
    name if name == "narrow" else pytest.param(name, marks=pytest.mark.soak) for name in MODELS
]


def simulate(kind, tests, module="cocotb_engine", **parameters):
    width, keys, xts = MODELS[kind]
    source = build.emit(
        lambda: TestedCipher(width, keys, xts=xts), "tested_cipher", (width, keys, xts)
    )
    model = build.build(source, "tested_cipher")
    run(
        model,
        module,
        name=f"cipher-{kind}-{tests[0]}",
        tests=tests,
        parameters={"width": width, "keys": keys, "xts": xts, **parameters},
        python_path=[HERE],
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_length(kind):
    simulate(kind, ["every_length"])


@pytest.mark.parametrize("kind", KINDS)
def test_random_jobs(kind):
    simulate(kind, ["random_jobs"], rounds=40, longest=1000)


KEY_TESTS = [
    "rates_and_latency",
    "time_tells_nothing",
    "nothing_leaks",
    "replaced_in_traffic",
    "installation",
    "owners",
    "reset_erases",
]


@pytest.mark.parametrize("name", KEY_TESTS)
@pytest.mark.parametrize("kind", KINDS)
def test_keys(kind, name):
    simulate(kind, [name], "cocotb_engine_keys", rounds=5, packets=400)


SELF_TESTS = ["refuses_before_and_after_a_failure", "beside_traffic", "nobody_reaches_its_keys"]


@pytest.mark.parametrize("name", SELF_TESTS)
@pytest.mark.parametrize("kind", KINDS)
def test_self_test(kind, name):
    simulate(kind, [name], "cocotb_engine_known_answers", rounds=6)
