"""A sum over GF(2) that is one LUT a bit."""

from functools import reduce
from operator import xor

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["INPUTS", "LutSum"]

#: Inputs of a LUT.
INPUTS = 6


class LutSum(wiring.Component):
    """Exclusive OR of products and terms, bit by bit, without a register.

    A module of its own, for it is what a big sum is cut into by hand: a mapper that sees the whole
    of it cuts it anew, and leaves a quarter of the LUTs' inputs unused.

    Parameters
    ----------
    width : :class:`int`
        Bits of each input.
    products : :class:`int`
        Pairs of inputs that are multiplied.
    terms : :class:`int`
        Inputs that are only added. Two inputs a product and one a term are 6 at most.

    Members
    -------
    a, b : In(width).array(products)
    c : In(width).array(terms)
    o : Out(width)
    """

    def __init__(self, width: int, products: int, terms: int):
        if not 0 < 2 * products + terms <= INPUTS:
            raise ValueError(f"{products} products and {terms} terms do not fit into a LUT")
        super().__init__(
            {
                "a": In(width).array(products),
                "b": In(width).array(products),
                "c": In(width).array(terms),
                "o": Out(width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        multiplied = [a & b for a, b in zip(self.a, self.b, strict=True)]
        m.d.comb += self.o.eq(reduce(xor, [*multiplied, *self.c]))
        return m
