"""Place and route: seeds, and what is given up."""

import threading
from pathlib import Path

import pytest

from tailrace_sim.synth import pnr
from tailrace_sim.synth.flow import Subject, measure
from tailrace_sim.synth.mapping import FAMILIES
from tailrace_sim.synth.third_party import ThirdParty, read_third_party
from tailrace_sim.synth.yosys import SynthError

SMALL = Path(__file__).resolve().parents[1] / "data" / "verilog" / "small.v"


def test_what_takes_too_long_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setenv("TAILRACE_BUILD", str(tmp_path))
    family = FAMILIES["ecp5"]
    adder = Subject("adder", *read_third_party(ThirdParty([SMALL], "adder"), family))
    (figures,) = measure([adder], family, 0, lambda *_: None)
    # A limit of 0 is one second to the system: less than it takes to load the part.
    found = pnr.place_and_route(figures, adder, 0)
    assert (found.fmax_mhz, found.pnr) == (None, "not routed within 0 minutes")
    assert len(list(tmp_path.rglob("seed*.log"))) <= 2
    assert not list(tmp_path.rglob("seed*.json"))
    # What was given up leaves nothing that a longer run would take for a result.
    found = pnr.place_and_route(figures, adder, 15)
    assert found.pnr == ""
    assert found.fmax_mhz == sorted(found.seeds)[1]
    assert len(found.seeds) == len(pnr.SEEDS)


def test_a_seed_that_fails_is_the_last_to_begin():
    begun = []
    both = threading.Barrier(2)

    def run(seed: int) -> float:
        begun.append(seed)
        both.wait(60)
        raise SynthError(f"seed {seed}")

    with pytest.raises(SynthError, match="seed 1"):
        pnr._all_seeds(run)
    assert sorted(begun) == [1, 2]


def test_all_seeds_are_run():
    assert pnr._all_seeds(float) == [float(seed) for seed in pnr.SEEDS]
