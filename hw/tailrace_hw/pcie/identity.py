"""Who the PCIe functions of the device say they are: the one place where identities are set.

The hard block's configuration (on a board), the simulated hard block (in sim) and the gateware
behind it (BAR decode, MSI-X tables, capabilities) all read the same :class:`FunctionIdentity`.
"""

from dataclasses import dataclass, field

__all__ = [
    "CONTROL_BAR",
    "MSIX_BAR",
    "MSIX_BAR_SIZE",
    "MSIX_PBA_OFFSET",
    "MSIX_TABLE_OFFSET",
    "TAILRACE_MANAGEMENT_DEVICE",
    "TAILRACE_VENDOR",
    "VIRTIO_VENDOR",
    "FunctionIdentity",
    "management",
    "virtio_net",
]

#: Vendor ID of the functions that are our own. Nobody has assigned it to us: 0x1234 is what
#: emulators use where no assignment exists, and a product has to put its own here.
TAILRACE_VENDOR = 0x1234
#: Device ID of the management function.
TAILRACE_MANAGEMENT_DEVICE = 0x7A11
#: Vendor ID of virtio devices (virtio 1.2, 4.1.2).
VIRTIO_VENDOR = 0x1AF4

#: BAR with the function's registers, and the one with its MSI-X structures; both 64-bit.
CONTROL_BAR = 0
MSIX_BAR = 2
#: In every function BAR 2 is 32 KiB, with the table at its start and the PBA behind the space of
#: the longest table that fits.
MSIX_BAR_SIZE = 0x8000
MSIX_TABLE_OFFSET = 0x0000
MSIX_PBA_OFFSET = 0x4000


@dataclass(frozen=True)
class FunctionIdentity:
    """One physical function, as its configuration space shows it.

    Attributes
    ----------
    vendor, device, subsystem_vendor, subsystem, revision : IDs of the type 0 header
    class_code : base class, sub-class and programming interface, 24 bits
    control_size : bytes of BAR 0, a power of two
    vectors : MSI-X vectors, 1 to 1024 (the table's space before the PBA in BAR 2)
    virtio : the configuration space has the virtio capabilities
    """

    vendor: int
    device: int
    subsystem_vendor: int
    subsystem: int
    class_code: int
    revision: int
    control_size: int
    vectors: int
    virtio: bool = False
    name: str = field(default="", compare=False)

    def __post_init__(self):
        for name in ("vendor", "device", "subsystem_vendor", "subsystem"):
            if not 0 <= getattr(self, name) <= 0xFFFF:
                raise ValueError(f"{name} must be a 16-bit number")
        if self.control_size < 4096 or self.control_size & (self.control_size - 1):
            raise ValueError("control_size must be a power of two of at least 4096")
        if not 1 <= self.vectors <= (MSIX_PBA_OFFSET - MSIX_TABLE_OFFSET) // 16:
            raise ValueError("vectors must be 1 to 1024")

    @property
    def bar_sizes(self) -> dict[int, int]:
        """Bytes of each BAR, by its number."""
        return {CONTROL_BAR: self.control_size, MSIX_BAR: MSIX_BAR_SIZE}


def management(vectors: int = 8) -> FunctionIdentity:
    """The management function: class 12 00 00, processing accelerator."""
    return FunctionIdentity(
        name="management",
        vendor=TAILRACE_VENDOR,
        device=TAILRACE_MANAGEMENT_DEVICE,
        subsystem_vendor=TAILRACE_VENDOR,
        subsystem=0x0001,
        class_code=0x120000,
        revision=1,
        control_size=0x10000,
        vectors=vectors,
    )


def virtio_net(vectors: int) -> FunctionIdentity:
    """A virtio network device (virtio 1.2, 4.1.2): device ID 0x1040 + 1, revision and subsystem
    that a transitional driver does not bind to (4.1.2.1)."""
    return FunctionIdentity(
        name="virtio-net",
        vendor=VIRTIO_VENDOR,
        device=0x1041,
        subsystem_vendor=TAILRACE_VENDOR,
        subsystem=0x0041,
        class_code=0x020000,
        revision=1,
        control_size=0x4000,
        vectors=vectors,
        virtio=True,
    )
