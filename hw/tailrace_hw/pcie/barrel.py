"""Barrel rotation, as layers of 2:1 multiplexers (two layers fit a 6-input LUT)."""

from amaranth.hdl import Mux

__all__ = ["rotate_left"]


def rotate_left(value, amount, step: int):
    """``value`` with its bits moved up by ``amount * step``, those that fall off coming in below.

    The length of ``value`` must be a multiple of ``step``; ``amount`` may be any number of bits
    wide that addresses at most all of it.
    """
    for bit in range(len(amount)):
        value = Mux(amount[bit], value.rotate_left(step << bit), value)
    return value
