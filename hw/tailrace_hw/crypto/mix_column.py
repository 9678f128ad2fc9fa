"""MixColumns and AddRoundKey of one column, of both directions in the least of LUTs."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.crypto.column import everywhere, in_each_row, sum_of_rows, sums, turned
from tailrace_hw.crypto.decrypting import XTIME, XTIME_TURNED
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
        entering: Value = self.i
        if self.inverse:
            m.submodules.inverse = inverse = InverseColumn()
            m.d.comb += [inverse.i.eq(self.i), inverse.decrypt.eq(self.decrypt)]
            entering = inverse.o
        rows = Signal(32)
        below = Signal(32)
        m.d.comb += [rows.eq(entering), below.eq(rows.rotate_right(8))]
        # A module of its own, so that synthesis keeps one LUT for each bit of the output.
        m.submodules.shared = shared = Module()
        feeds = self._feeds(shared, rows)
        fed_bits = sum(feeds)
        column = Signal(8)
        shared.d.comb += column.eq(sum_of_rows(rows) & fed_bits)
        # What the other three rows add, as it is or as the row itself and all four.
        fed = (rows ^ column.replicate(4)) & everywhere(fed_bits)
        others = below ^ rows.rotate_right(16) ^ rows.rotate_right(24)
        added = fed ^ (others & everywhere(0xFF ^ fed_bits))
        for bits, of_rows in feeds.items():
            added ^= in_each_row(of_rows) & everywhere(bits)
        m.d.comb += self.o.eq(turned(rows ^ below, 1) ^ added ^ self.key)
        return m

    def _feeds(self, m: Module, rows: Value) -> dict[int, Signal]:
        """What xtime of the sum of a row and the next feeds back: by the bits that get it, a bit
        for each row."""
        plain = Signal(4)
        tops = sums(rows, XTIME.taken)
        top = tops ^ tops.rotate_right(1)
        if not self.inverse:
            m.d.comb += plain.eq(top)
            return {XTIME.fed: plain}
        m.submodules.sums = inner = Module()
        all_turned = Signal(4)
        inner.d.comb += all_turned.eq(sums(rows, XTIME_TURNED.taken))
        twisted, either = Signal(4), Signal(4)
        between = all_turned ^ all_turned.rotate_right(1)
        m.d.comb += [
            plain.eq(Mux(self.decrypt, 0, top)),
            twisted.eq(Mux(self.decrypt, between, 0)),
            either.eq(Mux(self.decrypt, between, top)),
        ]
        both = XTIME.fed & XTIME_TURNED.fed
        return {XTIME.fed ^ both: plain, XTIME_TURNED.fed ^ both: twisted, both: either}
