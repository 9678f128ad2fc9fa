"""The coverage of a run as one page: tables, and a heat map of every pair of bins a group."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from tailrace_sim.report import Report

__all__ = ["pair_figure", "write_coverage"]

_GAP = "#c8553d"
_GREY = "#eef1f4"


def pair_figure(group: dict[str, Any]) -> Figure:
    """How often each two bins were seen together; what was never seen is marked.

    Parameters
    ----------
    group : as :meth:`tailrace_sim.uvm.coverage.Group.to_dict` makes it
    """
    labels = group["labels"]
    counts = np.array(
        [[np.nan if count is None else count for count in row] for row in group["matrix"]]
    )
    size = max(4.0, 0.33 * len(labels) + 2)
    figure = Figure(figsize=(size + 1, size), layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor(_GREY)
    seen = np.ma.masked_where(~(counts > 0), counts)
    image = axes.imshow(seen, cmap="YlGnBu", norm=LogNorm(1, max(2, np.nanmax(counts))))
    figure.colorbar(image, ax=axes, shrink=0.7, label="frames")
    for row, column in np.argwhere(counts == 0):
        axes.text(column, row, "x", color=_GAP, ha="center", va="center", fontsize=8)
    axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=7)
    axes.set_yticks(range(len(labels)), labels, fontsize=7)
    axes.tick_params(length=0)
    edge = 0
    for bins in list(group["dimensions"].values())[:-1]:
        edge += len(bins)
        axes.axhline(edge - 0.5, color="white", linewidth=2)
        axes.axvline(edge - 0.5, color="white", linewidth=2)
    return figure


def write_coverage(path: Path, coverage: dict[str, dict[str, Any]], *, seed: int) -> None:
    """Write the page.

    Parameters
    ----------
    path : of the HTML file
    coverage : groups by name, as :meth:`tailrace_sim.uvm.coverage.Coverage.to_dict` makes them
    seed : of the run
    """
    report = Report(
        "Functional coverage of the virtio-net path",
        f"seed {seed}; a frame counts when the scoreboard has compared it",
    )
    report.table(
        "Goals: every pair of bins",
        [
            (name, f"{group['share']:.1%} of {group['pairs']} pairs, {group['samples']} frames")
            for name, group in coverage.items()
        ],
    )
    for name, group in coverage.items():
        missing = group["missing"]
        note = "Nothing is missing." if not missing else f"Missing: {'; '.join(missing)}."
        report.figure(
            f"Pairs seen: {name}",
            pair_figure(group),
            f"Diagonal: how often the bin itself was seen. {note}",
        )
    report.write(path)
