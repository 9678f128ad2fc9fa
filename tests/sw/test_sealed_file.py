"""Sealed files on the soft device, beside an implementation of the format on `cryptography`."""

import io
import struct

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM as LibraryGCM

from tailrace.crypto.aead import AESGCM
from tailrace.crypto.cipher import Cipher
from tailrace.crypto.errors import BadMessage, SealedFileError
from tailrace.crypto.sealed_file import Header, chunks_of, seal, unseal
from tailrace.jobs.errors import JobError
from tailrace_sim.soft_device import DeviceBench

KEY = bytes(range(32))
CHUNK = 64
HEADER, PIECE = 20, CHUNK + 16
#: Payload of four chunks, the last not full.
DATA = bytes(range(256))[:-10]


def library_seal(key: bytes, data: bytes, prefix: bytes, chunk: int) -> bytes:
    """As the format is described, and not as the driver has it."""
    header = b"TRSEALED\x01" + struct.pack("<I", chunk) + prefix
    pieces = [data[at : at + chunk] for at in range(0, len(data), chunk)] or [b""]
    return header + b"".join(
        LibraryGCM(key).encrypt(
            prefix + number.to_bytes(4, "big") + bytes([number == len(pieces) - 1]), piece, header
        )
        for number, piece in enumerate(pieces)
    )


class Soft:
    """The driver on the soft device."""

    def __init__(self, key: bytes = KEY):
        self.bench = DeviceBench()
        self.cipher = self.bench.run(Cipher.open(self.bench.find()))
        self.aead = self.bench.run(AESGCM.create(self.cipher, key, strict=True))

    def seal(self, data: bytes, header: Header | None = None, told=None) -> bytes:
        sink = io.BytesIO()
        self.bench.run(seal(self.aead, io.BytesIO(data), sink, header, told))
        return sink.getvalue()

    def unseal(self, sealed: bytes) -> bytes:
        sink = io.BytesIO()
        self.bench.run(unseal(self.aead, io.BytesIO(sealed), sink))
        return sink.getvalue()


@pytest.fixture
def soft():
    return Soft()


@pytest.fixture
def sealed(soft):
    return soft.seal(DATA, Header(bytes(7), CHUNK))


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 128, 129, 40 * 64])
def test_it_is_the_format(soft, size):
    """At every edge of a chunk, and over more chunks than are under way at once."""
    data = soft.bench.rng.randbytes(size)
    header = Header.new(CHUNK)
    told: list[int] = []
    sealed = soft.seal(data, header, told.append)
    assert sealed == library_seal(KEY, data, header.prefix, CHUNK)
    assert told[-1] == chunks_of(size, CHUNK) == -(-(len(sealed) - HEADER) // PIECE)
    assert soft.unseal(sealed) == data


def test_full_chunks_and_every_key():
    for size in (16, 24, 32):
        soft = Soft(KEY[:size])
        data = soft.bench.rng.randbytes(20_000)
        sealed = soft.seal(data)
        assert sealed == library_seal(KEY[:size], data, sealed[13:20], 16384)
        assert soft.unseal(sealed) == data


def test_two_files_have_two_prefixes():
    assert Soft().seal(b"x")[13:20] != Soft().seal(b"x")[13:20]


def test_a_nonce_never_comes_twice(soft, sealed):
    """The engine itself refuses, because the key is strict."""
    with pytest.raises(JobError, match="IV_REUSED"):
        soft.seal(DATA, Header(bytes(7), CHUNK))


@pytest.mark.parametrize("at", [8, 9, 13, 19, 20, 99, 100, 180, 260, 313, -1])
def test_a_wrong_bit_anywhere(soft, sealed, at):
    """In the version, the size, the prefix, each chunk and the last tag."""
    damaged = bytearray(sealed)
    damaged[at] ^= 1
    with pytest.raises(SealedFileError):
        soft.unseal(bytes(damaged))


def test_the_last_byte_that_is_missing_and_all_the_others(soft, sealed):
    for length in range(len(sealed)):
        with pytest.raises(SealedFileError):
            soft.unseal(sealed[:length])


def test_chunks_in_another_order(soft, sealed):
    header, pieces = sealed[:HEADER], [
        sealed[at : at + PIECE] for at in range(HEADER, len(sealed), PIECE)
    ]  # fmt: skip
    assert soft.unseal(header + b"".join(pieces)) == DATA
    for order in ([1, 0, 2, 3], [0, 2, 1, 3], [0, 0, 1, 2, 3], [0, 1, 3], [0, 1, 2], [1, 2, 3]):
        with pytest.raises(SealedFileError, match="does not open"):
            soft.unseal(header + b"".join(pieces[n] for n in order))


def test_files_that_were_joined(soft, sealed):
    whole = soft.seal(bytes(2 * CHUNK), Header(b"another", CHUNK))
    for other in (whole, whole[HEADER:], sealed, b"x"):
        with pytest.raises(SealedFileError):
            soft.unseal(sealed + other)
        with pytest.raises(SealedFileError):
            soft.unseal(whole + other)


def test_what_is_said(soft, sealed):
    for data, words in [
        (b"", "not a sealed file"),
        (b"TRSEALED", "cut off in its header"),
        (b"TRSEALED\x02" + bytes(11), "version 2 of the format; 1 is known"),
        (b"TRSEALED\x01" + bytes(11), "chunks of 0 bytes; the engine takes 1 to 16384"),
        (sealed[:HEADER], "it is cut off"),
        (sealed[: HEADER + PIECE], "the key is another one, or the file is damaged"),
        (sealed[:-PIECE], "not in its order: chunk 3 of 3 does not open"),
    ]:
        with pytest.raises(SealedFileError, match=words):
            soft.unseal(data)
    # Behind other data, and from a pipe, whose length nobody knows.
    damaged = sealed[: HEADER + PIECE] + bytes(PIECE) + sealed[HEADER + 2 * PIECE :]
    source = io.BytesIO(b"before" + damaged)
    source.seek(6)
    with pytest.raises(SealedFileError, match="chunk 2 of 4 does not open"):
        soft.bench.run(unseal(soft.aead, source, io.BytesIO()))
    source.seek(6)
    source.seekable = lambda: False  # type: ignore[method-assign]
    with pytest.raises(SealedFileError, match="chunk 2 does not open"):
        soft.bench.run(unseal(soft.aead, source, io.BytesIO()))
    with pytest.raises(SealedFileError, match="the key is another one"):
        Soft(bytes(32)).unseal(sealed)
    with pytest.raises(BadMessage, match="a chunk has 1 to 16384 bytes, not 0"):
        Header.new(0)
    with pytest.raises(BadMessage, match="4294967296 chunks at most"):
        Header.new().nonce(1 << 32, True)
