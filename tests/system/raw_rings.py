"""Rings written by hand: descriptors, indices and flags as a driver should never write them."""

from struct import pack_into

from tailrace.virtio import spec
from tailrace.virtio.pci_transport import PciTransport, QueueAreas
from tailrace.virtio.spec import DescFlag, Feature

__all__ = ["INDIRECT", "NEXT", "WRITE", "RawDevice", "RawRing"]

NEXT, WRITE, INDIRECT = int(DescFlag.NEXT), int(DescFlag.WRITE), int(DescFlag.INDIRECT)
_AVAIL = int(DescFlag.AVAIL)


class RawRing:
    """A ring in host memory with nothing in it.

    Attributes
    ----------
    packed, size, index : format, entries, number of the virtqueue
    desc, driver, device : its areas
    data : 4 KiB that the device may read and write
    """

    def __init__(self, host, index: int, size: int, *, packed: bool):
        self.packed = packed
        self.size = size
        self.index = index
        self.desc = host.alloc(max(16 * size, 4096), 4096)
        self.driver = host.alloc(4096, 4096)
        self.device = host.alloc(8192, 4096)
        self.data = host.alloc(4096, 4096)
        self._tables = host.alloc(4096, 4096)

    @property
    def areas(self) -> QueueAreas:
        return QueueAreas(self.desc.address, self.driver.address, self.device.address)

    def _entry(self, mem, index, address, length, flags, following) -> None:
        if self.packed:
            pack_into("<QIHH", mem, 16 * index, address, length, 7, flags)
        else:
            pack_into("<QIHH", mem, 16 * index, address, length, flags, following)

    def chain(self, *descriptors: tuple[int, int, int]) -> None:
        """Descriptors (address, length, flags) from the ring's start, made available as a chain."""
        available = _AVAIL if self.packed else 0
        for index, (address, length, flags) in enumerate(descriptors):
            following = (index + 1) % self.size
            self._entry(self.desc.mem, index, address, length, flags | available, following)
        if not self.packed:
            self.avail(0)

    def linked(self, *descriptors: tuple[int, int, int, int]) -> None:
        """Split: descriptors (address, length, flags, next), the first one available."""
        for index, descriptor in enumerate(descriptors):
            self._entry(self.desc.mem, index, *descriptor)
        self.avail(0)

    def table(self, *descriptors: tuple[int, int, int, int]) -> int:
        """An indirect table of (address, length, flags, next); its address."""
        for index, descriptor in enumerate(descriptors):
            self._entry(self._tables.mem, index, *descriptor)
        return self._tables.address

    def avail(self, head: int, index: int = 1) -> None:
        """Split: the available ring says ``head`` in its first entry, and its idx is ``index``."""
        pack_into("<HHH", self.driver.mem, 0, 0, index & 0xFFFF, head)


class RawDevice:
    """A network device brought up by hand, up to DRIVER_OK, with raw rings.

    Parameters
    ----------
    function : the PCI function
    packed, features : what to negotiate besides VERSION_1
    """

    def __init__(self, function, *, packed: bool, features: Feature = Feature.INDIRECT_DESC):
        self.function = function
        self.packed = packed
        self._features = features | (Feature.RING_PACKED if packed else 0)
        self.transport: PciTransport

    async def begin(self) -> None:
        """Up to FEATURES_OK, with interrupts."""
        self.transport = await PciTransport.open(self.function)
        await self.transport.begin()
        await self.transport.negotiate(self._features)
        await self.transport.setup_interrupts(2)
        await self.transport.set_config_vector(0)

    async def ring(self, index: int, size: int = 8, **areas: int) -> RawRing:
        """A ring set up and enabled; ``areas`` replace addresses that the device is told."""
        ring = RawRing(self.function.host, index, 8, packed=self.packed)
        told = QueueAreas(**{**vars(ring.areas), **areas})
        await self.transport.queue_enable(index, size, told, 1)
        return ring

    async def needs_reset(self, cycles: int) -> bool:
        """Whether DEVICE_NEEDS_RESET is set within so many cycles."""
        host = self.function.host
        deadline = host.cycles() + cycles
        while host.cycles() < deadline:
            if spec.DeviceStatus.DEVICE_NEEDS_RESET in await self.transport.status():
                return True
            await host.delay(100)
        return False
