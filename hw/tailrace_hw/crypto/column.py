"""A column of four bytes as one word: logic that simulators do with few operations.

Row 0 is in bits 7:0: the word turned right by 8 bits has the row below in each row's place.
"""

from amaranth.hdl import Cat, Value

__all__ = ["everywhere", "in_each_row", "sum_of_rows", "sums", "turned"]


def everywhere(mask: int) -> int:
    """The same mask in each row."""
    return mask * 0x01010101


def in_each_row(bits: Value) -> Value:
    """A bit for each row in all bits of it."""
    return Cat(bit.replicate(8) for bit in bits)


def sum_of_rows(column: Value) -> Value:
    """One byte."""
    rows = [column.word_select(row, 8) for row in range(4)]
    return rows[0] ^ rows[1] ^ rows[2] ^ rows[3]


def sums(column: Value, mask: int) -> Value:
    """For each row the sum of its bits in a mask."""
    return Cat((column.word_select(row, 8) & mask).xor() for row in range(4))


def turned(column: Value, count: int) -> Value:
    """Each row turned left."""
    kept = 0xFF >> count
    return ((column & everywhere(kept)) << count)[:32] | (
        column >> (8 - count) & everywhere(0xFF ^ kept << count & 0xFF)
    )
