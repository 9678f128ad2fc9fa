"""The record: figures that are kept in the repository, the page made of them, and what grew.

``docs/area.json`` has the rows, ``docs/area.md`` is written from it.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from tailrace_sim.build import repository
from tailrace_sim.synth.blocks import BLOCKS
from tailrace_sim.synth.cells import Area
from tailrace_sim.synth.flow import Figures, Subject, content_of, measure
from tailrace_sim.synth.mapping import FAMILIES, Family, unmapped
from tailrace_sim.synth.pnr import DEVICE
from tailrace_sim.synth.yosys import TOOL

__all__ = [
    "GROWTH",
    "LIMIT_LEVELS",
    "RECORDED",
    "Row",
    "check",
    "deeper",
    "files",
    "grown",
    "load",
    "page",
    "store",
]

#: The width at which each family is recorded.
RECORDED = {"xcup": 512, "ecp5": 64}
#: By how much a block may grow over the record before the record has to be made anew.
GROWTH = 0.10
#: A block may grow by so many of anything: 10 % of next to nothing says nothing.
_SLACK = 16
#: Levels by which the depth of a block differs with what is mapped in one batch, see docs/synth.md.
_DEPTH_SLACK = 2
#: House rule for paths between registers at width 512 on UltraScale+.
LIMIT_LEVELS = 12
_COLUMNS = ("lut", "ff", "carry", "lutram", "bram", "uram", "dsp")


@dataclass(frozen=True)
class Row:
    """One block in one configuration, as recorded."""

    name: str
    family: str
    width: int
    area: Area
    depth: int | None
    path: list[str]
    depth_ports: int | None
    lost: list[str]
    content: str
    fmax_mhz: float | None
    pnr: str

    @classmethod
    def of(cls, figures: Figures) -> "Row":
        """What is recorded of a block's figures."""
        return cls(**{entry.name: getattr(figures, entry.name) for entry in fields(cls)})


def files(root: Path | None = None) -> tuple[Path, Path]:
    """The record and its page."""
    folder = (root or repository()) / "docs"
    return folder / "area.json", folder / "area.md"


def load(path: Path) -> tuple[str, list[Row]]:
    """Which tool the record was made with, and its rows."""
    content = json.loads(path.read_text())
    rows = [Row(**{**row, "area": Area(**row["area"])}) for row in content["rows"]]
    return content["tool"], rows


def store(measured: Iterable[Figures], path: Path) -> list[Row]:
    """Put figures in the place of the recorded ones of the same block and configuration.

    Figures without place and route keep the recorded clock if the block is still the same.

    Returns
    -------
    All rows of the record.
    """
    rows = {}
    if path.exists():
        rows = {(row.family, row.width, row.name): row for row in load(path)[1]}
    for figures in measured:
        row = Row.of(figures)
        key = (row.family, row.width, row.name)
        old = rows.get(key)
        if old and old.content == row.content and row.fmax_mhz is None and not row.pnr:
            row = Row(**{**row.__dict__, "fmax_mhz": old.fmax_mhz, "pnr": old.pnr})
        rows[key] = row
    order = list(BLOCKS)
    kept = sorted(
        (row for row in rows.values() if row.name in BLOCKS),
        key=lambda row: (row.family != "xcup", row.family, -row.width, order.index(row.name)),
    )
    lines = ",\n".join(json.dumps(asdict(row)) for row in kept)
    path.write_text(f'{{"tool": "{TOOL}", "rows": [\n{lines}\n]}}\n')
    return kept


def check(
    rows: Iterable[Row], subjects: Iterable[Subject], family: Family, width: int, affordable: int
) -> list[str]:
    """What is wrong with the record, block by block; empty if nothing is.

    A block that is what it was when it was recorded costs nothing. One that changed is measured:
    only its changed modules are mapped.

    Parameters
    ----------
    affordable : how many cells may be mapped; more are a complaint of their own
    """
    by_name = {row.name: row for row in rows}
    complaints, changed = [], []
    for subject in subjects:
        row = by_name.get(subject.name)
        if row is None:
            complaints.append(f"{subject.name}: not recorded")
        elif row.content != content_of(subject, family):
            changed.append(subject)
    work = unmapped((module for one in changed for module in one.modules()), family)
    cells = sum(module.cells for module in work)
    if cells > affordable:
        names = ", ".join(subject.name for subject in changed)
        return [*complaints, f"{names}: changed too much to be mapped here ({cells} cells)"]
    for figures in measure(changed, family, width, lambda what, done, of: None):
        row = by_name[figures.name]
        complaints += [*grown(row, figures.area), *deeper(row, figures.depth)]
    return complaints


