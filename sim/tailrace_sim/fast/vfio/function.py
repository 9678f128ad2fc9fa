"""A PCIe function in the hands of a client: configuration space, BARs, resets.

What a host of our own does not need is here: the client's values of the BARs, which are kept apart
from the bus addresses that the function really has, as Linux' vfio-pci does it; and access to the
device's MSI-X table whether the client lets the function decode memory or not.
"""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from cocotb.triggers import ClockCycles, Lock
from cocotbext.pcie.core.tlp import CplStatus

from tailrace_hw.pcie.identity import MSIX_BAR, MSIX_TABLE_OFFSET
from tailrace_sim.bfm.pcie_host import MmioError
from tailrace_sim.fast.pcie_host import FastPcieHost
from tailrace_sim.fast.vfio.vectors import Vectors

__all__ = ["CONFIG_SIZE", "INTERRUPT_BASE", "PluggedFunction"]

CONFIG_SIZE = 4096
#: Where interrupts of a plugged function go: above what any processor's addresses reach.
INTERRUPT_BASE = 0x8000_0000_FEE0_0000
_ENTRY = 16
_FIRST_BAR, _BARS, _ROM = 0x10 // 4, 6, 0x30 // 4
_DEVICE_CONTROL = 2  # dwords into the PCI Express capability
_INITIATE_FLR = 1 << 15
#: Cycles from the start of a reset until no request of the function gets through any more.
_MASTER_GOES = 4


