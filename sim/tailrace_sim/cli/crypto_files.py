"""Keys and files of ``./tailrace crypto``: what is checked before a simulation begins."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tailrace.cli.errors import UserError
from tailrace.crypto.errors import SealedFileError
from tailrace.crypto.sealed_file import HEADER, TAG, Header, chunks_of
from tailrace_sim.cli.terminal import writing

__all__ = [
    "MAX_FILE",
    "SUFFIX",
    "look_at",
    "new_file",
    "read_key",
    "sealed_name",
    "unsealed_name",
]

#: Bytes of plaintext at most: some minutes on the fast backend, and hours on the other.
MAX_FILE = 64 << 20
#: Of a sealed file whose name was not given.
SUFFIX = ".sealed"
_KEYS = (16, 24, 32)
#: More than any key has, so that a wrong file is noticed and not read.
_KEY_FILE = 1024


def _from_hex(text: str) -> bytes | None:
    """A key in hex digits, if it is one."""
    digits = text.strip()
    if not re.fullmatch("[0-9a-fA-F]+", digits) or len(digits) not in [2 * n for n in _KEYS]:
        return None
    return bytes.fromhex(digits)


def read_key(key: str | None, key_file: Path | None) -> bytes:
    """The key that the options name.

    Raises
    ------
    UserError
        It is none.
    """
    if key is None and key_file is None:
        raise UserError("give the key with --key-file FILE, or with --key HEX")
    if key is not None and key_file is not None:
        raise UserError("give the key with --key-file FILE or with --key HEX, not both")
    if key is not None:
        found = _from_hex(key)
        if found is None:
            raise UserError("--key must be 32, 48 or 64 hex digits: 16, 24 or 32 bytes")
        return found
    assert key_file is not None
    with open(key_file, "rb") as file:
        data = file.read(_KEY_FILE)
    # 32 characters may be a key of 16 bytes or of 32: digits only are never chosen at random.
    found = _from_hex(data.decode("ascii", "replace"))
    if found is None and len(data) in _KEYS:
        found = data
    if found is None:
        size = f"{len(data)} bytes" if len(data) < _KEY_FILE else f"{_KEY_FILE} bytes or more"
        raise UserError(
            f"{key_file} has {size}; a key is 16, 24 or 32 bytes, as they are or as hex digits"
        )
    return found


def look_at(file: Path, *, encrypts: bool) -> tuple[int, int]:
    """Bytes of plaintext and chunks of a file that is to be sealed or opened.

    Raises
    ------
    UserError
        It can't be: better now than behind the minutes of a build.
    """
    _check_regular(file)
    with open(file, "rb") as source:
        head = source.read(HEADER.size)
        size = os.fstat(source.fileno()).st_size
    if encrypts:
        chunks = chunks_of(size)
    else:
        try:
            header = Header.parse(head)
        except SealedFileError as error:
            raise UserError(f"{file}: {error}") from error
        sealed = size - HEADER.size
        chunks = chunks_of(sealed, header.chunk + TAG)
        size = sealed - chunks * TAG
        if sealed - (chunks - 1) * (header.chunk + TAG) < TAG:
            raise UserError(f"{file}: it is cut off")
    if size > MAX_FILE:
        raise UserError(
            f"{file} has {size} bytes, and a simulation takes {MAX_FILE}; cut it, for example with"
            " split"
        )
    return size, chunks


def _check_regular(file: Path) -> None:
    if file.exists() and not file.is_file():
        raise UserError(f"{file} is no regular file; write what is in it to one")


def sealed_name(file: Path) -> Path:
    """Where a sealed file goes."""
    return _not_there(file.parent / (file.name + SUFFIX))


def unsealed_name(file: Path) -> Path:
    """Where an opened file goes."""
    _check_regular(file)
    if file.suffix != SUFFIX or file.name == SUFFIX:
        raise UserError(f"{file} does not end in {SUFFIX}; say with -o where the output goes")
    return _not_there(file.with_suffix(""))


def _not_there(path: Path) -> Path:
    """A name that we have chosen must not cost anybody a file."""
    if path.exists():
        raise UserError(f"{path} exists; say with -o where the output goes")
    return path


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A file to write to, which gets the name ``path`` if all goes well and is gone otherwise.

    Raises
    ------
    UserError
        There can be none.
    """
    path = path.resolve()
    if path.is_dir():
        raise UserError(f"{path} is a directory; name a file in it with -o")
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is no regular file; choose another with -o")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with writing(path):
        part.open("xb").close()
    try:
        yield part
        with writing(path):
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)
