"""Frames from ordinary sockets into host memory through virtio-net, and the answers back."""

import contextlib
import json
import os
import random
import socket
import subprocess
import threading
import time
import types
from pathlib import Path

import pytest
from scapy.layers.l2 import ARP, Ether

from tailrace.cli.errors import UserError
from tailrace_hw.config import Config, VirtioNetConfig
from tailrace_sim.build import build_root
from tailrace_sim.device import NO_CIPHER, build_device
from tailrace_sim.fast.kernel import LONGEST
from tailrace_sim.fast.network.address import open_peer
from tailrace_sim.fast.pacer import Pacer
from tailrace_sim.models.pcap import read_frames, write_pcap
from tailrace_sim.run import pick_seed, run

HERE = Path(__file__).parent
NARROW = Config(width=64, virtio_net=VirtioNetConfig(queue_pairs=2), jobs=NO_CIPHER)
ME = "02:00:00:00:00:77"
REQUEST = bytes(
    Ether(dst="ff:ff:ff:ff:ff:ff", src=ME) / ARP(op=1, hwsrc=ME, psrc="10.9.0.2", pdst="10.9.0.1")
)


class Outside(threading.Thread):
    """A program with a socket: garbage, then ARP requests, each until it is answered.

    Parameters
    ----------
    sock : bound, and
    to : where the simulation listens, once the file ``ready`` is there
    tap : interface to be brought up then
    """

    def __init__(self, sock, to, ready, garbage, requests, tap=None):
        super().__init__(daemon=True)
        self.tap = tap
        self.sock = sock
        self.to = to
        self.ready = ready
        self.garbage = garbage
        self.requests = requests
        self.answers = []

    def run(self):
        while not self.ready.exists():
            time.sleep(0.05)
        if self.tap is not None:
            subprocess.run(["ip", "link", "set", self.tap, "up"], check=True)
            self.sock.bind((self.tap, 0x0806))
        for frame in self.garbage:
            self.sock.sendto(frame, self.to)
        for _ in range(self.requests):
            self.sock.sendto(REQUEST, self.to)
            self.answers.append(self.sock.recv(65536))


def simulate(name, test, **settings):
    result = run(
        build_device(NARROW, backend="fast"), "peers_cocotb", name=name, tests=[test],
        parameters={"config": NARROW.to_dict(), **settings}, python_path=[HERE],
    )  # fmt: skip
    return json.loads((result.directory / "outcome.json").read_text())


@contextlib.contextmanager
def outside(kind, tmp_path):
    """A bound socket, the simulation's address, and what it is told."""
    if kind == "udp":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            local = free.getsockname()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            host, port = sock.getsockname()
            yield sock, local, f"udp:{host}:{port},{local[0]}:{local[1]}"
    else:
        far, near = tmp_path / "far", tmp_path / "near"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.bind(str(far))
            yield sock, str(near), f"unix:{far},{near}"
        assert not near.exists()


@pytest.mark.parametrize("kind", ["udp", "unix"])
def test_a_socket_reaches_host_memory(kind, tmp_path):
    """ARP requests from an ordinary socket are answered by the driver's host, garbage or not."""
    rng = random.Random(pick_seed())
    good = [rng.randbytes(rng.choice([14, 60, 1514, rng.randrange(14, 1514)])) for _ in range(40)]
    bad = [b"", b"", bytes(13), rng.randbytes(9239), rng.randbytes(60_000)]
    garbage = good + bad
    rng.shuffle(garbage)
    name = f"network_{kind}"
    with outside(kind, tmp_path) as (sock, to, peer):
        sock.settimeout(120)
        program = Outside(sock, to, build_root() / "run" / name / "ready", garbage, 10)
        program.ready.unlink(missing_ok=True)
        program.start()
        found = simulate(name, "answer", peer=peer, answers=10, drops={})
        program.join(10)
    assert len(program.answers) == 10
    for answer in program.answers:
        reply = Ether(answer)
        assert (reply.dst, reply[ARP].op, reply[ARP].psrc) == (ME, 2, "10.9.0.1")
        assert reply[ARP].hwsrc == "02:54:52:00:00:01"
    c = found["counters"]
    assert (c["too_short"], c["too_long"]) == (3, 2)
    assert c["frames_in"] == found["seen"] == len(good) + 10
    assert c["frames_out"] == found["answers"] == 10
    assert c["refused"] == c["full"] == c["missed"] == 0


def test_captures(tmp_path):
    """A capture goes through the wire to the host; what the host answers is in the other one."""
    write_pcap(tmp_path / "in.pcap", [REQUEST] * 100)
    peer = f"pcap:{tmp_path / 'in.pcap'},{tmp_path / 'out.pcap'}"
    found = simulate("network_pcap", "answer", peer=peer, answers=100, drops={})
    assert found["seen"] == found["counters"]["frames_in"] == 100
    frames = read_frames(tmp_path / "out.pcap")
    assert [Ether(frame.data)[ARP].op for frame in frames] == [2] * 100
    times = [frame.time_ns for frame in frames]
    assert times == sorted(times)
    assert times[0] > 0


