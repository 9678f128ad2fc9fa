"""NIST's CAVP cases of AES-GCM and AES-XTS, from the package ``cryptography_vectors``."""

from collections.abc import Iterator
from dataclasses import dataclass

import cryptography_vectors

__all__ = ["GCM_FILES", "XTS_FILES", "GcmCase", "XtsCase", "gcm_cases", "xts_cases"]

#: Files of the package; each GCM file has 7,875 cases.
GCM_FILES = tuple(
    f"ciphers/AES/GCM/gcm{direction}{size}.rsp"
    for direction in ("EncryptExtIV", "Decrypt")
    for size in (128, 192, 256)
)
#: Each has 1,000 cases, some of them not of whole bytes.
XTS_FILES = tuple(
    f"ciphers/AES/XTS/tweak-{tweak}/XTSGenAES{size}.rsp"
    for tweak in ("128hexstr", "dataunitseqno")
    for size in (128, 256)
)


@dataclass(frozen=True)
class GcmCase:
    """One GCM case.

    Attributes
    ----------
    name : file and line, for a message
    encrypt : the direction that the case is about; it holds for the other as well
    iv : 1, 12 or 128 bytes
    plaintext : None if the tag is wrong, and decryption must fail
    tag : as long as it shall be
    """

    name: str
    encrypt: bool
    key: bytes
    iv: bytes
    aad: bytes
    plaintext: bytes | None
    ciphertext: bytes
    tag: bytes


@dataclass(frozen=True)
class XtsCase:
    """One XTS case of whole bytes; ``key`` is Key1 and Key2, ``tweak`` has 16 bytes."""

    name: str
    encrypt: bool
    key: bytes
    tweak: bytes
    plaintext: bytes
    ciphertext: bytes


def _records(file: str) -> Iterator[tuple[int, str, dict[str, str]]]:
    """Line, last section without a value, and fields of each case, names in lower case."""
    section = case_section = ""
    fields: dict[str, str] = {}
    line = 0
    with cryptography_vectors.open_vector_file(file, "r") as text:
        for number, row in enumerate(text, 1):
            name, equals, value = row.strip().partition("=")
            name = name.strip().lower()
            if row.startswith("#") or not name:
                continue
            if row.startswith("["):
                section = section if equals else name.strip("[]")
                continue
            if name == "count":
                if fields:
                    yield line, case_section, fields
                line, case_section, fields = number, section, {}
            elif equals or name == "fail":
                fields[name] = value.strip()
            else:
                raise ValueError(f"{file}, line {number}: {row.strip()!r}")
    if fields:
        yield line, case_section, fields


def gcm_cases() -> Iterator[GcmCase]:
    """All 47,250."""
    for file in GCM_FILES:
        for line, _, fields in _records(file):
            names = ("key", "iv", "aad", "ct", "tag")
            key, iv, aad, ciphertext, tag = (bytes.fromhex(fields[name]) for name in names)
            plaintext = None if "fail" in fields else bytes.fromhex(fields["pt"])
            name = f"{file}:{line}"
            yield GcmCase(name, "Encrypt" in file, key, iv, aad, plaintext, ciphertext, tag)


def xts_cases() -> Iterator[XtsCase]:
    """All whose data unit is of whole bytes, which is all that the engine and the library do."""
    for file in XTS_FILES:
        for line, section, fields in _records(file):
            bits = int(fields["dataunitlen"])
            if bits % 8:
                continue
            if "i" in fields:
                tweak = bytes.fromhex(fields["i"])
            else:
                tweak = int(fields["dataunitseqnumber"]).to_bytes(16, "little")
            plaintext, ciphertext = (bytes.fromhex(fields[name]) for name in ("pt", "ct"))
            if len(plaintext) != bits // 8:
                raise ValueError(f"{file}, line {line}: {len(plaintext)} bytes of {bits} bits")
            yield XtsCase(
                f"{file}:{line}", section == "encrypt", bytes.fromhex(fields["key"]), tweak,
                plaintext, ciphertext,
            )  # fmt: skip
