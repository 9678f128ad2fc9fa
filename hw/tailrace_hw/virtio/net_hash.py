"""The flow hash: which packets belong together."""

from amaranth.hdl import Cat

__all__ = ["TOEPLITZ_KEY", "toeplitz"]

#: The key that Microsoft's "Introduction to Receive Side Scaling" verifies its hashes with; being
#: constant, it turns the hash into a fixed tree of exclusive ors.
TOEPLITZ_KEY = bytes.fromhex(
    "6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa"
)


def toeplitz(octets, bits: int = 32):
    """The top ``bits`` bits of the Toeplitz hash (as in virtio 1.2, 5.1.6.4.3) of a list of 8-bit
    values in network order, at most 36 of them.

    Zero bytes at the end do not change it. For each input bit that is 1, most significant first,
    the 32 key bits from that bit's position on are xor-ed into the hash.
    """
    key = int.from_bytes(TOEPLITZ_KEY, "big")
    key_bits = 8 * len(TOEPLITZ_KEY)
    inputs = [octet[7 - k] for octet in octets for k in range(8)]
    outputs = []
    for bit in range(32 - bits, 32):
        taps = [
            value
            for position, value in enumerate(inputs)
            if key >> (key_bits - 32 - position + bit) & 1
        ]
        outputs.append(Cat(taps).xor())
    return Cat(outputs)
