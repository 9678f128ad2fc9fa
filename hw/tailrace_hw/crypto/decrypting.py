"""The form in which a block is decrypted: why the inverse cipher needs no S-box of its own.

With A for the affine transformation of the S-box S, the inverse S-box is A^-1 S A^-1. A block to be
decrypted is therefore held as A^-1 of itself, so that what enters the S-box is right; what leaves
it still needs A^-1 twice, once for the inverse S-box and once for the form: A^-2. The matrix of A
has order 4, and A^-2 adds to each bit the sum of the even or of the odd bits of the byte, which is
next to nothing. The columns are mirrored, so that ShiftRows is InvShiftRows.

xtime (FIPS 197, 4.2.1) is a rotation, and bit 7 fed into three bits. Between A^-1 and A it is a
rotation too, and a sum fed into three bits.
"""

from tailrace_hw.crypto import gf256

__all__ = ["KINDS", "MIRRORED", "TURNED_TWICE", "XTIME", "XTIME_TURNED", "Feedback"]

#: Order of the bytes of a block whose columns are in the order 0, 3, 2, 1.
MIRRORED = tuple(4 * (-column % 4) + row for column in range(4) for row in range(4))
#: A^-2 adds the sum of a kind to each bit of the kind ...
KINDS = (0b01010101, 0b10101010)
#: ... and this to the byte.
TURNED_TWICE = gf256.inverse_affine(gf256.inverse_affine(0))


class Feedback:
    """A linear map that is a rotation and one sum that is fed back.

    Attributes
    ----------
    taken : mask of the bits whose sum is fed back
    fed : mask of the bits that it is added to
    """

    def __init__(self, linear_map: tuple[int, ...]):
        differences = [image ^ gf256.rotated(1 << bit) for bit, image in enumerate(linear_map)]
        self.taken = sum(1 << bit for bit, difference in enumerate(differences) if difference)
        (self.fed,) = set(differences) - {0}


XTIME = Feedback(gf256.multiplication(2))
XTIME_TURNED = Feedback(gf256.compose(gf256.INVERSE_AFFINE, gf256.multiplication(2), gf256.AFFINE))
