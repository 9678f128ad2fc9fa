"""J0 of IVs that have not 96 bits (SP 800-38D, 7.1, step 2)."""

__all__ = ["ZERO_BLOCK_J0", "j0_of"]

#: The pre-counter block before the block of zeros: what is encrypted under it is added to
#: E(K, inc32(J0)) = E(K, 0) = H, so 16 bytes of zeros become the hash subkey.
ZERO_BLOCK_J0 = bytes(12) + b"\xff" * 4
#: SP 800-38D, 6.3: the polynomial, the first bit of a block being the highest of its number.
_R = 0xE1 << 120


def _multiply(x: int, y: int) -> int:
    """Algorithm 1 of SP 800-38D, 6.3."""
    product = 0
    for bit in range(127, -1, -1):
        if x >> bit & 1:
            product ^= y
        y = y >> 1 ^ (_R if y & 1 else 0)
    return product


def j0_of(subkey: bytes, iv: bytes) -> bytes:
    """GHASH of the padded IV and a block with its length in bits."""
    h = int.from_bytes(subkey, "big")
    padded = iv + bytes(-len(iv) % 16) + (8 * len(iv)).to_bytes(16, "big")
    state = 0
    for start in range(0, len(padded), 16):
        state = _multiply(state ^ int.from_bytes(padded[start : start + 16], "big"), h)
    return state.to_bytes(16, "big")
