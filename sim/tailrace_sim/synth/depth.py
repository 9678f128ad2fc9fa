"""The longest path of a graph of bits.

Levels are found for all bits at once, front by front from the starts: a bit is done when
everything it hangs on is done.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from tailrace_sim.synth.graph import Graph

__all__ = ["Path", "long_paths", "longest_path"]

_NEVER = -(10**6)


@dataclass(frozen=True)
class Path:
    """A longest path.

    Attributes
    ----------
    levels : how many there are on it
    names : signals with names along it, each with the level it stands at, start and end included
    loops : bits on combinational loops, which have no level; none in a sound design
    """

    levels: int
    names: list[str]
    loops: int = 0


@dataclass
class _Levels:
    graph: Graph
    level: np.ndarray
    loops: int


def _rows(index: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Places in a sorted array of the rows whose keys are asked for; ``index`` has their starts."""
    first, count = index[keys], index[keys + 1] - index[keys]
    if not count.sum():
        return np.empty(0, dtype=np.int64)
    return np.repeat(first - np.concatenate([[0], np.cumsum(count)[:-1]]), count) + np.arange(
        count.sum()
    )


def _levels(graph: Graph, starts: np.ndarray) -> _Levels:
    edges = graph.edges[np.argsort(graph.edges[:, 0], kind="stable")]
    sources, targets, weights = edges.T
    index = np.searchsorted(sources, np.arange(graph.size + 1))
    level = np.full(graph.size, _NEVER, dtype=np.int64)
    np.maximum.at(level, starts[:, 0], starts[:, 1])
    waiting = np.bincount(targets, minlength=graph.size)
    front = np.flatnonzero(waiting == 0)
    while front.size:
        rows = _rows(index, front)
        hit = targets[rows]
        np.maximum.at(level, hit, level[sources[rows]] + weights[rows])
        np.subtract.at(waiting, hit, 1)
        hit = np.unique(hit)
        front = hit[waiting[hit] == 0]
    return _Levels(graph, level, int((waiting > 0).sum()))


def _trace(found: _Levels, last: int) -> list[int]:
    """Bits of a longest path that ends at ``last``, the first one first."""
    edges = found.graph.edges[np.argsort(found.graph.edges[:, 1], kind="stable")]
    sources, targets, weights = edges.T
    path = [last]
    while True:
        begin, end = np.searchsorted(targets, [path[-1], path[-1] + 1])
        fits = found.level[sources[begin:end]] + weights[begin:end] == found.level[path[-1]]
        fits &= found.level[sources[begin:end]] >= 0
        choice = np.flatnonzero(fits)
        if not choice.size:
            return path[::-1]
        path.append(int(sources[begin + choice[0]]))


def _names(found: _Levels, bits: list[int]) -> list[str]:
    """One name a level: where the path begins its own, then the one nearest to the top."""
    names: list[str] = []
    for level, group in itertools.groupby(bits, key=lambda bit: int(found.level[bit])):
        named = [name for name in map(found.graph.name, group) if name]
        if named:
            best = min(named, key=lambda name: (name.count("."), len(name)))
            names.append(f"{best if names else named[0]} @{level}")
    return names


def longest_path(graph: Graph, *, ports: bool) -> Path | None:
    """The longest path, or None where there is none.

    Parameters
    ----------
    ports : whether ports begin and end paths as registers and RAMs do
    """
    starts, ends = graph.starts, graph.ends
    if ports:
        inputs = np.column_stack([graph.inputs, np.zeros_like(graph.inputs)])
        starts = np.concatenate([starts, inputs])
        ends = np.concatenate([ends, graph.outputs])
    if not starts.size or not ends.size:
        return None
    found = _levels(graph, starts)
    at = int(np.argmax(found.level[ends]))
    levels = int(found.level[ends[at]])
    if levels < 0:
        return None
    names = _names(found, _trace(found, int(ends[at])))
    if at < len(graph.ends):
        names.append(f"{graph.end_name(at)} @{levels}")
    return Path(levels, names, found.loops)


def long_paths(graph: Graph, limit: int) -> list[tuple[str, int, Path]]:
    """The longest path into each part that has one of more than ``limit`` levels, longest first.

    Returns
    -------
    For each such part: where it stands, how many clocked inputs of it are beyond the limit, and the
    path between registers.
    """
    if not graph.starts.size:
        return []
    found = _levels(graph, graph.starts)
    level = found.level[graph.ends]
    paths = []
    for place in graph.places:
        mine = level[place.first_end : place.first_end + len(place.module.ends)]
        if mine.size and mine.max() > limit:
            at = place.first_end + int(mine.argmax())
            names = _names(found, _trace(found, int(graph.ends[at])))
            names.append(f"{graph.end_name(at)} @{mine.max()}")
            beyond = int((mine > limit).sum())
            paths.append((place.path.rstrip("."), beyond, Path(int(mine.max()), names)))
    return sorted(paths, key=lambda entry: -entry[2].levels)
