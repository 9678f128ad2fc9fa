"""``./tailrace bench``: what the device does in how many cycles, beside what it should do."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer
from rich.table import Table

from tailrace.cli.errors import UserError
from tailrace_sim.build import BuildError, repository
from tailrace_sim.cli.terminal import check_writable, make_console, working
from tailrace_sim.run import SimulationError

__all__ = [
    "FIGURES", "FiguresOption", "NotHere", "PageOption", "bench", "benches", "load", "page",
]  # fmt: skip

FiguresOption = Annotated[
    Path, typer.Option("--json", metavar="FILE", help="Where the figures go.")
]
PageOption = Annotated[
    Path | None, typer.Option("--page", metavar="FILE", help="Write a Markdown page as well.")
]

#: Where the figures go unless somebody says otherwise.
FIGURES = Path("out/bench.json")
#: Members of a measured row, in the order of the table.
_MEMBERS = ("bench", "measure", "value", "unit", "goal", "met")


class NotHere(UserError):
    """What a benchmark needs is not on this machine: who asks for all goes without it."""


def benches() -> dict[str, Path]:
    """Benchmarks by name: ``tests/bench/bench_<name>.py``, each with a ``measure()``."""
    folder = repository() / "tests" / "bench"
    return {path.stem.removeprefix("bench_"): path for path in sorted(folder.glob("bench_*.py"))}


def load(path: Path) -> ModuleType:
    """Import a benchmark from its file."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _row(entry: dict[str, Any]) -> list[str]:
    missing = [name for name in _MEMBERS if name not in entry]
    if missing:
        raise UserError(f"a benchmark left out {', '.join(missing)} in {entry}")
    value, goal = entry["value"], entry["goal"]
    met = {True: "yes", False: "[bold red]no[/]", None: ""}[entry["met"]]
    return [
        entry["bench"],
        entry["measure"],
        f"{value:.4g}" if isinstance(value, float) else str(value),
        entry["unit"],
        "" if goal is None else str(goal),
        met,
    ]


_PAGE = """# Performance

Measured in simulation, in cycles of the core clock, by
`./tailrace bench --page docs/performance.md`, which writes this page. What a row means is said
above its table. Only `cosim` and `linux` are about time: how fast the simulators are.
"""


def page(measured: dict[str, tuple[str, list[dict[str, Any]]]]) -> str:
    """A Markdown page of what each benchmark says of itself and what it measured."""
    parts = [_PAGE]
    for name, (text, entries) in measured.items():
        title, _, rest = text.strip().partition("\n")
        lines = [f"## {name}", "", title, rest.rstrip().replace("``", "`"), ""]
        lines += ["| measure | value | unit | goal | met |", "|---|---|---|---|---|"]
        for entry in entries:
            _, measure, value, unit, goal, _ = _row(entry)
            met = {True: "yes", False: "**no**", None: ""}[entry["met"]]
            lines.append(f"| {measure} | {value} | {unit} | {goal} | {met} |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def bench(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Default: all of them.")
    ] = None,
    output: FiguresOption = FIGURES,
    page_file: PageOption = None,
) -> None:
    """Measure the device in cycles and compare with its goals."""
    known = benches()
    unknown = [name for name in names or [] if name not in known]
    if unknown:
        raise UserError(f"no benchmark {unknown[0]}; there are {', '.join(known)}")
    for path in (output, page_file):
        if path is not None:
            check_writable(path)
    console = make_console()
    entries: list[dict[str, Any]] = []
    measured: dict[str, tuple[str, list[dict[str, Any]]]] = {}
    for name in names or known:
        with working(console, f"measuring {name} (builds its model if it is not cached)"):
            try:
                module = load(known[name])
                measured[name] = (module.__doc__ or "", module.measure())
            except NotHere as error:
                if names:
                    raise
                console.print(f"{name} is left out: {error}")
                continue
            except (BuildError, SimulationError) as error:
                raise UserError(str(error)) from error
        entries += measured[name][1]
    if not entries:
        raise UserError("nothing was measured")
    table = Table("bench", "measure", "value", "unit", "goal", "met")
    for entry in entries:
        table.add_row(*_row(entry))
    console.print(table)
    output.write_text(json.dumps(entries, indent=1) + "\n")
    if page_file is not None:
        page_file.write_text(page(measured))
    missed = [entry["measure"] for entry in entries if entry["met"] is False]
    console.print(f"{output}: {len(entries)} figures, {len(missed)} below their goal")
    raise typer.Exit(1 if missed else 0)
