"""The device's registers for the guest's scripts: the gateware's own description as a text."""

from tailrace_hw import regs
from tailrace_hw.address_map import MANAGEMENT_BLOCKS
from tailrace_hw.top import MANAGEMENT_FUNCTION, NET_FUNCTION
from tailrace_hw.virtio.spec import Feature, feature_mask

__all__ = ["register_table", "variables"]

_VIRTIO = "virtio/regs.rdl"


def register_table() -> str:
    """A line a register: name with its block, function, offset in BAR 0, bits, how many."""
    blocks = [(block.name, MANAGEMENT_FUNCTION, block.base, block.source)
              for block in MANAGEMENT_BLOCKS]  # fmt: skip
    blocks.append(("virtio", NET_FUNCTION, 0, _VIRTIO))
    return "".join(
        f"{name}.{register.name} {function} {base + register.address:#x} {register.width} "
        f"{register.count or 1}\n"
        for name, function, base, source in blocks
        for register in regs.load(source).registers
    )


def variables(*, rings: str, sums: bool = True) -> dict[str, str]:
    """What the scripts have to know of the specification.

    Parameters
    ----------
    rings : ``packed`` or ``split``
    sums : the device makes and verifies checksums for its driver
    """
    withheld = [] if rings == "packed" else [Feature.RING_PACKED]
    withheld += [] if sums else [Feature.CSUM, Feature.GUEST_CSUM]
    return {"RINGS": rings, "WITHHELD": f"{feature_mask(withheld):#x}"}
