"""MixColumns and AddRoundKey of one column, of both directions in the least of LUTs."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.crypto.decrypting import XTIME, XTIME_TURNED
from tailrace_hw.crypto.gf256 import bits, parity
from tailrace_hw.crypto.inverse_column import InverseColumn

__all__ = ["MixColumn"]


class MixColumn(wiring.Component):
    """From the S-boxes of a column to the state behind the round: logic without registers.

    Forward: MixColumns (FIPS 197, 5.1.3) and AddRoundKey (5.1.4). Each bit is the sum of six: the
    column's own sum shared by four bits where xtime feeds a bit back.

    With ``inverse`` and ``decrypt``: from S(z) to A^-1 (InvMixColumns(A^-1 S(z)) + key), for z
    and the key in the form of :mod:`tailrace_hw.crypto.decrypting`.

    Parameters
    ----------
    inverse : :class:`bool`
        Has the inverse direction too.

    Members
    -------
    i : In(32)
        Outputs of the S-boxes behind ShiftRows, row 0 in bits 7:0.
    key : In(32)
    o : Out(32)
    decrypt : In(1)
        Only with ``inverse``.
    """

    def __init__(self, *, inverse: bool = False):
        self.inverse = inverse
        ports = {"i": In(32), "key": In(32), "o": Out(32)}
        super().__init__(ports | ({"decrypt": In(1)} if inverse else {}))

    def elaborate(self, platform):
        m = Module()
        entering = self.i
        if self.inverse:
            m.submodules.inverse = inverse = InverseColumn()
            m.d.comb += [inverse.i.eq(self.i), inverse.decrypt.eq(self.decrypt)]
            entering = inverse.o
        rows = [entering.word_select(row, 8) for row in range(4)]
        column = Signal(8)
        m.d.comb += column.eq(rows[0] ^ rows[1] ^ rows[2] ^ rows[3])
        fed = self._fed(m, rows)
        for row in range(4):
            here, below = rows[row], rows[(row + 1) % 4]
            others = [rows[(row + step) % 4] for step in (1, 2, 3)]
            for bit in range(8):
                terms = [here[bit - 1], below[bit - 1], self.key[8 * row + bit]]
                if fed[row][bit] is None:
                    terms += [other[bit] for other in others]
                else:
                    terms += [here[bit], column[bit], fed[row][bit]]
                m.d.comb += self.o[8 * row + bit].eq(parity(terms))
        return m

    def _fed(self, m: Module, rows: list[Value]) -> list[list[Value | None]]:
        """What xtime of the sum of a row and the next feeds into each bit."""
        plain = Signal(4)
        turned = Signal(4)
        either = Signal(4)
        sums = Signal(4)
        tops = [parity(bits(row, XTIME.taken)) for row in rows]
        for row in range(4):
            below = (row + 1) % 4
            top = tops[row] ^ tops[below]
            if self.inverse:
                m.d.comb += [
                    sums[row].eq(parity(bits(rows[row], XTIME_TURNED.taken))),
                    plain[row].eq(~self.decrypt & top),
                    turned[row].eq(self.decrypt & (sums[row] ^ sums[below])),
                    either[row].eq(Mux(self.decrypt, sums[row] ^ sums[below], top)),
                ]
            else:
                m.d.comb += [plain[row].eq(top), either[row].eq(top)]

        def of(row: int, bit: int) -> Value | None:
            is_turned = self.inverse and XTIME_TURNED.fed >> bit & 1
            if XTIME.fed >> bit & 1:
                return either[row] if is_turned else plain[row]
            return turned[row] if is_turned else None

        return [[of(row, bit) for bit in range(8)] for row in range(4)]