def grown(row: Row, now: Area) -> list[str]:
    """In which columns a block takes more than the record allows."""
    complaints = []
    for column in _COLUMNS:
        before, after = getattr(row.area, column), getattr(now, column)
        slack = 1 if column in ("bram", "uram", "dsp") else _SLACK
        if after > before * (1 + GROWTH) and after - before >= slack:
            complaints.append(f"{row.name}: {column} {before:g} -> {after:g}")
    return complaints


def deeper(row: Row, now: int | None) -> list[str]:
    """Whether the longest path has more levels than the record allows."""
    if now is None or row.depth is None or now <= row.depth + _DEPTH_SLACK:
        return []
    return [f"{row.name}: depth {row.depth} -> {now}"]


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _table(rows: list[Row]) -> list[str]:
    placed = any(row.fmax_mhz is not None or row.pnr for row in rows)
    head = ["block", "LUT", "FF", "carry", "LUTRAM", "BRAM", "URAM", "DSP", "depth", "with ports"]
    head += ["Fmax MHz"] if placed else []
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for row in rows:
        cells = [f"`{row.name}`", *(_figure(getattr(row.area, column)) for column in _COLUMNS)]
        cells += [_figure(row.depth), _figure(row.depth_ports)]
        cells += [row.pnr or _figure(row.fmax_mhz)] if placed else []
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _long_paths(rows: list[Row]) -> list[str]:
    long = [row for row in rows if row.depth is not None and row.depth > LIMIT_LEVELS]
    if not long:
        return [f"No path between registers is longer than {LIMIT_LEVELS} levels."]
    lines = [f"Paths between registers of more than {LIMIT_LEVELS} levels, the longest of each "
             "block, each signal with the level it stands at:", ""]  # fmt: skip
    return lines + [f"- `{row.name}` {row.depth}: {_route(row.path)}" for row in long]


def _route(path: list[str]) -> str:
    shown = path if len(path) <= 8 else [*path[:4], "...", *path[-3:]]
    return ", ".join(f"`{name}`" for name in shown)


def _lost(rows: list[Row]) -> list[str]:
    """Memories in registers, each at the smallest block that has it."""
    seen: set[str] = set()
    lines = []
    for row in sorted(rows, key=lambda row: len(row.lost)):
        new = [entry for entry in row.lost if not any(name.endswith(entry) for name in seen)
               and not any(entry.endswith(name) for name in seen)]  # fmt: skip
        seen |= set(new)
        if new:
            lines.append(f"- `{row.name}`: {', '.join(f'`{entry}`' for entry in new)}")
    return ["Memories that became registers or logic:", "", *lines] if lines else []


_PAGE = f"""# Area, depth and clock

Written by `./tailrace synth --record`; what the columns mean and how they are measured is in
[synth](synth.md). The test `tests/synth/test_record.py` fails when a block has grown by more than
{GROWTH:.0%} over this record, or its longest path by more than two levels.
"""


def page(tool: str, rows: list[Row]) -> str:
    """The Markdown page of a record."""
    placed = any(row.fmax_mhz is not None for row in rows)
    parts = [
        _PAGE,
        f"Mapped with {tool}" + (f"; placed and routed for {DEVICE}.\n" if placed else ".\n"),
    ]
    for family, width in dict.fromkeys((row.family, row.width) for row in rows):
        mine = [row for row in rows if (row.family, row.width) == (family, width)]
        lines = [f"## {FAMILIES[family].title}, width {width}", "", *_table(mine), ""]
        for more in (_long_paths(mine) if family == "xcup" else [], _lost(mine)):
            lines += [*more, ""] if more else []
        parts.append("\n".join(lines))
    blocks = ["## Blocks", "", "| block | what |", "|---|---|"]
    blocks += [f"| `{block.name}` | {block.what} |" for block in BLOCKS.values()]
    return "\n".join([*parts, *blocks]) + "\n"
