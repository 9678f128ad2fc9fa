"""Whether a packet's key is among those that the key table works on."""

from amaranth.hdl import Mux
from amaranth.utils import exact_log2

from tailrace_hw.crypto.types import GROUP

__all__ = ["same_key"]


def same_key(busy, job):
    """1 if ``job`` (``JobParameters``) uses a key of ``busy`` (``Busy``)."""
    bits = exact_log2(GROUP)
    same = (job.key[bits:] == busy.key[bits:]) & (busy.group | (job.key[:bits] == busy.key[:bits]))
    return busy.valid & (busy.everyone | Mux(busy.all, job.function == busy.function, same))
