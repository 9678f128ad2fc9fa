"""GF(2^128) of GCM as XOR and AND maps, the steps that multipliers are put together from.

A polynomial is a value, its coefficient of x^0 in bit 0. docs/ghash.md has the arithmetic. All is
cut into LUTs by hand, see :class:`~tailrace_hw.crypto.lut_sum.LutSum`.
"""

import heapq
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import count, product

from amaranth.hdl import Cat, Const, Module, Signal, Value

from tailrace_hw.crypto.lut_sum import INPUTS, LutSum

__all__ = [
    "BITS",
    "Term",
    "add",
    "block_of",
    "convolve",
    "evaluate",
    "interpolate",
    "polynomial_of",
    "reduce",
    "registered",
]

BITS = 128
#: Exponents of the field's polynomial but x^128 (SP 800-38D, 6.3: R = 11100001 || 0^120).
TAPS = (0, 1, 2, 7)
#: Digits of a small product's number: what was taken of a polynomial at each level.
LOW, HIGH, BOTH = 0, 1, 2

#: Something to be added: a value, or a product of two, bit by bit.
Term = tuple[Value] | tuple[Value, Value]


def polynomial_of(block: Value) -> Value:
    """The polynomial of a block: the coefficient of x^0 is its leftmost bit (SP 800-38D, 6.3),
    which is the most significant of byte 0, bit 7 here.
    """
    return Cat(block[k ^ 7] for k in range(BITS))


def block_of(polynomial: Value) -> Value:
    """The block of a polynomial."""
    return polynomial_of(polynomial)


def add(m: Module, terms: Iterable[Term], name: str) -> Value:
    """Sum of terms of one width, in as few LUTs as there can be, and in as few levels."""
    terms = list(terms)
    if len(terms) == len(terms[0]) == 1:
        return terms[0][0]
    order = count()
    # Level of the LUT that a term comes from, and the term.
    heap = [(0, next(order), term) for term in terms]
    heapq.heapify(heap)
    total = sum(len(term) for *_, term in heap)
    while total > INPUTS:
        # Shallow ones first; no more than needed for the rest to fit into the last LUT.
        wanted = min(INPUTS, total - INPUTS + 1)
        group: list[Term] = []
        inputs = level = 0
        while heap and inputs < wanted and inputs + len(heap[0][2]) <= INPUTS:
            level, _, term = heapq.heappop(heap)
            group.append(term)
            inputs += len(term)
        number = next(order)
        heapq.heappush(heap, (level + 1, number, (_lut(m, group, f"{name}_{number}"),)))
        total += 1 - inputs
    return _lut(m, [term for *_, term in heap], name)


def _lut(m: Module, terms: Sequence[Term], name: str) -> Value:
    products = [term for term in terms if len(term) == 2]
    values = [term[0] for term in terms if len(term) == 1]
    lut = LutSum(len(terms[0][0]), len(products), len(values))
    m.submodules[name] = lut
    m.d.comb += [
        port.eq(value)
        for ports, inputs in (
            (lut.a, (a for a, _ in products)), (lut.b, (b for _, b in products)), (lut.c, values),
        )
        for port, value in zip(ports, inputs, strict=True)
    ]  # fmt: skip
    return lut.o


def _named(m: Module, value: Value, name: str) -> Signal:
    """A signal for it. Without one it is written out as often as part of it is used."""
    signal = Signal(len(value), name=name)
    m.d.comb += signal.eq(value)
    return signal


def registered(m: Module, values: Sequence[Value], name: str) -> list[Value]:
    """The same a cycle later. They are pure data: a reset would only cost routing."""
    registers: list[Value] = []
    for index, value in enumerate(values):
        register = Signal(len(value), name=f"{name}{index}", reset_less=True)
        m.d.sync += register.eq(value)
        registers.append(register)
    return registers


