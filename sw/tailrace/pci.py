"""PCI: finding functions, their BARs and capabilities, MSI-X and function level reset.

Section numbers are those of the PCI Express Base Specification 5.0.
"""

from dataclasses import dataclass

from tailrace.errors import PciError
from tailrace.host import FunctionAddress, Host, Interrupt, poll

__all__ = ["Bar", "Capability", "Msix", "PciFunction", "scan"]

# Configuration space header (7.5.1)
_VENDOR_ID = 0x00
_COMMAND = 0x04
_STATUS = 0x06
_REVISION = 0x08
_HEADER_TYPE = 0x0E
_BAR0 = 0x10
_CAPABILITIES = 0x34
_COMMAND_MEMORY = 1 << 1
_COMMAND_BUS_MASTER = 1 << 2
_COMMAND_INTX_DISABLE = 1 << 10
_STATUS_CAPABILITIES = 1 << 4

# Capability IDs (PCI Code and ID Assignment)
CAP_VENDOR = 0x09
CAP_PCIE = 0x10
CAP_MSIX = 0x11

# PCI Express capability (7.5.3)
_DEVICE_CAPABILITIES = 0x04
_DEVICE_CONTROL = 0x08
_DEVICE_STATUS = 0x0A
_FLR_CAPABLE = 1 << 28
_INITIATE_FLR = 1 << 15
_TRANSACTIONS_PENDING = 1 << 5

# MSI-X capability (7.7.2)
_MSIX_CONTROL = 0x02
_MSIX_TABLE = 0x04
_MSIX_PBA = 0x08
_MSIX_ENABLE = 1 << 15
_MSIX_FUNCTION_MASK = 1 << 14
_MSIX_ENTRY = 16


@dataclass(frozen=True)
class Bar:
    """A memory BAR as it is assigned (7.5.1.2.1)."""

    index: int
    address: int
    size: int
    bits: int

    def at(self, offset: int, length: int = 1) -> int:
        """Address of ``length`` bytes at ``offset``, which must lie inside."""
        if offset < 0 or offset + length > self.size:
            raise PciError(
                f"offset 0x{offset:x}+{length} is outside BAR{self.index} (0x{self.size:x} bytes)"
            )
        return self.address + offset


@dataclass(frozen=True)
class Capability:
    """One entry of the capability list (7.5.1.1.11)."""

    id: int
    offset: int


