"""``./tailrace board``: what Vivado needs to build the device for a card."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tailrace.cli.errors import UserError
from tailrace_hw.boards.files import BOARDS, write_board
from tailrace_hw.config import ConfigError
from tailrace_hw.verilog import VerilogError
from tailrace_sim.cli.generate import ConfigOption, WidthOption, load_config

__all__ = ["board"]


def board(
    name: Annotated[str, typer.Argument(metavar="BOARD", help=f"One of {', '.join(BOARDS)}.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="Where to write; out/board/BOARD."),
    ] = None,
    verilog: Annotated[
        bool, typer.Option(help="Also the Verilog of top and device, which takes a minute.")
    ] = True,
    width: WidthOption = None,
    config: ConfigOption = None,
) -> None:
    """Generate top, constraints and Vivado script of a board."""
    if name not in BOARDS:
        raise UserError(f"no board {name}; there are {', '.join(BOARDS)}")
    settings = load_config(config, width)
    directory = output or Path("out/board") / name
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with Console(stderr=True).status("elaborating the device"):
            files = write_board(BOARDS[name], settings, directory, verilog)
    except OSError as error:
        raise UserError(f"{directory}: {error.strerror}") from error
    except (ConfigError, VerilogError) as error:
        raise UserError(str(error)) from error
    for path in files:
        print(path)
