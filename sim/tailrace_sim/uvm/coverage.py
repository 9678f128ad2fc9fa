"""Functional coverage: what was seen of which combination, and what to send next.

A group has dimensions, each with a few named bins. A sample is one bin of each dimension. The goal
is that every bin of every pair of dimensions was seen together; the full cross would be thousands
of points, while most faults need no more than two conditions at once.
"""

import functools
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

__all__ = ["Coverage", "CoverageError", "Group", "Pair", "Point", "Range", "bin_of"]

Point = tuple[str, ...]


class CoverageError(AssertionError):
    """A goal was not reached, or a sample does not fit its group."""


class Range(NamedTuple):
    """A bin of numbers: ``low`` to ``high``, both included."""

    name: str
    low: int
    high: int


class Pair(NamedTuple):
    """One bin each of two dimensions."""

    first: int
    first_bin: str
    second: int
    second_bin: str


def bin_of(ranges: Iterable[Range], value: int) -> str:
    """Name of the bin that holds a number; :class:`CoverageError` if none does."""
    for name, low, high in ranges:
        if low <= value <= high:
            return name
    raise CoverageError(f"no bin holds {value}")


class Group:
    """Counts of bins and pairs of bins.

    Parameters
    ----------
    name : of the group
    dimensions : bins of each dimension, by the dimension's name

    Attributes
    ----------
    samples : number of samples
    """

    def __init__(self, name: str, dimensions: Mapping[str, Iterable[str]]):
        self.name = name
        self.dimensions = {key: tuple(bins) for key, bins in dimensions.items()}
        self.samples = 0
        self._bins: tuple[Counter[str], ...] = tuple(Counter() for _ in self.dimensions)
        self._pairs: Counter[Pair] = Counter()
        self._wanted = frozenset(self._all_pairs())

    def _all_pairs(self) -> Iterable[Pair]:
        bins = list(self.dimensions.values())
        for i, j in itertools.combinations(range(len(bins)), 2):
            for a, b in itertools.product(bins[i], bins[j]):
                yield Pair(i, a, j, b)

    @staticmethod
    @functools.cache
    def _pairs_of(point: Point) -> tuple[Pair, ...]:
        return tuple(
            Pair(i, point[i], j, point[j]) for i, j in itertools.combinations(range(len(point)), 2)
        )

    def sample(self, point: Point) -> None:
        """Count a point: one bin of each dimension in order."""
        for (name, bins), value in zip(self.dimensions.items(), point, strict=True):
            if value not in bins:
                raise CoverageError(f"{self.name}: {name} has no bin {value!r}")
        self.samples += 1
        for counter, value in zip(self._bins, point, strict=True):
            counter[value] += 1
        self._pairs.update(self._pairs_of(point))

    def gain(self, point: Point, planned: frozenset[Pair] | set[Pair] = frozenset()) -> int:
        """Pairs that this point would be the first to show, those ``planned`` taken as seen."""
        return sum(not self._pairs[pair] and pair not in planned for pair in self._pairs_of(point))

    def plan(self, point: Point, planned: set[Pair]) -> None:
        """Add the pairs of a point that is on its way."""
        planned.update(self._pairs_of(point))

    def missing(self) -> list[Pair]:
        """Pairs not seen yet, in order."""
        return sorted(pair for pair in self._wanted if not self._pairs[pair])

    @property
    def share(self) -> float:
        """Pairs seen, 0 to 1; of a single dimension, bins seen."""
        if not self._wanted:
            (bins,) = self.dimensions.values()
            return sum(bool(self._bins[0][name]) for name in bins) / len(bins)
        return 1 - len(self.missing()) / len(self._wanted)

    def describe(self, pair: Pair) -> str:
        names = list(self.dimensions)
        return f"{names[pair.first]}={pair.first_bin} with {names[pair.second]}={pair.second_bin}"

    def check(self) -> None:
        """The goal: something was sampled, and every pair of bins was seen.

        Raises
        ------
        CoverageError
            It is not reached; the message names what is missing.
        """
        if not self.samples:
            raise CoverageError(f"{self.name}: nothing was sampled")
        if self.share < 1:
            missing = self.missing()
            names = "; ".join(map(self.describe, missing[:8]))
            raise CoverageError(
                f"{self.name}: {self.share:.1%} of the pairs seen, {len(missing)} missing: {names}"
            )

    def matrix(self) -> tuple[list[str], list[list[int | None]]]:
        """Labels of all bins and how often each two were seen together; None within a dimension.

        The diagonal is how often the bin itself was seen.
        """
        places = [(i, b) for i, bins in enumerate(self.dimensions.values()) for b in bins]
        names = list(self.dimensions)
        rows: list[list[int | None]] = []
        for i, a in places:
            row: list[int | None] = []
            for j, b in places:
                if (i, a) == (j, b):
                    row.append(self._bins[i][a])
                elif i == j:
                    row.append(None)
                else:
                    pair = Pair(i, a, j, b) if i < j else Pair(j, b, i, a)
                    row.append(self._pairs[pair])
            rows.append(row)
        return [f"{names[i]}: {b}" for i, b in places], rows

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        labels, matrix = self.matrix()
        return {
            "name": self.name,
            "samples": self.samples,
            "pairs": len(self._wanted),
            "share": self.share,
            "dimensions": {key: list(bins) for key, bins in self.dimensions.items()},
            "missing": [self.describe(pair) for pair in self.missing()],
            "labels": labels,
            "matrix": matrix,
        }


class Coverage:
    """The groups of a run; it outlives the environments that sample into it.

    Parameters
    ----------
    groups : in the order of the report
    """

    def __init__(self, *groups: Group):
        self._groups = {group.name: group for group in groups}

    def __getitem__(self, name: str) -> Group:
        return self._groups[name]

    @property
    def complete(self) -> bool:
        """Every group has reached its goal."""
        return all(group.share == 1 for group in self._groups.values())

    def check(self) -> None:
        """Every group's goal; see :meth:`Group.check`."""
        for group in self._groups.values():
            group.check()

    def to_dict(self) -> dict[str, Any]:
        """For JSON: groups by name."""
        return {name: group.to_dict() for name, group in self._groups.items()}
