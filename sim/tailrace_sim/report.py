"""One HTML file with tables and pictures, complete in itself."""

import html
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tailrace_sim.build import build_root

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Its cache goes to the home folder otherwise, which may be missing or closed to us.
os.environ.setdefault("MPLCONFIGDIR", str(build_root() / "matplotlib"))

__all__ = ["Report", "depth_figure", "histogram_figure", "throughput_figure"]

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2430; background: #fff;
       max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; } td, th { padding: .2rem .9rem .2rem 0; text-align: left; }
tr { border-bottom: 1px solid #dde3ea; } td:last-child { font-variant-numeric: tabular-nums; }
figure { margin: 0; } figure svg { width: 100%; height: auto; }
p.note { color: #5a6675; }
"""
_LINE = "#0b6e99"
_FILL = "#8cc6de"
_SECOND = "#c8553d"


@dataclass
class Report:
    """Collects sections and writes them.

    Attributes
    ----------
    title : heading of the page
    note : one line under it: what was run, and how to run it again
    """

    title: str
    note: str
    _parts: list[str] = field(default_factory=list)

    def table(self, heading: str, rows: Sequence[tuple[str, str]]) -> None:
        """Add a table of names and values."""
        cells = "".join(
            f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>"
            for name, value in rows
        )
        self._parts.append(f"<h2>{html.escape(heading)}</h2><table>{cells}</table>")

    def grid(self, heading: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Add a table of as many columns as there are heads."""
        lines = [("th", head), *(("td", row) for row in rows)]
        cells = "".join(
            "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) + "</tr>"
            for tag, row in lines
        )
        self._parts.append(f"<h2>{html.escape(heading)}</h2><table>{cells}</table>")

    def figure(self, heading: str, figure: "Figure", note: str = "") -> None:
        """Add a picture."""
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
        svg = buffer.getvalue()
        svg = svg[svg.index("<svg") :]
        self._parts.append(
            f"<h2>{html.escape(heading)}</h2><figure>{svg}</figure>"
            f'<p class="note">{html.escape(note)}</p>'
        )

    def write(self, path: Path) -> None:
        """Write the page.

        Raises
        ------
        OSError
            The file can't be written.
        """
        path.write_text(
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            f"<title>{html.escape(self.title)}</title><style>{_STYLE}</style></head><body>"
            f"<h1>{html.escape(self.title)}</h1>"
            f'<p class="note">{html.escape(self.note)}</p>{"".join(self._parts)}</body></html>\n'
        )


def _axes(xlabel: str, ylabel: str):
    # Loaded only by who draws: it takes as long as the rest of a command's start.
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.use("Agg")
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e3e8ee", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def histogram_figure(values: Sequence[int], xlabel: str) -> "Figure":
    """Distribution of ``values``, with the median and the 99th percentile marked."""
    figure, axes = _axes(xlabel, "frames")
    axes.hist(values, bins=min(60, max(10, len(set(values)))), color=_FILL, edgecolor=_LINE,
              linewidth=0.6)  # fmt: skip
    ordered = sorted(values)
    for share, name in ((0.5, "median"), (0.99, "p99")):
        mark = ordered[min(len(ordered) - 1, int(share * len(ordered)))]
        axes.axvline(mark, color=_SECOND, linewidth=1)
        axes.annotate(f" {name} {mark}", (mark, 0.93), xycoords=("data", "axes fraction"),
                      color=_SECOND, fontsize=9)  # fmt: skip
    return figure


def throughput_figure(
    series: Mapping[str, Sequence[tuple[int, int]]], *, cycles: int, clock_hz: int, bins: int = 80
) -> "Figure":
    """Gb/s over time, a line a direction.

    Parameters
    ----------
    series : name to (cycle, bytes) of each frame
    cycles : length of the run
    clock_hz : to turn bytes a cycle into Gb/s
    """
    figure, axes = _axes("cycle", "Gb/s")
    width = max(1, -(-cycles // bins))
    for (name, frames), colour in zip(series.items(), (_LINE, _SECOND), strict=False):
        sums = [0] * bins
        for cycle, size in frames:
            sums[min(bins - 1, cycle // width)] += size
        rates = [total * 8 * clock_hz / width / 1e9 for total in sums]
        axes.step([i * width for i in range(bins)], rates, where="post", color=colour, label=name)
    axes.legend(frameon=False, loc="upper right")
    axes.set_ylim(bottom=0)
    return figure


def depth_figure(series: Mapping[str, Sequence[tuple[int, int]]]) -> "Figure":
    """Queue depths over time: name to (cycle, depth) samples."""
    figure, axes = _axes("cycle", "frames")
    for (name, samples), colour in zip(series.items(), (_LINE, _SECOND, "#6a7f2a"), strict=False):
        axes.step([c for c, _ in samples], [d for _, d in samples], where="post", color=colour,
                  label=name, linewidth=1.2)  # fmt: skip
    axes.legend(frameon=False, loc="upper right")
    axes.set_ylim(bottom=0)
    return figure
