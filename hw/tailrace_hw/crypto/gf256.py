"""The mathematics of AES (FIPS 197): the field, its linear maps, and logic made of them.

A byte's bit i is the coefficient of x^i, modulo x^8 + x^4 + x^3 + x + 1 (FIPS 197, 4.2). A linear
map is the list of the images of the eight bits.
"""

import functools
import operator
from collections.abc import Callable, Iterable, Sequence

from amaranth.hdl import Cat, Const, Value

__all__ = [
    "AFFINE_CONSTANT",
    "INVERSE_AFFINE",
    "INVERSE_SBOX",
    "SBOX",
    "affine",
    "apply",
    "bits",
    "compose",
    "inverse",
    "inverse_affine",
    "inverse_map",
    "linear",
    "lookup",
    "multiplication",
    "multiply",
    "parity",
    "power",
    "rotated",
]

#: The field's polynomial (FIPS 197, 4.2).
POLYNOMIAL = 0x11B
#: What the S-box adds in the end (FIPS 197, 5.1.1).
AFFINE_CONSTANT = 0x63

#: A linear map of bytes: images of bit 0 to bit 7.
Linear = tuple[int, ...]


def multiply(a: int, b: int) -> int:
    """Product in the field."""
    product = 0
    while b:
        if b & 1:
            product ^= a
        a <<= 1
        if a & 0x100:
            a ^= POLYNOMIAL
        b >>= 1
    return product


def power(a: int, exponent: int) -> int:
    """``a`` to a power."""
    result = 1
    for _ in range(exponent):
        result = multiply(result, a)
    return result


@functools.cache
def inverse(a: int) -> int:
    """Multiplicative inverse; 0 of 0."""
    return power(a, 254)


def apply(linear_map: Linear, value: int) -> int:
    """Image of a byte."""
    image = 0
    for i, column in enumerate(linear_map):
        if value >> i & 1:
            image ^= column
    return image


def compose(*maps: Linear) -> Linear:
    """The map that does the last of ``maps`` first, as mathematics writes it."""
    return tuple(
        functools.reduce(lambda value, step: apply(step, value), reversed(maps), 1 << i)
        for i in range(8)
    )


def inverse_map(linear_map: Linear) -> Linear:
    """The map that undoes ``linear_map``.

    Raises
    ------
    ValueError
        There is none.
    """
    back = {apply(linear_map, value): value for value in range(256)}
    if len(back) != 256:
        raise ValueError(f"not invertible: {linear_map}")
    return tuple(back[1 << i] for i in range(8))


def multiplication(factor: int) -> Linear:
    """The map that multiplies by ``factor``."""
    return tuple(multiply(factor, 1 << i) for i in range(8))


def rotated(value: int, count: int = 1) -> int:
    """A byte turned left."""
    return (value << count | value >> (8 - count)) & 0xFF


#: FIPS 197, 5.1.1: bit i of the image is the sum of the bits i, i+4, i+5, i+6 and i+7.
AFFINE: Linear = tuple(
    functools.reduce(operator.xor, (rotated(1 << i, count) for count in range(5)))
    for i in range(8)
)  # fmt: skip
#: Linear part of the inverse affine transformation (FIPS 197, 5.3.2).
INVERSE_AFFINE: Linear = inverse_map(AFFINE)


def affine(value: int) -> int:
    """The S-box's affine transformation (FIPS 197, 5.1.1)."""
    return apply(AFFINE, value) ^ AFFINE_CONSTANT


def inverse_affine(value: int) -> int:
    """Undoes :func:`affine`."""
    return apply(INVERSE_AFFINE, value ^ AFFINE_CONSTANT)


#: SubBytes (FIPS 197, 5.1.1) and InvSubBytes (5.3.2).
SBOX = tuple(affine(inverse(value)) for value in range(256))
INVERSE_SBOX = tuple(inverse(inverse_affine(value)) for value in range(256))


def parity(bits: Iterable[Value]) -> Value:
    """Sum of bits; 0 of none."""
    return functools.reduce(operator.xor, bits, Const(0, 1))


def bits(value: Value, mask: int) -> list[Value]:
    """The bits of a byte that are in a mask."""
    return [value[bit] for bit in range(8) if mask >> bit & 1]


def linear(linear_map: Linear, value: Value) -> Value:
    """Logic of a linear map."""
    return Cat(
        parity(value[i] for i, column in enumerate(linear_map) if column >> bit & 1)
        for bit in range(8)
    )


def lookup(function: Callable[..., int], *arguments: Value) -> Value:
    """One bit: a truth table, ``function`` of the arguments' values, as LUTs have it."""
    widths = [len(argument) for argument in arguments]
    table = 0
    for index in range(1 << sum(widths)):
        table |= (function(*_split(index, widths)) & 1) << index
    return Const(table, 1 << sum(widths)).bit_select(Cat(*arguments), 1)


def _split(index: int, widths: Sequence[int]) -> list[int]:
    values = []
    for width in widths:
        values.append(index & ((1 << width) - 1))
        index >>= width
    return values
