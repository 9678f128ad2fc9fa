"""``./tailrace info``: what the driver reads out of the device."""

import json
from typing import Any

from rich.console import Console
from rich.table import Table

from tailrace.cli.errors import UserError
from tailrace_hw.config import Config
from tailrace_sim.build import BuildError, build_root
from tailrace_sim.cli.generate import ConfigOption, WidthOption, load_config
from tailrace_sim.cli.terminal import make_console, working
from tailrace_sim.device import build_device
from tailrace_sim.run import SimulationError, own_run, run

__all__ = ["info"]


def _section(console: Console, heading: str, rows: dict[str, Any]) -> None:
    console.print(f"[bold]{heading}[/]")
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 2))
    for name, value in rows.items():
        table.add_row(name, str(value))
    console.print(table)


def _ask(settings: Config) -> dict[str, Any]:
    """What the driver says in the simulator."""
    with own_run("info") as name:
        work = build_root() / "run" / name
        try:
            run(
                build_device(settings),
                "tailrace_sim.info_run",
                name=name,
                tests=["info"],
                parameters={"config": settings.to_dict(), "work": str(work)},
                seed=1,
            )
        except (BuildError, SimulationError) as error:
            raise UserError(str(error)) from error
        return json.loads((work / "info.json").read_text())


def info(width: WidthOption = None, config: ConfigOption = None) -> None:
    """Show versions, functions, features, counters and errors as the driver sees them."""
    settings = load_config(config, width)
    console = make_console()
    with working(console, "asking the device (builds its model if it is not cached)"):
        found = _ask(settings)
    for heading in ("identity", "functions", "network", "job queues", "cipher engine"):
        _section(console, heading, found[heading])
    _section(console, "features", dict.fromkeys(found["features"], ""))
    used = {name: value for name, value in found["counters"].items() if value}
    _section(console, "counters that are not 0", used)
    _section(console, "errors", dict.fromkeys(found["errors"] or ["none"], ""))
