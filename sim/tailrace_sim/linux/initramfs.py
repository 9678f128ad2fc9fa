"""The guest's first and only file system: Debian's tools, the modules, and our ``init``."""

import gzip
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from tailrace.cli.errors import UserError
from tailrace_sim.linux.cpio import Archive
from tailrace_sim.linux.registers import register_table
from tailrace_sim.linux.tree import Tree

__all__ = ["GUEST", "MODULES", "TOOLS", "build_initramfs", "closure", "overlay"]

#: Our own files in the guest.
GUEST = Path(__file__).parent / "guest"
#: Where they are there.
_PLACE = "etc/tailrace"
#: Debian's tcpdump insists on a user of its own.
_ETC = {
    "passwd": "root:x:0:0:root:/root:/bin/sh\ntcpdump:x:100:100::/nonexistent:/bin/false\n",
    "group": "root:x:0:\ntcpdump:x:100:\n",
    "hosts": "127.0.0.1 localhost\n",
}
#: Debian's programs; all else is busybox. Its own shell would take its own `ip` and `ping` before
#: those, so there is another.
TOOLS = (
    "bash", "ip", "nstat", "ping", "iperf3", "ethtool", "lspci", "setpci", "kmod", "tcpdump",
)  # fmt: skip
_KMOD = ("depmod", "insmod", "lsmod", "modinfo", "modprobe", "rmmod")
#: With what they need; those that the kernel has built in are left out.
MODULES = (
    "virtio_pci", "virtio_net", "virtio_ring", "af_packet", "pktgen", "vfio-pci", "uio_pci_generic",
    "e1000e",
)  # fmt: skip
_FOLDERS = ("dev", "proc", "sys", "tmp", "run", "root", "mnt", "etc", "bin", "sbin", "usr/bin")


def closure(dependencies: str, names: tuple[str, ...]) -> list[str]:
    """Files of modules and of those they need, by the text of ``modules.dep``.

    A name that is not in there is built into the kernel, or not there at all.
    """
    needed: dict[str, list[str]] = {}
    files: dict[str, str] = {}
    for line in dependencies.splitlines():
        path, _, others = line.partition(":")
        needed[path] = others.split()
        files[path.rpartition("/")[2].partition(".")[0].replace("-", "_")] = path
    wanted = [files[name.replace("-", "_")] for name in names if name.replace("-", "_") in files]
    return sorted({path for module in wanted for path in (module, *needed[module])})


def _depmod(tools: Tree, folder: Path, version: str) -> None:
    result = subprocess.run(
        [*_named(tools, "kmod", "depmod", folder), "-b", str(folder), version],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if result.returncode:
        raise UserError(f"depmod of Linux {version} failed: {result.stderr.strip()}")


def _named(tools: Tree, program: str, name: str, folder: Path) -> list[str]:
    """A program that looks at the name it is called by."""
    *loader, path = tools.command(program)
    link = folder / name
    if not link.is_symlink():
        link.symlink_to(path)
    return [*loader, str(link)]


def _add_tools(archive: Archive, tools: Tree) -> None:
    libraries: dict[str, Path] = {}
    for name in TOOLS:
        program = tools.program(name)
        archive.file(f"usr/bin/{name}", program.read_bytes(), executable=True)
        libraries |= {library.name: library for library in tools.libraries(program)}
    for name in _KMOD:
        archive.link(f"usr/bin/{name}", "kmod")
    # The kernel calls it here.
    archive.link("sbin/modprobe", "../usr/bin/kmod")
    for name, library in sorted(libraries.items()):
        archive.file(f"lib/x86_64-linux-gnu/{name}", library.read_bytes(), executable=True)
    archive.link("lib64", "lib/x86_64-linux-gnu")
    archive.file("bin/busybox", tools.program("busybox").read_bytes(), executable=True)
    archive.link("bin/sh", "../usr/bin/bash")
    ids = tools.root / "usr/share/misc/pci.ids"
    if ids.exists():
        archive.file("usr/share/misc/pci.ids", ids.read_bytes())


def _add_modules(archive: Archive, tools: Tree, kernel: Tree, version: str) -> None:
    """The modules that we want, with their index."""
    (source,) = [path for path in (kernel.root / p / "modules" for p in ("lib", "usr/lib"))
                 if path.is_dir()]  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        everything, few = Path(scratch) / "everything", Path(scratch) / "few"
        for base in (everything, few):
            (base / "lib" / "modules").mkdir(parents=True)
        (everything / "lib" / "modules" / version).symlink_to(source / version)
        _depmod(tools, everything, version)
        target = few / "lib" / "modules" / version
        for name in closure((source / version / "modules.dep").read_text(), MODULES):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / version / name, target / name)
        for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
            shutil.copy(source / version / name, target / name)
        _depmod(tools, few, version)
        for path in sorted(target.rglob("*")):
            if path.is_file():
                archive.file(str(path.relative_to(few)), path.read_bytes())


def build_initramfs(tools: Tree, kernel: Tree, version: str) -> bytes:
    """The archive that all guests boot from.

    Parameters
    ----------
    tools : with the programs of :data:`TOOLS` and busybox
    kernel : with the modules of ``version``
    """
    archive = Archive()
    for folder in _FOLDERS:
        if folder not in archive:
            archive.folder(folder)
    _add_tools(archive, tools)
    _add_modules(archive, tools, kernel, version)
    data = gzip.compress(archive.data(), 6, mtime=0)
    # What is behind it begins at a multiple of four, or the kernel does not see it.
    return data + bytes(-len(data) % 4)


def overlay(variables: dict[str, str], scripts: dict[str, str]) -> bytes:
    """What one guest has beside that: our files, what it is told, its scripts in their order.

    Parameters
    ----------
    variables : of the shell, for all scripts
    scripts : text by name
    """
    archive = Archive()
    archive.file("init", (GUEST / "init.sh").read_bytes(), executable=True)
    for name, text in _ETC.items():
        archive.file(f"etc/{name}", text.encode())
    for path in sorted(GUEST.glob("*.sh")):
        archive.file(f"{_PLACE}/{path.name}", path.read_bytes(), executable=True)
    archive.file(f"{_PLACE}/registers", register_table().encode())
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()]
    archive.file(f"{_PLACE}/environment", "".join(lines).encode())
    for index, (name, text) in enumerate(scripts.items()):
        archive.file(f"{_PLACE}/run/{index:02}-{name}", text.encode())
    return archive.data()
