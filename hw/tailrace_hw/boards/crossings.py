"""All clock domain crossings of a board's top, those inside the device included."""

from functools import cache

from tailrace_hw.boards.blackbox import BlackBox
from tailrace_hw.boards.board import CORE_HZ, MAC_HZ, Board
from tailrace_hw.boards.cmac_block import cmac_box
from tailrace_hw.boards.pcie_block import pcie_box
from tailrace_hw.boards.top import DEVICE, BoardTop, device_box, primitive_boxes
from tailrace_hw.config import Config
from tailrace_hw.lib.crossing import Crossing, crossings
from tailrace_hw.top import Tailrace

__all__ = ["board_boxes", "board_crossings", "domain_hz"]


def board_boxes(board: Board, config: Config) -> tuple[BlackBox, ...]:
    """Every foreign module of the top, the device among them."""
    return (pcie_box(board), cmac_box(), device_box(config), *primitive_boxes())


def domain_hz(board: Board) -> dict[str, float]:
    """Frequency of each clock domain of the top."""
    return {"sync": CORE_HZ, "port0": MAC_HZ, "init": board.free_hz}


def board_crossings(board: Board, config: Config) -> tuple[Crossing, ...]:
    """The gateware's own list of the top's crossings."""
    boxes = {
        box.module: {port.name: port.clock for port in box.ports if port.clock}
        for box in board_boxes(board, config)
    }
    top = crossings(BoardTop(board, config), instances=boxes)
    entering = top.entering(DEVICE)
    inside = (entry.below(DEVICE, entering) for entry in _device_crossings(config))
    return (*top.crossings, *inside)


@cache
def _device_crossings(config: Config) -> tuple[Crossing, ...]:
    return crossings(Tailrace(config)).crossings
