"""``./tailrace plug``: what it is told, sockets, both ends of a run."""

import os
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tailrace.cli.errors import UserError
from tailrace_sim.fast.vfio.sockets import check_socket, listen
from tailrace_sim.models.vfio_client import CONFIG, WRITE, VfioClient

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 300


def call(*arguments):
    command = [sys.executable, "-m", "tailrace.cli.main", "plug", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=PATIENCE
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--function", "1"], "must be NUMBER=SOCKET"),
        (["--function", "1="], "must be NUMBER=SOCKET"),
        (["--function", "x=/tmp/a"], "must be NUMBER=SOCKET"),
        (["--function", "2=/tmp/a"], "functions 0 to 1"),
        (["--function", "1=/tmp/a", "--function", "1=/tmp/b"], "one socket a function"),
        (["--function", "1=/tmp/a", "--function", "0=/tmp/a"], "one function a socket"),
        (["--function", "1=/nowhere/at/all"], "No such file or directory"),
        (["--function", "1=/proc/x"], "no socket can be there"),
        (["--function", f"1=/tmp/{'x' * 200}"], "too long for a socket"),
        (["--function", "1=/tmp"], "is no socket"),
        (["--function", "1=/tmp/tailrace-a", "--realtime", "0"], "--realtime"),
        (["--function", "1=/tmp/tailrace-a", "--port0", "x:y"], "nothing a port"),
        (["--function", "1=/tmp/tailrace-a", "--control", "/tmp/tailrace-a"], "has this socket"),
        (["--function", "1=/tmp/tailrace-a", "--control", "/tmp"], "is no socket"),
    ],
)
def test_one_line_before_the_build(options, words):
    done = call(*options)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("tailrace: ")
    assert words in line


def test_a_socket_in_use(tmp_path):
    path = tmp_path / "used"
    with listen(path):
        with pytest.raises(UserError, match="in use by another program"):
            check_socket(path)
        assert path.exists()
    # Nobody is there any more: left behind by somebody who was killed.
    check_socket(path)
    assert not path.exists()


def test_a_file_is_left_alone(tmp_path):
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(UserError, match="is no socket"):
        listen(path)
    assert path.read_text() == "precious"


def test_a_path_that_was_taken_meanwhile(tmp_path, plug):
    """Two at once: the second says so, and the first goes on."""
    device = plug(functions=(1,))
    done = call("--function", f"1={device.sockets[1]}")
    assert done.returncode == 1
    assert "in use by another program" in done.stderr
    with VfioClient(device.sockets[1]) as client:
        assert client.config(0) == 0x10411AF4


def test_killed(plug):
    """Its socket is left behind, and replaced by the next one."""
    device = plug(functions=(1,))
    os.killpg(device.process.pid, signal.SIGKILL)
    device.process.communicate(timeout=PATIENCE)
    assert device.sockets[1].is_socket()
    check_socket(device.sockets[1])


def test_the_command_alone_is_interrupted(plug):
    """Without a terminal, as ``./tailrace linux`` starts it, nobody else tells the simulation."""
    device = plug(functions=(1,))
    device.process.send_signal(signal.SIGINT)
    rows = device.stop(how=None)
    assert device.process.returncode == 130
    assert device.errors.splitlines()[-1] == "tailrace: interrupted"
    assert rows["errors"] == ["none"]
    assert not device.sockets[1].exists()


def test_the_command_alone_is_ended(plug):
    """It waits for its simulation, which ends in order."""
    device = plug(functions=(1,))
    device.process.terminate()
    rows = device.stop(how=None)
    assert device.process.returncode == 143
    assert device.errors.splitlines()[-1] == "tailrace: ended by SIGTERM"
    assert rows["errors"] == ["none"]
    assert not device.sockets[1].exists()


def test_a_port_that_leads_nowhere(tmp_path):
    """Without a peer; with a trace; ends with its client."""
    path, trace = tmp_path / "dpu", tmp_path / "trace"
    process = subprocess.Popen(
        [sys.executable, "-m", "tailrace.cli.main", "plug", "--function", f"1={path}", "--once",
         "--trace", "pcie", "--trace-file", str(trace), "--realtime", "0.001"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    try:
        assert process.stdout.readline() == f"function 1 (virtio-net) listens at {path}\n"
        with VfioClient(path) as client:
            client.set_config(4, 2, 2)
            assert client.read(0, 0x2000, 6) == bytes.fromhex("025452000001")
            body = struct.pack("<QII", 4, CONFIG, 2) + b"\0\0"
            client.wait(client.send(WRITE, body))
        out, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, errors
    assert "clients" in out
    assert "BAR0+0x2000" in trace.read_text()
    assert not path.exists()


def test_a_dead_socket_is_not_followed(tmp_path):
    """A link to somebody's socket is no socket of ours."""
    target = tmp_path / "target"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(target))
    link = tmp_path / "link"
    link.symlink_to(target)
    with pytest.raises(UserError, match="is no socket"):
        listen(link)


def test_a_device_that_is_too_slow_for_its_client(plug):
    """Simulated time crawls: a long read is answered before the client gives the device up."""
    device = plug("--realtime", "1e-7", functions=(1,))
    with VfioClient(device.sockets[1]) as client:
        client.set_config(4, 2, 2)
        # A cycle takes 40 ms, and each of the 32 TLPs some ten of them.
        assert client.read(2, 0, 2048) == b"\xff" * 2048
    rows = device.stop()
    assert rows["function 1, accesses answered before the device did"] == ["1"]
