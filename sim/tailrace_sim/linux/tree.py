"""Programs of an unpacked Debian tree, run where they are, with their own loader and libraries.

So they work on a machine whose C library is older or newer, and nothing has to be installed.
"""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tailrace.cli.errors import UserError

__all__ = ["Tree"]

_LOADER = "ld-linux-x86-64.so.2"
_ARCHITECTURE = "x86_64-linux-gnu"
_PROGRAMS = ("usr/bin", "usr/sbin", "bin", "sbin")


@dataclass(frozen=True)
class Tree:
    """What packages were unpacked into.

    Attributes
    ----------
    root : its folder
    """

    root: Path

    @property
    def loader(self) -> Path:
        """The dynamic loader."""
        for part in ("usr/lib", "lib"):
            path = self.root / part / _ARCHITECTURE / _LOADER
            if path.exists():
                return path
        raise UserError(f"{self.root} has no {_LOADER}; remove the folder and try again")

    @property
    def library_path(self) -> str:
        """Where its libraries are."""
        folders = [self.root / part / _ARCHITECTURE for part in ("usr/lib", "lib")]
        # A few packages keep theirs in folders of their own.
        folders.append(self.root / "usr/lib" / _ARCHITECTURE / "pulseaudio")
        return ":".join(str(folder) for folder in folders if folder.is_dir())

    def program(self, name: str) -> Path:
        """The file of a program.

        Raises
        ------
        UserError
            There is none.
        """
        for part in _PROGRAMS:
            path = self.root / part / name
            if path.exists():
                return path.resolve()
        raise UserError(f"{self.root} has no program {name}; remove the folder and try again")

    def command(self, name: str) -> list[str]:
        """How to start a program."""
        return [
            str(self.loader), "--library-path", self.library_path, str(self.program(name)),
        ]  # fmt: skip

    def libraries(self, program: Path) -> list[Path]:
        """What a program is linked with, the loader too; nothing if it is a static one."""
        result = subprocess.run(
            [self.loader, "--library-path", self.library_path, "--list", program],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if result.returncode:
            if "statically linked" in result.stdout + result.stderr:
                return []
            raise UserError(
                f"{program} can't be loaded: {(result.stderr or result.stdout).strip()}; "
                "remove the folder and try again"
            )
        if "not found" in result.stdout:
            raise UserError(f"{program} lacks a library: {result.stdout.strip()}")
        found = re.findall(r"=> (/\S+)", result.stdout)
        return [self.loader, *(Path(path) for path in found if Path(path).name != _LOADER)]
