"""``./tailrace shell`` at a terminal, from a pipe and with a script."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120
COMMAND = [sys.executable, "-m", "tailrace.cli.main", "shell"]


@pytest.fixture
def narrow(tmp_path):
    """Options for the small device."""
    path = tmp_path / "narrow.toml"
    path.write_text("width = 64\n[virtio_net]\nqueue_pairs = 2\n[jobs]\nkeys = 0\n")
    return ["--config", str(path)]


def shell(*arguments: str, text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], input=text, capture_output=True, text=True, check=False, cwd=ROOT,
        timeout=PATIENCE,
    )  # fmt: skip


def test_statements_from_a_pipe(narrow):
    """Frames both ways, counters, and a block: all as in a file."""
    done = shell(
        *narrow,
        text="""
await net.transmit([TxFrame(bytes(range(64)))])
sent = await port.receive()
show(sent)
port.send(bytes(Ether(dst="02:00:00:00:00:01") / ARP(pdst="10.0.0.2")) + bytes(18))
for frame in await net.receive(timeout=10_000):
    show(frame)
await counters()
await errors()
before = system.host.cycles()
print(sum(range(10)))
print(system.host.cycles() - before)
await wait(100)
print(system.host.cycles() - before)
""",
    )
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines[0].startswith("64 B ")
    assert "ARP who has 10.0.0.2" in lines[1]
    assert {"port0.rx_frames 1", "port0.tx_frames 1", "none"} < set(lines)
    assert lines[-3:] == ["45", "0", "100"], "time passes only while something is awaited"


def test_a_script_that_fails(narrow, tmp_path):
    """The exit code says so, and the traceback has the script's lines only."""
    path = tmp_path / "script.py"
    path.write_text("await wait(10)\nraise ValueError('so be it')\n")
    done = shell(*narrow, "--script", str(path), text="")
    assert done.returncode == 1
    assert "ValueError: so be it" in done.stderr
    assert f'File "{path}", line 2' in done.stderr
    assert "shell_run.py" not in done.stderr
    path.write_text("import sys\nawait wait(10)\nsys.exit(5)\n")
    assert shell(*narrow, "--script", str(path), text="").returncode == 5


def test_bad_input(tmp_path):
    done = shell(text="")
    assert done.returncode == 1
    assert done.stderr == (
        "tailrace: no terminal and nothing to read: pipe statements in, or use --script FILE\n"
    )
    done = shell("--script", str(tmp_path / "none.py"), text="")
    assert done.stderr == f"tailrace: {tmp_path / 'none.py'}: No such file or directory\n"


class Terminal:
    """A shell at a terminal of its own."""

    def __init__(self, *arguments: str):
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            os.chdir(ROOT)
            environment = {**os.environ, "TERM": "dumb", "COLUMNS": "200"}
            os.execve(COMMAND[0], [*COMMAND, *arguments], environment)
        self._text = ""

    def expect(self, pattern: str, again: str = "") -> str:
        """What comes up to the end of the pattern; ``again`` is typed while there is nothing."""
        end = time.monotonic() + PATIENCE
        next_key = 0.0
        while not (found := re.search(pattern, self._text, re.DOTALL)):
            assert time.monotonic() < end, f"no {pattern!r} in {self._text!r}"
            if time.monotonic() >= next_key:
                self.type(again)
                next_key = time.monotonic() + 1
            if select.select([self._master], [], [], 1)[0]:
                try:
                    self._text += os.read(self._master, 4096).decode()
                except OSError:
                    raise AssertionError(f"it ended without {pattern!r}: {self._text!r}") from None
        text, self._text = self._text[: found.end()], self._text[found.end() :]
        return text

    # Python's own prompt may overlook an interrupt that comes just before it waits for a key. Users
    # then press again, and so do we, every second.

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def status(self) -> int:
        end = time.monotonic() + PATIENCE
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self._master)
                return os.waitstatus_to_exitcode(status)
            if select.select([self._master], [], [], 0.1)[0]:
                try:
                    self._text += os.read(self._master, 4096).decode()
                except OSError:
                    time.sleep(0.1)
            assert time.monotonic() < end, f"it does not end: {self._text!r}"


def test_at_a_terminal(narrow, monkeypatch):
    """Values are shown, Ctrl-C ends what is awaited or entered, and the session goes on."""
    terminal = Terminal(*narrow)
    banner = terminal.expect(r">>> $")
    assert "Time passes only while something is awaited" in banner
    terminal.type("6 * 7\n")
    terminal.expect(r"\n42\r\n>>> $")
    terminal.type("(await management.identity()).width\n")
    terminal.expect(r"\n64\r\n>>> $")
    terminal.type("await wait(10 ** 12)\n")
    terminal.expect(r"\n")
    time.sleep(0.5)
    terminal.expect(r"KeyboardInterrupt\r\n>>> $", again="\x03")
    # A wait of the driver takes steps to be cancelled.
    terminal.type("await net.receive()\n")
    terminal.expect(r"\n")
    time.sleep(0.5)
    terminal.expect(r"KeyboardInterrupt\r\n>>> $", again="\x03")
    # Impatient fingers do not end the session.
    terminal.type("await wait(10 ** 12)\n")
    terminal.expect(r"\n")
    time.sleep(0.5)
    for _ in range(5):
        terminal.type("\x03")
        time.sleep(0.01)
    terminal.expect(r"KeyboardInterrupt\r\n>>> $", again="\x03")
    terminal.type("half a line")
    terminal.expect("half a line")
    terminal.expect(r"KeyboardInterrupt\r\n>>> $", again="\x03")
    terminal.type("while True: pass\n\n")
    terminal.expect(r"\n.*\n")
    time.sleep(0.5)
    terminal.expect(r"KeyboardInterrupt\r\n>>> $", again="\x03")
    terminal.type("nothing_of_this_name\n")
    terminal.expect(r"NameError.*>>> $")
    terminal.type("\x04")
    assert terminal.status() == 0
