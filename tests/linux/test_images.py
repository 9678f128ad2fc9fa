"""What a guest is made of: which QEMU, what is cached, what is in the archive."""

import gzip

import pytest
from rich.console import Console

from tailrace.cli.errors import UserError
from tailrace_sim.linux import images, qemu
from tailrace_sim.linux.cpio import Archive
from tailrace_sim.linux.initramfs import closure, overlay
from tailrace_sim.linux.qemu import Qemu, QemuProblem

_SAYS = 'case "$*" in *version*) echo "QEMU emulator version {}";; *) echo "{}";; esac'
NEW = _SAYS.format("10.1.0", "vfio-user-pci options:")
OLD = _SAYS.format("7.2.22", "Device 'vfio-user-pci' not found")


@pytest.fixture
def path(tmp_path, monkeypatch, program):
    """A ``PATH`` that has no more than a QEMU, if that: ``path(what it does)``."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("TAILRACE_BUILD", str(tmp_path / "build"))
    monkeypatch.delenv("TAILRACE_QEMU", raising=False)
    return lambda body: program(tmp_path / "bin" / qemu.PROGRAM, f"#!/bin/sh\n{body}\n")


def find():
    return images.find_or_fetch_qemu(Console())


def test_a_new_qemu_is_taken(path):
    mine = path(NEW)
    assert find() == (Qemu((str(mine),)), "10.1.0")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (None, "there is no qemu-system-x86_64"),
        (OLD, "is version 7.2.22, without vfio-user-pci, which QEMU has from 10.1 on"),
        ("echo 'lib.so is missing' >&2; exit 127", "does not run: lib.so is missing"),
        ("exit 1", "does not run: it says nothing"),
    ],
    ids=["none", "old", "broken", "silent"],
)
def test_without_one_and_without_apt(path, body, reason):
    """One line that has both reasons and what to do."""
    if body is not None:
        path(body)
    with pytest.raises(UserError) as error:
        find()
    text = str(error.value)
    assert reason in text
    assert "there is no apt-get to fetch a Linux guest with; install a QEMU of 10.1" in text
    assert "\n" not in text


def test_another_machine(path, monkeypatch):
    monkeypatch.setattr(images.platform, "machine", lambda: "aarch64")
    with pytest.raises(UserError, match="for x86-64, this machine is aarch64"):
        find()


def test_the_environment_names_one(path, program, tmp_path, monkeypatch):
    path(OLD)
    mine = program(tmp_path / "mine", f"#!/bin/sh\n{NEW}\n")
    monkeypatch.setenv("TAILRACE_QEMU", str(mine))
    assert find()[0] == Qemu((str(mine),))
    monkeypatch.setenv("TAILRACE_QEMU", str(tmp_path / "none"))
    with pytest.raises(QemuProblem, match=r"there is no .*none; TAILRACE_QEMU names it: let it"):
        find()
    # Nor is another one taken, or fetched, if that one is no good.
    path(NEW)
    program(tmp_path / "mine", f"#!/bin/sh\n{OLD}\n")
    monkeypatch.setenv("TAILRACE_QEMU", str(mine))
    with pytest.raises(QemuProblem) as error:
        find()
    assert str(error.value) == (
        f"{mine} is version 7.2.22, without vfio-user-pci, which QEMU has from 10.1 on;"
        " TAILRACE_QEMU names it: let it name a QEMU of 10.1 or later,"
        " or unset it to have one found or fetched"
    )


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("/bin/sleep 1000 & /bin/sleep 1000", "--version does not end within 1 s"),
        (f'case "$*" in *help*) /bin/sleep 1000;; esac; {NEW}',
         "-device vfio-user-pci,help does not end within 1 s"),
    ],
    ids=["version", "device"],
)  # fmt: skip
def test_one_that_hangs(path, monkeypatch, body, words):
    """Here, too, one line; and it goes on with Debian's, if there is one."""
    monkeypatch.setattr(qemu, "_PATIENCE", 1.0)
    path(body)
    with pytest.raises(UserError) as error:
        find()
    assert f"{qemu.PROGRAM} {words}; there is no apt-get" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_program_that_is_no_program(path, program, tmp_path):
    program(tmp_path / "bin" / qemu.PROGRAM, "\x7fELF")
    with pytest.raises(QemuProblem, match="does not run"):
        qemu.check(qemu.installed())


