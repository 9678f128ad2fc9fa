"""Host memory of the PCIe agent: one numpy array, with a fence around what a device may touch."""

import numpy as np

__all__ = ["ALL_FUNCTIONS", "PAGE", "HostMemory"]

PAGE = 4096
#: Mapped for every function.
ALL_FUNCTIONS = 0xFF


class HostMemory:
    """``size`` bytes of host memory from bus address ``base``.

    At first every page is mapped for every function. :meth:`fence` unmaps all of them; from then
    on a function reaches only what :meth:`map` gave to it, as behind an IOMMU.

    Attributes
    ----------
    data : uint8 array; index 0 is bus address ``base``
    mapped : a byte a page, bit n for function n
    """

    def __init__(self, size: int, base: int = 0):
        if size % PAGE or base % PAGE:
            raise ValueError("size and base must be multiples of the page size")
        self.base = base
        self.size = size
        self.data = np.zeros(size, np.uint8)
        self._view = self.data.data
        self.mapped = np.full(size // PAGE, ALL_FUNCTIONS, np.uint8)

    def fence(self) -> None:
        """Unmap everything."""
        self.mapped[:] = 0

    def map(self, address: int, length: int, function: int | None = None) -> None:
        """Let ``function`` (all of them if None) reach the pages that hold this range."""
        self.mapped[self._pages(address, length)] |= (
            ALL_FUNCTIONS if function is None else 1 << function
        )

    def unmap(self, address: int, length: int) -> None:
        """Take the pages that hold this range away from every function."""
        self.mapped[self._pages(address, length)] = 0

    def _pages(self, address: int, length: int) -> slice:
        start = address - self.base
        if start < 0 or start + length > self.size or length < 1:
            raise ValueError(f"{address:#x}, {length} bytes, is not in host memory")
        return slice(start // PAGE, (start + length - 1) // PAGE + 1)

    def allows(self, address: int, function: int) -> bool:
        """True if ``function`` may access the page at ``address``. A TLP never leaves a page."""
        offset = address - self.base
        return 0 <= offset < self.size and bool(self.mapped[offset // PAGE] >> function & 1)

    def read(self, address: int, length: int) -> bytes:
        """Bytes at a bus address, without regard to the fence."""
        offset = address - self.base
        if offset < 0 or offset + length > self.size:
            raise ValueError(f"{address:#x}, {length} bytes, is not in host memory")
        return bytes(self._view[offset : offset + length])

    def write(self, address: int, data: bytes) -> None:
        """Store bytes at a bus address, without regard to the fence."""
        offset = address - self.base
        if offset < 0 or offset + len(data) > self.size:
            raise ValueError(f"{address:#x}, {len(data)} bytes, is not in host memory")
        self._view[offset : offset + len(data)] = data
