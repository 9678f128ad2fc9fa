"""A QEMU that can put a device of another process into a PCIe slot."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tailrace.cli.errors import UserError
from tailrace_sim.linux.tree import Tree
from tailrace_sim.tool import run_tool

__all__ = [
    "DEVICE", "OLDEST", "PROGRAM", "Qemu", "QemuProblem", "check", "fetched", "installed", "named",
]  # fmt: skip

PROGRAM = "qemu-system-x86_64"
#: Its device that speaks vfio-user.
DEVICE = "vfio-user-pci"
OLDEST = "10.1"
#: Seconds that it has to say its version; a sound one needs a fraction of one.
_PATIENCE = 30.0


class QemuProblem(UserError):
    """This QEMU can't do it; the message says why."""


@dataclass(frozen=True)
class Qemu:
    """A QEMU, and how to start it.

    Attributes
    ----------
    command : before its own arguments
    environment : that it needs beside ours
    """

    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)

    def output(self, *arguments: str) -> str:
        """What it says when asked, standard error too.

        Raises
        ------
        subprocess.TimeoutExpired
            It does not come to an end.
        """
        return run_tool(
            [*self.command, *arguments], timeout=_PATIENCE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace",
            env={**os.environ, **self.environment},
        ).stdout  # fmt: skip


def check(qemu: Qemu) -> str:
    """Its version.

    Raises
    ------
    QemuProblem
        It does not run, or has no :data:`DEVICE`.
    """
    name = qemu.command[-1] if len(qemu.command) == 1 else PROGRAM
    try:
        return _version(name, qemu)
    except OSError as error:
        raise QemuProblem(f"{name} does not run: {error.strerror}") from None
    except subprocess.TimeoutExpired as late:
        asked = late.cmd[-1] if late.cmd[-1] == "--version" else f"-device {DEVICE},help"
        raise QemuProblem(f"{name} {asked} does not end within {late.timeout:g} s") from None


def _version(name: str, qemu: Qemu) -> str:
    text = qemu.output("--version")
    version = re.search(r"version (\S+)", text)
    if version is None:
        lines = text.strip().splitlines() or ["it says nothing"]
        raise QemuProblem(f"{name} does not run: {lines[0]}")
    # Not the list of all devices: for that it loads all its modules.
    if f"{DEVICE} options:" not in qemu.output("-machine", "q35", "-device", f"{DEVICE},help"):
        raise QemuProblem(
            f"{name} is version {version[1]}, without {DEVICE}, which QEMU has from {OLDEST} on"
        )
    return version[1]


def named() -> str | None:
    """What ``$TAILRACE_QEMU`` says."""
    return os.environ.get("TAILRACE_QEMU") or None


def installed() -> Qemu:
    """The one that ``$TAILRACE_QEMU`` or ``$PATH`` has.

    Raises
    ------
    QemuProblem
        There is none.
    """
    name = named() or PROGRAM
    path = shutil.which(name)
    if path is None:
        raise QemuProblem(f"there is no {name}")
    return Qemu((path,))


def fetched(root: Path) -> Qemu:
    """The one in an unpacked Debian tree."""
    tree = Tree(root)
    data = [root / "usr/share" / part for part in ("qemu", "seabios")]
    data.append(root / "usr/lib/ipxe/qemu")
    folders = [part for path in data for part in ("-L", str(path))]
    modules = tree.loader.parent / "qemu"
    return Qemu((*tree.command(PROGRAM), *folders), {"QEMU_MODULE_DIR": str(modules)})
