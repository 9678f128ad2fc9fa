"""AES-GCM and AES-XTS with the names that Python's ``cryptography`` has for them."""

import secrets
from collections.abc import Iterable, Sequence
from typing import Any

from tailrace.crypto.cipher import Cipher
from tailrace.crypto.errors import BadMessage, InvalidTag, KeyGone
from tailrace.crypto.gcm_iv import ZERO_BLOCK_J0, j0_of
from tailrace.crypto.keys import Key
from tailrace.crypto.octets import Octets, octets
from tailrace.jobs.data import Ended, Request, run_data
from tailrace.regs.job_memory import (
    MAX_AAD,
    MAX_CIPHER,
    TAG_LENGTHS,
    JobOpcode,
    JobStatus,
)

__all__ = ["AESGCM", "AESXTS", "Message"]

#: Nonce, data and additional data.
Message = tuple[Octets, Octets, Octets | None]
_Plain = tuple[bytes, bytes, bytes]
_BLOCK = 16


class AESGCM:
    """AES-GCM (SP 800-38D) with one key: ``await AESGCM.create(cipher, key)``.

    Attributes
    ----------
    key : its handle
    tag_length : bytes of the tag behind the ciphertext
    """

    def __init__(self, cipher: Cipher, key: Key, tag_length: int):
        self._cipher = cipher
        self.key = key
        self.tag_length = tag_length

    @classmethod
    async def create(
        cls, cipher: Cipher, key: bytes, *, tag_length: int = 16, strict: bool = False
    ) -> "AESGCM":
        """Install a key of 16, 24 or 32 bytes.

        ``strict`` makes the device refuse to encrypt unless each nonce, of 12 bytes, is above the
        one before as a big-endian number.
        """
        if not isinstance(tag_length, int) or tag_length not in TAG_LENGTHS:
            raise BadMessage(f"a tag has {TAG_LENGTHS} bytes, not {tag_length}")
        return cls(cipher, await cipher.install(key, strict=strict), tag_length)

    @staticmethod
    def generate_key(bit_length: int) -> bytes:
        """A random key of 128, 192 or 256 bits."""
        if bit_length not in (128, 192, 256):
            raise BadMessage(f"an AES key has 128, 192 or 256 bits, not {bit_length}")
        return secrets.token_bytes(bit_length // 8)

    async def encrypt(self, nonce: Octets, data: Octets, associated_data: Octets | None) -> bytes:
        """Ciphertext and tag."""
        return (await self.encrypt_many([(nonce, data, associated_data)]))[0]

    async def decrypt(self, nonce: Octets, data: Octets, associated_data: Octets | None) -> bytes:
        """Plaintext of ciphertext and tag.

        Raises
        ------
        InvalidTag
            It is not authentic, or shorter than the tag; nothing of it was decrypted.
        """
        [plaintext] = await self.decrypt_many([(nonce, data, associated_data)])
        if plaintext is None:
            raise InvalidTag
        return plaintext

    async def encrypt_many(self, messages: Sequence[Message]) -> list[bytes]:
        """:meth:`encrypt` of each, as many at once as the queue holds."""
        ended = await self._run(_plain(messages), JobOpcode.GCM_ENCRYPT)
        return [end.check("GCM_ENCRYPT") + end.result.tag[: self.tag_length] for end in ended]

    async def decrypt_many(self, messages: Sequence[Message]) -> list[bytes | None]:
        """:meth:`decrypt` of each; None in the place of one whose tag is wrong or not whole."""
        plain = _plain(messages)
        whole = [message for message in plain if len(message[1]) >= self.tag_length]
        ended = iter(await self._run(whole, JobOpcode.GCM_DECRYPT))
        return [
            _plaintext(next(ended)) if len(data) >= self.tag_length else None
            for _, data, _ in plain
        ]

    async def close(self) -> None:
        """Delete the key; see :meth:`Key.delete`."""
        await self.key.delete()

    async def _run(self, messages: Sequence[_Plain], opcode: JobOpcode) -> list[Ended]:
        """Check all messages, then begin the first."""
        generation, subkey = self.key.generation, None
        for nonce, data, aad in messages:
            self._check(nonce, data, aad, encrypts=opcode == JobOpcode.GCM_ENCRYPT)
        if any(len(nonce) != 12 for nonce, _, _ in messages):
            if self.key.strict:
                raise BadMessage("a strict key takes nonces of 12 bytes only, no J0")
            subkey = await self._find_subkey()
        requests = (self._request(opcode, message, subkey) for message in messages)
        ended = await run_data(self._cipher.queue, requests)
        if subkey is not None and self.key.generation != generation:
            raise KeyGone(
                "the key was replaced under messages whose nonces don't have 12 bytes, so their J0"
                " may be the old key's; do them again"
            )
        return ended

    def _check(self, nonce: bytes, data: bytes, aad: bytes, *, encrypts: bool) -> None:
        if not nonce:
            raise BadMessage("a nonce has at least one byte")
        length = len(data) if encrypts else len(data) - self.tag_length
        if length > MAX_CIPHER:
            raise BadMessage(f"message of {length} bytes; the engine takes {MAX_CIPHER}")
        if len(aad) > MAX_AAD:
            raise BadMessage(f"{len(aad)} bytes of associated data; the engine takes {MAX_AAD}")

    async def _find_subkey(self) -> bytes:
        """H, asked from the device once a key."""
        key = self.key
        if key.subkey is not None:
            return key.subkey
        generation = key.generation
        parameters = {"key": key.index, "iv": ZERO_BLOCK_J0, "j0": True}
        request = Request(JobOpcode.GCM_ENCRYPT, bytes(_BLOCK), _BLOCK, parameters)
        [ended] = await run_data(self._cipher.queue, [request])
        subkey = ended.check("GCM_ENCRYPT of the block of zeros")
        key.keep_subkey(subkey, generation)
        return subkey

    def _request(self, opcode: JobOpcode, message: _Plain, subkey: bytes | None) -> Request:
        nonce, data, aad = message
        parameters: dict[str, Any] = {
            "key": self.key.index, "aad": aad, "tag_length": self.tag_length, "iv": nonce,
        }  # fmt: skip
        if len(nonce) != 12:
            assert subkey is not None
            parameters |= {"iv": j0_of(subkey, nonce), "j0": True}
        if opcode == JobOpcode.GCM_DECRYPT:
            data, parameters["tag"] = data[: -self.tag_length], data[-self.tag_length :]
        return Request(opcode, data, len(data), parameters)


def _plain(messages: Iterable[Message]) -> list[_Plain]:
    """All as bytes."""
    return [
        (
            octets("a nonce", nonce),
            octets("data", data),
            b"" if aad is None else octets("associated data", aad),
        )
        for nonce, data, aad in messages
    ]


def _plaintext(ended: Ended) -> bytes | None:
    """Of a decryption; None if the tag is wrong."""
    wrong = ended.result.status == JobStatus.AUTHENTICATION_FAILED
    return None if wrong else ended.check("GCM_DECRYPT")


#: Number of a data unit, or the tweak itself.
Tweak = int | Octets


class AESXTS:
    """AES-XTS (IEEE 1619) with one key: ``await AESXTS.create(cipher, key)``.

    A tweak is the number of the data unit, or 16 bytes (the number in little endian).

    Attributes
    ----------
    key : its handle
    """

    def __init__(self, cipher: Cipher, key: Key):
        self._cipher = cipher
        self.key = key

    @classmethod
    async def create(cls, cipher: Cipher, key: bytes) -> "AESXTS":
        """Install Key1 || Key2, 32 or 64 bytes."""
        return cls(cipher, await cipher.install_xts(key))

    @staticmethod
    def generate_key(bit_length: int) -> bytes:
        """A random key for AES-128 (256 bits in all) or AES-256 (512)."""
        if bit_length not in (256, 512):
            raise BadMessage(f"an XTS key has 256 or 512 bits, not {bit_length}")
        return secrets.token_bytes(bit_length // 8)

    async def encrypt(self, tweak: Tweak, data: Octets) -> bytes:
        """A data unit of 16 bytes to 16 KiB."""
        return (await self.encrypt_many([(tweak, data)]))[0]

    async def decrypt(self, tweak: Tweak, data: Octets) -> bytes:
        return (await self.decrypt_many([(tweak, data)]))[0]

    async def encrypt_many(self, units: Iterable[tuple[Tweak, Octets]]) -> list[bytes]:
        """Data units, as many at once as the queue holds."""
        return await self._run(JobOpcode.XTS_ENCRYPT, units)

    async def decrypt_many(self, units: Iterable[tuple[Tweak, Octets]]) -> list[bytes]:
        return await self._run(JobOpcode.XTS_DECRYPT, units)

    async def close(self) -> None:
        """Delete the key."""
        await self.key.delete()

    async def _run(self, opcode: JobOpcode, units: Iterable[tuple[Tweak, Octets]]) -> list[bytes]:
        requests = [self._request(opcode, tweak, data) for tweak, data in units]
        ended = await run_data(self._cipher.queue, requests)
        return [end.check(opcode.name) for end in ended]

    def _request(self, opcode: JobOpcode, tweak: Tweak, given: Octets) -> Request:
        data = octets("a data unit", given)
        if not _BLOCK <= len(data) <= MAX_CIPHER:
            raise BadMessage(
                f"data unit of {len(data)} bytes; the engine takes {_BLOCK} to {MAX_CIPHER}"
            )
        if isinstance(tweak, int):
            if not 0 <= tweak < 1 << 128:
                raise BadMessage(f"data unit number {tweak} does not fit into 128 bits")
            tweak = tweak.to_bytes(16, "little")
        tweak = octets("a tweak", tweak)
        if len(tweak) != 16:
            raise BadMessage(f"a tweak has 16 bytes, not {len(tweak)}")
        return Request(opcode, data, len(data), {"key": self.key.index, "iv": tweak})
