"""A PCI function in pure Python: configuration space, BARs, MSI-X (PCIe 5.0, chapter 7)."""

from typing import Protocol

__all__ = ["ModelError", "SoftFunction"]

_MSIX_CAP = 0x60
_PCIE_CAP = 0x70
_PM_CAP = 0x40
#: BAR 2 as Tailrace has it: the table at 0, the PBA behind.
_MSIX_BAR = 2
_PBA = 0x4000


class ModelError(AssertionError):
    """The driver did what no correct driver does."""


class _Root(Protocol):
    """What a function asks of the host."""

    def dma(self, address: int, length: int) -> memoryview | None: ...

    def message(self, address: int, data: int) -> None: ...


class SoftFunction:
    """A type 0 function with two 64-bit BARs: registers in BAR 0, MSI-X in BAR 2.

    Parameters
    ----------
    vendor, device, class_code : identity
    bar0 : bytes of BAR 0
    vectors : MSI-X vectors
    """

    def __init__(self, vendor: int, device: int, class_code: int, *, bar0: int, vectors: int):
        self.bar_sizes = {0: bar0, 2: 0x8000}
        self.vectors = vectors
        self.config = bytearray(256)
        self._writable = bytearray(256)
        self.table = bytearray(16 * vectors)
        self.pending = 0
        self._host: _Root | None = None
        self._put(0x00, vendor, 2)
        self._put(0x02, device, 2)
        self._put(0x06, 1 << 4, 2)  # capabilities list
        self._put(0x08, class_code << 8 | 1, 4)
        self._put(0x0E, 0x80, 1)  # multi-function
        self._put(0x34, _PM_CAP, 1)
        self._put(0x04, 0, 2, mask=0x0406)
        self._last_cap = 0x34
        self._reset_bars()
        self._add_cap(_PM_CAP, bytes([0x01, 0]) + bytes(6))
        self._add_cap(_MSIX_CAP, bytes([0x11, 0]) + (vectors - 1).to_bytes(2, "little"))
        self._put(_MSIX_CAP + 2, vectors - 1, 2, mask=0xC000)
        self._put(_MSIX_CAP + 4, _MSIX_BAR, 4)
        self._put(_MSIX_CAP + 8, _PBA | _MSIX_BAR, 4)
        self._add_cap(_PCIE_CAP, bytes([0x10, 0, 2, 0]) + (1 << 28).to_bytes(4, "little"))
        self._put(_PCIE_CAP + 8, 0, 2, mask=0xFFFF)

    def _put(self, offset: int, value: int, size: int, *, mask: int = 0) -> None:
        self.config[offset : offset + size] = value.to_bytes(size, "little")
        self._writable[offset : offset + size] = mask.to_bytes(size, "little")

    def _add_cap(self, offset: int, body: bytes) -> None:
        """Append a capability; its second byte is the link to the next one."""
        self.config[offset : offset + len(body)] = body
        self.config[self._last_cap] = offset
        self._last_cap = offset + 1
        self.config[self._last_cap] = 0

    def _reset_bars(self) -> None:
        for bar, size in self.bar_sizes.items():
            mask = (1 << 64) - size
            self._put(0x10 + 4 * bar, 0xC, 8, mask=mask & ~0xF)

    # Host side -----------------------------------------------------------------------------------

    def attach(self, host: _Root) -> None:
        self._host = host

    def assign(self, address: int) -> int:
        """Give each BAR an address from ``address`` on; where the next one may start."""
        for bar, size in self.bar_sizes.items():
            address = address + size - 1 & -size
            self.config_write(0x10 + 4 * bar, address & 0xFFFF_FFFF, 4)
            self.config_write(0x14 + 4 * bar, address >> 32, 4)
            address += size
        return address

    def config_read(self, offset: int, size: int) -> int:
        if offset % size:
            raise ModelError(f"configuration read of {size} bytes at 0x{offset:x}")
        return int.from_bytes(self.config[offset : offset + size], "little")

    def config_write(self, offset: int, value: int, size: int) -> None:
        if offset % size:
            raise ModelError(f"configuration write of {size} bytes at 0x{offset:x}")
        for i, byte in enumerate(value.to_bytes(size, "little")):
            mask = self._writable[offset + i]
            self.config[offset + i] = self.config[offset + i] & ~mask | byte & mask
        if offset <= _PCIE_CAP + 9 < offset + size and self.config[_PCIE_CAP + 9] & 0x80:
            self.flr()

    def flr(self) -> None:
        """Function level reset (6.6.2)."""
        self._reset_bars()
        for offset, mask in enumerate(self._writable):
            if offset not in range(0x10, 0x28):
                self.config[offset] &= ~mask
        self.table[:] = bytes(len(self.table))
        for vector in range(self.vectors):
            self.table[16 * vector + 12] = 1
        self.pending = 0
        self.reset()

    def reset(self) -> None:
        """What the device behind the function does on a reset."""

    @property
    def bus_master(self) -> bool:
        return bool(self.config[0x04] & 4)

    def decode(self, address: int) -> tuple[int, int] | None:
        """BAR and offset of a memory access, if it is ours."""
        if not self.config[0x04] & 2:
            return None
        for bar, size in self.bar_sizes.items():
            base = int.from_bytes(self.config[0x10 + 4 * bar : 0x18 + 4 * bar], "little") & ~0xF
            if base <= address < base + size:
                return bar, address - base
        return None

    def bar_read(self, bar: int, offset: int, size: int) -> int:
        if bar != _MSIX_BAR:
            return self.register_read(offset, size)
        if offset >= _PBA:
            return self.pending >> 8 * (offset - _PBA) & (1 << 8 * size) - 1
        return int.from_bytes(self.table[offset : offset + size], "little")

    def bar_write(self, bar: int, offset: int, value: int, size: int) -> None:
        if bar != _MSIX_BAR:
            self.register_write(offset, value, size)
        elif offset + size <= len(self.table):
            self.table[offset : offset + size] = value.to_bytes(size, "little")
            self.release_pending()

    def register_read(self, offset: int, size: int) -> int:
        """A read in BAR 0."""
        return (1 << 8 * size) - 1

    def register_write(self, offset: int, value: int, size: int) -> None:
        """A write in BAR 0."""

    # Device side ---------------------------------------------------------------------------------

    def dma(self, address: int, length: int) -> memoryview | None:
        """Host memory, or None for an address that faults."""
        if self._host is None or not self.bus_master:
            return None
        return self._host.dma(address, length)

    def raise_vector(self, vector: int) -> None:
        """Send an MSI-X message, or remember it while the vector is masked (7.7.2)."""
        if vector < self.vectors and self.config[_MSIX_CAP + 3] & 0x80:
            self.pending |= 1 << vector
            self.release_pending()

    def release_pending(self) -> None:
        """Send what waits and is not masked any more."""
        if not self.pending or self.config[_MSIX_CAP + 3] & 0xC0 != 0x80 or self._host is None:
            return
        for vector in range(self.vectors):
            entry = self.table[16 * vector : 16 * vector + 16]
            if self.pending >> vector & 1 and not entry[12] & 1:
                self.pending &= ~(1 << vector)
                self._host.message(
                    int.from_bytes(entry[:8], "little"), int.from_bytes(entry[8:12], "little")
                )
