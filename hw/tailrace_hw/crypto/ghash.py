"""GHASH of whole packets, several blocks a cycle."""

from functools import reduce as reduce_left
from operator import xor

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.crypto.gf128 import (
    BITS,
    Term,
    add,
    block_of,
    convolve,
    evaluate,
    interpolate,
    polynomial_of,
    reduce,
    registered,
)

__all__ = ["Ghash", "ghash_beat"]

#: Karatsuba levels in the loop, and where several lanes share the way back.
LOOP_LEVELS = 3
SHARED_LEVELS = 4
#: Lengths in bits are these many bits above lengths in bytes.
BYTE = 3
#: The block that is the polynomial 1: bit 7 of byte 0.
GAP_FACTOR = 1 << 7


def ghash_beat(lanes: int) -> data.StructLayout:
    """A beat of a packet.

    - ``blocks``: payload, bytes behind its end 0; ``count`` of them count, all ``lanes`` but in the
      last beat; none only in a packet without payload;
    - ``first``, ``last``;
    - ``start``: with ``first``, the state behind the additional authenticated data;
    - ``aad_length``, ``length``: with ``last``, bytes of these data and of the payload.
    """
    return data.StructLayout(
        {
            "blocks": data.ArrayLayout(BITS, lanes),
            "count": range(lanes + 1),
            "first": 1,
            "last": 1,
            "start": BITS,
            "aad_length": 7,
            "length": 15,
        }
    )