def test_a_cache_entry_is_whole_or_not_there(tmp_path):
    directory = tmp_path / "entry"
    made = []

    def make(folder, step):
        made.append(step("working"))
        (folder / "first").write_text("1")
        if len(made) == 1:
            raise UserError("no network")
        assert [path.name for path in folder.iterdir()] == ["first"], "left from the first attempt"
        (folder / "second").write_text("2")

    with pytest.raises(UserError, match="no network"):
        images._made(directory, Console(), make)
    assert not list(tmp_path.glob("entry*/"))
    for _ in range(2):
        assert images._made(directory, Console(), make) == directory
        assert sorted(path.name for path in directory.iterdir()) == ["first", "second"]
    assert len(made) == 2, "it was made once more"


DEPENDENCIES = """\
kernel/a/virtio.ko:
kernel/a/virtio_ring.ko: kernel/a/virtio.ko
kernel/b/virtio-net.ko.xz: kernel/c/failover.ko kernel/a/virtio_ring.ko kernel/a/virtio.ko
kernel/c/failover.ko:
"""


def test_modules_come_with_what_they_need():
    found = closure(DEPENDENCIES, ("virtio_net", "built_in"))
    assert found == [
        "kernel/a/virtio.ko", "kernel/a/virtio_ring.ko", "kernel/b/virtio-net.ko.xz",
        "kernel/c/failover.ko",
    ]  # fmt: skip
    assert closure(DEPENDENCIES, ("virtio",)) == ["kernel/a/virtio.ko"]


def entries(data):
    """(name, mode, content) of an archive; independent of the writer: by the kernel's document."""
    at, found = 0, []
    while True:
        assert data[at : at + 6] == b"070701", at
        field = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        name = data[at + 110 : at + 110 + field[11]]
        assert name.endswith(b"\0")
        at += -(-(110 + field[11]) // 4) * 4
        content = data[at : at + field[6]]
        at += -(-field[6] // 4) * 4
        if name == b"TRAILER!!!\0":
            return found, data[at:]
        found.append((name[:-1].decode(), field[1], content))


def test_the_archive():
    archive = Archive()
    archive.file("usr/bin/tool", b"12345", executable=True)
    archive.link("bin", "usr/bin")
    archive.file("etc/x", b"")
    assert "usr/bin" in archive
    assert "usr/lib" not in archive
    found, rest = entries(archive.data())
    assert found == [
        ("usr", 0o040755, b""),
        ("usr/bin", 0o040755, b""),
        ("usr/bin/tool", 0o100755, b"12345"),
        ("bin", 0o120777, b"usr/bin"),
        ("etc", 0o040755, b""),
        ("etc/x", 0o100644, b""),
    ]
    assert not rest.strip(b"\0")
    for path in ("etc/x", "", "/"):
        with pytest.raises(ValueError, match="is no new name"):
            archive.file(path, b"")


def test_a_guests_own_files():
    found, _ = entries(overlay({"ROLE": "host", "ODD": "it's $HOME"}, {"b": "2", "a": "1"}))
    files = {name: content for name, mode, content in found if mode & 0o100000}
    assert b"export ODD='it'\"'\"'s $HOME'\n" in files["etc/tailrace/environment"]
    assert files["init"] == files["etc/tailrace/init.sh"]
    # In the order that was asked for.
    run = {name: content for name, content in files.items() if "/run/" in name}
    assert run == {"etc/tailrace/run/00-b": b"2", "etc/tailrace/run/01-a": b"1"}
    # Without it tcpdump does not start.
    assert b"\ntcpdump:" in files["etc/passwd"]
    assert b"\ntcpdump:" in files["etc/group"]
    table = files["etc/tailrace/registers"].decode()
    assert "virtio_net0.features_withheld 0 0x2050 64 1\n" in table
    assert "virtio.device_status 1 0x14 8 1\n" in table


def test_archives_follow_one_another():
    """The second one begins where the kernel looks for it."""
    for size in range(4):
        first = Archive()
        first.file("a", bytes(size))
        packed = gzip.compress(first.data())
        assert len(first.data()) % 4 == 0
        assert len(packed + bytes(-len(packed) % 4)) % 4 == 0
