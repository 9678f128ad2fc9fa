"""Chooses the next point so that the coverage's goal is reached in few frames."""

from collections.abc import Iterable
from random import Random

from tailrace_sim.uvm.coverage import Group, Pair, Point

__all__ = ["Planner"]


class Planner:
    """Greedy: the point that shows most pairs not shown yet, at random among equals.

    Points that were chosen count as shown, so that frames on their way are not sent twice; what
    is covered is still only what comes out and is compared.

    Parameters
    ----------
    group : of coverage
    rng : for ties
    """

    def __init__(self, group: Group, rng: Random):
        self._group = group
        self._rng = rng
        self._planned: set[Pair] = set()

    def choose(self, points: Iterable[Point]) -> Point:
        """The best of the points that are possible now."""
        candidates = list(points)
        gains = [self._group.gain(point, self._planned) for point in candidates]
        best = max(gains)
        point = self._rng.choice([p for p, gain in zip(candidates, gains, strict=True)
                                  if gain == best])  # fmt: skip
        self._group.plan(point, self._planned)
        return point
