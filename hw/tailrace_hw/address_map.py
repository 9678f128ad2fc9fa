"""Where the registers of a device are: the one source of base addresses.

Everything is in 64-bit memory BARs. The exporter turns this module into driver constants.
"""

from dataclasses import dataclass

__all__ = ["MANAGEMENT_BLOCKS", "Block", "Region"]


@dataclass(frozen=True)
class Region:
    """A BAR of a function: number and size in bytes."""

    bar: int
    size: int


@dataclass(frozen=True)
class Block:
    """A register block in BAR 0 of the management function.

    Attributes
    ----------
    name : of the block and of its constants
    source : register description below ``tailrace_hw``
    base : byte address in BAR 0
    """

    name: str
    source: str
    base: int


#: Size in bytes of the window that each block of BAR 0 has to itself.
WINDOW = 0x400

MANAGEMENT_BAR = Region(bar=0, size=0x10000)

#: The management function's blocks.
MANAGEMENT_BLOCKS = (
    Block("identity", "mgmt/identity.rdl", 0x0000),
    Block("errors", "mgmt/errors.rdl", 0x0400),
    Block("pcie", "pcie/regs.rdl", 0x0800),
    Block("port0", "mac/regs.rdl", 0x1000),
    Block("virtio_net0", "virtio/net_regs.rdl", 0x2000),
    Block("jobs", "jobs/regs.rdl", 0x3000),
    Block("crypto", "crypto/regs.rdl", 0x3400),
)
