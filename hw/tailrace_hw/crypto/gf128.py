"""GF(2^128) of GCM as XOR and AND maps, the parts that multipliers are put together from.

A polynomial is a list of coefficients, that of x^0 first. A coefficient is a value of one bit, or
after :func:`evaluate` a vector with a bit for each of the small products that Karatsuba's method
makes of a big one; docs/ghash.md has the arithmetic.
"""

import heapq
from collections.abc import Iterable, Sequence
from itertools import count

from amaranth.hdl import Cat, Module, Signal, Value

__all__ = [
    "BITS",
    "Polynomial",
    "block_of",
    "convolve",
    "evaluate",
    "interpolate",
    "polynomial_of",
    "reduced",
    "registered",
    "xor",
]

BITS = 128
#: Exponents of the field's polynomial but x^128 (SP 800-38D, 6.3: R = 11100001 || 0^120).
TAPS = (0, 1, 2, 7)
#: Inputs of a LUT.
LUT = 6

Polynomial = list[Value]


def polynomial_of(block: Value) -> Polynomial:
    """Coefficients of a block: that of x^0 is its leftmost bit (SP 800-38D, 6.3), which is the
    most significant of byte 0, bit 7 here.
    """
    return [block[k ^ 7] for k in range(BITS)]


def block_of(coefficients: Sequence[Value]) -> Value:
    """The block with these coefficients."""
    return Cat(coefficients[k ^ 7] for k in range(BITS))


def xor(terms: Iterable[tuple[Value, int]]) -> Value:
    """Sum of terms, each given with the number of inputs it has, in groups that fit into LUTs.

    A LUT takes six inputs, so three products of two bits: a balanced tree of gates with two inputs
    would leave a third of the LUTs' inputs unused.
    """
    order = count()
    heap = [(0, next(order), value, inputs) for value, inputs in terms]
    heapq.heapify(heap)
    total = sum(inputs for *_, inputs in heap)
    while total > LUT:
        # Shallow ones first; no more than needed for the rest to fit into the last LUT.
        wanted = min(LUT, total - LUT + 1)
        level, _, joined, inputs = heapq.heappop(heap)
        while inputs < wanted and heap and inputs + heap[0][3] <= LUT:
            deeper, _, value, more = heapq.heappop(heap)
            level, joined, inputs = max(level, deeper), joined ^ value, inputs + more
        heapq.heappush(heap, (level + 1, next(order), joined, 1))
        total += 1 - inputs
    sums = [value for _, _, value, _ in sorted(heap)]
    result = sums[0]
    for value in sums[1:]:
        result = result ^ value
    return result


def _named(m: Module, values: Iterable[Value], name: str, domain: str = "comb") -> Polynomial:
    """Signals with these values. Without them a sum that is used twice is written out twice."""
    signals: Polynomial = []
    for value in values:
        # Pipelines of polynomials are pure data: a reset would only cost routing.
        signal = Signal(len(value), name=f"{name}{len(signals)}", reset_less=True)
        m.d[domain] += signal.eq(value)
        signals.append(signal)
    return signals


def registered(m: Module, polynomial: Polynomial, name: str) -> Polynomial:
    """The same a cycle later."""
    return _named(m, polynomial, name, "sync")


def evaluate(m: Module, polynomial: Polynomial, levels: int, name: str) -> Polynomial:
    """Both halves of a polynomial and their sum, ``levels`` times.

    Each level makes it half as long and the coefficients three times as wide: low half, high half,
    sum.
    """
    for level in range(levels):
        half = len(polynomial) // 2
        halves = zip(polynomial[:half], polynomial[half:], strict=True)
        thirds = [Cat(low, high, low ^ high) for low, high in halves]
        polynomial = _named(m, thirds, f"{name}_{level}_")
    return polynomial


def convolve(m: Module, pairs: Sequence[tuple[Polynomial, Polynomial]], name: str) -> Polynomial:
    """Sum of the products of pairs of polynomials of one length, coefficient by coefficient."""
    length = len(pairs[0][0])
    return _named(
        m,
        (
            xor(
                (a[j] & b[k - j], 2)
                for a, b in pairs
                for j in range(max(0, k - length + 1), min(k + 1, length))
            )
            for k in range(2 * length - 1)
        ),
        name,
    )


def interpolate(
    m: Module, product: Polynomial, levels: int, name: str, more: dict[int, Value] | None = None
) -> Polynomial:
    """The product that :func:`evaluate` took apart, 255 coefficients.

    Parameters
    ----------
    more : to be added to the coefficients of the result, by exponent
    """
    for level in range(levels):
        size = (len(product) + 1) // 2
        width = len(product[0]) // 3
        low = [value[:width] for value in product]
        high = [value[width : 2 * width] for value in product]
        mixed = [value[2 * width :] for value in product]
        joined: list[list[tuple[Value, int]]] = [[] for _ in range(4 * size - 1)]
        for k, (a, b, c) in enumerate(zip(low, high, mixed, strict=True)):
            joined[k].append((a, 1))
            joined[k + size] += [(a, 1), (b, 1), (c, 1)]
            joined[k + 2 * size].append((b, 1))
        if level == levels - 1:
            for exponent, value in (more or {}).items():
                joined[exponent].append((value, 1))
        product = _named(m, map(xor, joined), f"{name}_{level}_")
    return product


def _residues() -> list[int]:
    """x^k for each k below 255, as sums of powers below 128."""
    residues = [1]
    for _ in range(2 * BITS - 2):
        power = residues[-1] << 1
        if power >> BITS:
            power ^= 1 << BITS
            for tap in TAPS:
                power ^= 1 << tap
        residues.append(power)
    return residues


def reduced(product: dict[int, Value]) -> Polynomial:
    """A polynomial of degree 254 at most, given by exponents, modulo that of the field."""
    residues = _residues()
    return [
        xor((value, 1) for exponent, value in product.items() if residues[exponent] >> k & 1)
        for k in range(BITS)
    ]