class PciFunction:
    """One PCI function as the driver knows it after :meth:`read`.

    Attributes
    ----------
    host, address : where it is
    vendor_id, device_id, revision, class_code : its identity
    bars : memory BARs by number; the upper half of a 64-bit BAR has no number of its own
    capabilities : the capability list in its order
    msix : None when the function has no MSI-X capability
    """

    def __init__(self, host: Host, address: FunctionAddress):
        self.host = host
        self.address = address
        self.vendor_id = self.device_id = self.revision = self.class_code = 0
        self.bars: dict[int, Bar] = {}
        self.capabilities: list[Capability] = []
        self.msix: Msix | None = None

    def __str__(self) -> str:
        return f"{self.address} [{self.vendor_id:04x}:{self.device_id:04x}]"

    async def config_read(self, offset: int, size: int = 4) -> int:
        return await self.host.config_read(self.address, offset, size)

    async def config_write(self, offset: int, value: int, size: int = 4) -> None:
        await self.host.config_write(self.address, offset, value, size)

    async def read(self) -> None:
        """Read identity, BARs and capabilities. The function does not decode memory meanwhile."""
        identity = await self.config_read(_VENDOR_ID)
        self.vendor_id, self.device_id = identity & 0xFFFF, identity >> 16
        if self.vendor_id == 0xFFFF:
            raise PciError(f"no function answers at {self.address}")
        revision = await self.config_read(_REVISION)
        self.revision, self.class_code = revision & 0xFF, revision >> 8
        self.bars = await self._size_bars()
        self.capabilities = await self._walk_capabilities()
        self.msix = await self._find_msix()

    async def _size_bars(self) -> dict[int, Bar]:
        """Size each BAR by writing ones and put back what was assigned (7.5.1.2.1)."""
        command = await self.config_read(_COMMAND, 2)
        await self.config_write(_COMMAND, command & ~_COMMAND_MEMORY, 2)
        bars: dict[int, Bar] = {}
        index = 0
        while index < 6:
            wide = await self._size_bar(index, bars)
            index += 2 if wide else 1
        await self.config_write(_COMMAND, command, 2)
        return bars

    async def _size_bar(self, index: int, bars: dict[int, Bar]) -> bool:
        """Add BAR ``index`` if it is one; whether it is 64 bits wide."""
        offset = _BAR0 + 4 * index
        assigned = await self.config_read(offset)
        if assigned & 1:
            return False  # I/O space: nothing of ours is there
        wide = assigned >> 1 & 3 == 2
        if wide and index == 5:
            raise PciError(f"BAR5 of {self} claims to be 64 bits wide")
        words = [offset, offset + 4] if wide else [offset]
        old = [await self.config_read(word) for word in words]
        for word in words:
            await self.config_write(word, 0xFFFF_FFFF)
        mask = [await self.config_read(word) for word in words]
        for word, value in zip(words, old, strict=True):
            await self.config_write(word, value)
        bits = 32 * len(words)
        size_mask = sum(m << 32 * i for i, m in enumerate(mask)) & ~0xF
        if mask[0] & ~0xF == 0 and not any(mask[1:]):
            return False  # not implemented
        size = (1 << bits) - size_mask
        if size & (size - 1):
            raise PciError(f"BAR{index} of {self} has 0x{size:x} bytes, not a power of two")
        address = sum(w << 32 * i for i, w in enumerate(old)) & ~0xF
        bars[index] = Bar(index, address, size, bits)
        return wide

    async def _walk_capabilities(self) -> list[Capability]:
        """Follow the list from the Capabilities Pointer (7.5.1.1.11), trusting nothing in it."""
        if not await self.config_read(_STATUS, 2) & _STATUS_CAPABILITIES:
            return []
        found: list[Capability] = []
        seen: set[int] = set()
        offset = await self.config_read(_CAPABILITIES, 1) & 0xFC
        while offset:
            if offset < 0x40:
                raise PciError(f"capability list of {self} points into the header (0x{offset:02x})")
            if offset in seen:
                raise PciError(f"capability list of {self} is a loop (0x{offset:02x} comes twice)")
            seen.add(offset)
            header = await self.config_read(offset, 2)
            if header == 0xFFFF:
                raise PciError(f"capability list of {self} points at nothing (0x{offset:02x})")
            found.append(Capability(header & 0xFF, offset))
            offset = header >> 8 & 0xFC
        return found

    def capability(self, id: int) -> Capability | None:
        return next((cap for cap in self.capabilities if cap.id == id), None)

    async def _find_msix(self) -> "Msix | None":
        cap = self.capability(CAP_MSIX)
        if cap is None:
            return None
        control = await self.config_read(cap.offset + _MSIX_CONTROL, 2)
        vectors = (control & 0x7FF) + 1
        table = await self._msix_place(cap.offset + _MSIX_TABLE, vectors * _MSIX_ENTRY, "table")
        pba = await self._msix_place(cap.offset + _MSIX_PBA, (vectors + 63) // 64 * 8, "PBA")
        return Msix(self, cap.offset, vectors, table, pba)

    async def _msix_place(self, offset: int, length: int, what: str) -> int:
        """Address of the MSI-X table or PBA from its offset and BIR (7.7.2.3, 7.7.2.4)."""
        place = await self.config_read(offset)
        bar = self.bars.get(place & 7)
        if bar is None:
            raise PciError(f"MSI-X {what} of {self} is in BAR{place & 7}, which does not exist")
        try:
            return bar.at(place & ~7, length)
        except PciError as error:
            raise PciError(f"MSI-X {what} of {self}: {error}") from None

    async def enable(self, *, memory: bool = True, bus_master: bool = True) -> None:
        """Set Memory Space Enable and Bus Master Enable, disable INTx (7.5.1.1.3)."""
        for bar in self.bars.values():
            if memory and bar.address == 0:
                raise PciError(f"BAR{bar.index} of {self} was not assigned an address")
        command = await self.config_read(_COMMAND, 2)
        command &= ~(_COMMAND_MEMORY | _COMMAND_BUS_MASTER)
        command |= _COMMAND_INTX_DISABLE
        command |= _COMMAND_MEMORY if memory else 0
        command |= _COMMAND_BUS_MASTER if bus_master else 0
        await self.config_write(_COMMAND, command, 2)

    async def flr(self, *, settle: int = 25_000, drain: int = 100_000) -> None:
        """Function level reset (6.6.2); BARs, Command and MSI-X control are put back.

        Parameters
        ----------
        settle : cycles until the function may be touched again (100 ms on real hardware)
        drain : cycles to wait for outstanding reads before the reset
        """
        cap = self.capability(CAP_PCIE)
        if cap is None or not await self.config_read(cap.offset + _DEVICE_CAPABILITIES) & (
            _FLR_CAPABLE
        ):
            raise PciError(f"{self} has no function level reset")
        command = await self.config_read(_COMMAND, 2)
        bars = [await self.config_read(_BAR0 + 4 * i) for i in range(6)]
        # No new request after this; the ones on their way have until the drain time.
        await self.config_write(_COMMAND, _COMMAND_INTX_DISABLE, 2)

        async def drained() -> bool:
            return not await self.config_read(cap.offset + _DEVICE_STATUS, 2) & (
                _TRANSACTIONS_PENDING
            )

        await poll(self.host, f"end of the reads of {self}", drained, timeout=drain)
        control = await self.config_read(cap.offset + _DEVICE_CONTROL, 2)
        await self.config_write(cap.offset + _DEVICE_CONTROL, control | _INITIATE_FLR, 2)
        await self.host.delay(settle)
        for i, value in enumerate(bars):
            await self.config_write(_BAR0 + 4 * i, value)
        await self.config_write(cap.offset + _DEVICE_CONTROL, control & ~_INITIATE_FLR, 2)
        await self.config_write(_COMMAND, command, 2)


class Msix:
    """The MSI-X table of a function (7.7.2).

    Attributes
    ----------
    vectors : entries in the table
    table, pba : their addresses
    """

    def __init__(self, function: PciFunction, offset: int, vectors: int, table: int, pba: int):
        self.function = function
        self.vectors = vectors
        self.table = table
        self.pba = pba
        self._control = offset + _MSIX_CONTROL

    async def setup(self, vectors: list[int]) -> dict[int, Interrupt]:
        """Enable MSI-X with these vectors open and all others masked.

        The table is written while the function mask holds messages back (7.7.2.2), so that no
        half-written entry is ever used.
        """
        host, address = self.function.host, self.function.address
        await self._write_control(_MSIX_ENABLE | _MSIX_FUNCTION_MASK)
        for vector in range(self.vectors):
            if vector not in vectors:
                await self.mask(vector)
        interrupts = {}
        for vector in vectors:
            self._check(vector)
            interrupt = host.interrupt(address, vector)
            entry = self.table + vector * _MSIX_ENTRY
            await host.mmio_write(entry, interrupt.address & 0xFFFF_FFFF, 4)
            await host.mmio_write(entry + 4, interrupt.address >> 32, 4)
            await host.mmio_write(entry + 8, interrupt.data, 4)
            await self.unmask(vector)
            interrupts[vector] = interrupt
        await self._write_control(_MSIX_ENABLE)
        return interrupts

    async def disable(self) -> None:
        await self._write_control(0)

    async def mask(self, vector: int) -> None:
        """Set the mask bit of Vector Control (7.7.2.9)."""
        self._check(vector)
        await self.function.host.mmio_write(self.table + vector * _MSIX_ENTRY + 12, 1, 4)

    async def unmask(self, vector: int) -> None:
        self._check(vector)
        await self.function.host.mmio_write(self.table + vector * _MSIX_ENTRY + 12, 0, 4)

    async def pending(self, vector: int) -> bool:
        """Whether a masked vector has a message waiting (7.7.2.10)."""
        self._check(vector)
        word = await self.function.host.mmio_read(self.pba + vector // 32 * 4, 4)
        return bool(word >> vector % 32 & 1)

    def _check(self, vector: int) -> None:
        if not 0 <= vector < self.vectors:
            raise PciError(
                f"MSI-X vector {vector} does not exist: {self.function} has {self.vectors}"
            )

    async def _write_control(self, value: int) -> None:
        await self.function.config_write(self._control, value, 2)


async def scan(host: Host) -> list[PciFunction]:
    """Find and read every function of the host (7.3.1).

    Function 0 must exist for the others to be looked for; they are looked for when its header
    says multi-function (7.5.1.1.9).
    """
    found = []
    for bus, device in host.slots():
        first = FunctionAddress(bus, device, 0)
        if await host.config_read(first, _VENDOR_ID, 2) == 0xFFFF:
            continue
        multi = await host.config_read(first, _HEADER_TYPE, 1) & 0x80
        for number in range(8 if multi else 1):
            address = FunctionAddress(bus, device, number)
            if await host.config_read(address, _VENDOR_ID, 2) != 0xFFFF:
                function = PciFunction(host, address)
                await function.read()
                found.append(function)
    return found
