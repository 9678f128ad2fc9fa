"""GHASH straight from NIST SP 800-38D, a bit at a time.

Blocks are bytes in the order of the standard; nothing is precomputed and nothing is reduced late.
"""

__all__ = ["BLOCK", "ghash", "lengths_block", "multiply", "packet_ghash", "padded", "power"]

#: Bytes of a block.
BLOCK = 16
#: 6.3: R = 11100001 || 0^120, the leftmost bit of a string being the most significant here.
R = 0xE1 << 120


def multiply(x: bytes, y: bytes) -> bytes:
    """X * Y (6.3)."""
    bits, v, z = int.from_bytes(x, "big"), int.from_bytes(y, "big"), 0
    for i in range(128):
        if bits >> (127 - i) & 1:
            z ^= v
        v = v >> 1 ^ R if v & 1 else v >> 1
    return z.to_bytes(BLOCK, "big")


def power(h: bytes, exponent: int) -> bytes:
    """H^exponent, for an exponent of 1 or more."""
    result = h
    for _ in range(exponent - 1):
        result = multiply(result, h)
    return result


def padded(data: bytes) -> bytes:
    """With as few bytes of 0 behind it as make whole blocks of it (7.1, step 4)."""
    return data + bytes(-len(data) % BLOCK)


def ghash(h: bytes, blocks: bytes, start: bytes = bytes(BLOCK)) -> bytes:
    """GHASH_H (6.4) of whole blocks, from a state on."""
    if len(blocks) % BLOCK:
        raise ValueError(f"GHASH takes whole blocks, not {len(blocks)} bytes")
    y = start
    for at in range(0, len(blocks), BLOCK):
        block = blocks[at : at + BLOCK]
        y = multiply(bytes(a ^ b for a, b in zip(y, block, strict=True)), h)
    return y


def lengths_block(aad: int, ciphertext: int) -> bytes:
    """[len(A)]64 || [len(C)]64, from lengths in bytes."""
    return (8 * aad).to_bytes(8, "big") + (8 * ciphertext).to_bytes(8, "big")


def packet_ghash(h: bytes, aad: bytes, ciphertext: bytes) -> bytes:
    """S of 7.1, step 5, of which the tag is made."""
    lengths = lengths_block(len(aad), len(ciphertext))
    return ghash(h, padded(aad) + padded(ciphertext) + lengths)
