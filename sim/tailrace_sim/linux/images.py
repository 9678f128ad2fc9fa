"""What a guest is made of, fetched once: QEMU, a stock Debian kernel, and a file system.

All is in ``build/linux`` (:func:`~tailrace_sim.build.build_root`). A folder there has its finished
content or none: it is made under another name and renamed. Versions are those that apt offers when
it is made; the folder's name says what was asked for, ``versions`` in it what came. To have newer
ones, remove the folder.
"""

import contextlib
import hashlib
import platform
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from tailrace.cli.errors import UserError
from tailrace_sim.build import build_root, locked
from tailrace_sim.linux import qemu as qemus
from tailrace_sim.linux.apt import DebianApt, debian_mirror, unpack
from tailrace_sim.linux.initramfs import MODULES, TOOLS, build_initramfs
from tailrace_sim.linux.qemu import Qemu, QemuProblem
from tailrace_sim.linux.tree import Tree

__all__ = ["Images", "find_or_fetch_qemu", "prepare"]

#: Of the guest: the stable release that was the newest when its driver was first bound.
_GUEST_SUITES = ("bookworm",)
_KERNEL, _KERNEL_NAME = "linux-image-amd64", r"linux-image-[\d.]+-\d+-amd64"
_PACKAGES = (
    "bash", "busybox-static", "ethtool", "iperf3", "iproute2", "iputils-ping", "kmod", "pciutils",
    "tcpdump",
)  # fmt: skip
#: Debian's first release with a QEMU that is new enough, in its backports.
_QEMU_SUITES = ("trixie", "trixie-backports")
_QEMU_PACKAGES = ("qemu-system-x86",)

_Step = Callable[[str], Callable[[float], None]]


@dataclass(frozen=True)
class Images:
    """What a guest starts from.

    Attributes
    ----------
    qemu, version : the program, and its version
    kernel : a file that QEMU boots
    initramfs : the archive that goes before a guest's own
    release : of the kernel
    """

    qemu: Qemu
    version: str
    kernel: Path
    initramfs: Path
    release: str


def _key(*what: object) -> str:
    return hashlib.sha256(repr(what).encode()).hexdigest()[:12]


@contextlib.contextmanager
def _steps(console: Console) -> Iterator[_Step]:
    """A bar for each step of the work; lines where there is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:

        def step(what: str) -> Callable[[float], None]:
            if not console.is_terminal:
                console.print(what)
            task = progress.add_task(what, total=1.0)

            def move(share: float) -> None:
                progress.update(task, completed=share)

            return move

        yield step


def _made(directory: Path, console: Console, make: Callable[[Path, _Step], None]) -> Path:
    """A folder with what ``make`` puts into it, once."""
    with locked(directory):
        if not directory.exists():
            partial = directory.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            try:
                with _steps(console) as step:
                    make(partial, step)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
            partial.rename(directory)
    return directory


def _check_machine() -> None:
    if platform.machine() != "x86_64":
        raise UserError(f"a Linux guest is for x86-64, this machine is {platform.machine()}")


def _apt(suites: Sequence[str], step: _Step) -> DebianApt:
    apt = DebianApt(build_root() / "linux" / f"apt-{suites[-1]}", suites, debian_mirror())
    apt.update(step(f"asking for the packages of {suites[-1]}"))
    return apt


def _make_qemu(directory: Path, step: _Step) -> None:
    apt = _apt(_QEMU_SUITES, step)
    archives = apt.fetch(_QEMU_PACKAGES, step("fetching QEMU"))
    unpack(archives, directory, step("unpacking QEMU"))
    (directory / "versions").write_text("".join(f"{path.name}\n" for path in archives))
    apt.clean()


def _make_guest(directory: Path, step: _Step) -> None:
    apt = _apt(_GUEST_SUITES, step)
    package = apt.dependency(_KERNEL, _KERNEL_NAME)
    release = package.removeprefix("linux-image-")
    kernel = apt.fetch_alone(package, step("fetching the guest's kernel"))
    archives = apt.fetch(_PACKAGES, step("fetching the guest's tools"))
    scratch = directory / "scratch"
    unpack(kernel, scratch / "kernel", step("unpacking the kernel"))
    unpack(archives, scratch / "tools", step("unpacking the tools"))
    moved = step("making the guest's file system")
    data = build_initramfs(Tree(scratch / "tools"), Tree(scratch / "kernel"), release)
    moved(1.0)
    (directory / "initramfs").write_bytes(data)
    shutil.copy(scratch / "kernel" / "boot" / f"vmlinuz-{release}", directory / "vmlinuz")
    (directory / "release").write_text(release)
    (directory / "versions").write_text(
        "".join(f"{path.name}\n" for path in (*kernel, *archives))
    )
    shutil.rmtree(scratch)
    apt.clean()


def find_or_fetch_qemu(console: Console) -> tuple[Qemu, str]:
    """The machine's QEMU if it can do it, else Debian's newest; and its version.

    Raises
    ------
    UserError
        Neither can be had, or the one that ``$TAILRACE_QEMU`` names is no good; the message says
        what is wrong.
    """
    try:
        qemu = qemus.installed()
        return qemu, qemus.check(qemu)
    except QemuProblem as problem:
        if qemus.named() is not None:
            # Another one than the user has asked for is no help.
            raise QemuProblem(
                f"{problem}; TAILRACE_QEMU names it: let it name a QEMU of {qemus.OLDEST} or later,"
                " or unset it to have one found or fetched"
            ) from None
        reason = str(problem)
    try:
        _check_machine()
        directory = build_root() / "linux" / f"qemu-{_key(_QEMU_SUITES, _QEMU_PACKAGES)}"
        qemu = qemus.fetched(_made(directory, console, _make_qemu))
        return qemu, qemus.check(qemu)
    except UserError as error:
        raise UserError(f"{reason}; {error}") from None


def prepare(console: Console) -> Images:
    """Find or fetch everything; progress on ``console``.

    Raises
    ------
    UserError
        Something can't be had; the message says what to install.
    """
    qemu, version = find_or_fetch_qemu(console)
    _check_machine()
    key = _key(_GUEST_SUITES, _PACKAGES, _KERNEL, TOOLS, MODULES)
    guest = _made(build_root() / "linux" / f"guest-{key}", console, _make_guest)
    return Images(
        qemu, version, guest / "vmlinuz", guest / "initramfs", (guest / "release").read_text()
    )