class PluggedFunction:
    """One function.

    Attributes
    ----------
    number : of the function
    identity : as built
    space : ``tr_space`` of the core: counters of DMA
    vectors : its interrupts
    reads, writes : accesses to BARs and configuration space
    unsupported : accesses to BARs that were answered with Unsupported Request, or dropped as such
    unanswered : reads of BARs without an answer in time
    table_writes : writes to the MSI-X table, which is ours: dropped
    resets : of the function

    Parameters
    ----------
    host : what the device is in, enumerated
    number : of the function
    config_lock : one configuration access at a time, for all functions of the device
    """

    def __init__(self, host: FastPcieHost, number: int, config_lock: Lock):
        self._host = host
        self._lock = config_lock
        self.number = number
        self._model: Any = host.device.functions[number]
        self.identity = host.device.identities[number]
        self._addresses = dict(host.functions[number].bars)
        self._capability: int = self._model.pcie_cap.offset
        self._shadow = self._empty_bars()
        self._kernel = host.kernel
        self.space = host.give_space(number, INTERRUPT_BASE, self._fired)
        self.vectors = Vectors(self.identity.vectors, self._program)
        self._unprogrammed: list[tuple[int, bool]] = []
        self.reads = self.writes = self.resets = 0
        self.unsupported = self.unanswered = self.table_writes = 0

    def _fired(self, address: int, data: int) -> None:
        self.vectors.fire(data)

    # Sizes

    def bar_size(self, bar: int) -> int:
        """Bytes of a BAR, 0 if there is none."""
        return self.identity.bar_sizes.get(bar, 0)

    # Configuration space

    def _empty_bars(self) -> dict[int, int]:
        """BARs as a reset leaves them: their kind, without an address."""
        bars = {_FIRST_BAR + index: 0 for index in range(_BARS)}
        for bar in self.identity.bar_sizes:
            bars[_FIRST_BAR + bar] = self._model.bar[bar] & 0xF
        return bars | {_ROM: 0}

    def _bar_mask(self, register: int) -> int:
        """Bits of a BAR's dword that can be written."""
        index = register - _FIRST_BAR
        if register == _ROM:
            return 0
        return int(self._model.bar_mask[index])

    async def config_read(self, offset: int, size: int) -> bytes:
        """Bytes of configuration space, 4 KiB with the extended part."""
        self.reads += 1
        first, last = offset // 4, (offset + size - 1) // 4
        data = b""
        for register in range(first, last + 1):
            if register in self._shadow:
                value = self._shadow[register]
            else:
                async with self._lock:
                    value = await self._model.read_config_register(register)
            data += (value & 0xFFFFFFFF).to_bytes(4, "little")
        return data[offset % 4 : offset % 4 + size]

    async def config_write(self, offset: int, data: bytes) -> None:
        """Write configuration space; behind it a reset that this started is over."""
        self.writes += 1
        while data:
            skip = offset % 4
            part, data = data[: 4 - skip], data[4 - skip :]
            value = int.from_bytes(part, "little") << 8 * skip
            await self._write_register(offset // 4, value, (1 << len(part)) - 1 << skip)
            offset += len(part)

    async def _write_register(self, register: int, value: int, enables: int) -> None:
        if register in self._shadow:
            bits = sum(0xFF << 8 * byte for byte in range(4) if enables >> byte & 1)
            bits &= self._bar_mask(register)
            self._shadow[register] = self._shadow[register] & ~bits | value & bits
            return
        flr = (
            register == self._capability + _DEVICE_CONTROL
            and enables & 2 != 0
            and value & _INITIATE_FLR != 0
        )
        async with self._lock:
            await self._model.write_config_register(register, value, enables)
            self._keep_extended_tags()
        if flr:
            await self._finish_reset()

    async def enable(self) -> None:
        """The function decodes memory, for a host of our own."""
        async with self._lock:
            self._model.memory_space_enable = True

    def _keep_extended_tags(self) -> None:
        """The device cannot take tags back once it had leave to use them, see
        :class:`~tailrace_hw.pcie.functions.ExtendedTags`: a host must not withdraw it."""
        if not self._model.pcie_cap.extended_tag_field_enable:
            self._model.pcie_cap.extended_tag_field_enable = True
            self._host.device.status_changed.set()

    # Resets

    async def reset(self) -> None:
        """Function level reset."""
        async with self._lock:
            await self._model.pcie_cap.initiate_function_level_reset()
        await self._finish_reset()

    async def _finish_reset(self) -> None:
        """A function level reset has begun: its end, and what only we know."""
        self.resets += 1
        # Until Bus Master has gone, requests still come; the reset waits for the end of each read.
        await ClockCycles(self._host.clock, _MASTER_GOES)
        self._host.end_space(self.number)
        await self._host.device.wait_flr(self.number)
        self._keep_extended_tags()
        self._shadow = self._empty_bars()
        for bar, address in self._addresses.items():
            self._model.bar[bar] = address & 0xFFFFFFFF | self._model.bar[bar] & 0xF
            self._model.bar[bar + 1] = address >> 32
        self.vectors.program()
        await self.flush()

    # BARs

    async def bar_read(self, bar: int, offset: int, size: int) -> bytes:
        """Bytes of a BAR; all ones where the device does not answer them."""
        self.reads += 1
        try:
            return await self._host.read(self._addresses[bar] + offset, size)
        except MmioError as error:
            if error.status is None:
                self.unanswered += 1
            else:
                self.unsupported += error.status == CplStatus.UR
            return b"\xff" * size

    async def bar_write(self, bar: int, offset: int, data: bytes) -> None:
        """Posted write to a BAR."""
        self.writes += 1
        if not self._model.memory_space_enable:
            self.unsupported += 1
            return
        table = MSIX_TABLE_OFFSET, MSIX_TABLE_OFFSET + _ENTRY * self.identity.vectors
        if bar == MSIX_BAR and offset < table[1] and table[0] < offset + len(data):
            self.table_writes += 1
            return
        await self._host.write(self._addresses[bar] + offset, data)

    # The device's MSI-X table

    def _program(self, vector: int, masked: bool) -> None:
        self._unprogrammed.append((vector, masked))

    @contextlib.asynccontextmanager
    async def _decoding(self) -> AsyncIterator[None]:
        """The function decodes memory, whatever the client says."""
        if self._model.memory_space_enable:
            yield
            return
        self._model.memory_space_enable = True
        try:
            yield
        finally:
            self._model.memory_space_enable = False

    async def flush(self) -> None:
        """The device's table is as :attr:`vectors` wants it."""
        if not self._unprogrammed:
            return
        waiting, self._unprogrammed = self._unprogrammed, []
        table = self._addresses[MSIX_BAR] + MSIX_TABLE_OFFSET
        async with self._decoding():
            for vector, masked in waiting:
                entry = self.vectors.table_entry(vector, masked, INTERRUPT_BASE)
                await self._host.write(table + _ENTRY * vector, entry)
            with contextlib.suppress(MmioError):
                # Behind the writes.
                await self._host.read(table, 4)
