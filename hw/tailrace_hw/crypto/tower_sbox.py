"""The S-box in a tower of fields."""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.crypto import gf256
from tailrace_hw.crypto.gf256 import lookup, multiply, power

__all__ = ["TowerSbox"]


@dataclass(frozen=True)
class _Tower:
    """A way to see the field as a tower: each byte is h Y + l Y^16 with h and l in the subfield of
    16 elements, and each of these a + b y with a and b in the subfield of 4, {0, 1, w, w^2}.

    Attributes
    ----------
    upper : Y, with Y + Y^16 = 1
    lower : y, with y + y^4 = 1
    omega : w
    """

    upper: int
    lower: int
    omega: int

    @functools.cached_property
    def nibble(self) -> tuple[int, ...]:
        """Bytes that the bits of a nibble stand for."""
        return (1, self.omega, self.lower, multiply(self.omega, self.lower))

    @functools.cached_property
    def to_field(self) -> gf256.Linear:
        """Byte of h in bits 7:4 and l in bits 3:0."""
        conjugate = power(self.upper, 16)
        return (
            *(multiply(element, conjugate) for element in self.nibble),
            *(multiply(element, self.upper) for element in self.nibble),
        )

    def element(self, nibble: int) -> int:
        """Byte that a nibble stands for."""
        return functools.reduce(
            lambda total, bit: total ^ (self.nibble[bit] if nibble >> bit & 1 else 0), range(4), 0
        )

    @functools.cached_property
    def _nibbles(self) -> dict[int, int]:
        return {self.element(nibble): nibble for nibble in range(16)}

    @functools.cached_property
    def _products(self) -> list[list[int]]:
        elements = [self.element(nibble) for nibble in range(16)]
        return [[self._nibbles[multiply(a, b)] for b in elements] for a in elements]

    def product(self, a: int, b: int) -> int:
        """Of two nibbles."""
        return self._products[a][b]

    def inverse(self, nibble: int) -> int:
        """Of a nibble; 0 of 0."""
        return self._nibbles[gf256.inverse(self.element(nibble))]

    @property
    def norm(self) -> int:
        """Y^17, as a nibble."""
        return self._nibbles[power(self.upper, 17)]


def _towers() -> list[_Tower]:
    def roots(conjugate: int, subfield: int) -> list[int]:
        return [
            value
            for value in range(256)
            if power(value, subfield) == value and value ^ power(value, conjugate) == 1
        ]

    omegas = [value for value in range(2, 256) if power(value, 3) == 1]
    return [_Tower(*choice) for choice in itertools.product(roots(16, 256), roots(4, 16), omegas)]


def _cost(*maps: gf256.Linear) -> int:
    """Terms in linear maps."""
    return sum(column.bit_count() for linear_map in maps for column in linear_map)


