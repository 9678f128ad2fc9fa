"""``./tailrace linux`` that is ended before its session has begun: cleanly, with nothing left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tailrace.cli.main import main
from tailrace_sim.linux import images

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120
#: Knows a mirror; whatever else it is asked it hangs, with a child.
APT = """#!/bin/sh
case "$*" in
indextargets*) echo "http://127.0.0.1:9/debian|bookworm|main||Debian" ;;
*) /bin/sleep 1000 & echo >"$0.hangs"; wait ;;
esac
"""
QEMU = """#!/bin/sh
case "$*" in *--version*) echo "QEMU version 10.1.0" ;; *) echo "vfio-user-pci options:" ;; esac
"""
CODES = {signal.SIGINT: "interrupted", signal.SIGTERM: "ended by SIGTERM",
         signal.SIGHUP: "ended by SIGHUP"}  # fmt: skip


def of_session(number):
    """Processes of a session that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == number and fields[0] != "Z":
            found.append((path.parent / "cmdline").read_bytes().replace(b"\0", b" "))
    return found


def wait_for(condition, what):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"not in {PATIENCE} s: {what}"
        time.sleep(0.05)


class Linux:
    """The command as a process, in a session of its own."""

    def __init__(self, folder, **environment):
        script = folder / "script.sh"
        script.write_text("true\n")
        config = folder / "narrow.toml"
        config.write_text("width = 64\n[virtio_net]\nqueue_pairs = 2\n[jobs]\nkeys = 0\n")
        self.build = folder / "build"
        names = {**os.environ, "TAILRACE_BUILD": str(self.build), "PYTHONUNBUFFERED": "1"}
        names.pop("TAILRACE_QEMU", None)
        self.out = open(folder / "out", "w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tailrace.cli.main", "linux", "--run", str(script),
             "--config", str(config), "--peer", "none"],
            stdin=subprocess.DEVNULL, stdout=self.out, stderr=subprocess.PIPE, text=True,
            cwd=ROOT, env={**names, **environment}, start_new_session=True, preexec_fn=self._hear,
        )  # fmt: skip

    @staticmethod
    def _hear():
        """Who has put us into the background may have made us deaf to Ctrl-C."""
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    def said(self):
        return Path(self.out.name).read_text()

    def end(self, number):
        """By a signal to it alone."""
        assert self.process.poll() is None, self.process.stderr.read()
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=PATIENCE)
        assert (self.process.returncode, errors) == (128 + number, f"tailrace: {CODES[number]}\n")
        wait_for(lambda: not of_session(self.process.pid), of_session(self.process.pid))
        assert not list(self.build.rglob("*.partial"))

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        self.out.close()


@pytest.fixture
def linux(tmp_path):
    made = []

    def start(**environment):
        made.append(Linux(tmp_path, **environment))
        return made[-1]

    yield start
    for each in made:
        each.close()


@pytest.mark.parametrize("number", CODES)
def test_while_it_fetches(linux, program, tmp_path, number):
    for name in ("apt-get", "apt-cache", "dpkg-deb"):
        program(tmp_path / "bin" / name, APT)
    running = linux(PATH=str(tmp_path / "bin"))
    hangs = tmp_path / "bin" / "apt-get.hangs"
    wait_for(lambda: hangs.exists() or running.process.poll() is not None, "apt-get is asked")
    running.end(number)


def have_guest(build):
    """What would be fetched is there."""
    key = images._key(
        images._GUEST_SUITES, images._PACKAGES, images._KERNEL, images.TOOLS, images.MODULES
    )
    guest = build / "linux" / f"guest-{key}"
    guest.mkdir(parents=True)
    for name in ("vmlinuz", "initramfs", "release"):
        (guest / name).write_text("6.1.0")


def test_while_it_builds(linux, program, tmp_path):
    have_guest(tmp_path / "build")
    running = linux(TAILRACE_QEMU=str(program(tmp_path / "qemu", QEMU)))
    wait_for(
        lambda: "building the device" in running.said() or running.process.poll() is not None,
        "the build begins",
    )
    running.end(signal.SIGTERM)


@pytest.mark.parametrize(
    ("peer", "words"),
    [
        ("x:y", "--peer must be guest, dpu, none, or udp:"),
        ("pcap:none.pcap", "none.pcap"),
        ("pcap:,/nowhere/at/all.pcap", "/nowhere/at/all.pcap"),
        ("udp:127.0.0.1:9,192.0.2.1:0", "192.0.2.1"),
        ("unix:/nowhere/a,/nowhere/b", "/nowhere/b"),
        ("tap:tailrace-nonsuch-name", "tailrace-nonsuch"),
    ],
)
def test_a_bad_peer_is_told_before_anything_is_fetched(monkeypatch, capsys, tmp_path, peer, words):
    monkeypatch.setattr("tailrace_sim.cli.linux.prepare", lambda *_: pytest.fail("too late"))
    monkeypatch.setattr(sys, "argv", ["tailrace", "linux", "--run", "ping", "--peer", peer])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as status:
        main()
    assert status.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tailrace: ")
    assert words in line
