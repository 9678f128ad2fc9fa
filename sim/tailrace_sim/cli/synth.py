"""``./tailrace synth``: LUTs, RAMs, depth and MHz of our blocks, and of anybody's Verilog."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from tailrace.cli.errors import UserError
from tailrace_hw.config import Config
from tailrace_hw.verilog import VerilogError
from tailrace_sim.build import BuildError
from tailrace_sim.cli.generate import ConfigOption, WidthOption, load_config
from tailrace_sim.cli.terminal import check_writable, make_console
from tailrace_sim.synth import record, table
from tailrace_sim.synth.blocks import BLOCKS, names, open_block
from tailrace_sim.synth.flow import Figures, Subject, measure, paths_over
from tailrace_sim.synth.flow import Progress as Report
from tailrace_sim.synth.front import flat
from tailrace_sim.synth.mapping import FAMILIES, Family
from tailrace_sim.synth.pnr import place_all
from tailrace_sim.synth.third_party import ThirdParty, read_third_party
from tailrace_sim.synth.yosys import SynthError

__all__ = ["synth"]

LIMIT = record.LIMIT_LEVELS


@contextlib.contextmanager
def _progress(console: Console) -> Iterator[Report]:
    """A bar for each thing that is being done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn())  # fmt: skip
    with Progress(*columns, console=console, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def report(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=of)
            bars.update(tasks[what], completed=done, total=of)

        yield report


def _check(blocks: list[str], family: str, pnr: bool) -> None:
    unknown = [name for name in blocks if name not in BLOCKS]
    if unknown:
        raise UserError(f"no block {unknown[0]}; there are {names()}")
    if family not in FAMILIES:
        raise UserError(f"no family {family}; there are {', '.join(FAMILIES)}")
    if pnr and family != "ecp5":
        raise UserError("--pnr needs --family ecp5: no open tool places UltraScale+")


def _ours(blocks: list[str], config: Config, flatten: bool, report: Report) -> list[Subject]:
    subjects = []
    for index, name in enumerate(blocks):
        report("elaborating", index, len(blocks))
        design, module = open_block(BLOCKS[name], config, flatten=flatten)
        subjects.append(Subject(name, design, module))
    report("elaborating", len(blocks), len(blocks))
    return subjects


def _third_party(
    files: list[Path], top: str | None, params: list[str], folders: list[Path], defines: list[str]
) -> ThirdParty:
    if top is None:
        raise UserError("--verilog needs --top, the module to measure")
    for path in files:
        if str(path) in BLOCKS and not path.exists():
            raise UserError(f"{path} is a block of ours: --against {path} puts it beside --verilog")
    wrong = [entry for entry in params if "=" not in entry]
    if wrong:
        raise UserError(f"--param must be NAME=VALUE, not {wrong[0]}")
    parameters = dict(entry.split("=", 1) for entry in params)
    return ThirdParty(files, top, parameters, folders, defines)


def _theirs(what: ThirdParty, family: Family, flatten: bool) -> Subject:
    design, module = read_third_party(what, family)
    return Subject(what.top, flat(design, module) if flatten else design, module)


def _write(
    figures: list[Figures], json_file: Path, html_file: Path, title: str
) -> None:  # fmt: skip
    json_file.write_text(json.dumps([entry.entry() for entry in figures], indent=1) + "\n")
    table.write_html(html_file, figures, title)


def synth(
    blocks: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[BLOCK]...", help="Default: all, and top. With --verilog: more files."
        ),
    ] = None,
    family: Annotated[str, typer.Option("--family", help="xcup (UltraScale+) or ecp5.")] = "xcup",
    width: WidthOption = None,
    config: ConfigOption = None,
    pnr: Annotated[
        bool, typer.Option("--pnr", help="Place and route as well (ecp5): clock, three seeds.")
    ] = False,
    minutes: Annotated[
        int, typer.Option("--minutes", min=1, help="CPU time that one run of --pnr may take.")
    ] = 15,
    flatten: Annotated[
        bool, typer.Option("--flatten", help="Dissolve a block's parts before it is mapped.")
    ] = False,
    verilog: Annotated[
        list[Path] | None, typer.Option("--verilog", metavar="FILE...", help="Measure this.")
    ] = None,
    top: Annotated[
        str | None, typer.Option("--top", metavar="NAME", help="Its top module.")
    ] = None,
    param: Annotated[
        list[str] | None, typer.Option("--param", metavar="K=V", help="A parameter of it.")
    ] = None,
    include: Annotated[
        list[Path] | None,
        typer.Option("--include", metavar="DIR", help="A folder of files that it includes."),
    ] = None,
    define: Annotated[
        list[str] | None, typer.Option("--define", metavar="NAME[=VALUE]", help="A macro for it.")
    ] = None,
    paths: Annotated[
        bool, typer.Option("--paths", help="Every part that a path of over 12 levels leads into.")
    ] = False,
    against: Annotated[
        str | None, typer.Option("--against", metavar="BLOCK", help="Our block beside it.")
    ] = None,
    json_file: Annotated[
        Path, typer.Option("--json", metavar="FILE", help="Where the figures go.")
    ] = Path("out/synth/synth.json"),
    html_file: Annotated[
        Path, typer.Option("--report", metavar="FILE", help="Where the pictures go.")
    ] = Path("out/synth/report.html"),
    keep: Annotated[
        bool, typer.Option("--record", help="Put the figures into docs/area.md.")
    ] = False,
) -> None:
    """Measure area, logic depth and clock of blocks, or of Verilog that you bring."""
    console = make_console()
    settings = load_config(config, width)
    foreign = verilog is not None
    beside = [] if against is None else [against]
    ours = beside if foreign else list(dict.fromkeys(blocks or BLOCKS))
    _check(ours, family, pnr)
    if not foreign and any(option is not None for option in (top, param, against, include, define)):
        raise UserError("--top, --param, --include, --define and --against go with --verilog")
    if keep and (foreign or flatten or config):
        raise UserError("--record goes with blocks of the default configuration only")
    if keep and settings.width != record.RECORDED[family]:
        raise UserError(
            f"the record has {family} at width {record.RECORDED[family]}; leave --record away, "
            f"or add --width {record.RECORDED[family]}"
        )
    if json_file.resolve() == html_file.resolve():
        raise UserError(f"--json and --report are the same file, {json_file}")
    for path in (json_file, html_file):
        check_writable(path)
    try:
        with _progress(make_console(stderr=True)) as report:
            subjects = []
            if verilog is not None:
                files = [*verilog, *(Path(name) for name in blocks or [])]
                what = _third_party(files, top, param or [], include or [], define or [])
                subjects.append(_theirs(what, FAMILIES[family], flatten))
            subjects += _ours(ours, settings, flatten, report)
            figures = measure(subjects, FAMILIES[family], settings.width, report)
            if foreign:
                figures[0] = replace(figures[0], width=0)
            if pnr:
                figures = place_all(figures, subjects, minutes, report)
    except (SynthError, BuildError, VerilogError) as error:
        raise UserError(str(error)) from error
    title = FAMILIES[family].title + (f", width {settings.width}" if ours else "")
    table.show(console, figures, title)
    if foreign and against:
        table.compare(console, figures[0], figures[1])
    if paths:
        for subject in subjects:
            table.show_paths(console, subject.name, paths_over(subject, FAMILIES[family], LIMIT))
    _write(figures, json_file, html_file, title)
    console.print(f"{json_file}, {html_file}")
    if keep:
        recorded, page = record.files()
        rows = record.store(figures, recorded)
        page.write_text(record.page(record.load(recorded)[0], rows))
        console.print(f"{recorded}, {page}")
