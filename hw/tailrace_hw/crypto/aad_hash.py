"""Sums of products in GF(2^128), for the few blocks that are no payload."""

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

__all__ = ["AadHash", "AadTerm"]

LEVELS = 3


class AadTerm(data.Struct):
    """One product of a sum: two blocks, byte 0 in bits 7:0."""

    a: 128
    b: 128
    first: 1
    last: 1


class AadHash(wiring.Component):
    """The sum of the products ``a * b`` (SP 800-38D, 6.3) from a term with ``first`` to one with
    ``last``.

    One term a cycle, with or without gaps, sums back to back. ``o`` is valid for one cycle,
    ``latency`` cycles after the last term. Rigid: it never stalls. A sum without its last term is
    forgotten when the next first one comes.

    With block i of a AAD blocks and H^(a-i+1) it makes the state of GHASH behind the additional
    authenticated data; with a single term the powers of H.

    Members
    -------
    i : In(stream of AadTerm, always ready)
    o : Out(stream of 128 bits, always ready)
    """

    i: In(stream.Signature(AadTerm, always_ready=True))
    o: Out(stream.Signature(128, always_ready=True))

    #: Cycles from the last term to the sum.
    latency = 2

    def elaborate(self, platform):
        m = Module()
        term = self.i.payload
        a = evaluate(m, [polynomial_of(term.a)], LEVELS, "a")
        b = evaluate(m, [polynomial_of(term.b)], LEVELS, "b")
        small_products = registered(m, convolve(m, [(a, b)], "small"), "small_product")
        multiplied, multiplied_last = Signal(), Signal()
        total, with_this = Signal(128), Signal(128)
        product = interpolate(m, small_products, "product", more=polynomial_of(total))
        m.d.comb += with_this.eq(block_of(product))
        m.d.sync += [
            multiplied.eq(self.i.valid),
            multiplied_last.eq(term.last),
            self.o.valid.eq(multiplied & multiplied_last),
            self.o.payload.eq(with_this),
        ]
        with m.If(multiplied):
            m.d.sync += total.eq(with_this)
        # The sum before it has its last product in this cycle, at the latest, and that one goes
        # to the output: so the register can be cleared by its reset pin, without a LUT.
        with m.If(self.i.valid & term.first):
            m.d.sync += total.eq(0)
        return m
