"""Everything that is written for a board."""

from pathlib import Path

from tailrace_hw.boards.board import Board
from tailrace_hw.boards.constraints import cdc_xdc, clocks_xdc, pins_xdc, synchronisers_xdc
from tailrace_hw.boards.crossings import board_crossings
from tailrace_hw.boards.script import build_tcl
from tailrace_hw.boards.top import BoardTop
from tailrace_hw.boards.u55c import U55C
from tailrace_hw.boards.u250 import U250
from tailrace_hw.config import Config
from tailrace_hw.emit import NAME, verilog_text
from tailrace_hw.verilog import convert

__all__ = ["BOARDS", "constraint_files", "top_text", "write_board"]

#: Boards by their name.
BOARDS: dict[str, Board] = {board.name: board for board in (U250, U55C)}


def constraint_files(board: Board, config: Config) -> dict[str, str]:
    """Constraints and build script by file name.

    Raises
    ------
    ConfigError
        The configuration does not fit the board.
    """
    board.check(config)
    crossings = board_crossings(board, config)
    return {
        "pins.xdc": pins_xdc(board),
        "clocks.xdc": clocks_xdc(board),
        "synchronisers.xdc": synchronisers_xdc(board, crossings),
        "cdc.xdc": cdc_xdc(board, crossings),
        "build.tcl": build_tcl(board, config, crossings),
    }


def top_text(board: Board, config: Config) -> str:
    """Verilog of the top, in which the device and the vendor's blocks are instances."""
    return convert(BoardTop(board, config), board.top)


def write_board(board: Board, config: Config, directory: Path, verilog: bool = True) -> list[Path]:
    """Write constraints and build script, and the Verilog with its filelist.

    Parameters
    ----------
    verilog : also the Verilog, which takes a minute

    Raises
    ------
    ConfigError
        The configuration does not fit the board.
    OSError
        The directory can't be written.
    """
    text = constraint_files(board, config)
    directory.mkdir(parents=True, exist_ok=True)
    if verilog:
        text[f"{board.top}.v"] = top_text(board, config)
        text[f"{board.top}.f"] = f"{NAME}.v\n{board.top}.v\n"
    paths = []
    for name, content in text.items():
        (directory / name).write_text(content)
        paths.append(directory / name)
    if verilog:
        device = directory / f"{NAME}.v"
        device.write_text(verilog_text(config))
        paths.append(device)
    return paths
