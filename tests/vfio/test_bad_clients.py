"""Clients that have to be disconnected, and those that go by themselves; nobody else is harmed."""

import json
import os
import random
import socket
import struct
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from tailrace_sim.fast.vfio import memory
from tailrace_sim.fast.vfio.connection import Connection
from tailrace_sim.fast.vfio.protocol import BadClient
from tailrace_sim.models import vfio_client as vfio
from tailrace_sim.models.vfio_client import HEADER, Refused, VfioClient
from tailrace_sim.run import pick_seed

BAR0 = 0
pytestmark = pytest.mark.usefixtures("unharmed")


def wait_for_end(client):
    """The server disconnects."""

    def read_on():
        while True:
            client.take()

    with pytest.raises((EOFError, ConnectionError)):
        read_on()


def version(text):
    return struct.pack("<HH", 0, 0) + text


@pytest.mark.parametrize(
    ("command", "body"),
    [
        (vfio.INFO, struct.pack("<IIII", 16, 0, 0, 0)),
        (vfio.VERSION, b""),
        (vfio.VERSION, bytes(3)),
        (vfio.VERSION, struct.pack("<HH", 1, 0)),
        (vfio.VERSION, version(b"{}")),
        (vfio.VERSION, version(b"{\0")),
        (vfio.VERSION, version(b"\xff\xfe\0")),
        (vfio.VERSION, version(b"[]\0")),
        (vfio.VERSION, version(b"[" * 100000 + b"\0")),
        (vfio.VERSION, version(json.dumps({"capabilities": 3}).encode() + b"\0")),
        (vfio.VERSION,
         version(json.dumps({"capabilities": {"max_data_xfer_size": 0}}).encode() + b"\0")),
        (vfio.VERSION,
         version(json.dumps({"capabilities": {"max_data_xfer_size": "x"}}).encode() + b"\0")),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_a_client_that_cannot_greet(device, command, body):
    with VfioClient(device.sockets[1], greet=False) as client:
        with pytest.raises(Refused):
            client.request(command, body)
        wait_for_end(client)


@pytest.mark.parametrize("size", [0, 15, (1 << 20) + 5000, 0xFFFFFFFF])
def test_a_message_of_a_wrong_size(device, size):
    with VfioClient(device.sockets[1]) as client:
        client.sock.sendall(HEADER.pack(1, vfio.INFO, size, 0, 0))
        wait_for_end(client)


def test_an_answer_that_nobody_asked_for(device):
    with VfioClient(device.sockets[1]) as client:
        client.sock.sendall(HEADER.pack(1, vfio.DMA_READ, 16, vfio.REPLY, 0))
        wait_for_end(client)


def test_garbage(device):
    seed = pick_seed()
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(20):
        with VfioClient(device.sockets[1], greet=rng.random() < 0.7) as client:
            try:
                for _ in range(rng.randrange(1, 20)):
                    client.sock.send(rng.randbytes(rng.randrange(1, 300)))
            except OSError:
                continue


def test_garbage_in_well_formed_messages(device):
    """Whatever the fields are, the server answers it or ends that client."""
    seed = pick_seed()
    print(f"seed {seed}")
    rng = random.Random(seed)
    client = VfioClient(device.sockets[1])
    client.answering = False
    for _ in range(300):
        command = rng.choice([*range(1, 20), rng.randrange(1 << 16)])
        if command == vfio.RESET and rng.random() < 0.8:
            continue
        size = rng.choice([0, 4, 16, 20, 24, 32, rng.randrange(64)])
        body = b"".join(
            rng.choice([0, 1, 2, 7, 16, 32, 4096, rng.getrandbits(32)]).to_bytes(4, "little")
            for _ in range(size // 4 + 1)
        )[:size]
        flags = rng.choice([0, 0, 0, vfio.NO_REPLY, rng.getrandbits(5) & ~1])
        try:
            number = client.send(command, body, flags=flags)
            if not flags & vfio.NO_REPLY:
                client.wait(number)
        except (EOFError, OSError):
            client.close()
            client = VfioClient(device.sockets[1])
            client.answering = False
    client.close()


def test_a_client_that_holds_up_the_device(monkeypatch):
    """It is told from one that is slow: nothing more can be asked, and for long."""
    now, sent = [0.0], []
    monkeypatch.setattr(memory.time, "monotonic", lambda: now[0])
    kernel = SimpleNamespace(lib=Mock(TR_CLIENT_WRITE=13), world=None)
    client = memory.ClientMemory(kernel, 0, 1, sent.append)
    for number in range(1024):
        assert not client.holds_up()
        client.transfer(SimpleNamespace(kind=12, a=number, b=4096, d=4))
        now[0] += 0.01
    assert len(sent) == 1024
    assert not client.holds_up()
    now[0] += 25
    assert client.holds_up()
    client.answer(memory.Message(0, vfio.DMA_READ, vfio.REPLY, 0, bytes(20)))
    assert not client.holds_up()


@pytest.mark.parametrize("sent", [1, 15, 16, 40])
def test_a_client_that_leaves_in_a_message(device, sent):
    with VfioClient(device.sockets[1]) as client:
        body = struct.pack("<QII", 0, BAR0, 64) + bytes(64)
        client.sock.sendall((HEADER.pack(9, vfio.WRITE, 96, 0, 0) + body)[:sent])


def test_a_client_that_does_not_read():
    """It is given up when too much waits for it; until then nothing is lost."""
    ours, theirs = socket.socketpair()
    connection = Connection(ours)
    with theirs:
        data = os.urandom(1 << 20)
        for _ in range(4):
            connection.send(data)
        assert connection.has_unsent
        received = bytearray()
        while len(received) < 4 << 20:
            received += theirs.recv(1 << 16)
            connection.flush()
        assert received == 4 * data
        with pytest.raises(BadClient, match="does not read"):
            connection.send(12 * data)
    assert connection.is_hung_up()
    connection.close()


def test_a_second_client_is_sent_away(device, client):
    with VfioClient(device.sockets[1], greet=False) as second:
        with pytest.raises((EOFError, OSError)):
            second.version({})
    assert client.config(0) == 0x10411AF4


def test_a_slow_client(device):
    """A byte at a time is a message in the end."""
    with VfioClient(device.sockets[1]) as client:
        body = struct.pack("<QII", 0, vfio.CONFIG, 4)
        for byte in HEADER.pack(77, vfio.READ, 32, 0, 0) + body:
            client.sock.send(bytes([byte]))
        assert client.wait(77).body[16:] == bytes.fromhex("f41a4110")


def test_connections_that_say_nothing(device):
    for _ in range(5):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(device.sockets[1]))
