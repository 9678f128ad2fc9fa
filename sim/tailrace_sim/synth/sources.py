"""Somebody else's Verilog files, copied under names that every tool can take.

A name in a source that is a file's (one that is included, or read into a memory) is replaced by the
name of the copy. So the copies are all that a result depends on, and their hash is its key.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tailrace_sim.synth.yosys import SynthError

__all__ = ["Sources", "collect"]

_INCLUDE = re.compile(r'^(\s*`include\s+")([^"\n]+)(?=")', re.MULTILINE)
_READ_MEMORY = re.compile(r"\$readmem[hb]\b")
_STRING = re.compile(r'(")([^"\n\\]+)(?=")')
_UNSAFE = re.compile(r"[^A-Za-z0-9_.]")


@dataclass(frozen=True)
class Sources:
    """Copies.

    Attributes
    ----------
    names : of the copies of the files that were given, in their order
    contents : of all copies, by name
    """

    names: list[str]
    contents: dict[str, bytes]

    @property
    def key(self) -> str:
        """Hash of everything."""
        digest = hashlib.sha256(f"{self.names}".encode())
        for name, content in self.contents.items():
            digest.update(f"{name} {len(content)} ".encode() + content)
        return digest.hexdigest()

    def write(self, folder: Path) -> None:
        """Put the copies into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.contents.items():
            (folder / name).write_bytes(content)


class _Collector:
    def __init__(self, files: Sequence[Path], folders: Sequence[Path]):
        self.names: dict[Path, str] = {}
        self.contents: dict[str, bytes] = {}
        self._folders = [*dict.fromkeys(path.resolve().parent for path in files), *folders]
        texts = [_read(path) for path in files]
        self._memories = any(_READ_MEMORY.search(text) for text in texts)

    def add(self, path: Path) -> str:
        """Copy a source and what it names; the copy's name."""
        path = path.resolve()
        if path in self.names:
            return self.names[path]
        name = self._name(path)
        text = _read(path)
        self._memories = self._memories or bool(_READ_MEMORY.search(text))
        text = _INCLUDE.sub(lambda match: match[1] + self._replaced(match[2], path, True), text)
        if self._memories:
            text = _STRING.sub(lambda match: match[1] + self._replaced(match[2], path, False), text)
        self.contents[name] = text.encode(errors="surrogateescape")
        return name

    def memory(self, name: str, beside: Path | None = None) -> str:
        """The name of a file's copy if it is a file's name and memories are read from files."""
        return self._replaced(name, beside or Path("x"), False) if self._memories else name

    def _replaced(self, name: str, beside: Path, source: bool) -> str:
        if name in self.contents:  # replaced already
            return name
        folders = (beside.parent, *self._folders, *([] if source else [Path.cwd()]))
        for found in (folder / name for folder in folders):
            if found.is_file():
                if source:
                    return self.add(found)
                found = found.resolve()
                if found not in self.names:
                    self.contents[self._name(found)] = found.read_bytes()
                return self.names[found]
        return name

    def _name(self, path: Path) -> str:
        """A name that no copy has: the file's own where that can be."""
        plain = _UNSAFE.sub("_", path.name)
        name, count = plain, 0
        while name in self.names.values():
            count += 1
            name = f"{count}_{plain}"
        self.names[path] = name
        return name


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="surrogateescape")
    except OSError as error:
        raise SynthError(f"{path}: {error.strerror}") from error


def collect(
    files: Sequence[Path], folders: Sequence[Path], strings: dict[str, str]
) -> tuple[Sources, dict[str, str]]:
    """Copies of files and of what they name, and ``strings`` with the names of copies in them.

    Parameters
    ----------
    folders : where included files are looked for, beside the files' own folders

    Raises
    ------
    SynthError
        A file can't be read.
    """
    collector = _Collector(files, folders)
    names = [collector.add(path) for path in files]
    replaced = {key: collector.memory(text) if text else text for key, text in strings.items()}
    return Sources(names, collector.contents), replaced
