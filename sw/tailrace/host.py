"""What a host is to the driver: memory, configuration space, MMIO, interrupts and time.

The driver is written once against :class:`Host`. A backend is one subclass: the soft host of the
unit tests, the PCIe model under cocotb, the fast backend. Everything that takes time on a real
host is ``async``; memory is an array that device and driver both see, and needs no ``await``.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tailrace.errors import HostError, ResponseTimeout

__all__ = [
    "Allocator",
    "Bytes",
    "DmaBuffer",
    "FunctionAddress",
    "Host",
    "Interrupt",
    "Mutex",
    "poll",
]

Bytes = npt.NDArray[np.uint8]


class FunctionAddress(NamedTuple):
    """Bus, device and function number of a PCI function."""

    bus: int
    device: int
    function: int

    def __str__(self) -> str:
        return f"{self.bus:02x}:{self.device:02x}.{self.function}"


@dataclass(frozen=True, eq=False)
class DmaBuffer:
    """A piece of host memory that the device can reach.

    Attributes
    ----------
    address : where the device finds it
    view : the same bytes as a numpy array
    mem : the same bytes as a memoryview, for :mod:`struct` and slices
    """

    address: int
    view: Bytes
    mem: memoryview = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "mem", self.view.data)

    @property
    def size(self) -> int:
        return len(self.view)


class Interrupt(ABC):
    """One MSI-X message as the host receives it.

    Attributes
    ----------
    address, data : what the driver writes into the MSI-X table entry (PCIe 5.0, 7.7.2.6)
    count : messages received so far

    A message sets the event, until :meth:`clear`. To miss none: clear, look at the ring, wait.
    """

    address: int
    data: int
    count: int

    @abstractmethod
    async def wait(self, timeout: int | None = None) -> bool:
        """Wait until the event is set; False when ``timeout`` cycles passed without it."""

    @abstractmethod
    def is_set(self) -> bool: ...

    @abstractmethod
    def clear(self) -> None: ...


class Allocator:
    """First-fit allocator of DMA memory; freed neighbours grow together again.

    Parameters
    ----------
    memory : the array
    base : device address of its first byte
    """

    def __init__(self, memory: Bytes, base: int):
        self._memory = memory
        self._base = base
        self._free: list[tuple[int, int]] = [(0, len(memory))]  # (start, end), ascending
        self._used: dict[int, int] = {}

    def alloc(self, size: int, align: int = 64) -> DmaBuffer:
        """``size`` bytes, zeroed, at a device address that is a multiple of ``align``."""
        if size <= 0 or align <= 0 or align & (align - 1):
            raise HostError(f"cannot allocate {size} bytes aligned to {align}")
        for i, (start, end) in enumerate(self._free):
            begin = (start + self._base + align - 1 & -align) - self._base
            if begin + size > end:
                continue
            rest = [(start, begin), (begin + size, end)]
            self._free[i : i + 1] = [piece for piece in rest if piece[0] < piece[1]]
            self._used[begin] = size
            view = self._memory[begin : begin + size]
            view[:] = 0
            return DmaBuffer(self._base + begin, view)
        raise HostError(
            f"host memory has no room for {size} bytes ({len(self._memory)} bytes in all)"
        )

    def free(self, buffer: DmaBuffer) -> None:
        start = buffer.address - self._base
        size = self._used.pop(start, None)
        if size is None:
            raise HostError(f"buffer at 0x{buffer.address:x} was not allocated, or is free already")
        merged: list[tuple[int, int]] = []
        for piece in sorted([*self._free, (start, start + size)]):
            if merged and merged[-1][1] == piece[0]:
                merged[-1] = (merged[-1][0], piece[1])
            else:
                merged.append(piece)
        self._free = merged

    @property
    def in_use(self) -> int:
        """Bytes allocated and not freed."""
        return sum(self._used.values())


class Host(ABC):
    """What the driver asks of a host.

    Attributes
    ----------
    memory : DMA-able memory, shared with the device
    memory_base : device address of ``memory[0]``
    """

    memory: Bytes
    memory_base: int

    def __init__(self, memory: Bytes, memory_base: int):
        self.memory = memory
        self.memory_base = memory_base
        self._allocator = Allocator(memory, memory_base)

    def alloc(self, size: int, align: int = 64) -> DmaBuffer:
        """DMA memory, zeroed; see :meth:`Allocator.alloc`."""
        return self._allocator.alloc(size, align)

    def free(self, buffer: DmaBuffer) -> None:
        self._allocator.free(buffer)

    @property
    def memory_in_use(self) -> int:
        return self._allocator.in_use

    @abstractmethod
    def slots(self) -> list[tuple[int, int]]:
        """(bus, device) of every place where a device may be found, in bus order."""

    @abstractmethod
    async def config_read(self, function: FunctionAddress, offset: int, size: int) -> int:
        """Configuration read of 1, 2 or 4 bytes; all ones when no such function answers."""

    @abstractmethod
    async def config_write(
        self, function: FunctionAddress, offset: int, value: int, size: int
    ) -> None:
        """Configuration write of 1, 2 or 4 bytes; done when the completion has arrived."""

    @abstractmethod
    async def mmio_read(self, address: int, size: int) -> int:
        """Memory read of 1, 2, 4 or 8 bytes; all ones when nobody answers."""

    @abstractmethod
    async def mmio_write(self, address: int, value: int, size: int) -> None:
        """Memory write of 1, 2, 4 or 8 bytes: posted, may return before it arrives."""

    @abstractmethod
    def interrupt(self, function: FunctionAddress, vector: int) -> Interrupt:
        """The message that this vector of this function sends; the same object every time."""

    @abstractmethod
    async def delay(self, cycles: int) -> None:
        """Wait this many cycles of the core clock."""

    @abstractmethod
    def cycles(self) -> int:
        """Core clock cycles since the beginning."""


async def poll(
    host: Host,
    what: str,
    done: Callable[[], Awaitable[bool]],
    *,
    timeout: int,
    interval: int = 16,
) -> None:
    """Ask ``done`` again and again, ``interval`` cycles apart.

    Raises
    ------
    ResponseTimeout
        It was not so after ``timeout`` cycles; the message says ``what`` was waited for.
    """
    start = host.cycles()
    while not await done():
        if host.cycles() - start > timeout:
            raise ResponseTimeout(f"{what} did not happen within {timeout} cycles")
        await host.delay(interval)


class Mutex:
    """Lets one task at a time through ``async with``; the others look again every few cycles.

    Built on :meth:`Host.delay` alone, so that the driver needs no scheduler of its own.
    """

    def __init__(self, host: Host, interval: int = 16):
        self._host = host
        self._interval = interval
        self._taken = False

    async def __aenter__(self) -> None:
        while self._taken:
            await self._host.delay(self._interval)
        self._taken = True

    async def __aexit__(self, *_: object) -> None:
        self._taken = False
