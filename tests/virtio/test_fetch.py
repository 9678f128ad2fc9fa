"""The descriptor fetch under cocotb: pytest side."""

from pathlib import Path

import pytest

from tailrace_hw.virtio.fetch import DescriptorFetch
from tailrace_sim import build
from tailrace_sim.run import run

HERE = Path(__file__).parent
#: width, queues, cache depth. The small cache makes chains that are longer than it.
MODELS = {"narrow": (128, 3, 16), "wide": (512, 4, 128)}


def simulate(kind, tests, module="cocotb_fetch", **parameters):
    width, queues, depth = MODELS[kind]
    source = build.emit(
        lambda: DescriptorFetch(queues, width, depth, max_queue_size=1024),
        "descriptor_fetch",
        (width, queues, depth),
    )
    model = build.build(source, "descriptor_fetch")
    run(
        model,
        module,
        name=f"fetch-{kind}-{tests[0]}",
        tests=tests,
        parameters={"width": width, "queues": queues, "depth": depth, **parameters},
        python_path=[HERE],
    )


@pytest.mark.parametrize("kind", MODELS)
def test_random_traffic(kind):
    simulate(kind, ["random_traffic"], rounds=4, cycles=3000)


@pytest.mark.parametrize("kind", MODELS)
def test_reset_in_traffic(kind):
    simulate(kind, ["reset_in_traffic"], rounds=25)


@pytest.mark.parametrize("kind", MODELS)
def test_chains_kept_together(kind):
    simulate(kind, ["chains_kept_together"])


def test_rate():
    simulate("wide", ["packed_rate", "packed_rate_queues", "split_rate", "linked_rate"])


def test_table_rates():
    simulate("wide", ["table_rates"])


def test_bad_rings():
    tests = ["nonsense", "cached_chains_survive", "endless_packed_chain"]
    simulate("narrow", tests, "cocotb_fetch_bad")


def test_bad_commands():
    tests = ["bad_sizes", "queues_that_are_not_there", "halted", "event_fault"]
    simulate("narrow", tests, "cocotb_fetch_bad")


def test_longer_than_the_cache():
    simulate("narrow", ["longer_than_the_cache", "takes_at_full_rate"])
