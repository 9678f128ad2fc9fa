"""What InvMixColumns has more than MixColumns."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.crypto import gf256
from tailrace_hw.crypto.column import everywhere, in_each_row, sums, turned
from tailrace_hw.crypto.decrypting import KINDS, TURNED_TWICE, XTIME_TURNED

__all__ = ["InverseColumn"]


def _seen(mask: int) -> int:
    """The sum of the bits of ``mask`` behind A^-2, as a sum of bits before it."""
    seen = mask
    for kind in KINDS:
        if (mask & kind).bit_count() % 2:
            seen ^= kind
    return seen


#: Twice XTIME_TURNED: a rotation by two; the sum of the bits that it takes, fed in where the
#: first time's feed has been rotated to, and the sum of those that are there the second time.
_FIRST, _SECOND = XTIME_TURNED.taken, gf256.rotated(XTIME_TURNED.taken, 7)
_FED = (
    gf256.rotated(XTIME_TURNED.fed)
    ^ XTIME_TURNED.fed * ((XTIME_TURNED.taken & XTIME_TURNED.fed).bit_count() % 2),
    XTIME_TURNED.fed,
)


class InverseColumn(wiring.Component):
    """A column on its way from the S-boxes to MixColumns: unchanged to encrypt; to decrypt, what
    makes InvMixColumns of MixColumns. Logic without registers.

    To decrypt, A^-2 is done to each byte (:mod:`tailrace_hw.crypto.decrypting`), and then 4 times
    the sum of it and the byte two rows below is added: InvMixColumns (FIPS 197, 5.3.3) is
    MixColumns behind the matrix of 5, 0, 4, 0. Four times is twice a rotation and two sums fed
    back, and of A^-2 the sum over the other byte is what remains: so a bit has six terms.

    Members
    -------
    i : In(32)
        Row 0 in bits 7:0.
    decrypt : In(1)
    o : Out(32)
    """

    i: In(32)
    decrypt: In(1)
    o: Out(32)

    def elaborate(self, platform):
        m = Module()
        column, there, pairs = Signal(32), Signal(32), Signal(32)
        m.d.comb += [
            column.eq(self.i),
            there.eq(column.rotate_right(16)),
            pairs.eq(column ^ there),
        ]
        added = turned(pairs, 2) ^ everywhere(TURNED_TWICE)
        for bits, of_rows in (self._sums(m, column) | self._feeds(m, column)).items():
            added ^= in_each_row(of_rows) & everywhere(bits)
        # Whether to decrypt is asked here only: in the LUTs of the sums there is no room for it.
        m.d.comb += self.o.eq(column ^ Mux(self.decrypt, added, 0))
        return m

    # What several bits use is in modules of their own: synthesis that works module by module, as
    # ours does, then keeps one LUT for each sum, and one for each bit of the output.

    def _sums(self, m: Module, column: Value) -> dict[int, Value]:
        """A^-2's sums that the byte two rows below leaves, by the bits that get them."""
        m.submodules.kinds = inner = Module()
        found = {}
        for kind in KINDS:
            of_rows = Signal(4, name=f"kind_{kind:02x}")
            inner.d.comb += of_rows.eq(sums(column, kind))
            found[kind] = of_rows.rotate_right(2)
        return found

    def _feeds(self, m: Module, column: Value) -> dict[int, Value]:
        """What the rotations feed back, by the bits that get it; the same two rows apart."""
        m.submodules.feeds, m.submodules.both = inner, outer = Module(), Module()
        first, second, either = Signal(2), Signal(2), Signal(2)
        for total, mask in ((first, _FIRST), (second, _SECOND)):
            of_rows = sums(column, _seen(mask))
            inner.d.comb += total.eq(of_rows[:2] ^ of_rows[2:])
        outer.d.comb += either.eq(first ^ second)
        both = _FED[0] & _FED[1]
        fed = {_FED[0] ^ both: first, _FED[1] ^ both: second, both: either}
        return {bits: total.replicate(2) for bits, total in fed.items()}
