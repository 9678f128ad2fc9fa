"""What InvMixColumns has more than MixColumns."""

from amaranth.hdl import Module, Mux, Signal
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
        # What several bits use is a module of its own: synthesis that works module by module, as
        # ours does, then keeps one LUT for each bit of the output.
        m.submodules.shared = shared = Module()
        added = Mux(self.decrypt, turned(pairs, 2) ^ everywhere(TURNED_TWICE), 0)
        for kind in KINDS:
            of_rows = Signal(4, name=f"kind_{kind:02x}")
            shared.d.comb += of_rows.eq(Mux(self.decrypt, sums(column, kind), 0))
            added ^= in_each_row(of_rows.rotate_right(2)) & everywhere(kind)
        first, second = (sums(column, _seen(mask))[:2] ^ sums(column, _seen(mask))[2:]
                         for mask in (_FIRST, _SECOND))  # fmt: skip
        both = _FED[0] & _FED[1]
        fed = {_FED[0] ^ both: first, _FED[1] ^ both: second, both: first ^ second}
        for bits, total in fed.items():
            of_pairs = Signal(2, name=f"fed_{bits:02x}")
            shared.d.comb += of_pairs.eq(Mux(self.decrypt, total, 0))
            added ^= in_each_row(of_pairs.replicate(2)) & everywhere(bits)
        m.d.comb += self.o.eq(column ^ added)
        return m