class TowerSbox(wiring.Component):
    """SubBytes of one byte (FIPS 197, 5.1.1), and on request InvSubBytes (5.3.2): logic without
    registers, by arithmetic in subfields.

    The inverse of h Y + l Y^16 is (l Y + h Y^16) / d with d = (h + l)^2 Y^17 + h l, a number of
    four bits: two LUTs for each bit of d, and two for each bit of the quotients, of which the
    first has d and a half of the other nibble, and the second needs the upper half of 1/d only.
    With two for the upper half, 26 LUTs, and those that change the basis before and behind them.

    Parameters and members as :class:`~tailrace_hw.crypto.table_sbox.TableSbox`.
    """

    def __init__(self, *, inverse: bool = False):
        self.inverse = inverse
        super().__init__({"i": In(8), "o": Out(8)} | ({"decrypt": In(1)} if inverse else {}))

    def elaborate(self, platform):
        m = Module()
        tower = self._tower(inverse=self.inverse)
        to_tower = gf256.inverse_map(tower.to_field)
        entering, leaving = Signal(8), Signal(8)
        straight = gf256.linear(to_tower, self.i)
        done = gf256.compose(gf256.AFFINE, tower.to_field)
        affine = gf256.linear(done, leaving) ^ gf256.AFFINE_CONSTANT
        if self.inverse:
            undone = gf256.linear(
                gf256.compose(to_tower, gf256.INVERSE_AFFINE), self.i ^ gf256.AFFINE_CONSTANT
            )
            plain = gf256.linear(tower.to_field, leaving)
            m.d.comb += [
                entering.eq(Mux(self.decrypt, undone, straight)),
                self.o.eq(Mux(self.decrypt, plain, affine)),
            ]
        else:
            m.d.comb += [entering.eq(straight), self.o.eq(affine)]
        m.submodules.inversion = inversion = Module()
        inversion.d.comb += leaving.eq(self._inverted(inversion, tower, entering))
        return m

    @staticmethod
    @functools.cache
    def _tower(*, inverse: bool) -> _Tower:
        """The tower whose changes of basis have the fewest terms."""

        def cost(tower: _Tower) -> int:
            to_tower = gf256.inverse_map(tower.to_field)
            cost = _cost(to_tower, gf256.compose(gf256.AFFINE, tower.to_field))
            if inverse:
                cost += _cost(tower.to_field, gf256.compose(to_tower, gf256.INVERSE_AFFINE))
            return cost

        return min(_towers(), key=cost)

    @staticmethod
    def _inverted(m: Module, tower: _Tower, value: Value) -> Value:
        """The inverse of a byte of the tower; each name here is a LUT."""
        low, high = value[:4], value[4:]
        # Modules of their own, so that synthesis keeps the LUTs.
        m.submodules.dividing = dividing = Module()
        m.submodules.quotients = quotients = Module()
        divisor = Signal(4)
        for bit in range(4):
            divide = functools.partial(_divisor, tower, bit)
            pair, needed = _easiest_pair(tower, bit)
            part = Signal(name=f"divisor_part_{bit}")
            rest = 0b1111 ^ pair
            dividing.d.comb += [
                part.eq(_table(divide, (high, rest), (low, 0b1111))),
                divisor[bit].eq(part ^ _table(_only(divide, pair), (high, pair), (low, needed))),
            ]
        # The upper half of 1/d, which is all that the second LUTs want of it.
        upper = Signal(2)
        m.d.comb += upper.eq(
            Cat(_table(lambda d, bit=bit: tower.inverse(d) >> bit, (divisor, 15)) for bit in (2, 3))
        )
        quotient = Signal(8)
        for index, (nibble, bit) in enumerate(itertools.product((high, low), range(4))):
            multiplied = functools.partial(_product_bit, tower, bit)
            pair = _upper_pair(tower, bit)
            part = Signal(name=f"quotient_part_{index}")
            quotients.d.comb += [
                part.eq(
                    _table(
                        lambda n, d, f=multiplied: f(n, tower.inverse(d)),
                        (nibble, 0b1111 ^ pair),
                        (divisor, 0b1111),
                    )
                ),
                quotient[index].eq(
                    part
                    ^ lookup(
                        lambda n, u, f=multiplied, pair=pair: f(_spread(n, pair), u << 2),
                        Cat(_taken(nibble, pair)),
                        upper,
                    )
                ),
            ]
        return quotient


#: Two bits of a nibble.
_PAIRS = tuple(mask for mask in range(16) if mask.bit_count() == 2)


def _divisor(tower: _Tower, bit: int, high: int, low: int) -> int:
    total = high ^ low
    squared = tower.product(total, total)
    return (tower.product(squared, tower.norm) ^ tower.product(high, low)) >> bit & 1


def _product_bit(tower: _Tower, bit: int, a: int, b: int) -> int:
    return tower.product(a, b) >> bit & 1


def _only(function: Callable[[int, int], int], pair: int) -> Callable[[int, int], int]:
    """What two bits of ``high`` change in the divisor, whatever its other bits are."""
    return lambda high, low: function(high & pair, low) ^ function(0, low)


@functools.cache
def _easiest_pair(tower: _Tower, bit: int) -> tuple[int, int]:
    """Two bits of ``high``, and the fewest bits of ``low`` that matter to what they change in a bit
    of the divisor."""

    def matter(pair: int) -> int:
        changed = _only(functools.partial(_divisor, tower, bit), pair)
        return sum(
            1 << place
            for place in range(4)
            if any(
                changed(high, low) != changed(high, low ^ 1 << place)
                for high, low in itertools.product(range(16), repeat=2)
            )
        )

    return min(((pair, matter(pair)) for pair in _PAIRS), key=lambda choice: choice[1].bit_count())


@functools.cache
def _upper_pair(tower: _Tower, bit: int) -> int:
    """Two bits of a nibble whose part in a bit of its product with another needs the upper half
    of that only."""
    product = functools.partial(_product_bit, tower, bit)
    return next(
        pair
        for pair in _PAIRS
        if all(
            product(nibble & pair, other) == product(nibble & pair, other & 0b1100)
            for nibble, other in itertools.product(range(16), repeat=2)
        )
    )


def _taken(nibble: Value, mask: int) -> list[Value]:
    return [nibble[bit] for bit in range(4) if mask >> bit & 1]


def _spread(bits: int, mask: int) -> int:
    """Undoes :func:`_taken` for a number."""
    places = [bit for bit in range(4) if mask >> bit & 1]
    return sum((bits >> index & 1) << place for index, place in enumerate(places))


def _table(function: Callable[..., int], *nibbles: tuple[Value, int]) -> Value:
    """A truth table of nibbles, of each of which only the bits of a mask matter; others are 0."""
    masks = [mask for _, mask in nibbles]
    return lookup(
        lambda *values: function(*map(_spread, values, masks)),
        *(Cat(_taken(nibble, mask)) for nibble, mask in nibbles),
    )
