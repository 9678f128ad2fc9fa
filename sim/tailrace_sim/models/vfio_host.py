"""A host for our driver at the other end of a vfio-user socket: BARs, memory, MSI-X, as QEMU."""

import mmap
import os
import time

import numpy as np

from tailrace.host import DmaBuffer, FunctionAddress, Host, Interrupt
from tailrace_sim.models.vfio_client import (
    CONFIG,
    EVENTFD,
    MSIX,
    NONE,
    PATIENCE,
    TRIGGER,
    VfioClient,
)

#: Where the guest's BARs go, and how many bus addresses each may take.
BAR_BASE, BAR_STRIDE = 0xC000_0000, 0x10_0000
BARS = (0, 2)
TABLE_BAR, TABLE_ENTRY = 2, 16
#: Cycles of the driver's time-outs in a second: generous, as simulated time is slow.
_CYCLES = 20_000
#: Of those, until the driver gives a frame up.
LONG = PATIENCE * _CYCLES


class VfioInterrupt(Interrupt):
    """A vector's eventfd."""

    def __init__(self, client: VfioClient, vector: int):
        self.client = client
        self.address, self.data = 0xFEE0_0000, vector
        self.count = 0
        self.fd = os.eventfd(0, os.EFD_NONBLOCK)
        self._set = False

    def _look(self) -> None:
        try:
            self.count += os.eventfd_read(self.fd)
            self._set = True
        except BlockingIOError:
            pass

    async def wait(self, timeout: int | None = None) -> bool:
        self._look()
        if not self._set:
            if timeout is None:
                self.client.expect(self.fd, f"an interrupt of vector {self.data}")
            else:
                self.client.serve(max(timeout / _CYCLES, 0.05), self.fd)
            self._look()
        return self._set

    def is_set(self) -> bool:
        self._look()
        return self._set

    def clear(self) -> None:
        self._look()
        self._set = False


class VfioHost(Host):
    """Guest memory in a memfd, mapped for the device or given to it by messages.

    Parameters
    ----------
    clients : by function number
    base : bus address of guest memory
    size : of it
    by_fd : the device maps it; else it has to ask
    """

    def __init__(self, clients: dict[int, VfioClient], *, base=1 << 32, size=8 << 20, by_fd=True):
        self.fd = os.memfd_create("guest")
        os.ftruncate(self.fd, size)
        self.map = mmap.mmap(self.fd, size)
        super().__init__(np.frombuffer(self.map, np.uint8), base)
        self.clients = clients
        self.bars: dict[int, tuple[int, int]] = {}
        self._vectors: dict[tuple[int, int], VfioInterrupt] = {}
        self._open: set[tuple[int, int]] = set()
        for number, client in clients.items():
            if by_fd:
                client.map(base, size, fd=self.fd)
            else:
                client.map(base, size)
                client.guest.append((base, memoryview(self.map)))
            self.assign(number, client)

    def assign(self, number: int, client: VfioClient) -> None:
        """Firmware's work."""
        for bar in BARS:
            place = BAR_BASE + (8 * number + bar) * BAR_STRIDE
            client.write(CONFIG, 0x10 + 4 * bar, place.to_bytes(8, "little"))
            self.bars[place] = number, bar
        self.vectors = client.irq(MSIX)[3]

    def slots(self) -> list[tuple[int, int]]:
        return [(1, 0)]

    async def config_read(self, function: FunctionAddress, offset: int, size: int) -> int:
        return self.clients[function.function].config(offset, size)

    async def config_write(
        self, function: FunctionAddress, offset: int, value: int, size: int
    ) -> None:
        self.clients[function.function].set_config(offset, value, size)

    def _find(self, address: int) -> tuple[int, int, int]:
        base = address // BAR_STRIDE * BAR_STRIDE
        return (*self.bars[base], address - base)

    async def mmio_read(self, address: int, size: int) -> int:
        number, bar, offset = self._find(address)
        return int.from_bytes(self.clients[number].read(bar, offset, size), "little")

    async def mmio_write(self, address: int, value: int, size: int) -> None:
        number, bar, offset = self._find(address)
        if bar == TABLE_BAR and offset < TABLE_ENTRY * self.vectors:
            self._table(number, offset, value)
            return
        self.clients[number].write(bar, offset, value.to_bytes(size, "little"))

    def _table(self, number: int, offset: int, value: int) -> None:
        """The guest's table is ours: opening a vector gives its eventfd to the device."""
        vector, place = divmod(offset, TABLE_ENTRY)
        if place != 12:
            return
        client, key = self.clients[number], (number, vector)
        if value & 1 and key in self._open:
            client.set_irqs(EVENTFD | TRIGGER, vector, 1)
            self._open.discard(key)
        elif not value & 1:
            client.set_irqs(EVENTFD | TRIGGER, vector, 1, fds=[self._vectors[key].fd])
            self._open.add(key)

    def interrupt(self, function: FunctionAddress, vector: int) -> Interrupt:
        key = function.function, vector
        if key not in self._vectors:
            self._vectors[key] = VfioInterrupt(self.clients[function.function], vector)
        return self._vectors[key]

    def disable_interrupts(self, number: int) -> None:
        self.clients[number].set_irqs(NONE | TRIGGER, 0, 0)
        self._open.clear()

    async def delay(self, cycles: int) -> None:
        time.sleep(min(cycles / _CYCLES, 0.05))

    def cycles(self) -> int:
        return int(time.monotonic() * _CYCLES)

    def alloc(self, size: int, align: int = 64) -> DmaBuffer:
        return super().alloc(size, align)

    def close(self) -> None:
        for interrupt in self._vectors.values():
            os.close(interrupt.fd)
        os.close(self.fd)
