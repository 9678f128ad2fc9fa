"""Moving bytes within a beat."""

from amaranth.hdl import Mux

__all__ = ["rotate_bytes_left", "rotate_bytes_right"]


def rotate_bytes_right(value, count, *, bits: range | None = None):
    """``value`` with byte ``k + count`` moved to byte ``k``, around the end.

    Parameters
    ----------
    value : width bits, a power of two of bytes
    count : value, modulo the number of bytes
    bits : bits of ``count`` to look at, all by default: a rotation can be done in several cycles,
        some bits in each
    """
    for bit in range(len(count)) if bits is None else bits:
        value = Mux(count[bit], value.rotate_right(8 << bit), value)
    return value


def rotate_bytes_left(value, count, *, bits: range | None = None):
    """The inverse of :func:`rotate_bytes_right`."""
    for bit in range(len(count)) if bits is None else bits:
        value = Mux(count[bit], value.rotate_left(8 << bit), value)
    return value
