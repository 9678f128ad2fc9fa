"""Golden model of AES (FIPS 197): blocks by the cryptography library, and round keys, which that
does not show, by plain arithmetic, in the form in which a lane of the device takes them."""

import functools

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

__all__ = ["ROUNDS", "STAGES", "cipher", "expand", "inverse_mix_columns", "rows", "sbox"]

#: Rounds by the bytes of a key (FIPS 197, figure 4).
ROUNDS = {16: 10, 24: 12, 32: 14}
#: Stages of a lane.
STAGES = 15


def cipher(key: bytes, block: bytes, *, decrypt: bool = False) -> bytes:
    """One block, by the cryptography library."""
    mode = Cipher(algorithms.AES(key), modes.ECB())
    context = mode.decryptor() if decrypt else mode.encryptor()
    return context.update(block) + context.finalize()


def times(a: int, b: int) -> int:
    """Product of two bytes (FIPS 197, 4.2), by long division."""
    product = 0
    for bit in range(8):
        if b >> bit & 1:
            product ^= a << bit
    for bit in reversed(range(8, 15)):
        if product >> bit & 1:
            product ^= 0x11B << (bit - 8)
    return product


@functools.cache
def sbox(byte: int) -> int:
    """FIPS 197, 5.1.1: the inverse is found by trying."""
    inverse = next((x for x in range(256) if times(byte, x) == 1), 0)
    image = 0x63
    for bit in range(8):
        for other in (bit, bit + 4, bit + 5, bit + 6, bit + 7):
            image ^= (inverse >> other % 8 & 1) << bit
    return image


def expand(key: bytes) -> list[bytes]:
    """Round keys (FIPS 197, 5.2)."""
    count = len(key) // 4
    words = [key[4 * index : 4 * index + 4] for index in range(count)]
    constant = 1
    for index in range(count, 4 * (ROUNDS[len(key)] + 1)):
        word = words[-1]
        if index % count == 0:
            word = bytes(sbox(byte) for byte in word[1:] + word[:1])
            word = bytes([word[0] ^ constant]) + word[1:]
            constant = times(constant, 2)
        elif count > 6 and index % count == 4:
            word = bytes(sbox(byte) for byte in word)
        words.append(bytes(a ^ b for a, b in zip(words[index - count], word, strict=True)))
    return [b"".join(words[index : index + 4]) for index in range(0, len(words), 4)]


def inverse_mix_columns(block: bytes) -> bytes:
    """FIPS 197, 5.3.3."""
    out = bytearray()
    for column in range(0, 16, 4):
        rows = block[column : column + 4]
        for row in range(4):
            byte = 0
            for step, factor in enumerate((0x0E, 0x0B, 0x0D, 0x09)):
                byte ^= times(rows[(row + step) % 4], factor)
            out.append(byte)
    return bytes(out)


def _turned(block: bytes) -> bytes:
    """The matrix of the inverse affine transformation (FIPS 197, 5.3.2) on each byte, and the
    columns in the order 0, 3, 2, 1."""
    out = bytearray()
    for column in (0, 3, 2, 1):
        for byte in block[4 * column : 4 * column + 4]:
            image = 0
            for bit in range(8):
                total = sum(byte >> other % 8 & 1 for other in (bit + 2, bit + 5, bit + 7))
                image |= (total & 1) << bit
            out.append(image)
    return bytes(out)


def rows(key: bytes, *, decrypt: bool = False) -> list[bytes]:
    """What a lane needs at each stage; 0 at those passed by."""
    keys = expand(key)
    passed = STAGES - len(keys)
    if not decrypt:
        return [keys[0], *[bytes(16)] * passed, *keys[1:]]
    middle = [_turned(inverse_mix_columns(round_key)) for round_key in reversed(keys[1:-1])]
    return [_turned(keys[-1]), *[bytes(16)] * passed, *middle, keys[0]]
