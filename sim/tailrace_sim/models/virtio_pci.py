"""A virtio-pci function in pure Python, modern interface (virtio 1.2, 4.1)."""

from dataclasses import dataclass
from typing import ClassVar

from tailrace_sim.models.pci import ModelError, SoftFunction
from tailrace_sim.models.virtqueue import DeviceQueue, PackedDevice, QueueFault, SplitDevice

__all__ = ["QueueState", "SoftVirtioFunction"]

_ACKNOWLEDGE, _DRIVER, _DRIVER_OK, _FEATURES_OK, _NEEDS_RESET = 1, 2, 4, 8, 64
_NO_VECTOR = 0xFFFF
_F_INDIRECT, _F_EVENT_IDX, _F_VERSION_1, _F_PACKED, _F_RING_RESET = 28, 29, 32, 34, 40

# BAR 0 as Tailrace lays it out: (start, length) of each structure.
_COMMON = (0x0000, 0x3C)
_ISR = (0x1000, 1)
_DEVICE = (0x2000, 64)
_NOTIFY = (0x3000, 0x1000)


@dataclass
class QueueState:
    """The registers of one queue and, while it is enabled, its ring."""

    size: int
    vector: int = _NO_VECTOR
    desc: int = 0
    driver: int = 0
    device: int = 0
    ring: DeviceQueue | None = None
    #: A notification came and the ring was not found empty since.
    notified: bool = False
    #: Cycles of the model until a queue reset is done.
    resetting: int = 0


