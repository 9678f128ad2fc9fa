"""What a port can be connected to outside the simulation, without one: bad input above all."""

import socket
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
