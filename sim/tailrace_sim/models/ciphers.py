"""Golden model of AES-GCM and AES-XTS (SP 800-38D, IEEE 1619), by ``cryptography``.

The library takes an IV, the engine a pre-counter block J0 as well. So GCM is put together here of
the library's block cipher and GHASH. Keys, tags, IVs and tweaks are bytes in the order of the
specifications.
"""

import hmac

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

__all__ = ["counter_mode", "gcm_decrypt", "gcm_encrypt", "ghash", "j0_of", "xts"]


def _ecb(key: bytes, blocks: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(blocks)


def _xor(a: bytes, b: bytes) -> bytes:
    """As long as ``a``."""
    return (int.from_bytes(a, "big") ^ int.from_bytes(b[: len(a)], "big")).to_bytes(len(a), "big")


def ghash(key: bytes, aad: bytes, ciphertext: bytes) -> bytes:
    """S of SP 800-38D, 7.1, step 5: GHASH of both, padded, and of their lengths.

    The library has no GHASH, but its tag is S added to an encrypted block (step 6) that is known
    for an IV of 96 bits. So it gets the payload that becomes ``ciphertext`` under such an IV.
    """
    iv = bytes(12)
    keystream = (
        Cipher(algorithms.AES(key), modes.GCM(iv)).encryptor().update(bytes(len(ciphertext)))
    )
    encryptor = Cipher(algorithms.AES(key), modes.GCM(iv)).encryptor()
    encryptor.authenticate_additional_data(aad)
    if encryptor.update(_xor(ciphertext, keystream)) != ciphertext:
        raise AssertionError("the library's keystream is not the same twice")
    encryptor.finalize()
    return _xor(encryptor.tag, _ecb(key, iv + b"\0\0\0\1"))


def j0_of(key: bytes, iv: bytes) -> bytes:
    """The pre-counter block of an IV of any length (SP 800-38D, 7.1, step 2).

    What that step hashes for other lengths than 96 bits, the padded IV and a block with its
    length, is what is hashed of a ciphertext without additional data.
    """
    return iv + b"\0\0\0\1" if len(iv) == 12 else ghash(key, b"", iv)


def counter_mode(key: bytes, j0: bytes, data: bytes) -> bytes:
    """GCTR of SP 800-38D, 6.5, from inc32(J0) on: only the last 32 bits count."""
    start = int.from_bytes(j0[12:], "big")
    counters = b"".join(
        j0[:12] + ((start + 1 + index) % 2**32).to_bytes(4, "big")
        for index in range(-(-len(data) // 16))
    )
    return _xor(data, _ecb(key, counters))


def gcm_encrypt(key: bytes, j0: bytes, aad: bytes, plaintext: bytes) -> tuple[bytes, bytes]:
    """Ciphertext and the whole tag (SP 800-38D, 7.1)."""
    ciphertext = counter_mode(key, j0, plaintext)
    return ciphertext, _xor(ghash(key, aad, ciphertext), _ecb(key, j0))


def gcm_decrypt(key: bytes, j0: bytes, aad: bytes, ciphertext: bytes, tag: bytes) -> bytes | None:
    """Plaintext, or None when the tag, which may be a short one, is wrong (SP 800-38D, 7.2)."""
    if len(tag) < 4:
        raise ValueError(f"a tag of {len(tag)} bytes proves nothing")
    whole = _xor(ghash(key, aad, ciphertext), _ecb(key, j0))
    if not hmac.compare_digest(whole[: len(tag)], tag):
        return None
    return counter_mode(key, j0, ciphertext)


def xts(key: bytes, tweak: bytes, data: bytes, *, encrypt: bool) -> bytes:
    """One data unit of 16 bytes and more (IEEE 1619, 5.3 and 5.4); ``key`` is Key1 and Key2.

    The library refuses Key1 equal to Key2, and AES-192, which IEEE 1619 does not have.
    """
    cipher = Cipher(algorithms.AES(key), modes.XTS(tweak))
    context = cipher.encryptor() if encrypt else cipher.decryptor()
    return context.update(data) + context.finalize()