class SoftVirtioFunction(SoftFunction):
    """Common configuration, ISR, notifications and MSI-X; a device is a subclass.

    The model is strict: a field accessed with another width than its own, a notification before
    DRIVER_OK or of a queue that is not enabled raises :class:`ModelError` (4.1.3.1, 3.1.1).

    Parameters
    ----------
    device_id : virtio device ID
    features : offered bits
    queues : number of queues
    max_size : largest queue size
    reset_steps : steps that a queue reset and a device reset take

    Attributes
    ----------
    accepted : features of the driver, 0 before FEATURES_OK
    faults : what went wrong, as (code, queue, info)
    """

    #: Width of every common configuration field (4.1.4.3); 64-bit ones go in halves.
    WIDTHS: ClassVar[dict[int, int]] = {
        **dict.fromkeys((0x00, 0x04, 0x08, 0x0C), 4),
        **dict.fromkeys((0x10, 0x12, 0x16, 0x18, 0x1A, 0x1C, 0x1E, 0x38, 0x3A), 2),
        **dict.fromkeys((0x14, 0x15), 1),
        **dict.fromkeys((0x20, 0x24, 0x28, 0x2C, 0x30, 0x34), 4),
    }

    def __init__(
        self,
        device_id: int,
        features: int,
        queues: int,
        *,
        class_code: int = 0xFF0000,
        max_size: int = 256,
        vectors: int = 16,
        reset_steps: int = 3,
    ):
        super().__init__(0x1AF4, 0x1040 + device_id, class_code, bar0=0x4000, vectors=vectors)
        self.offered = features | 1 << _F_VERSION_1
        self.max_size = max_size
        self.num_queues = queues
        self.faults: list[tuple[str, int, int]] = []
        self.generation = 0
        self._reset_steps = reset_steps
        self._add_structures()
        self.reset()

    def _add_structures(self) -> None:
        """The capability list of 4.1.4, placed as the gateware places it."""

        def structure(kind: int, region: tuple[int, int], extra: bytes = b"") -> bytes:
            body = bytes([9, 0, 16 + len(extra), kind, 0, 0, 0, 0])
            return body + b"".join(v.to_bytes(4, "little") for v in region) + extra

        self._add_cap(0xB0, structure(1, _COMMON))
        self._add_cap(0xC0, structure(2, _NOTIFY, (4).to_bytes(4, "little")))
        self._add_cap(0xD4, structure(3, _ISR))
        self._add_cap(0xE4, structure(4, _DEVICE))
        self._add_cap(0x48, structure(5, (0, 4), bytes(4)))

    def reset(self) -> None:
        """Device reset (2.4)."""
        self.status = 0
        self.accepted = 0
        self.isr = 0
        self.config_vector = _NO_VECTOR
        self._select = {0x00: 0, 0x08: 0, 0x16: 0}
        self._driver_features = 0
        self._resetting = 0
        self.queues = [QueueState(self.max_size) for _ in range(self.num_queues)]
        self.device_reset()

    def device_reset(self) -> None:
        """What the device adds to a reset."""

    @property
    def live(self) -> bool:
        """DRIVER_OK is set and the device is not waiting for a reset."""
        return bool(self.status & _DRIVER_OK) and not self.status & _NEEDS_RESET

    def has(self, bit: int) -> bool:
        """Whether a feature was negotiated."""
        return bool(self.accepted >> bit & 1)

    def step(self) -> bool:
        """Time goes by: resets go on, then :meth:`work`."""
        if self._resetting:
            self._resetting -= 1
            if not self._resetting:
                self.reset()
            return True
        for queue in self.queues:
            if queue.resetting:
                queue.resetting -= 1
                return True
        return self.live and self.work()

    def work(self) -> bool:
        """What the device does while it is live; whether it did something."""
        return False

    # Errors and interrupts -----------------------------------------------------------------------

    def fault(self, fault: QueueFault, queue: int) -> None:
        """DEVICE_NEEDS_RESET with a configuration change notification (2.1.2)."""
        self.faults.append((fault.code, queue, fault.info))
        self.status |= _NEEDS_RESET
        self.config_changed()

    def config_changed(self) -> None:
        self.generation = self.generation + 1 & 0xFF
        self.isr |= 2
        if self.config_vector != _NO_VECTOR:
            self.raise_vector(self.config_vector)

    def queue_interrupt(self, index: int) -> None:
        self.isr |= 1
        if self.queues[index].vector != _NO_VECTOR:
            self.raise_vector(self.queues[index].vector)

    # BAR 0 ---------------------------------------------------------------------------------------

    def register_read(self, offset: int, size: int) -> int:
        if offset < _COMMON[1]:
            return self._common_read(offset, size)
        if offset == _ISR[0]:
            value, self.isr = self.isr, 0
            return value
        if _DEVICE[0] <= offset < _DEVICE[0] + _DEVICE[1]:
            return self.device_config(offset - _DEVICE[0], size)
        raise ModelError(f"read of {size} bytes at 0x{offset:x}")

    def register_write(self, offset: int, value: int, size: int) -> None:
        if offset < _COMMON[1]:
            self._common_write(offset, value, size)
        elif _NOTIFY[0] <= offset < sum(_NOTIFY):
            self._notified((offset - _NOTIFY[0]) // 4, value, size)
        else:
            raise ModelError(f"write of {size} bytes at 0x{offset:x}")

    def device_config(self, offset: int, size: int) -> int:
        """The device-specific configuration."""
        raise ModelError(f"no device configuration at 0x{offset:x}")

    def _notified(self, index: int, value: int, size: int) -> None:
        if size != 2 or value != index:
            raise ModelError(f"notification of queue {index} with {value}, {size} bytes (4.1.5.2)")
        if self._resetting or self.queues[index].resetting or self.status & _NEEDS_RESET:
            return
        if not self.status & _DRIVER_OK:
            if self.status:
                raise ModelError(f"notification of queue {index} before DRIVER_OK (3.1.1)")
            return
        if self.queues[index].ring is not None:
            self.queues[index].notified = True

    def _selected(self) -> QueueState | None:
        index = self._select[0x16]
        return self.queues[index] if index < self.num_queues else None

    def _check_width(self, offset: int, size: int) -> None:
        if self.WIDTHS.get(offset) != size:
            raise ModelError(f"access of {size} bytes to common configuration 0x{offset:x}")

    def _common_read(self, offset: int, size: int) -> int:
        self._check_width(offset, size)
        queue = self._selected()
        if offset in self._select:
            return self._select[offset]
        if offset == 0x04:
            return self.offered >> 32 * self._select[0x00] & 0xFFFF_FFFF
        if offset == 0x0C:
            return self._driver_features >> 32 * self._select[0x08] & 0xFFFF_FFFF
        if offset in (0x10, 0x12, 0x14, 0x15):
            return {
                0x10: self.config_vector,
                0x12: self.num_queues,
                0x14: self.status,
                0x15: self.generation,
            }[offset]
        if queue is None:
            return 0
        return self._queue_read(queue, offset)

    def _queue_read(self, queue: QueueState, offset: int) -> int:
        if 0x20 <= offset < 0x38:
            name = ("desc", "driver", "device")[(offset - 0x20) // 8]
            return getattr(queue, name) >> 8 * (offset & 4) & 0xFFFF_FFFF
        return {
            0x18: queue.size,
            0x1A: queue.vector,
            0x1C: int(queue.ring is not None),
            0x1E: self._select[0x16],
            0x38: self._select[0x16],
            0x3A: int(queue.resetting > 0),
        }[offset]

    def _common_write(self, offset: int, value: int, size: int) -> None:
        self._check_width(offset, size)
        queue = self._selected()
        if self._resetting:
            return
        if offset in self._select:
            self._select[offset] = value
        elif offset == 0x0C:
            shift = 32 * self._select[0x08]
            mask = 0xFFFF_FFFF << shift
            self._driver_features = self._driver_features & ~mask | value << shift
        elif offset == 0x10:
            self.config_vector = value if value < self.vectors else _NO_VECTOR
        elif offset == 0x14:
            self._write_status(value)
        elif offset in (0x04, 0x12, 0x15, 0x1E, 0x38):
            raise ModelError(f"write to the read-only field 0x{offset:x}")
        elif queue is not None:
            self._queue_write(queue, offset, value)

    def _write_status(self, value: int) -> None:
        if value == 0:
            self._resetting = self._reset_steps
            self.status = self.status or _ACKNOWLEDGE  # reads 0 only when the reset is done
            return
        if self.status & ~_NEEDS_RESET & ~value:
            raise ModelError(f"the driver clears bits of status 0x{self.status:x} (2.1.1)")
        if value & _FEATURES_OK and not self.status & _FEATURES_OK:
            if self._driver_features & ~self.offered or not self._driver_features >> 32 & 1:
                value &= ~_FEATURES_OK
            else:
                self.accepted = self._driver_features
        if value & _DRIVER_OK and not value & _FEATURES_OK:
            raise ModelError("DRIVER_OK without FEATURES_OK (3.1.1)")
        self.status = value | self.status & _NEEDS_RESET

    def _queue_write(self, queue: QueueState, offset: int, value: int) -> None:
        if offset == 0x3A:
            if not self.has(_F_RING_RESET):
                raise ModelError("queue_reset without VIRTIO_F_RING_RESET")
            if value == 1:
                queue.resetting = self._reset_steps
                queue.ring, queue.notified = None, False
            return
        if queue.ring is not None:
            raise ModelError(f"queue {self._select[0x16]} is enabled: 0x{offset:x} must not change")
        if 0x20 <= offset < 0x38:
            name = ("desc", "driver", "device")[(offset - 0x20) // 8]
            shift = 8 * (offset & 4)
            kept = getattr(queue, name) & ~(0xFFFF_FFFF << shift)
            setattr(queue, name, kept | value << shift)
        elif offset == 0x18:
            queue.size = value
        elif offset == 0x1A:
            queue.vector = value if value < self.vectors else _NO_VECTOR
        elif offset == 0x1C and value == 1:
            self._enable(queue)

    def _enable(self, queue: QueueState) -> None:
        packed = self.has(_F_PACKED)
        bad_size = not 0 < queue.size <= self.max_size
        if bad_size or (not packed and queue.size & (queue.size - 1)):
            self.fault(QueueFault("QUEUE_BAD_SIZE", queue.size), self._select[0x16])
            return
        areas = (queue.desc, queue.driver, queue.device)
        for address, align in zip(areas, (16, 4, 4) if packed else (16, 2, 4), strict=True):
            if address % align:
                self.fault(QueueFault("QUEUE_BAD_ADDRESS", address), self._select[0x16])
                return
        kind = PackedDevice if packed else SplitDevice
        queue.ring = kind(
            self.dma,
            queue.size,
            areas,
            event_idx=self.has(_F_EVENT_IDX),
            indirect=self.has(_F_INDIRECT),
        )
