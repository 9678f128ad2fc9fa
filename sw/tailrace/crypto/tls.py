"""TLS 1.3 record protection (RFC 8446, 5.2 to 5.4) by the cipher engine."""

import enum
import struct
from collections.abc import Sequence

from tailrace.crypto.aead import AESGCM, Message
from tailrace.crypto.errors import BadMessage, TlsError
from tailrace.crypto.octets import octets
from tailrace.regs.job_memory import MAX_CIPHER

__all__ = ["ContentType", "RecordProtection"]

_HEADER = struct.Struct(">BHH")
_LEGACY_VERSION = 0x0303
_TAG = 16
_NONCE = 12
#: RFC 8446, 5.1, 5.2 and 5.4: bytes of data, of TLSInnerPlaintext, and of what a record has.
_MAX_DATA = 1 << 14
_MAX_INNER = _MAX_DATA + 1
_MAX_ENCRYPTED = _MAX_DATA + 256
_SEQUENCES = 1 << 64


class ContentType(enum.IntEnum):
    """What may be inside of a protected record (RFC 8446, B.1)."""

    ALERT = 21
    HANDSHAKE = 22
    APPLICATION_DATA = 23


class RecordProtection:
    """One direction of a connection: a traffic key, its IV, and the sequence number.

    ::

        aead = await AESGCM.create(cipher, write_key)
        protection = RecordProtection(aead, write_iv)
        record = await protection.seal(ContentType.APPLICATION_DATA, b"hello")

    The cipher engine takes 2**14 bytes, so data, padding and type together may have as many and not
    one more; a peer learns that from the extension record_size_limit (RFC 8449) with 16384.

    Several tasks may call it; sequence numbers are given in the order of the calls. After a failure
    both sides do not agree on them any more, so every further call is refused. RFC 8446, 5.5, asks
    for a new key after 2**24.5 full records: that, and the key schedule, is the caller's.

    Parameters
    ----------
    aead : with the traffic key, neither strict nor with short tags; closed by its owner
    iv : of the traffic key, 12 bytes
    sequence : number of the next record

    Attributes
    ----------
    sequence : number of the next record
    """

    def __init__(self, aead: AESGCM, iv: bytes, *, sequence: int = 0):
        iv = octets("the IV of a traffic key", iv)
        if len(iv) != _NONCE:
            raise BadMessage(f"the IV of a traffic key has {_NONCE} bytes, not {len(iv)}")
        if aead.tag_length != _TAG or aead.key.strict:
            raise BadMessage("TLS needs tags of 16 bytes, and nonces that go up and down")
        self._aead = aead
        self._iv = int.from_bytes(iv, "big")
        self.sequence = sequence
        self._failed = False

    async def seal(self, content_type: ContentType, data: bytes, *, padding: int = 0) -> bytes:
        """A record (TLSCiphertext) with ``padding`` zeros behind the type."""
        return (await self.seal_many([(content_type, data)], padding=padding))[0]

    async def seal_many(
        self, contents: Sequence[tuple[ContentType, bytes]], *, padding: int = 0
    ) -> list[bytes]:
        """Records, as many at once as the queue holds."""
        inner = [_inner_plaintext(kind, data, padding) for kind, data in contents]
        headers = [_header(len(plaintext) + _TAG) for plaintext in inner]
        nonces = self._take_nonces(len(inner))
        messages: list[Message] = list(zip(nonces, inner, headers, strict=True))
        try:
            sealed = await self._aead.encrypt_many(messages)
        except BaseException:
            self._failed = True
            raise
        return [header + payload for header, payload in zip(headers, sealed, strict=True)]

    async def open(self, record: bytes) -> tuple[ContentType, bytes]:
        """Type and data of a record.

        Raises
        ------
        TlsError
            It is not authentic, or breaks the protocol; its ``alert`` ends the connection.
        """
        return (await self.open_many([record]))[0]

    async def open_many(self, records: Sequence[bytes]) -> list[tuple[ContentType, bytes]]:
        """Records in their order, as many at once as the queue holds."""
        nonces = self._take_nonces(len(records))
        try:
            records = [octets("a record", record) for record in records]
            for record in records:
                _check_record(record)
            messages: list[Message] = [
                (nonce, record[_HEADER.size :], record[: _HEADER.size])
                for nonce, record in zip(nonces, records, strict=True)
            ]
            return [_content(inner) for inner in await self._aead.decrypt_many(messages)]
        except BaseException:
            self._failed = True
            raise

    def _take_nonces(self, count: int) -> list[bytes]:
        """Per-record nonces (5.3): the IV with the sequence number added bit by bit."""
        if self._failed:
            raise TlsError("internal_error", "an earlier record has failed; close the connection")
        if self.sequence + count > _SEQUENCES:
            raise TlsError("internal_error", "the sequence number would wrap; update the key")
        first, self.sequence = self.sequence, self.sequence + count
        return [(self._iv ^ (first + i)).to_bytes(_NONCE, "big") for i in range(count)]


