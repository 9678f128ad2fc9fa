"""A file sealed with AES-GCM, chunk by chunk, by the cipher engine.

A header of 20 bytes: magic (8 bytes), version (u8), bytes of plaintext in a chunk (u32, little
endian), prefix of the nonces (7 bytes, random). Then the chunks, each as ciphertext and a tag of 16
bytes. All but the last are full; an empty file is one empty chunk.

Nonces are those of the STREAM construction (Hoang, Reyhanitabar, Rogaway and Vizar, 2015): prefix,
number of the chunk (u32, big endian), and a byte that is 1 for the last chunk and 0 for the others.
The header is the additional data of every chunk. So a file that was cut off, lengthened, put in
another order or joined of two does not open.
"""

import secrets
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import SEEK_END
from itertools import islice
from typing import BinaryIO

from tailrace.crypto.aead import AESGCM, Message
from tailrace.crypto.errors import BadMessage, SealedFileError
from tailrace.regs.job_memory import MAX_CIPHER

__all__ = ["HEADER", "MAGIC", "TAG", "Header", "chunks_of", "seal", "unseal"]

MAGIC = b"TRSEALED"
VERSION = 1
HEADER = struct.Struct("<8sBI7s")
#: Bytes of a tag, and of a nonce's prefix.
TAG = 16
_PREFIX = 7
_NUMBER = struct.Struct(">I?")
_MOST_CHUNKS = 1 << 32
#: Chunks that are under way at once: enough that the engine does not wait for the next.
_AT_ONCE = 32

#: Told how many chunks are done.
Told = Callable[[int], None]


@dataclass(frozen=True)
class Header:
    """What is in front.

    Attributes
    ----------
    prefix : of the nonces: new for every file that is sealed with a key
    chunk : bytes of plaintext in a chunk
    """

    prefix: bytes
    chunk: int = MAX_CIPHER

    @classmethod
    def new(cls, chunk: int = MAX_CIPHER) -> "Header":
        """One with a prefix of its own."""
        if not 1 <= chunk <= MAX_CIPHER:
            raise BadMessage(f"a chunk has 1 to {MAX_CIPHER} bytes, not {chunk}")
        return cls(secrets.token_bytes(_PREFIX), chunk)

    @classmethod
    def parse(cls, data: bytes) -> "Header":
        """From the first bytes of a file.

        Raises
        ------
        SealedFileError
            They are no header, or not one that we can read.
        """
        if data[: len(MAGIC)] != MAGIC:
            raise SealedFileError("it is not a sealed file: the first bytes are other ones")
        if len(data) < HEADER.size:
            raise SealedFileError("it is cut off in its header")
        _, version, chunk, prefix = HEADER.unpack(data)
        if version != VERSION:
            raise SealedFileError(f"it has version {version} of the format; {VERSION} is known")
        if not 1 <= chunk <= MAX_CIPHER:
            raise SealedFileError(
                f"its header says chunks of {chunk} bytes; the engine takes 1 to {MAX_CIPHER}"
            )
        return cls(prefix, chunk)

    def pack(self) -> bytes:
        return HEADER.pack(MAGIC, VERSION, self.chunk, self.prefix)

    def nonce(self, number: int, last: bool) -> bytes:
        """Of a chunk."""
        if number >= _MOST_CHUNKS:
            raise BadMessage(f"a sealed file has {_MOST_CHUNKS} chunks at most; cut the file")
        return self.prefix + _NUMBER.pack(number, last)


def chunks_of(size: int, chunk: int = MAX_CIPHER) -> int:
    """Chunks of ``size`` bytes of plaintext."""
    return max(1, -(-size // chunk))


async def seal(
    aead: AESGCM, source: BinaryIO, sink: BinaryIO, header: Header | None = None,
    told: Told | None = None,
) -> int:  # fmt: skip
    """Seal what can be read; the number of chunks.

    Parameters
    ----------
    aead : with a strict key, the device itself sees to it that no nonce comes twice; that one is
        for a single file, as the next one's prefix may be below
    header : default: a new one
    """
    header = header or Header.new()
    packed = header.pack()
    sink.write(packed)
    done = 0
    messages = _messages(source, header, packed, header.chunk)
    while batch := list(islice(messages, _AT_ONCE)):
        sink.writelines(await aead.encrypt_many(batch))
        done += len(batch)
        if told is not None:
            told(done)
    return done


async def unseal(
    aead: AESGCM, source: BinaryIO, sink: BinaryIO, told: Told | None = None
) -> int:  # fmt: skip
    """Open a sealed file; the number of chunks.

    What was written before an exception is authentic, but not whole: drop it.

    Raises
    ------
    SealedFileError
        It does not open.
    """
    start = source.tell() if source.seekable() else None
    packed = source.read(HEADER.size)
    header = Header.parse(packed)
    done = 0
    messages = _messages(source, header, packed, header.chunk + TAG)
    while batch := list(islice(messages, _AT_ONCE)):
        if len(batch[-1][1]) < TAG:
            raise SealedFileError("it is cut off")
        for plaintext in await aead.decrypt_many(batch):
            if plaintext is None:
                raise SealedFileError(_why(done + 1, header, source, start))
            sink.write(plaintext)
            done += 1
        if told is not None:
            told(done)
    return done


def _why(number: int, header: Header, source: BinaryIO, start: int | None) -> str:
    """What it means that a chunk, counted from 1, does not open; ``start`` None: length unknown."""
    if number == 1:
        return "it does not open: the key is another one, or the file is damaged"
    of = ""
    if start is not None:
        size = source.seek(0, SEEK_END) - start - HEADER.size
        of = f" of {chunks_of(size, header.chunk + TAG)}"
    return f"it is damaged, cut off or not in its order: chunk {number}{of} does not open"


def _messages(source: BinaryIO, header: Header, packed: bytes, size: int) -> Iterator[Message]:
    """A message for each ``size`` bytes of the source; the last may be shorter."""
    number, data = 0, source.read(size)
    while following := source.read(size):
        yield header.nonce(number, False), data, packed
        number, data = number + 1, following
    yield header.nonce(number, True), data, packed
