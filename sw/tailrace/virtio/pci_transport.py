"""virtio over PCI, modern interface (virtio 1.2, 4.1).

:class:`PciTransport` finds the virtio structures through the capability list and gives the steps
of device initialization (3.1.1) one method each, so that a device driver reads as that list.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tailrace.errors import NegotiationError, PciError, VirtioError
from tailrace.host import Host, Interrupt, Mutex, poll
from tailrace.pci import CAP_VENDOR, PciFunction
from tailrace.virtio import spec
from tailrace.virtio.spec import CfgType, CommonCfg, DeviceStatus, Feature

__all__ = ["PciTransport", "QueueAreas", "Region"]

_QUEUE_ADDRESSES = (CommonCfg.QUEUE_DESC, CommonCfg.QUEUE_DRIVER, CommonCfg.QUEUE_DEVICE)


@dataclass(frozen=True)
class Region:
    """A virtio structure in a BAR (4.1.4)."""

    address: int
    length: int


@dataclass(frozen=True)
class QueueAreas:
    """Where the parts of a virtqueue are (2.6)."""

    desc: int
    driver: int
    device: int


class PciTransport:
    """The virtio structures of one PCI function and what the driver does with them.

    Use :meth:`open`. Nothing here is remembered that the device may change.

    Attributes
    ----------
    function : the PCI function
    common, notify, isr, device : the four structures; ``device`` may be absent
    notify_multiplier : notify_off_multiplier (4.1.4.4)
    features : what was negotiated
    interrupts : by MSI-X vector, after :meth:`setup_interrupts`
    timeout : cycles that the device has for a reset or a queue reset
    """

    def __init__(self, function: PciFunction, *, timeout: int = 200_000):
        self.function = function
        self.host: Host = function.host
        self.timeout = timeout
        self.features = Feature(0)
        self.interrupts: dict[int, Interrupt] = {}
        self.notify_multiplier = 0
        self.common = self.notify = self.isr = Region(0, 0)
        self.device: Region | None = None
        self._notify_address: dict[int, int] = {}
        #: queue_select is one register for all queues: its users take turns.
        self._selecting = Mutex(self.host)

    @classmethod
    async def open(cls, function: PciFunction, *, timeout: int = 200_000) -> "PciTransport":
        """Check the identity (4.1.2), find the structures (4.1.4) and enable the function."""
        if function.vendor_id != spec.PCI_VENDOR_ID or not (
            spec.PCI_DEVICE_ID_BASE <= function.device_id < spec.PCI_DEVICE_ID_BASE + 0x40
        ):
            raise VirtioError(f"{function} is not a modern virtio device")
        transport = cls(function, timeout=timeout)
        await transport._discover()
        await function.enable()
        return transport

    # Discovery -----------------------------------------------------------------------------------

    async def _discover(self) -> None:
        """Walk the vendor capabilities; of each type the first usable one counts (4.1.4)."""
        regions: dict[int, Region] = {}
        for cap in self.function.capabilities:
            if cap.id != CAP_VENDOR:
                continue
            words = [await self.function.config_read(cap.offset + 4 * i) for i in range(4)]
            raw = b"".join(word.to_bytes(4, "little") for word in words)
            _, _, length, cfg_type, bar, _, offset, size = spec.PCI_CAP.unpack(raw)
            if cfg_type in regions or cfg_type == CfgType.PCI_CFG:
                continue
            if length < spec.PCI_CAP.size or bar not in self.function.bars:
                continue  # the driver must ignore what it cannot use (4.1.4.1)
            try:
                regions[cfg_type] = Region(self.function.bars[bar].at(offset, size), size)
            except PciError as error:
                raise VirtioError(f"virtio structure {cfg_type}: {error}") from None
            if cfg_type == CfgType.NOTIFY_CFG:
                self.notify_multiplier = await self.function.config_read(
                    cap.offset + spec.PCI_CAP.size
                )
        for needed in (CfgType.COMMON_CFG, CfgType.NOTIFY_CFG, CfgType.ISR_CFG):
            if needed not in regions:
                raise VirtioError(f"{self.function} has no {needed.name} capability")
        self.common = regions[CfgType.COMMON_CFG]
        self.notify = regions[CfgType.NOTIFY_CFG]
        self.isr = regions[CfgType.ISR_CFG]
        self.device = regions.get(CfgType.DEVICE_CFG)
        if self.common.length < spec.COMMON_CFG_LENGTH:
            raise VirtioError(
                f"{self.function}: common configuration of {self.common.length} bytes"
            )

    # Common configuration (4.1.4.3) --------------------------------------------------------------

    async def _read(self, field: CommonCfg, size: int) -> int:
        return await self.host.mmio_read(self.common.address + field, size)

    async def _write(self, field: CommonCfg, value: int, size: int) -> None:
        await self.host.mmio_write(self.common.address + field, value, size)

    async def status(self) -> DeviceStatus:
        return DeviceStatus(await self._read(CommonCfg.DEVICE_STATUS, 1))

    async def add_status(self, bit: DeviceStatus) -> None:
        """Set a bit of the device status; the driver never clears one (2.1.1)."""
        await self._write(CommonCfg.DEVICE_STATUS, await self.status() | bit, 1)

    async def reset(self) -> None:
        """Write 0 to device_status and wait until it reads 0 (2.4.2, 4.1.4.3.2)."""
        await self._write(CommonCfg.DEVICE_STATUS, 0, 1)

        async def done() -> bool:
            return await self.status() == 0

        await poll(self.host, f"reset of {self.function}", done, timeout=self.timeout)
        self.features = Feature(0)

    async def device_features(self) -> int:
        """All 64 feature bits the device offers (4.1.4.3: device_feature_select)."""
        return await self._features(CommonCfg.DEVICE_FEATURE_SELECT, CommonCfg.DEVICE_FEATURE)

    async def driver_features(self) -> int:
        """The feature bits the driver has accepted, as the device has them."""
        return await self._features(CommonCfg.DRIVER_FEATURE_SELECT, CommonCfg.DRIVER_FEATURE)

    async def _features(self, select: CommonCfg, field: CommonCfg) -> int:
        bits = 0
        for half in (0, 1):
            await self._write(select, half, 4)
            bits |= await self._read(field, 4) << 32 * half
        return bits

    async def begin(self) -> None:
        """Steps 1 to 3 of 3.1.1: reset, ACKNOWLEDGE, DRIVER."""
        await self.reset()
        await self.add_status(DeviceStatus.ACKNOWLEDGE)
        await self.add_status(DeviceStatus.DRIVER)

    async def negotiate(self, wanted: int) -> Feature:
        """Steps 4 to 6 of 3.1.1: accept what is wanted and offered, then FEATURES_OK.

        Raises
        ------
        NegotiationError
            The device is not a virtio 1.x one, or refuses the set: FAILED is set then.
        """
        offered = await self.device_features()
        chosen = Feature(offered & (wanted | Feature.VERSION_1))
        for feature, needs in spec.FEATURE_NEEDS.items():
            if feature in chosen and needs not in chosen:
                chosen &= ~feature
        if Feature.RING_RESET in chosen and self.common.length < spec.COMMON_CFG_LENGTH_RESET:
            chosen &= ~Feature.RING_RESET
        if Feature.VERSION_1 not in chosen:
            await self.add_status(DeviceStatus.FAILED)
            raise NegotiationError(f"{self.function} does not offer VIRTIO_F_VERSION_1")
        for half in (0, 1):
            await self._write(CommonCfg.DRIVER_FEATURE_SELECT, half, 4)
            await self._write(CommonCfg.DRIVER_FEATURE, chosen >> 32 * half & 0xFFFF_FFFF, 4)
        await self.add_status(DeviceStatus.FEATURES_OK)
        if DeviceStatus.FEATURES_OK not in await self.status():
            await self.add_status(DeviceStatus.FAILED)
            raise NegotiationError(f"{self.function} refuses the features {chosen!r}")
        self.features = chosen
        return chosen

    async def driver_ok(self) -> None:
        """Step 8 of 3.1.1: the device is live."""
        await self.add_status(DeviceStatus.DRIVER_OK)

    async def fail(self) -> None:
        """The driver has given up on the device (2.1)."""
        await self.add_status(DeviceStatus.FAILED)

    # Interrupts (4.1.5.1.2) ----------------------------------------------------------------------

    async def setup_interrupts(self, vectors: int) -> int:
        """Enable up to ``vectors`` MSI-X vectors; how many there are."""
        msix = self.function.msix
        if msix is None:
            raise VirtioError(f"{self.function} has no MSI-X capability")
        count = min(vectors, msix.vectors)
        self.interrupts = await msix.setup(list(range(count)))
        return count

    async def set_config_vector(self, vector: int) -> None:
        await self._write(CommonCfg.CONFIG_MSIX_VECTOR, vector, 2)
        if await self._read(CommonCfg.CONFIG_MSIX_VECTOR, 2) != vector:
            raise VirtioError(f"{self.function} has no resources for config vector {vector}")

    # Queues (4.1.5.1.3) --------------------------------------------------------------------------

    async def num_queues(self) -> int:
        return await self._read(CommonCfg.NUM_QUEUES, 2)

    async def queue_max_size(self, index: int) -> int:
        """Largest size of a queue; 0 when there is no such queue."""
        async with self._selecting:
            await self._write(CommonCfg.QUEUE_SELECT, index, 2)
            return await self._read(CommonCfg.QUEUE_SIZE, 2)

    async def queue_enable(self, index: int, size: int, areas: QueueAreas, vector: int) -> None:
        """Set up a queue and enable it (4.1.5.1.3); the vector is read back (4.1.5.1.2)."""
        async with self._selecting:
            await self._write(CommonCfg.QUEUE_SELECT, index, 2)
            await self._enable_selected(index, size, areas, vector)

    async def _enable_selected(self, index: int, size: int, areas: QueueAreas, vector: int) -> None:
        if await self._read(CommonCfg.QUEUE_ENABLE, 2):
            raise VirtioError(f"queue {index} of {self.function} is enabled already")
        await self._write(CommonCfg.QUEUE_SIZE, size, 2)
        for field, value in zip(
            _QUEUE_ADDRESSES, (areas.desc, areas.driver, areas.device), strict=True
        ):
            await self._write(field, value & 0xFFFF_FFFF, 4)
            await self.host.mmio_write(self.common.address + field + 4, value >> 32, 4)
        await self._write(CommonCfg.QUEUE_MSIX_VECTOR, vector, 2)
        if await self._read(CommonCfg.QUEUE_MSIX_VECTOR, 2) != vector:
            raise VirtioError(f"{self.function} has no resources for vector {vector}")
        offset = await self._read(CommonCfg.QUEUE_NOTIFY_OFF, 2) * self.notify_multiplier
        if offset + 2 > self.notify.length:
            raise VirtioError(f"notification address of queue {index} is outside its structure")
        self._notify_address[index] = self.notify.address + offset
        await self._write(CommonCfg.QUEUE_ENABLE, 1, 2)

    async def queue_enabled(self, index: int) -> bool:
        async with self._selecting:
            await self._write(CommonCfg.QUEUE_SELECT, index, 2)
            return bool(await self._read(CommonCfg.QUEUE_ENABLE, 2))

    async def queue_reset(self, index: int) -> None:
        """Reset one queue and wait until queue_reset reads 0 (2.6.1.1, 4.1.4.3.2)."""
        if Feature.RING_RESET not in self.features:
            raise VirtioError(f"{self.function}: VIRTIO_F_RING_RESET was not negotiated")
        async with self._selecting:
            await self._write(CommonCfg.QUEUE_SELECT, index, 2)
            await self._write(CommonCfg.QUEUE_RESET, 1, 2)

        async def done() -> bool:
            async with self._selecting:
                await self._write(CommonCfg.QUEUE_SELECT, index, 2)
                return not await self._read(CommonCfg.QUEUE_RESET, 2)

        await poll(self.host, f"reset of queue {index}", done, timeout=self.timeout)
        if await self.queue_enabled(index):
            raise VirtioError(f"queue {index} of {self.function} is enabled after its reset")

    async def notify_queue(self, index: int) -> None:
        """Available buffer notification: the queue index at its address (4.1.5.2)."""
        await self.host.mmio_write(self._notify_address[index], index, 2)

    # Device configuration (2.5) ------------------------------------------------------------------

    async def config_read(self, offset: int, size: int) -> int:
        """One field of the device configuration, read with its own width (4.1.3.1)."""
        if self.device is None or offset + size > self.device.length:
            raise VirtioError(f"{self.function} has no configuration field at 0x{offset:x}")
        return await self.host.mmio_read(self.device.address + offset, size)

    async def config_fields(self, fields: Sequence[tuple[int, int]]) -> list[int]:
        """A consistent copy of several fields, given as (offset, width in bytes).

        Read again until config_generation is the same before and after (2.5.1).
        """
        for _ in range(100):
            before = await self._read(CommonCfg.CONFIG_GENERATION, 1)
            values = [await self.config_read(offset, size) for offset, size in fields]
            if await self._read(CommonCfg.CONFIG_GENERATION, 1) == before:
                return values
        raise VirtioError(f"the configuration of {self.function} changes all the time")

    async def isr_status(self) -> int:
        """Read ISR status, which also clears it (4.1.4.5)."""
        return await self.host.mmio_read(self.isr.address, 1)
