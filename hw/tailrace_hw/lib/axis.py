"""AXI4-Stream at the outside of the device (AMBA AXI-Stream, ARM IHI 0051)."""

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["AxisSignature"]


class AxisSignature(wiring.Signature):
    """AXI4-Stream as its source drives it.

    Parameters
    ----------
    width : :class:`int`
        ``tdata`` bits.
    user : :class:`int`
        ``tuser`` bits; 0 leaves the signal out.
    keep : :class:`int`
        ``tkeep`` bits: ``width // 8`` at a MAC (one a byte, the default), ``width // 32`` at the
        UltraScale+ PCIe block (one a dword, PG213).
    """

    def __init__(self, width: int, *, user: int = 0, keep: int | None = None):
        self.width = width
        self.user = user
        self.keep = width // 8 if keep is None else keep
        members = {
            "tdata": Out(width),
            "tkeep": Out(self.keep),
            "tlast": Out(1),
            "tvalid": Out(1),
            "tready": In(1),
        }
        if user:
            members["tuser"] = Out(user)
        super().__init__(members)

    def __eq__(self, other) -> bool:
        return (
            isinstance(other, AxisSignature)
            and (self.width, self.user, self.keep) == (other.width, other.user, other.keep)
        )
