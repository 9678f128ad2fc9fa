"""UNIX sockets at a port: who has no room is waited for, and whose paths they are."""

import contextlib
import socket
import subprocess
import sys
import threading
import time
import types

import pytest

from tailrace.cli.errors import UserError
from tailrace_sim.fast.network import datagram
from tailrace_sim.fast.network.address import open_peer


def test_a_slow_reader_gets_every_frame(attached, tmp_path):
    """A UNIX socket has room for ten: who reads, however slowly, is waited for."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as far:
        far.bind(str(tmp_path / "far"))
        far.settimeout(60)
        peer, port = attached(f"unix:{tmp_path / 'far'}")
        frames = [index.to_bytes(60, "big") for index in range(400)]
        found = []

        def read():
            for index in range(len(frames)):
                if index % 50 == 0:
                    time.sleep(0.02)
                found.append(far.recv(100))

        reader = threading.Thread(target=read)
        reader.start()
        for frame in frames:
            port.leave(frame)
        deadline = time.monotonic() + 60
        while peer.pump() or peer.holds:
            assert time.monotonic() < deadline
        reader.join(60)
    assert found == frames
    assert (peer.counters.frames_out, peer.counters.full) == (400, 0)


class Stopped:
    """A UNIX peer whose other side reads nothing, and a clock that stands."""

    def __init__(self, attached, tmp_path, monkeypatch):
        self.now = 0.0
        clock = types.SimpleNamespace(monotonic=lambda: self.now, sleep=self.sleep)
        monkeypatch.setattr(datagram, "time", clock)
        self.far = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.far.bind(str(tmp_path / "far"))
        self.far.setblocking(False)
        self.peer, self.port = attached(f"unix:{tmp_path / 'far'}")
        self.frames = []

    def sleep(self, seconds):
        self.now += seconds

    def leave(self, count):
        for _ in range(count):
            self.frames.append(len(self.frames).to_bytes(60, "big"))
            self.port.leave(self.frames[-1])
        self.peer.pump()

    def read(self):
        """What is in the socket."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self.far.recv(100))
        return found


@pytest.fixture
def stopped(attached, tmp_path, monkeypatch):
    made = Stopped(attached, tmp_path, monkeypatch)
    yield made
    made.far.close()


def test_a_reader_that_stands_still(stopped):
    """The device stops sending and nothing waits; once it reads again, it gets everything."""
    peer, port = stopped.peer, stopped.port
    stopped.leave(30)
    assert (peer.holds, port.settings.hold) == (True, 1)
    for _ in range(100):
        before = stopped.now
        peer.pump()
        assert stopped.now - before < 0.1, "the simulation does not go on"
        stopped.now += 0.08
    assert 8 < stopped.now < 10
    assert peer.counters.full == 0
    found = []
    while len(found) < 30:
        fresh = stopped.read()
        assert fresh, "nothing comes any more"
        found += fresh
        peer.pump()
    assert found == stopped.frames
    assert (peer.holds, port.settings.hold) == (False, 0)
    # Patient again.
    stopped.leave(30)
    stopped.now += 9
    peer.pump()
    assert (peer.holds, peer.counters.full) == (True, 0)


def test_a_reader_that_never_reads(stopped):
    """It is waited for once; a link that goes down, and the end, do not leave frames behind."""
    peer, port = stopped.peer, stopped.port
    stopped.leave(30)
    room = peer.counters.frames_out
    stopped.now += 10
    peer.pump()
    assert (peer.holds, port.settings.hold) == (False, 0)
    stopped.leave(5)
    assert (peer.counters.frames_out, peer.counters.full, peer.holds) == (room, 35 - room, False)
    # One that reads again is waited for again.
    assert stopped.read() == stopped.frames[:room]
    stopped.leave(room + 3)
    assert (peer.holds, peer.counters.full) == (True, 35 - room)
    peer.link_up = False
    peer.pump()
    assert (peer.holds, peer.counters.link_down) == (False, 3)
    peer.link_up = True
    stopped.leave(2)
    assert peer.holds
    peer.close()
    assert peer.counters.full == 35 - room + 2


def test_a_reader_that_dies(stopped):
    """Nobody waits for it."""
    stopped.leave(30)
    room = stopped.peer.counters.frames_out
    stopped.far.close()
    stopped.peer.pump()
    assert not stopped.peer.holds
    assert stopped.peer.counters.refused == 30 - room


def test_two_that_wait_for_each_other(attached, tmp_path):
    """Each takes what comes while it waits for room."""
    ends = [attached(f"unix:{tmp_path / a},{tmp_path / b}") for a, b in ("ab", "ba")]
    frames = [index.to_bytes(60, "big") for index in range(200)]

    def move(peer, port):
        left = list(frames)
        deadline = time.monotonic() + 60
        while (
            left or peer.holds or len(port.entered) < len(frames)
        ) and time.monotonic() < deadline:
            # What leaves a port between two looks, and what it takes meanwhile.
            burst, left = left[:50], left[50:]
            for frame in burst:
                port.leave(frame)
            peer.pump()
            port.settings.waiting = 0

    threads = [threading.Thread(target=move, args=end) for end in ends]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [port.entered for _, port in ends] == [frames, frames]


def test_unix_paths(attached, tmp_path):
    """Its own socket is made, removed at the end; a stale one is replaced, a foreign one kept."""
    path = tmp_path / "far"
    local = tmp_path / "far.tailrace"
    stale = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    stale.bind(str(local))
    stale.close()
    peer, _ = attached(f"unix:{path}")
    assert local.is_socket()
    with pytest.raises(UserError, match="in use by another program; choose"):
        open_peer(f"unix:{path}")
    peer.close()
    peer.close()
    assert not local.exists()
    assert peer.fileno() is None
    assert peer.pump() == 0
    local.write_text("precious")
    with pytest.raises(UserError, match="is no socket; remove it"):
        open_peer(f"unix:{path}")
    assert local.read_text() == "precious"
    with pytest.raises(UserError, match="a socket of its own"):
        open_peer(f"unix:{path},{path}")
    with pytest.raises(UserError, match="shorter path"):
        open_peer(f"unix:{path},{tmp_path}/{'x' * 120}")
    with pytest.raises(UserError, match="folder that does not exist"):
        open_peer(f"unix:{path},{tmp_path}/nowhere/x")


def test_unix_path_goes_with_the_process(tmp_path):
    """Also if nobody closes it, and if the program fails."""
    code = f"""
from tailrace_sim.fast.network.address import open_peer
peer = open_peer("unix:{tmp_path}/far")
assert {str(tmp_path / "far.tailrace")!r} in peer.name
raise SystemError
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "SystemError" in done.stderr
    assert list(tmp_path.iterdir()) == []