def evaluate(m: Module, terms: Sequence[Value], levels: int, name: str) -> list[Value]:
    """The sum of polynomials, cut into its low half, its high half and the sum of both, and each
    of these again, ``levels`` times: 3^levels short polynomials, the last cut's thirds together.
    """
    length = BITS >> levels
    terms = [_named(m, term, f"{name}_term{index}") for index, term in enumerate(terms)]

    @cache
    def levels_of_luts(both: int) -> int:
        return 1 if len(terms) << both <= INPUTS else 1 + levels_of_luts(both - 2)

    @cache
    def short(digits: tuple[int, ...]) -> Value:
        both = [place for place, digit in enumerate(digits) if digit == BOTH]
        if len(terms) << len(both) <= INPUTS:
            opened = both
        elif levels_of_luts(len(both) - 1) < levels_of_luts(len(both)):
            opened = both[:1]
        else:
            opened = both[:2]
        parts = []
        for choice in product((LOW, HIGH), repeat=len(opened)):
            part = list(digits)
            for place, digit in zip(opened, choice, strict=True):
                part[place] = digit
            parts.append(tuple(part))
        if opened == both:
            at = [length * int("0" + "".join(map(str, part)), 2) for part in parts]
            values = [term[start : start + length] for start in at for term in terms]
        else:
            values = [short(part) for part in parts]
        digits_text = "".join(map(str, digits))
        return add(m, [(value,) for value in values], f"{name}_{digits_text}")

    return [short(digits) for digits in product((LOW, HIGH, BOTH), repeat=levels)]


def convolve(
    m: Module, pairs: Sequence[tuple[list[Value], list[Value]]], name: str
) -> list[Value]:
    """Sum of the products of evaluated polynomials: one value a coefficient, in which bit i belongs
    to short polynomial i.
    """
    length = len(pairs[0][0][0])
    turned = [
        [
            [
                _named(m, Cat(short[j] for short in factor), f"{name}{number}_{side}{j}")
                for j in range(length)
            ]
            for side, factor in zip("ab", pair, strict=True)
        ]
        for number, pair in enumerate(pairs)
    ]
    return [
        add(
            m,
            [
                (a[j], b[k - j])
                for a, b in turned
                for j in range(max(0, k - length + 1), min(k + 1, length))
            ],
            f"{name}_product{k}",
        )
        for k in range(2 * length - 1)
    ]


def interpolate(
    m: Module, convolved: Sequence[Value], name: str, more: Value | None = None
) -> Value:
    """The product, reduced, from what :func:`convolve` made; ``more`` is added to it."""
    parts: list[Value] = [
        _named(m, Cat(value[i] for value in convolved), f"{name}_part{i}")
        for i in range(len(convolved[0]))
    ]
    level = 0
    while len(parts) > 1:
        level += 1
        parts = [
            _join(m, *parts[i : i + 3], f"{name}_join{level}_{i // 3}")
            for i in range(0, len(parts), 3)
        ]
    return _reduced(m, parts[0], name, more)


def _join(m: Module, low: Value, high: Value, both: Value, name: str) -> Value:
    """The product of two polynomials of 2n coefficients from three of n each."""
    n = (len(low) + 1) // 2
    lower = [low[n:], low[: n - 1], high[: n - 1], both[: n - 1]]
    upper = [high[: n - 1], low[n:], high[n:], both[n:]]
    if 2 * n == BITS:
        upper += _folds(high, n - 1)
    centre = [value[n - 1] for value in (low, high, both)]
    sums = [
        add(m, [(value,) for value in values], f"{name}_{part}")
        for part, values in (("lower", lower), ("centre", centre), ("upper", upper))
    ]
    return _named(m, Cat(low[:n], *sums, high[n - 1 :]), name)


def _folds(high: Value, width: int) -> list[Value]:
    """What x^249 and above leave at x^128 and above, to be added there from x^128 on.

    With that, no coefficient of the result is the sum of more than five, so that a LUT has room
    for one more.
    """
    return [Cat(high[BITS - tap :], Const(0, width - tap + 1)) for tap in TAPS if tap > 1]


def _folded(m: Module, polynomial: Value, name: str) -> Value:
    low, high = polynomial[:BITS], polynomial[BITS:]
    width = max(TAPS) - 1
    terms = [high[:width], *_folds(high, width)]
    folded = add(m, [(term,) for term in terms], f"{name}_fold")
    return _named(m, Cat(low, folded, high[width:]), f"{name}_folded")


def _reduced(m: Module, folded: Value, name: str, more: Value | None = None) -> Value:
    low, high = folded[:BITS], folded[BITS:]
    terms = [low, *(Cat(Const(0, tap), high, Const(0, 1))[:BITS] for tap in TAPS)]
    if more is not None:
        terms.append(more)
    return add(m, [(term,) for term in terms], f"{name}_reduced")


def reduce(m: Module, polynomial: Value, name: str) -> Value:
    """A polynomial of 255 coefficients modulo that of the field."""
    return _reduced(m, _folded(m, polynomial, name), name)
