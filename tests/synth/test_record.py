"""The record of area: complete, its page made of it, and no block far above it."""

from dataclasses import replace

import pytest

from tailrace_hw.config import Config
from tailrace_sim.synth import record
from tailrace_sim.synth.blocks import BLOCKS, open_block
from tailrace_sim.synth.flow import Subject, content_of, measure
from tailrace_sim.synth.mapping import FAMILIES, unmapped
from tailrace_sim.synth.record import Row
from tailrace_sim.synth.yosys import TOOL

#: What is recorded: family, width.
CONFIGURATIONS = list(record.RECORDED.items())
#: Cells that may be mapped in a test: about a minute and a half of CPU time.
AFFORDABLE = 3000
MEND = "run ./tailrace synth --record and look at what it changed in docs/area.md"


def rows(family: str, width: int) -> list[Row]:
    _, every = record.load(record.files()[0])
    return [row for row in every if (row.family, row.width) == (family, width)]


@pytest.mark.parametrize(("family", "width"), CONFIGURATIONS)
def test_every_block_is_recorded(family, width):
    assert [row.name for row in rows(family, width)] == list(BLOCKS), MEND
    for row in rows(family, width):
        assert row.area.cells, row
        assert family == "xcup" or row.fmax_mhz or row.pnr, f"{row.name} was not placed: {MEND}"


def test_the_page_is_made_of_the_record():
    path, page = record.files()
    assert page.read_text() == record.page(*record.load(path)), MEND


def test_no_block_has_grown():
    family, width = CONFIGURATIONS[0]
    tool, _ = record.load(record.files()[0])
    assert tool == TOOL, f"recorded with {tool}, here is {TOOL}: {MEND}"
    config = Config(width=width)
    subjects = [
        Subject(name, *open_block(block, config, flatten=False)) for name, block in BLOCKS.items()
    ]
    complaints = record.check(rows(family, width), subjects, FAMILIES[family], width, AFFORDABLE)
    assert not complaints, "\n".join([*complaints, MEND])


@pytest.fixture(scope="module")
def small() -> tuple[Subject, Row]:
    """A block that costs little, and what would be recorded of it."""
    name = "event_arbiter"
    subject = Subject(name, *open_block(BLOCKS[name], Config(), flatten=False))
    (figures,) = measure([subject], FAMILIES["xcup"], 512, lambda what, done, of: None)
    return subject, Row.of(figures)


def check(subject: Subject, *recorded: Row, affordable: int = AFFORDABLE) -> list[str]:
    return record.check(recorded, [subject], FAMILIES["xcup"], 512, affordable)


def test_growth_is_found(small):
    subject, row = small
    assert not check(subject, row)
    planted = replace(row, content="of another day", area=replace(row.area, lut=row.area.lut // 2))
    assert check(subject, planted) == [f"event_arbiter: lut {row.area.lut // 2} -> {row.area.lut}"]
    assert not check(subject, replace(planted, area=row.area)), "changed, but not grown"
    assert check(subject) == ["event_arbiter: not recorded"]


def test_what_costs_too_much_is_not_passed_over(small, monkeypatch, tmp_path):
    subject, row = small
    monkeypatch.setenv("TAILRACE_BUILD", str(tmp_path))
    assert unmapped(subject.modules(), FAMILIES["xcup"])
    (complaint,) = check(subject, replace(row, content="of another day"), affordable=10)
    assert "changed too much" in complaint


@pytest.mark.parametrize(
    ("before", "after", "wrong"),
    [(1000, 1100, False), (1000, 1101, True), (10, 20, False), (0, 16, True)],
)
def test_a_tenth_is_allowed(small, before, after, wrong):
    row = replace(small[1], area=replace(small[1].area, ff=before))
    assert bool(record.grown(row, replace(row.area, ff=after))) == wrong


def test_a_longer_path_is_found(small):
    subject, row = small
    assert row.depth is not None
    planted = replace(row, content="of another day", depth=row.depth - 3)
    assert check(subject, planted) == [f"event_arbiter: depth {row.depth - 3} -> {row.depth}"]
    assert not check(subject, replace(planted, depth=row.depth - 2))


def test_what_is_above_the_limit_is_explained():
    """A page names the fetch's path, which is that of everything around it."""
    long = {row.name for row in rows("xcup", 512) if (row.depth or 0) > record.LIMIT_LEVELS}
    assert long <= {"fetch", "engine", "virtio_net", "top"}, "explain it on the block's page"
    text = (record.files()[1].parent / "virtio.md").read_text()
    assert "12 or 13 levels, 13 in the whole\nfunction" in text


def test_a_clock_stays_recorded_while_the_block_is_the_same(small, tmp_path):
    subject, _ = small
    (figures,) = measure([subject], FAMILIES["xcup"], 512, lambda what, done, of: None)
    path = tmp_path / "area.json"
    assert record.store([replace(figures, fmax_mhz=123.0)], path)[0].fmax_mhz == 123.0
    assert record.store([figures], path)[0].fmax_mhz == 123.0
    assert record.store([replace(figures, content="changed")], path)[0].fmax_mhz is None


def test_the_content_does_not_depend_on_names_of_a_run(small):
    """The same module in another place of another design has the same content."""
    subject, _ = small
    alone = content_of(subject, FAMILIES["xcup"])
    renamed = replace(subject, name="something else")
    assert content_of(renamed, FAMILIES["xcup"]) == alone
    assert content_of(subject, FAMILIES["ecp5"]) != alone