def test_the_systems_own_stack(tmp_path):
    """A program of this machine asks over a TAP interface."""
    name = f"tailrace{os.getpid() % 10000}"
    try:
        open_peer(f"tap:{name}").close()
    except UserError as error:
        pytest.skip(str(error))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)) as sock:
        sock.settimeout(120)
        program = Outside(
            sock, (name, 0), build_root() / "run" / "network_tap" / "ready", [], 10, tap=name
        )
        program.ready.unlink(missing_ok=True)
        program.start()
        found = simulate("network_tap", "answer", peer=f"tap:{name}", answers=10, drops={})
        program.join(10)
    assert len(program.answers) == found["answers"] == 10
    assert {Ether(answer)[ARP].psrc for answer in program.answers} == {"10.9.0.1"}
    # The system's own stack may have said something too.
    assert found["counters"]["frames_in"] >= 10


def test_realtime():
    """Never ahead of the clock, and asleep for most of the time."""
    found = simulate("network_paced", "paced", peer="udp:127.0.0.1:9", realtime=0.00001, seconds=3)
    assert 0 < found["simulated"] <= 3 * 0.00001 * 1.1
    assert found["slept"] > 1
    print(f"{found['used']:.2f} s of CPU in 3 s")


# The pacer by itself


class Clock:
    """Wall-clock time that only sleeping passes."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        self.sleeps = []
        monkeypatch.setattr("tailrace_sim.fast.pacer.select.select", self.select)

    def __call__(self):
        return self.now

    def select(self, readers, _writers, _errors, seconds):
        assert seconds > 0
        self.sleeps.append(seconds)
        self.now += seconds
        return [], [], []


class Time:
    """A kernel that simulates in no time, as far as it may."""

    def __init__(self):
        self.time = 5_000_000
        self.longest = LONGEST
        self.between = None
        self.interrupted = False

    def now(self):
        return self.time

    def stride(self):
        self.between()
        self.time += self.longest


@pytest.mark.parametrize("realtime", [1e-7, 1e-4, 0.37, 1, 50])
def test_never_ahead(monkeypatch, realtime):
    clock, kernel = Clock(monkeypatch), Time()
    first, begin = kernel.now(), clock.now
    Pacer(kernel, [], realtime, clock=clock)
    for _ in range(500):
        kernel.stride()
        assert kernel.now() - first <= (clock.now - begin) * realtime * 1e12 * 1.000001
    assert kernel.now() - first > (clock.now - begin - 0.1) * realtime * 1e12 * 0.9


def test_what_is_lost_is_not_made_up_for(monkeypatch):
    """A simulation that was too slow does not race afterwards."""
    clock, kernel = Clock(monkeypatch), Time()
    pacer = Pacer(kernel, [], 0.001, clock=clock)
    kernel.stride()
    clock.now += 60
    start, begin = kernel.now(), clock.now
    for _ in range(200):
        kernel.stride()
    assert pacer.behind > 59
    assert kernel.now() - start <= (clock.now - begin + 0.11) * 0.001 * 1e12
    pacer.stop()
    assert kernel.between is None
    assert kernel.longest == LONGEST


def test_rest_when_nothing_moves(monkeypatch):
    """Without realtime: full speed while frames move, and naps when none did for long."""
    clock, kernel = Clock(monkeypatch), Time()
    settings = types.SimpleNamespace(frames_in=0, frames_out=0, waiting=0)
    peer = types.SimpleNamespace(
        port=types.SimpleNamespace(settings=settings), has_room=True, fileno=lambda: None,
        holds=False, pump=lambda: 0,
    )  # fmt: skip
    Pacer(kernel, [peer], clock=clock)
    for _ in range(20):
        kernel.stride()
    assert clock.sleeps == []
    for _ in range(20):
        kernel.stride()
    assert len(clock.sleeps) > 5
    assert kernel.longest == LONGEST
    settings.frames_out += 1
    clock.sleeps.clear()
    for _ in range(20):
        kernel.stride()
    assert clock.sleeps == []
    # Short ones while the other side has no room for a frame, which is offered each time.
    offers = []
    peer.holds, peer.pump = True, lambda: offers.append(0) or 0
    for _ in range(60):
        kernel.stride()
    assert clock.sleeps
    assert max(clock.sleeps) < 0.01
    assert len(offers) == len(clock.sleeps)
    peer.holds = False
    clock.sleeps.clear()
    settings.frames_out += 1
    # Nor while a frame waits to get in.
    settings.waiting = 1
    for _ in range(60):
        kernel.stride()
    assert clock.sleeps == []


@pytest.mark.parametrize("factor", [0, -1, float("nan"), float("inf"), 1001])
def test_factors_that_cannot_be(factor):
    with pytest.raises(UserError, match="--realtime must be 1e-07 to 1000"):
        Pacer(Time(), [], factor)
