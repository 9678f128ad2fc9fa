"""Options of the verbs that show the inside of a run, and what they leave."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tailrace.cli.errors import UserError
from tailrace_hw.config import Config
from tailrace_sim.build import Model
from tailrace_sim.cli.terminal import check_apart, check_writable
from tailrace_sim.device import device_verilog
from tailrace_sim.look import TRACES, Look, parse_trace, parse_window
from tailrace_sim.profile import read_profile

__all__ = [
    "ProfileOption",
    "TraceFileOption",
    "TraceOption",
    "WavesOption",
    "make_look",
    "report_look",
]

#: Share of the time from which on a block has a row of its own.
_LEAST = 0.005

WavesOption = Annotated[
    str | None,
    typer.Option(
        "--waves", metavar="[FROM:TO]", help="Leave an FST file: of these cycles, or of all."
    ),
]
TraceOption = Annotated[
    str | None,
    typer.Option(
        "--trace", metavar="KINDS", help=f"Print transactions, a line each: {','.join(TRACES)}."
    ),
]
TraceFileOption = Annotated[
    Path | None, typer.Option("--trace-file", metavar="FILE", help="Where the trace goes instead.")
]
ProfileOption = Annotated[
    bool, typer.Option("--profile", help="Say what each block costs of the simulation's time.")
]


def make_look(
    waves: str | None,
    trace: str | None,
    trace_file: Path | None,
    profile: bool,
    others: Mapping[str, Path | None],
) -> Look:
    """What the options ask for; what none of them asks for is up to the environment.

    Parameters
    ----------
    others : files of the verb that a trace must not overwrite, as :func:`check_apart` has them

    Raises
    ------
    UserError
        One of them is wrong.
    """
    default = Look.from_environment()
    kinds = default.trace if trace is None else parse_trace(trace)
    if trace_file is not None and not kinds:
        raise UserError(f"--trace-file needs --trace with what to show: {','.join(TRACES)}")
    file = default.trace_file if trace_file is None else trace_file
    if file is not None and kinds:
        check_apart(file, "--trace-file", others)
        check_writable(file)
    return Look(
        waves=default.waves if waves is None else parse_window(waves),
        trace=kinds,
        trace_file=file,
        profile=profile or default.profile,
    )


def report_look(
    look: Look, directory: Path, output: Path | None, model: Model, config: Config, console: Console
) -> None:
    """Say where the waves are, and print the profile, as far as the run came.

    Parameters
    ----------
    directory : of the run
    output : folder that the waves are copied to; None: they stay
    """
    waves = directory / "waves.fst"
    if look.waves is not None and waves.exists():
        console.print(f"waves: {waves if output is None else shutil.copy(waves, output)}")
    if not look.profile:
        return
    profile = read_profile(directory, model, device_verilog(config))
    if profile is None:
        return
    table = Table("where the time goes", "share", box=None, padding=(0, 2, 0, 0))
    blocks = [(block, share) for block, share in profile.blocks(2) if share >= _LEAST]
    rest = 1 - sum(share for _, share in blocks)
    for block, share in [*blocks, ("the rest", rest)]:
        table.add_row(block, f"{share:6.1%}")
    console.print(table)