def _inner_plaintext(kind: ContentType, data: bytes, padding: int) -> bytes:
    """TLSInnerPlaintext (5.2)."""
    kind, data = ContentType(kind), octets("data", data)
    if padding < 0:
        raise BadMessage(f"{padding} bytes of padding")
    if not data and kind != ContentType.APPLICATION_DATA:
        raise BadMessage(f"a record of type {kind.name} must not be empty")
    length = len(data) + 1 + padding
    if len(data) > _MAX_DATA or length > MAX_CIPHER:
        raise BadMessage(
            f"{len(data)} bytes of data, the type and {padding} of padding make {length}; the"
            f" engine takes {MAX_CIPHER}, so cut them into records"
        )
    return data + bytes([kind]) + bytes(padding)


def _header(length: int) -> bytes:
    """What is in front of a record, and its additional data."""
    return _HEADER.pack(ContentType.APPLICATION_DATA, _LEGACY_VERSION, length)


def _check_record(record: bytes) -> None:
    """What can be said before decryption; the version is not looked at (5.1)."""
    if len(record) < _HEADER.size:
        raise TlsError("decode_error", f"record of {len(record)} bytes")
    kind, _, length = _HEADER.unpack_from(record)
    if kind != ContentType.APPLICATION_DATA:
        raise TlsError("unexpected_message", f"record of type {kind} is not protected")
    if length > _MAX_ENCRYPTED:
        raise TlsError("record_overflow", f"record of {length} bytes")
    if length != len(record) - _HEADER.size:
        raise TlsError("decode_error", f"record says {length} bytes and has {len(record)} in all")
    if length < _TAG:
        raise TlsError("bad_record_mac", f"record of {length} bytes has no tag")
    if length - _TAG > MAX_CIPHER:
        own = "; the engine takes 16384, which record_size_limit (RFC 8449) tells the peer"
        allowed = length - _TAG <= _MAX_INNER
        raise TlsError("record_overflow", f"{length - _TAG} bytes inside{own if allowed else ''}")


def _content(inner: bytes | None) -> tuple[ContentType, bytes]:
    """Type and data of TLSInnerPlaintext: the type is the last byte that is not zero (5.4)."""
    if inner is None:
        raise TlsError("bad_record_mac", "the tag is wrong")
    stripped = inner.rstrip(b"\0")
    if not stripped:
        raise TlsError("unexpected_message", "record without a type")
    if stripped[-1] not in ContentType.__members__.values():
        raise TlsError("unexpected_message", f"record with type {stripped[-1]} inside")
    kind, data = ContentType(stripped[-1]), stripped[:-1]
    if not data and kind != ContentType.APPLICATION_DATA:
        raise TlsError("unexpected_message", f"empty record of type {kind.name}")
    return kind, data
