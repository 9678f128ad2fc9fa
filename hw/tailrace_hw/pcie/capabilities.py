"""The virtio capabilities of a function's configuration space (virtio 1.2, 4.1.4)."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

__all__ = [
    "CAPABILITIES_START",
    "PCI_CFG_START",
    "VirtioCapability",
    "VirtioCapabilityType",
    "capability_image",
    "virtio_net_capabilities",
]

#: Where the hard block's last capability points to, up to the end of the PCI-compatible space.
CAPABILITIES_START = 0xB0
_CAPABILITIES_END = 0x100
#: Where the MSI capability would be: room for the 20 bytes of the access capability.
PCI_CFG_START = 0x48
#: PCI_CAP_ID_VNDR.
_VENDOR_SPECIFIC = 0x09


class VirtioCapabilityType(Enum):
    """cfg_type (4.1.4)."""

    COMMON = 1
    NOTIFY = 2
    ISR = 3
    DEVICE = 4
    PCI_CFG = 5


@dataclass(frozen=True)
class VirtioCapability:
    """A structure of the device: where it lies in which BAR.

    Attributes
    ----------
    notify_off_multiplier : of the notification structure only (4.1.4.4)
    """

    kind: VirtioCapabilityType
    bar: int
    offset: int
    length: int
    notify_off_multiplier: int | None = None

    @property
    def size(self) -> int:
        """Bytes in configuration space."""
        return 16 if self.notify_off_multiplier is None else 20


def virtio_net_capabilities(queues: int) -> tuple[VirtioCapability, ...]:
    """Capabilities of a virtio-net function, as its registers lie in BAR 0.

    Queue ``q`` is notified at 0x3000 + 4 q.
    """
    kind = VirtioCapabilityType
    return (
        VirtioCapability(kind.COMMON, 0, 0x0000, 0x1000),
        VirtioCapability(kind.NOTIFY, 0, 0x3000, 4 * queues, notify_off_multiplier=4),
        VirtioCapability(kind.ISR, 0, 0x1000, 4),
        VirtioCapability(kind.DEVICE, 0, 0x2000, 0x1000),
    )


def capability_image(capabilities: Sequence[VirtioCapability]) -> dict[int, int]:
    """Dwords of the capabilities by dword number, the access capability's constants included.

    The chain starts at CAPABILITIES_START in the given order and ends with the PCI_CFG access
    capability at PCI_CFG_START.

    Raises
    ------
    ValueError
        They do not fit.
    """
    image: dict[int, int] = {}
    address = CAPABILITIES_START
    for index, capability in enumerate(capabilities):
        last = index == len(capabilities) - 1
        following = PCI_CFG_START if last else address + capability.size
        image[address // 4] = _header(following, capability.size, capability.kind)
        image[address // 4 + 1] = capability.bar
        image[address // 4 + 2] = capability.offset
        image[address // 4 + 3] = capability.length
        if capability.notify_off_multiplier is not None:
            image[address // 4 + 4] = capability.notify_off_multiplier
        address += capability.size
    if address > _CAPABILITIES_END:
        raise ValueError("the virtio capabilities do not fit into configuration space")
    image[PCI_CFG_START // 4] = _header(0, 20, VirtioCapabilityType.PCI_CFG)
    return image


def _header(following: int, size: int, kind: VirtioCapabilityType) -> int:
    """cap_vndr, cap_next, cap_len and cfg_type."""
    return _VENDOR_SPECIFIC | following << 8 | size << 16 | kind.value << 24
