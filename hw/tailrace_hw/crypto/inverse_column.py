"""What InvMixColumns has more than MixColumns."""

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.crypto import gf256
from tailrace_hw.crypto.decrypting import KINDS, TURNED_TWICE, XTIME_TURNED
from tailrace_hw.crypto.gf256 import parity

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
#: Which of the two a bit gets: bit 0 the first, bit 1 the second.
_FED_BY = [(_FED[0] >> bit & 1) | (_FED[1] >> bit & 1) << 1 for bit in range(8)]


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
        rows = [self.i.word_select(row, 8) for row in range(4)]
        feeds = [self._feeds(m, rows[0], rows[2], 0), self._feeds(m, rows[1], rows[3], 1)]
        for row in range(4):
            here, other = rows[row], rows[(row + 2) % 4]
            kinds = Signal(2, name=f"kinds_{(row + 2) % 4}")
            m.d.comb += kinds.eq(
                Cat(parity(gf256.bits(other, kind)) for kind in KINDS) & self.decrypt.replicate(2)
            )
            for bit in range(8):
                added = here[bit - 2] ^ other[bit - 2] ^ Const(TURNED_TWICE >> bit & 1, 1)
                terms = [here[bit], self.decrypt & added, kinds[bit % 2]]
                if _FED_BY[bit]:
                    terms.append(feeds[row % 2][_FED_BY[bit] - 1])
                m.d.comb += self.o[8 * row + bit].eq(parity(terms))
        return m

    def _feeds(self, m: Module, here: Value, other: Value, pair: int) -> list[Value]:
        """The first sum of a pair of rows, the second, and both."""
        sums = Signal(2, name=f"sums_{pair}")
        both = Signal(name=f"both_{pair}")
        halves = []
        for number, mask in enumerate((_FIRST, _SECOND)):
            half = Signal(name=f"half_{pair}_{number}")
            m.d.comb += half.eq(parity(gf256.bits(here, _seen(mask))))
            halves.append(half ^ parity(gf256.bits(other, _seen(mask))))
        m.d.comb += [sums.eq(Cat(halves) & self.decrypt.replicate(2)), both.eq(sums.xor())]
        return [sums[0], sums[1], both]
