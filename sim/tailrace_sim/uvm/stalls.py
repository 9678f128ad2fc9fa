"""Who makes whom wait: patterns on the wire, and a host whose link and memory are slow."""

from collections.abc import Iterator
from random import Random
from typing import Any

import cocotb
from cocotb.task import Task
from cocotb.triggers import Timer

from tailrace_sim.system import System

__all__ = ["Staller"]


def _coins(rng: Random, share: float) -> Iterator[bool]:
    while True:
        yield rng.random() < share


def _bursts(rng: Random, longest: int) -> Iterator[bool]:
    """Runs of waiting and of going on."""
    while True:
        for waits in (True, False):
            for _ in range(rng.randint(1, longest)):
                yield waits


def _pattern(rng: Random) -> Iterator[bool]:
    if rng.random() < 0.5:
        return _coins(rng, rng.uniform(0.1, 0.7))
    return _bursts(rng, rng.choice([2, 8, 40]))


class Staller:
    """Sets the stall bin that holds from now on.

    Parameters
    ----------
    system : the device in its slot
    rng : of the patterns
    """

    def __init__(self, system: System, rng: Random):
        self._system = system
        self._rng = rng
        self._slow = False
        self._task: Task[None] | None = None

    async def set(self, stall: str) -> None:
        """One of ``STALLS``."""
        port, rng = self._system.port, self._rng
        on_wire = stall in ("wire", "both")
        port.set_gaps(_pattern(rng) if on_wire else None)
        port.set_stalls(_pattern(rng) if on_wire else None)
        await self._set_host(stall in ("host", "both"))

    async def _set_host(self, slow: bool) -> None:
        settings = self._system.pcie.completions.settings
        settings.latency_ns = self._rng.choice([50, 200]) if slow else 0
        settings.jitter_ns = self._rng.choice([0, 100]) if slow else 0
        settings.reorder = self._rng.choice([1, 8]) if slow else 1
        settings.split = self._rng.choice(["max", "rcb", "random"]) if slow else "max"
        self._slow = slow
        if slow and self._task is None:
            self._task = cocotb.start_soon(self._hold())
        elif not slow and self._task is not None:
            await self._task
            self._task = None

    async def _hold(self) -> None:
        """The hard block takes no requests or gives no completions for a while, over and over."""
        device = self._system.pcie.device
        while self._slow:
            agents: list[Any] = [device.rq_sink, device.rc_source]
            stalled = self._rng.choice([agents, agents[:1], agents[1:]])
            for agent in stalled:
                agent.pause = True
            await Timer(4 * self._rng.randint(1, 40), "ns")
            for agent in stalled:
                agent.pause = False
            await Timer(4 * self._rng.randint(1, 40), "ns")