class Ghash(wiring.Component):
    """S = GHASH_H(A || 0* || C || 0* || [len(A)]64 || [len(C)]64) of packets (SP 800-38D, 6.4 and
    7.1, step 5).

    A beat of ``lanes`` blocks a cycle, with or without gaps between beats, packets back to back,
    each with an H of its own. ``o`` is valid for one cycle, ``latency`` cycles after the last beat.
    Rigid: it never stalls. A packet without its last beat is forgotten when the next begins.

    docs/ghash.md has the arithmetic.

    Parameters
    ----------
    lanes : :class:`int`
        Blocks a beat, 1 to 16.

    Members
    -------
    i : In(stream of ghash_beat(lanes), always ready)
    powers : In(128).array(lanes + 1)
        ``powers[k]`` is H^(k+1) of the beat's packet, in the cycle in which the beat is on ``i``.
    o : Out(stream of 128 bits, always ready)
    """

    #: Cycles from the last beat to S.
    latency = 5

    def __init__(self, lanes: int):
        if not 1 <= lanes <= 16:
            raise ValueError(f"lanes must be 1 to 16, not {lanes}")
        self._lanes = lanes
        super().__init__(
            {
                "i": In(stream.Signature(ghash_beat(lanes), always_ready=True)),
                "powers": In(BITS).array(lanes + 1),
                "o": Out(stream.Signature(BITS, always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        # The stage a signal belongs to is the number at its end: stage 0 is the input's cycle.
        beat0 = self.i.payload
        factors1 = [self._factor(m, lane) for lane in range(self._lanes)]
        blocks1 = [Signal(BITS, name=f"block{lane}_1") for lane in range(self._lanes)]
        start1, key1 = Signal(BITS), Signal(BITS)
        lengths1 = Signal(22)
        first1, last1 = Signal(), Signal()
        m.d.sync += [block.eq(beat0.blocks[lane]) for lane, block in enumerate(blocks1)]
        m.d.sync += [
            start1.eq(beat0.start),
            key1.eq(self.powers[0]),
            lengths1.eq(Cat(beat0.aad_length, beat0.length)),
            first1.eq(self.i.valid & beat0.first),
            last1.eq(self.i.valid & beat0.last),
        ]
        # A gap is a beat of zeros that is multiplied by 1.
        with m.If(~self.i.valid):
            m.d.sync += [block.eq(0) for block in blocks1]
            m.d.sync += factors1[0].eq(GAP_FACTOR)
        with m.If(~(self.i.valid & beat0.last)):
            m.d.sync += lengths1.eq(0)

        rest3 = self._rest(m, blocks1[1:], factors1[1:], lengths1, key1)

        first2, last2, last3, last4 = Signal(), Signal(), Signal(), Signal()
        block2, start2, factor2 = Signal(BITS), Signal(BITS), Signal(BITS)
        rest4 = Signal(BITS)
        m.d.sync += [
            Cat(first2, last2, last3, last4).eq(Cat(first1, last1, last2, last3)),
            block2.eq(blocks1[0]),
            start2.eq(start1),
            factor2.eq(factors1[0]),
            rest4.eq(rest3),
        ]
        # What the loop multiplies, without the part that comes out of the loop. ``rest3`` is here
        # that of the beat before.
        entering3 = Signal(BITS)
        m.d.sync += entering3.eq(block2 ^ Mux(first2, start2, rest3))
        product3 = self._loop(m, entering3, factor2, first2)

        product4 = Signal(BITS)
        m.d.sync += [
            product4.eq(product3),
            self.o.payload.eq(product4 ^ rest4),
            self.o.valid.eq(last4),
        ]
        return m

    def _factor(self, m: Module, lane: int) -> Signal:
        """The power of H for a lane's block, in stage 1."""
        beat = self.i.payload
        # In the last beat the exponents are one higher. Where the lane's block does not count any
        # power will do, for it is zero; that of lane 0 is the state's as well.
        lowest = 0 if lane in (0, self._lanes - 1) else 1
        choices = self.powers[lowest : self._lanes - lane + 1]
        usual = self._lanes - lane - 1
        select = Signal(range(max(2, len(choices))), name=f"select{lane}_0")
        m.d.comb += select.eq(Mux(beat.last, beat.count - lane, usual) - lowest)
        factor = Signal(BITS, name=f"factor{lane}_1")
        m.d.sync += factor.eq(_choose(choices, select))
        return factor

    def _rest(
        self, m: Module, blocks1: list[Signal], factors1: list[Signal], lengths1: Signal,
        key1: Signal,
    ) -> Signal:  # fmt: skip
        """Stages 1 and 2: all that is added to the loop's product, in stage 3."""
        lengths_product2 = self._lengths_product(m, lengths1, key1)
        rest = lengths_product2
        if blocks1:
            levels = SHARED_LEVELS if len(blocks1) > 1 else LOOP_LEVELS
            pairs = [
                (
                    evaluate(m, [polynomial_of(block)], levels, f"block{lane}"),
                    evaluate(m, [polynomial_of(factor)], levels, f"factor{lane}"),
                )
                for lane, (block, factor) in enumerate(zip(blocks1, factors1, strict=True), 1)
            ]
            small_products2 = registered(m, convolve(m, pairs, "lanes"), "small_product")
            rest = interpolate(m, small_products2, "lanes", more=lengths_product2)
        rest3 = Signal(BITS)
        m.d.sync += rest3.eq(block_of(rest))
        return rest3

    def _lengths_product(self, m: Module, lengths1: Signal, key1: Signal) -> Signal:
        """Stage 1: H times the block of lengths, of which but 22 bits are not always 0."""
        m.submodules.lengths_product = step = Module()
        key = Signal(BITS)
        step.d.comb += key.eq(polynomial_of(key1))
        sums: list[list[Term]] = [[] for _ in range(2 * BITS - 1)]
        for name, at, bits, end in (("aad", 0, 7, BITS // 2), ("payload", 7, 15, BITS)):
            # Most significant bit first: bit i of a length in bits is the coefficient of
            # x^(63-i), or of x^(127-i).
            lowest = end - BYTE - bits
            length = Cat(reversed(lengths1[at : at + bits]))
            by_three = bits - bits % 3
            for k in range(0, by_three, 3):
                # Three bits are a LUT of each coefficient.
                wide = Cat(key, Const(0, 2))
                products = [
                    (length[k + j].replicate(BITS + 2), wide.rotate_left(j)) for j in range(3)
                ]
                for exponent, value in enumerate(add(step, products, f"{name}{k}"), lowest + k):
                    sums[exponent].append((value,))
            for k in range(by_three, bits):
                for exponent, value in enumerate(key, lowest + k):
                    sums[exponent].append((length[k], value))
        unreduced, product2 = Signal(2 * BITS - 1), Signal(BITS)
        step.d.comb += unreduced.eq(Cat(map(_plain, sums)))
        m.d.sync += product2.eq(reduce(step, unreduced, "reduce"))
        return product2

    def _loop(self, m: Module, entering3: Signal, factor2: Signal, first2: Signal) -> Signal:
        """Stage 3: the product of the state with lane 0's power, which is that of its block."""
        product3, state3 = Signal(BITS), Signal(BITS)
        m.d.sync += state3.eq(product3)
        with m.If(first2):
            m.d.sync += state3.eq(0)
        factor2s = evaluate(m, [polynomial_of(factor2)], LOOP_LEVELS, "loop_factor")
        factor3 = registered(m, factor2s, "loop_factor_3_")
        entering = [polynomial_of(state3), polynomial_of(entering3)]
        state = evaluate(m, entering, LOOP_LEVELS, "state")
        small_products = convolve(m, [(state, factor3)], "loop")
        m.d.comb += product3.eq(block_of(interpolate(m, small_products, "loop")))
        return product3


def _choose(choices: list[Value], select: Value) -> Value:
    """A tree of multiplexers, the low bit of ``select`` next to the choices."""
    if len(choices) == 1:
        return choices[0]
    pairs = [Mux(select[0], pair[1], pair[0]) if len(pair) == 2 else pair[0]
             for pair in (choices[k : k + 2] for k in range(0, len(choices), 2))]  # fmt: skip
    return _choose(pairs, select[1:])


def _plain(terms: list[Term]) -> Value:
    """Their sum, cut into LUTs by whoever maps it."""
    values = [term[0] & term[1] if len(term) == 2 else term[0] for term in terms]
    return reduce_left(xor, values, Const(0))
