"""A picture of where the area goes: a tile for each part, as big as its LUTs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Tile", "squarified", "treemap_figure"]

_COLOURS = ("#8cc6de", "#f0c9a0", "#b9d7a8", "#d9b8d8", "#e8dd94", "#c3c9d4", "#efb5ae")


@dataclass(frozen=True)
class Tile:
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float


def _worst(areas: list[float], side: float) -> float:
    """How far from square the worst of a row's tiles is."""
    total = sum(areas)
    return max(max(side**2 * a / total**2, total**2 / (side**2 * a)) for a in areas)


def squarified(areas: list[float], frame: Tile) -> list[Tile]:
    """Tiles of the given areas, biggest first, that fill the frame and are near to squares.

    Bruls, Huizing, van Wijk, Squarified Treemaps, 2000.
    """
    scale = frame.width * frame.height / sum(areas)
    rest = [entry * scale for entry in areas]
    tiles: list[Tile] = []
    x, y, width, height = frame.x, frame.y, frame.width, frame.height
    while rest:
        side = min(width, height)
        count = 1
        while count < len(rest) and _worst(rest[: count + 1], side) <= _worst(rest[:count], side):
            count += 1
        row, rest = rest[:count], rest[count:]
        thick = sum(row) / side
        along = 0.0
        for entry in row:
            long = entry / thick
            if width >= height:
                tiles.append(Tile(x, y + along, thick, long))
            else:
                tiles.append(Tile(x + along, y, long, thick))
            along += long
        if width >= height:
            x, width = x + thick, width - thick
        else:
            y, height = y + thick, height - thick
    return tiles


def _grouped(parts: Mapping[str, int], depth: int) -> dict[str, int]:
    """LUTs by the first ``depth`` members of the path."""
    sums: dict[str, int] = {}
    for path, luts in parts.items():
        name = ".".join(path.split(".")[:depth]) or "(top)"
        sums[name] = sums.get(name, 0) + luts
    return {name: luts for name, luts in sums.items() if luts}


def treemap_figure(parts: Mapping[str, int]) -> "Figure":
    """Groups by what is directly below the top, tiles by what is below that.

    Parameters
    ----------
    parts : LUTs of each instance without what is below it, by path
    """
    # Loaded only by who draws: it takes as long as the rest of a command's start.
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    figure = Figure(figsize=(9, 5.6), layout="constrained")
    axes = figure.subplots()
    axes.set_xlim(0, 160)
    axes.set_ylim(0, 100)
    axes.axis("off")
    groups = sorted(_grouped(parts, 1).items(), key=lambda entry: -entry[1])
    whole = sum(luts for _, luts in groups)
    frames = squarified([luts for _, luts in groups], Tile(0, 0, 160, 100)) if groups else []
    for index, ((group, _), frame) in enumerate(zip(groups, frames, strict=True)):
        inside = {
            path: luts for path, luts in parts.items() if (path.split(".")[0] or "(top)") == group
        }
        tiles = sorted(_grouped(inside, 2).items(), key=lambda entry: -entry[1])
        places = squarified([luts for _, luts in tiles], frame)
        for (name, luts), tile in zip(tiles, places, strict=True):
            axes.add_patch(Rectangle((tile.x, tile.y), tile.width, tile.height, linewidth=0.8,
                                     facecolor=_COLOURS[index % len(_COLOURS)],
                                     edgecolor="white"))  # fmt: skip
            if tile.width * tile.height > 120:
                upright = tile.height > 1.6 * tile.width
                axes.annotate(
                    f"{name}\n{luts} ({100 * luts / whole:.0f} %)",
                    (tile.x + tile.width / 2, tile.y + tile.height / 2), ha="center", va="center",
                    fontsize=7, rotation=90 if upright else 0, annotation_clip=True,
                )  # fmt: skip
        axes.add_patch(Rectangle((frame.x, frame.y), frame.width, frame.height, fill=False,
                                 edgecolor="#1c2430", linewidth=1.2))  # fmt: skip
    return figure
