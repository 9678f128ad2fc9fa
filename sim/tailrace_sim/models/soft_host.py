"""A host in pure Python: the driver runs against soft devices in milliseconds.

:class:`SoftHost` implements :class:`tailrace.host.Host` with its own clock and scheduler. Tasks
are coroutines; whenever one waits, the devices take a step and another task may go on, in an
order that the seed decides.
"""

import random
from collections.abc import Coroutine, Generator
from typing import Any, Protocol

import numpy as np

from tailrace.host import FunctionAddress, Host, Interrupt
from tailrace_sim.models.pci import SoftFunction

__all__ = ["SoftDeadlock", "SoftHost", "SoftInterrupt"]

#: Where the interrupt messages go: outside the memory, as on a PC.
_MESSAGE_BASE = 0xFEE0_0000
_TICK = 8


class SoftDeadlock(RuntimeError):
    """Every task waits for something that nobody will do."""


class _Steps(Protocol):
    def step(self) -> bool: ...


class _Wait:
    """What a task waits for: a time, or an interrupt, whichever comes first."""

    def __init__(self, deadline: int | None, interrupt: "SoftInterrupt | None" = None):
        self.deadline = deadline
        self.interrupt = interrupt

    def __await__(self) -> Generator["_Wait", None, None]:
        yield self

    def over(self, now: int) -> bool:
        if self.interrupt is not None and self.interrupt.is_set():
            return True
        return self.deadline is not None and now >= self.deadline


class SoftInterrupt(Interrupt):
    """See :class:`tailrace.host.Interrupt`."""

    def __init__(self, host: "SoftHost", address: int, data: int):
        self.address, self.data, self.count = address, data, 0
        self._host = host
        self._set = False

    def fire(self) -> None:
        self.count += 1
        self._set = True

    async def wait(self, timeout: int | None = None) -> bool:
        deadline = None if timeout is None else self._host.cycles() + timeout
        await _Wait(deadline, self)
        return self._set

    def is_set(self) -> bool:
        return self._set

    def clear(self) -> None:
        self._set = False


class SoftHost(Host):
    """Root complex, memory and scheduler.

    Parameters
    ----------
    functions : soft functions by function number, all at bus 1 device 0
    size : bytes of memory
    seed : of the order in which tasks and devices go on
    latency : cycles that a non-posted access takes

    Attributes
    ----------
    unclaimed : accesses that no function answered
    """

    def __init__(
        self,
        functions: dict[int, SoftFunction],
        *,
        size: int = 1 << 22,
        base: int = 0x1_0000_0000,
        seed: int = 0,
        latency: int = 100,
    ):
        super().__init__(np.zeros(size, np.uint8), base)
        self.functions = {FunctionAddress(1, 0, n): f for n, f in functions.items()}
        self.unclaimed = 0
        self._latency = latency
        self._now = 0
        self._random = random.Random(seed)
        self._interrupts: dict[tuple[FunctionAddress, int], SoftInterrupt] = {}
        self._messages: dict[tuple[int, int], SoftInterrupt] = {}
        self._devices: list[_Steps] = []
        address = 0x8000_0000
        for function in self.functions.values():
            address = function.assign(address)
            function.attach(self)

    def add_device(self, device: _Steps) -> None:
        """``device.step`` is called as time goes by; it says whether it did something."""
        self._devices.append(device)

    # Host ----------------------------------------------------------------------------------------

    def slots(self) -> list[tuple[int, int]]:
        return [(0, 0), (1, 0)]

    async def config_read(self, function: FunctionAddress, offset: int, size: int) -> int:
        await _Wait(self._now + self._latency)
        found = self.functions.get(function)
        return (1 << 8 * size) - 1 if found is None else found.config_read(offset, size)

    async def config_write(
        self, function: FunctionAddress, offset: int, value: int, size: int
    ) -> None:
        await _Wait(self._now + self._latency)
        found = self.functions.get(function)
        if found is not None:
            found.config_write(offset, value, size)

    def _decode(self, address: int) -> tuple[SoftFunction, int, int] | None:
        for function in self.functions.values():
            hit = function.decode(address)
            if hit is not None:
                return (function, *hit)
        self.unclaimed += 1
        return None

    async def mmio_read(self, address: int, size: int) -> int:
        await _Wait(self._now + self._latency)
        hit = self._decode(address)
        if hit is None:
            return (1 << 8 * size) - 1
        function, bar, offset = hit
        return function.bar_read(bar, offset, size)

    async def mmio_write(self, address: int, value: int, size: int) -> None:
        hit = self._decode(address)
        if hit is not None:
            function, bar, offset = hit
            function.bar_write(bar, offset, value, size)
        await _Wait(self._now)

    def interrupt(self, function: FunctionAddress, vector: int) -> SoftInterrupt:
        key = (function, vector)
        if key not in self._interrupts:
            data = len(self._interrupts)
            interrupt = SoftInterrupt(self, _MESSAGE_BASE, data)
            self._interrupts[key] = self._messages[_MESSAGE_BASE, data] = interrupt
        return self._interrupts[key]

    async def delay(self, cycles: int) -> None:
        await _Wait(self._now + cycles)

    def cycles(self) -> int:
        return self._now

    # For the devices -----------------------------------------------------------------------------

    def dma(self, address: int, length: int) -> memoryview | None:
        """The memory that a device reads or writes; None where there is none."""
        start = address - self.memory_base
        if start < 0 or start + length > len(self.memory):
            return None
        return self.memory[start : start + length].data

    def message(self, address: int, data: int) -> None:
        """A device's MSI-X write."""
        interrupt = self._messages.get((address, data))
        if interrupt is None:
            self.unclaimed += 1
        else:
            interrupt.fire()

    # Scheduler -----------------------------------------------------------------------------------

    def run(self, *tasks: Coroutine[Any, Any, Any], limit: int = 200_000_000) -> list[Any]:
        """Run the tasks to their ends; their results in order. The first exception is raised."""
        waits: dict[int, _Wait] = {i: _Wait(self._now) for i in range(len(tasks))}
        results: list[Any] = [None] * len(tasks)
        end = self._now + limit
        try:
            while waits:
                ready = [i for i, wait in waits.items() if wait.over(self._now)]
                if ready:
                    self._go_on(tasks, self._random.choice(ready), waits, results)
                busy = sum(device.step() for device in self._devices) > 0
                self._now += _TICK
                if not ready and not busy and waits:
                    self._skip(waits)
                if self._now > end:
                    raise SoftDeadlock(f"tasks still run after {limit} cycles")
        finally:
            for task in tasks:
                task.close()
        return results

    @staticmethod
    def _go_on(
        tasks: tuple[Coroutine[Any, Any, Any], ...],
        index: int,
        waits: dict[int, _Wait],
        results: list[Any],
    ) -> None:
        try:
            waits[index] = tasks[index].send(None)
        except StopIteration as stop:
            results[index] = stop.value
            del waits[index]

    def _skip(self, waits: dict[int, _Wait]) -> None:
        """Nobody can go on now: jump to when somebody can."""
        if any(wait.over(self._now) for wait in waits.values()):
            return
        deadlines = [wait.deadline for wait in waits.values() if wait.deadline is not None]
        if not deadlines:
            raise SoftDeadlock(f"{len(waits)} tasks wait for interrupts that will not come")
        self._now = max(self._now, min(deadlines))
