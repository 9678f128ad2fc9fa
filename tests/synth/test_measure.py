"""What is measured of designs whose cost is known."""

from pathlib import Path

import pytest

from tailrace_sim.synth.cells import area
from tailrace_sim.synth.flow import Figures, Subject, measure, paths_over
from tailrace_sim.synth.front import flat
from tailrace_sim.synth.mapping import FAMILIES
from tailrace_sim.synth.third_party import ThirdParty, read_third_party
from tailrace_sim.synth.yosys import SynthError

DATA = Path(__file__).resolve().parents[1] / "data" / "verilog"
SMALL = DATA / "small.v"
DESIGNS = ["adder", "parity", "two_writers", "one_writer", "tables", "chain"]


def read(path: Path, top: str, parameters: dict[str, str] | None = None) -> Subject:
    what = ThirdParty([path], top, parameters or {})
    # No primitives of a family in these files: what is read is the same for each.
    return Subject(top, *read_third_party(what, FAMILIES["xcup"]))


def subject(name: str, **parameters: str) -> Subject:
    return read(SMALL, name, parameters)


def quiet(what: str, done: int, of: int) -> None:
    assert 0 <= done <= of, what


@pytest.fixture(scope="module", params=["xcup", "ecp5"])
def figures(request) -> dict[str, Figures]:
    """All small designs, in one batch a family."""
    subjects = [subject(name) for name in DESIGNS]
    measured = measure(subjects, FAMILIES[request.param], 0, quiet)
    return {entry.name: entry for entry in measured}


def test_an_adder(figures):
    found = figures["adder"]
    assert found.area.ff == 48
    if found.family == "xcup":
        assert (found.area.lut, found.area.carry) == (16, 4)
        # The LUT in front of the chain, and the chain, however long.
        assert found.depth == 2
    else:
        # A CCU2C adds two bits with LUTs of its own.
        assert (found.area.lut, found.area.carry) == (16, 8)
        assert found.depth == 1
    assert found.path[0].startswith(("first[", "second["))
    assert found.path[-1].startswith("sum[")


def test_a_path_between_registers(figures):
    found = figures["parity"]
    assert found.area.ff == 38
    # 36 bits through LUTs of 6 or 4: two or three levels at best, and a mapper is not perfect.
    assert 2 <= found.depth <= 4
    assert found.path[0].startswith("held[")
    assert found.path[-1] == f"odd.{'D' if found.family == 'xcup' else 'DI'} @{found.depth}"


def test_a_memory_without_a_ram_is_named(figures):
    assert figures["two_writers"].lost == ["slots (16 x 8: registers)"]
    assert figures["two_writers"].area.ff >= 128
    assert not figures["one_writer"].lost


def test_a_memory_that_is_to_be_logic_is_not_lost(figures):
    assert figures["tables"].lost == ["found (256 x 8: constants in logic)"]


def test_a_memory_with_a_ram(figures):
    found = figures["one_writer"]
    # 32 Kbit: one RAM of 36 Kbit, or two of 18.
    assert found.area.bram == (1 if found.family == "xcup" else 2)
    # ECP5 has no RAM that reads the old word while it is written: registers make it one.
    assert found.area.ff == (0 if found.family == "xcup" else found.area.ff)


def test_a_path_through_instances(figures):
    found = figures["chain"]
    assert (found.area.lut, found.area.ff) == (5, 12)
    assert found.depth == 5
    assert found.path[1:-1] == [f"between[{level}] @{level}" for level in range(1, 6)]
    assert sorted(found.parts.values()) == [0, 1, 1, 1, 1, 1]


def test_ports_can_end_paths(figures):
    found = figures["parity"]
    assert found.depth_ports is not None
    assert found.depth_ports >= found.depth


def test_dissolving_parts_saves_levels():
    whole = subject("chain")
    flattened = Subject("chain", flat(whole.design, whole.module), whole.module)
    parts, one = measure([whole, flattened], FAMILIES["xcup"], 0, quiet)
    assert len(one.parts) == 1
    assert one.area.other == 0
    assert one.area.lut <= parts.area.lut
    assert one.depth <= parts.depth


def test_parameters_reach_the_top():
    (found,) = measure([subject("adder", WIDTH="8")], FAMILIES["xcup"], 0, quiet)
    assert (found.area.lut, found.area.ff, found.area.carry) == (8, 24, 2)


def test_what_yosys_cannot_read_goes_through_slang():
    (found,) = measure([read(DATA / "typed.sv", "typed")], FAMILIES["xcup"], 0, quiet)
    assert found.area.ff == 8


def test_nothing_is_an_error():
    with pytest.raises(SynthError, match="wire_only maps to 0 cells"):
        measure([subject("wire_only")], FAMILIES["xcup"], 0, quiet)


@pytest.mark.parametrize(
    ("file", "top", "words"),
    [
        ("small.v", "no_ports", "no_ports has no ports"),
        ("small.v", "nowhere", "nowhere"),
        ("small.v", "orphan", "missing_part"),
        ("small.v", "a b", "not a name"),
        ("broken.v", "broken", "syntax error"),
        ("none.v", "x", "does not exist"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(file, top, words):
    with pytest.raises(SynthError, match=words) as caught:
        read(DATA / file, top)
    assert "\n" not in str(caught.value)


def test_an_error_names_its_log():
    with pytest.raises(SynthError) as caught:
        read(DATA / "broken.v", "broken")
    log = Path(str(caught.value).rsplit("see ", 1)[1])
    assert "syntax error" in log.read_text()


def test_luts_as_memory_are_counted_as_luts():
    taken = area({"RAM32M16": 2, "SRL16E": 3, "LUT6": 4, "INV": 1, "RAMB18E2": 3, "PCIE40E4": 1})
    assert (taken.lut, taken.lutram, taken.bram, taken.other) == (5, 19, 1.5, 1)


def test_every_part_with_a_long_path_is_found():
    chain = subject("chain")
    ((part, beyond, path),) = paths_over(chain, FAMILIES["xcup"], 4)
    assert (part, beyond, path.levels) == ("", 1, 5)
    assert path.names[1:-1] == [f"between[{level}] @{level}" for level in range(1, 6)]
    assert not paths_over(chain, FAMILIES["xcup"], 5)
