"""``./tailrace shell``: a Python prompt with the device and its driver at hand."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from tailrace.cli.errors import UserError
from tailrace_sim.build import build_root
from tailrace_sim.cli.building import build_for_user, check_fast
from tailrace_sim.cli.generate import ConfigOption, SeedOption, WidthOption, load_config
from tailrace_sim.cli.terminal import make_console
from tailrace_sim.look import Look
from tailrace_sim.run import SimulationError, own_run, pick_seed, run

__all__ = ["shell"]


def _read_script(script: Path | None) -> tuple[str | None, str]:
    """Text to run and its name; no text if the user is to be asked."""
    if script is not None:
        try:
            return script.read_text(), str(script)
        except UnicodeDecodeError as error:
            raise UserError(f"{script} is no text: {error}") from error
    if sys.stdin is not None and sys.stdin.isatty():
        return None, ""
    text = "" if sys.stdin is None else sys.stdin.read()
    if not text.strip():
        raise UserError("no terminal and nothing to read: pipe statements in, or use --script FILE")
    return text, "<stdin>"


def shell(
    width: WidthOption = None,
    config: ConfigOption = None,
    script: Annotated[
        Path | None, typer.Option("--script", metavar="FILE", help="Run this instead of asking.")
    ] = None,
    seed: SeedOption = None,
) -> None:
    """Open a Python prompt with the device enumerated and its drivers up."""
    check_fast("shell")
    settings = load_config(config, width)
    text, name = _read_script(script)
    # Not to standard output, which is the user's.
    model = build_for_user(settings, make_console(stderr=True))
    with own_run("shell") as run_name:
        status = build_root() / "run" / run_name / "status"
        status.unlink(missing_ok=True)
        try:
            run(
                model,
                "tailrace_sim.shell_run",
                name=run_name,
                tests=["shell"],
                parameters={"config": settings.to_dict(), "script": text, "name": name},
                seed=pick_seed() if seed is None else seed,
                look=Look.from_environment(),
                foreground=True,
            )
        except SimulationError as error:
            raise UserError(str(error)) from error
        code = int(status.read_text())
    if code:
        raise typer.Exit(code)
