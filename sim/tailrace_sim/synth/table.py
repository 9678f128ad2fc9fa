"""Figures on the screen and in a report."""

from collections.abc import Sequence
from pathlib import Path as File

from rich import box
from rich.console import Console
from rich.table import Table

from tailrace_sim.report import Report
from tailrace_sim.synth.depth import Path
from tailrace_sim.synth.flow import Figures
from tailrace_sim.synth.record import LIMIT_LEVELS
from tailrace_sim.synth.treemap import treemap_figure

__all__ = ["compare", "show", "show_paths", "write_html"]

_COLUMNS = ("lut", "ff", "carry", "lutram", "bram", "uram", "dsp")
_HEADS = ("LUT", "FF", "carry", "LUTRAM", "BRAM", "URAM", "DSP")


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _cells(figures: Figures) -> list[str]:
    clock = _text(figures.fmax_mhz) or figures.pnr
    area = [_text(getattr(figures.area, column)) for column in _COLUMNS]
    return [figures.name, *area, _text(figures.depth), _text(figures.depth_ports), clock]


def show(console: Console, figures: Sequence[Figures], title: str) -> None:
    """The table, and under it what a reader should not miss."""
    # A title of the table's own would be broken to the table's width.
    console.print(title, style="italic", highlight=False, markup=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    heads = ["block", *_HEADS, "depth", "ports", "Fmax MHz"]
    rows = [_cells(entry) for entry in figures]
    # What no block has needs no column: the table has to fit a terminal.
    kept = [k for k in range(len(heads)) if any(row[k] not in ("", "0") for row in rows)]
    if kept == [0]:
        kept = [0, 1]  # latches only, or cells of unknown types: a row has to say something
    for k in kept:
        table.add_column(heads[k], justify="right" if k else "left", no_wrap=k == 0)
    for row in rows:
        table.add_row(*(row[k] for k in kept))
    console.print(table)
    for entry in figures:
        for remark in _remarks(entry):
            console.print(f"{entry.name}: {remark}", highlight=False, markup=False, soft_wrap=True)


def _remarks(figures: Figures) -> list[str]:
    remarks = []
    if figures.lost:
        shown = ", ".join(figures.lost[:6]) + (" ..." if len(figures.lost) > 6 else "")
        remarks.append(f"{len(figures.lost)} memories without a RAM: {shown}")
    if figures.depth is not None and figures.depth > LIMIT_LEVELS:
        remarks.append(f"{figures.depth} levels: {' -> '.join(figures.path)}")
    if figures.area.latch:
        remarks.append(f"{figures.area.latch} latches")
    if figures.area.other:
        remarks.append(f"{figures.area.other} cells of unknown types, counted in no column")
    if figures.loops:
        remarks.append(f"combinational loops through {figures.loops} bits")
    return remarks


def show_paths(console: Console, name: str, paths: Sequence[tuple[str, int, Path]]) -> None:
    """Each part of a block into which a long path leads."""
    console.print(f"{name}: long paths lead into {len(paths)} parts", style="bold", highlight=False)
    for part, beyond, path in paths:
        head = f"  {path.levels} levels into {part or '(top)'}, {beyond} pins beyond the limit: "
        console.print(head + " -> ".join(path.names), highlight=False, markup=False,
                      soft_wrap=True)  # fmt: skip


def compare(console: Console, theirs: Figures, ours: Figures) -> None:
    """Two blocks side by side with ratios."""
    table = Table("", theirs.name, f"{ours.name} (ours)", "ours / theirs")
    for column in range(1, 4):
        table.columns[column].justify = "right"
    rows = [(head, getattr(theirs.area, column), getattr(ours.area, column))
            for head, column in zip(_HEADS, _COLUMNS, strict=True)]  # fmt: skip
    rows += [
        ("depth", theirs.depth, ours.depth),
        ("with ports", theirs.depth_ports, ours.depth_ports),
        ("Fmax MHz", theirs.fmax_mhz, ours.fmax_mhz),
    ]
    for head, left, right in rows:
        ratio = f"{right / left:.2f}" if left and right is not None else ""
        if left or right:
            table.add_row(head, _text(left), _text(right), ratio)
    console.print(table)


def write_html(path: File, figures: Sequence[Figures], title: str) -> None:
    """Treemaps and a table in one file.

    Raises
    ------
    OSError
        The file can't be written.
    """
    theirs = all(entry.width == 0 for entry in figures)
    report = Report("Area" if theirs else "Area of Tailrace",
                    f"{title}; ./tailrace synth --help says how it was made")  # fmt: skip
    whole = next((entry for entry in figures if entry.name == "top"), None)
    if whole is not None:
        report.figure("The device by part", treemap_figure(whole.parts),
                      f"LUTs as logic and as memory; {sum(whole.parts.values())}")  # fmt: skip
    for entry in figures:
        if entry is not whole and len(entry.parts) > 1 and sum(entry.parts.values()) > 0:
            report.figure(f"{entry.name} by part", treemap_figure(entry.parts))
    head = ["block", *_HEADS, "depth", "with ports", "Fmax MHz"]
    report.grid("Figures", head, [_cells(entry) for entry in figures])
    report.table("Longest paths between registers",
                 [(entry.name, " → ".join(entry.path)) for entry in figures])  # fmt: skip
    lost = [(entry.name, ", ".join(entry.lost)) for entry in figures if entry.lost]
    if lost:
        report.table("Memories that became registers or logic", lost)
    report.write(path)
