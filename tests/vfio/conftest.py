"""The verb ``plug`` as a process, with clients at its sockets and frames at its port."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tailrace_sim.models.vfio_client import VfioClient

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "tailrace.cli.main", "plug"]
#: Seconds until it has ended, or a frame has come.
PATIENCE = 120


class Plug:
    """A device that is plugged in.

    Attributes
    ----------
    sockets : by function
    wire : frames to and from the port, unless something else is there: ``port``
    """

    def __init__(self, folder: Path, *options: str, functions=(0, 1), port: str | None = None):
        self.sockets = {number: folder / f"f{number}" for number in functions}
        self.wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.wire.bind(("127.0.0.1", 0))
        self.wire.settimeout(PATIENCE)
        peer = port or f"udp:127.0.0.1:{self.wire.getsockname()[1]},127.0.0.1:0"
        named = [f"--function={number}={path}" for number, path in self.sockets.items()]
        self.process = subprocess.Popen(
            [*COMMAND, *named, "--port0", peer, *options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
            start_new_session=True,
        )  # fmt: skip
        self.lines = [self.process.stdout.readline() for _ in range(1 + len(self.sockets))]
        if port is None:
            found = re.search(r",127\.0\.0\.1:(\d+)", self.lines[-1])
            assert found, self.lines + self.process.stderr.readlines()
            self.wire.connect(("127.0.0.1", int(found[1])))

    def stop(self, how: int | None = signal.SIGINT) -> dict[str, list[str]]:
        """End it, by a signal or by itself; the rows of its summary."""
        if how is not None:
            os.killpg(self.process.pid, how)
        try:
            out, errors = self.process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            asked = "its last client went" if how is None else f"{signal.Signals(how).name}"
            pytest.fail(f"plug has not ended {PATIENCE} s after {asked}")
        assert "Traceback" not in out + errors, out + errors
        self.errors = errors
        rows: dict[str, list[str]] = {}
        for line in out.splitlines():
            name, _, value = line.partition("  ")
            rows.setdefault(name.strip(), []).append(value.strip())
        return rows

    def cpu(self) -> float:
        """Seconds of CPU time that the simulation has taken."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        fields = Path(f"/proc/{children.split()[0]}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate()
        self.wire.close()


@pytest.fixture
def plug(tmp_path):
    """Starts devices, and ends them: ``plug("--once")``."""
    made: list[Plug] = []

    def start(*options: str, **more) -> Plug:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Plug(folder, *options, **more))
        return made[-1]

    yield start
    for each in made:
        each.close()


@pytest.fixture(scope="module")
def device(tmp_path_factory):
    """One device for all tests of a module, which leave nothing behind in it but counts."""
    made = Plug(tmp_path_factory.mktemp("plug"))
    yield made
    try:
        rows = made.stop()
        assert made.process.returncode == 130
        assert "errors" in rows
        assert not any(path.exists() for path in made.sockets.values())
    finally:
        made.close()


@pytest.fixture
def unharmed(device):
    """Behind whatever a test does, both functions serve."""
    yield
    for number, identity in ((0, 0x7A111234), (1, 0x10411AF4)):
        with VfioClient(device.sockets[number]) as again:
            assert again.config(0) == identity


@pytest.fixture
def client(device, unharmed):
    with VfioClient(device.sockets[1]) as made:
        yield made
