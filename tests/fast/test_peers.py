"""What a port can be connected to outside the simulation, without one: bad input above all."""

import contextlib
import socket
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import pytest

from tailrace.cli.errors import UserError
from tailrace_sim.fast.network import datagram
from tailrace_sim.fast.network.address import check_peer, open_peer
from tailrace_sim.fast.network.capture import CapturePeer
from tailrace_sim.models.pcap import CapturedFrame, read_frames, write_pcap

FRAME = bytes(range(60))


@pytest.fixture
def remote():
    """A UDP socket, which is where the peer sends to."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(10)
        yield sock


def address(peer):
    host, port = peer.name.rpartition(",")[2].rsplit(":", 1)
    return host, int(port)


def wait_for(peer, count):
    """Pump until so many frames have come."""
    for _ in range(1000):
        c = peer.counters
        if c.frames_in + c.too_long + c.too_short >= count:
            return
        peer.pump()
    raise AssertionError(f"{peer.counters}, waited for {count}")


def test_udp_both_ways(attached, remote):
    peer, port = attached(f"udp:127.0.0.1:{remote.getsockname()[1]},127.0.0.1:0")
    remote.sendto(FRAME, address(peer))
    wait_for(peer, 1)
    assert port.entered == [FRAME]
    port.leave(FRAME[::-1])
    peer.pump()
    assert remote.recv(100) == FRAME[::-1]
    c = peer.counters
    assert (c.frames_in, c.bytes_in, c.frames_out, c.bytes_out) == (1, 60, 1, 60)
    assert [name for name, _ in c.lines()] == ["frames in", "frames out"]


def test_strangers_are_not_heard(attached, remote):
    peer, port = attached(f"udp:127.0.0.1:{remote.getsockname()[1]},127.0.0.1:0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(FRAME, address(peer))
    remote.sendto(FRAME[1:], address(peer))
    wait_for(peer, 1)
    assert port.entered == [FRAME[1:]]


@pytest.mark.parametrize("kind", ["udp", "unix"])
def test_lengths(attached, remote, tmp_path, kind):
    """Nothing, no whole header, too much: counted. A short one is filled up."""
    if kind == "udp":
        peer, port = attached(
            f"udp:127.0.0.1:{remote.getsockname()[1]},127.0.0.1:0", shortest=60, longest=2000
        )
        to = address(peer)
    else:
        to = str(tmp_path / "local")
        peer, port = attached(f"unix:{tmp_path / 'far'},{to}", shortest=60, longest=2000)
        remote = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    for length in (0, 13, 14, 2000, 2001, 60_000):
        remote.sendto(b"x" * length, to)
    wait_for(peer, 6)
    assert port.entered == [b"x" * 14 + bytes(46), b"x" * 2000]
    c = peer.counters
    assert (c.too_short, c.too_long, c.frames_in, c.refused) == (2, 2, 2, 0)
    assert ("dropped, too long", "2") in c.lines()
    assert ("dropped, too short", "2") in c.lines()
    remote.close()


def test_nobody_there(attached, tmp_path, monkeypatch):
    """Frames to a remote that does not exist, or not yet, are counted; nothing ends."""
    monkeypatch.setattr(datagram, "_PATIENCE", 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        number = gone.getsockname()[1]
    peer, port = attached(f"udp:127.0.0.1:{number}")
    for _ in range(3):
        port.leave(FRAME)
        peer.pump()
        peer.pump()
    assert peer.counters.refused == 3
    # The system tells of the first one when the second is sent, which then is tried again.
    port.leave(FRAME)
    port.leave(FRAME)
    peer.pump()
    assert (peer.counters.refused, peer.counters.frames_out) == (5, 5)
    path = tmp_path / "far"
    peer, port = attached(f"unix:{path}")
    port.leave(FRAME)
    peer.pump()
    assert (peer.counters.refused, peer.counters.frames_out) == (1, 0)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as far:
        far.bind(str(path))
        port.leave(FRAME)
        peer.pump()
        assert far.recv(100) == FRAME
        far.setblocking(False)
        for _ in range(5000):
            port.leave(FRAME)
        peer.pump()
    c = peer.counters
    assert (c.refused, c.frames_out + c.full) == (1, 5001)
    assert c.full > 0, "a remote that reads nothing is full at some time"


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


def test_backpressure(attached, remote):
    """A port that takes nothing leaves datagrams where they are; what the system drops is told."""
    peer, port = attached(f"udp:127.0.0.1:{remote.getsockname()[1]},127.0.0.1:0")
    for _ in range(10_000):
        remote.sendto(bytes(1400), address(peer))
    peer.pump()
    peer.pump()
    assert len(port.entered) == 64
    for _ in range(1000):
        port.settings.waiting = 0
        if not peer.pump():
            break
    remote.sendto(FRAME, address(peer))
    port.settings.waiting = 0
    wait_for(peer, peer.counters.frames_in + 1)
    assert peer.counters.missed > 0
    assert peer.counters.frames_in + peer.counters.missed == 10_001


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


def test_udp_in_use(remote):
    number = remote.getsockname()[1]
    with pytest.raises(UserError, match=f"127.0.0.1:{number} is in use by another program"):
        open_peer(f"udp:127.0.0.1:9,127.0.0.1:{number}")
    with pytest.raises(UserError, match="no address of this machine"):
        open_peer("udp:127.0.0.1:9,192.0.2.1:5000")
    with pytest.raises(UserError, match="one address is IPv4, the other IPv6"):
        open_peer("udp:127.0.0.1:9,[::1]:5000")
    with pytest.raises(UserError, match="both addresses are one"):
        open_peer("udp:127.0.0.1:5000,127.0.0.1:5000")
    with pytest.raises(UserError, match="no address for"):
        open_peer("udp:no.such.host.invalid:9")


@pytest.mark.parametrize(
    "text",
    [
        "", "udp", "udp:", "tcp:1.2.3.4:5", "udp:5000", "udp:1.2.3.4", "udp:1.2.3.4:0",
        "udp:1.2.3.4:65536", "udp:1.2.3.4:-1", "udp:1.2.3.4:x", "udp::1:5", "udp::5000",
        "udp:1.2.3.4:5,", "udp:1.2.3.4:5,6", "udp:1.2.3.4:5,1.2.3.4:6,7", "unix:", "unix:a,",
        "unix:a,b,c", "tap:", "tap:a,b", "pcap:", "pcap:,", "pcap:a,b,c", "/dev/null",
    ],
)  # fmt: skip
def test_bad_text(text):
    with pytest.raises(UserError) as complaint:
        check_peer(text)
    with pytest.raises(UserError):
        open_peer(text)
    assert "\n" not in str(complaint.value)
    assert any(word in str(complaint.value) for word in ("give", "write"))


@pytest.mark.parametrize("text", ["udp:[::1]:5000,[::]:0", "pcap:,out", "unix:a", "tap:t0"])
def test_good_text(text):
    check_peer(text)


def test_captures(attached, tmp_path):
    """Frames from a file, what leaves into another; that one is whole at any time."""
    frames = [bytes([k]) * 64 for k in range(100)]
    write_pcap(tmp_path / "in.pcap", frames)
    out = tmp_path / "out.pcap"
    peer, port = attached(f"pcap:{tmp_path / 'in.pcap'},{out}")
    assert not peer.finished
    assert peer.fileno() is None
    while not peer.finished:
        peer.pump()
        port.settings.waiting = 0
    assert port.entered == frames
    port.leave(FRAME, 250)
    peer.pump()
    assert read_frames(out) == [CapturedFrame(FRAME, 1000)]
    waiting, port = attached(f"pcap:{tmp_path / 'in.pcap'}")
    waiting.playing = False
    assert waiting.pump() == 0
    assert not waiting.finished
    waiting.playing = True
    assert waiting.pump() == 64
    silent, port = attached(f"pcap:,{tmp_path / 'other.pcap'}")
    assert silent.finished
    assert silent.pump() == 0


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ("nothing.pcap", "does not exist"),
        ("text", "not a capture"),
        ("same.pcap,same.pcap", "both files are the same"),
        (",nowhere/out.pcap", "cannot be written"),
    ],
)
def test_bad_captures(tmp_path, monkeypatch, files, complaint):
    monkeypatch.chdir(tmp_path)
    Path("text").write_text("hello")
    write_pcap("same.pcap", [FRAME])
    with pytest.raises(UserError, match=complaint):
        open_peer(f"pcap:{files}")
    assert read_frames("same.pcap")


def test_a_capture_of_nothing():
    peer = CapturePeer(None, None)
    assert peer.finished
    peer.close()
