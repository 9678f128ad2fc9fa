"""Products in GF(2^128)."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.crypto.gf128 import (
    block_of,
    convolve,
    evaluate,
    interpolate,
    polynomial_of,
    registered,
)

__all__ = ["Factors", "GfMultiplier"]


class Factors(data.Struct):
    """Two blocks, byte 0 in bits 7:0."""

    a: 128
    b: 128


class GfMultiplier(wiring.Component):
    """The product of two blocks, as SP 800-38D, 6.3, defines it.

    One product a cycle, ``latency`` cycles after its factors. Rigid: it never stalls, and nothing
    waits in it.

    Parameters
    ----------
    levels : :class:`int`
        How often Karatsuba's method halves the factors; docs/ghash.md has what each costs.

    Members
    -------
    i : In(stream of Factors, always ready)
    o : Out(stream of 128 bits, always ready)
    """

    #: Cycles from the factors to their product.
    latency = 2

    def __init__(self, levels: int = 3):
        if not 1 <= levels <= 6:
            raise ValueError(f"Karatsuba levels must be 1 to 6, not {levels}")
        self._levels = levels
        super().__init__(
            {
                "i": In(stream.Signature(Factors, always_ready=True)),
                "o": Out(stream.Signature(128, always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        a, b = (
            evaluate(m, [polynomial_of(block)], self._levels, name)
            for block, name in ((self.i.payload.a, "a"), (self.i.payload.b, "b"))
        )
        small_products = registered(m, convolve(m, [(a, b)], "small"), "small_product")
        multiplied = Signal()
        m.d.sync += [
            multiplied.eq(self.i.valid),
            self.o.valid.eq(multiplied),
            self.o.payload.eq(block_of(interpolate(m, small_products, "product"))),
        ]
        return m
