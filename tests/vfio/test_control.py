"""``plug --control``: orders to a device that is plugged in, and its port's link."""

import asyncio
import contextlib
import random
import socket
import struct
import time
from pathlib import Path

import pytest

from tailrace.host import FunctionAddress
from tailrace.pci import PciFunction
from tailrace.virtio.net import VirtioNet
from tailrace.virtio.net_types import NetOptions, TxFrame
from tailrace_sim.models.pcap import read_frames, write_pcap
from tailrace_sim.models.vfio_client import VfioClient
from tailrace_sim.models.vfio_host import LONG, VfioHost
from tailrace_sim.run import pick_seed

PATIENCE = 120
#: Offset of ``status`` in the network device's configuration (virtio 1.2, 5.1.4).
STATUS = 0x2006


class Orders:
    """Somebody with an address of his own."""

    def __init__(self, path, answers):
        self.path = str(path)
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.settimeout(PATIENCE)
        self.sock.bind(str(answers))

    def __call__(self, text):
        self.sock.sendto(text, self.path)
        return self.sock.recv(4096).decode()


@pytest.fixture
def controlled(plug, tmp_path):
    """A device and who gives it orders."""
    path = tmp_path / "control"
    device = plug("--control", str(path))
    orders = Orders(path, tmp_path / "answers")
    with contextlib.closing(orders.sock):
        yield device, orders


def link_is_up(client):
    return bool(struct.unpack("<H", client.read(0, STATUS, 2))[0] & 1)


def test_the_link_by_its_register(controlled):
    device, orders = controlled
    with VfioClient(device.sockets[1]) as client:
        client.set_config(4, 2, 2)
        assert link_is_up(client)
        for order, up in ((b"link down", False), (b" link  down\n", False), (b"link up\n", True)):
            assert orders(order) == "ok"
            assert link_is_up(client) == up
    rows = device.stop()
    assert rows["orders"] == ["3 carried out, 0 refused"]
    assert not Path(orders.path).exists()


def test_orders_that_are_none(controlled):
    """Each is told of, and the device goes on; answers that nobody takes are lost."""
    device, orders = controlled
    seed = pick_seed()
    print(f"seed {seed}")
    rng = random.Random(seed)
    wrong = [b"", b"link", b"link sideways", b"LINK UP", b"x" * 5000, b"\xff\xfe", b"link\0up"]
    wrong += [rng.randbytes(rng.randrange(1, 300)) for _ in range(20)]
    for text in wrong:
        answer = orders(text)
        assert answer.startswith("no order "), answer
        assert answer.endswith("; there are link down, link up")
        assert "\n" not in answer
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nobody:
        nobody.sendto(b"link down", orders.path)
    assert orders(b"link up") == "ok"
    with VfioClient(device.sockets[1]) as client:
        client.set_config(4, 2, 2)
        assert link_is_up(client)
    rows = device.stop()
    assert rows["orders"] == [f"2 carried out, {len(wrong)} refused"]


async def until_answered(device, client, net, frame):
    """Frame out of the device, and one into it."""
    await net.transmit([TxFrame(frame)])
    client.expect(device.wire.fileno(), "the driver's frame on the wire")
    assert device.wire.recv(65536) == frame
    device.wire.send(frame[::-1])
    assert [item.data for item in await net.receive(timeout=LONG)] == [frame[::-1]]


async def down_and_up(device, orders, client, net, frame):
    assert orders(b"link down") == "ok"
    assert await net.wait_config_change(20_000_000), "no configuration interrupt came"
    assert not net.config.link_up
    # Both are lost on a wire that is not there.
    device.wire.send(frame)
    await net.transmit([TxFrame(frame)])
    assert not await net.receive(timeout=10_000)
    assert orders(b"link up") == "ok"
    assert await net.wait_config_change(20_000_000), "no configuration interrupt came"
    assert net.config.link_up
    await until_answered(device, client, net, frame)


@pytest.mark.parametrize("packed", [False, True])
def test_frames_and_interrupts(controlled, packed):
    """The driver is told each time; nothing passes without a link, all with one."""
    device, orders = controlled
    seed = pick_seed()
    print(f"seed {seed}")
    rng = random.Random(seed)
    with VfioClient(device.sockets[1]) as client:
        host = VfioHost({1: client})

        async def run():
            function = PciFunction(host, FunctionAddress(1, 0, 1))
            await function.read()
            net = await VirtioNet.open(function, NetOptions(packed=packed))
            end = time.monotonic() + PATIENCE
            while not await net.receive(timeout=10_000):
                assert time.monotonic() < end, f"not in {PATIENCE} s: a frame from the wire"
                # The first frames behind a start may find no buffers.
                device.wire.send(bytes(60))
            while await net.receive(timeout=10_000):
                pass
            for _ in range(3):
                frame = rng.randbytes(rng.randrange(60, 9000))
                await down_and_up(device, orders, client, net, frame)
            assert net.config_changes == 6
            await net.check()
            await net.stop()

        asyncio.run(run())
        host.close()
    rows = device.stop()
    assert rows["wire, dropped, the link is down"] == ["6"]
    assert rows["errors"] == ["none"]


def test_a_capture_waits_for_its_order(plug, tmp_path):
    """Nothing enters before there is a driver; then all of it, once."""
    seed = pick_seed()
    print(f"seed {seed}")
    rng = random.Random(seed)
    frames = [rng.randbytes(rng.randrange(60, 1500)) for _ in range(20)]
    write_pcap(tmp_path / "in.pcap", frames)
    path = tmp_path / "control"
    out = tmp_path / "out.pcap"
    device = plug("--control", str(path), port=f"pcap:{tmp_path / 'in.pcap'},{out}")
    orders = Orders(path, tmp_path / "answers")
    with contextlib.closing(orders.sock), VfioClient(device.sockets[1]) as client:
        host = VfioHost({1: client})

        async def run():
            function = PciFunction(host, FunctionAddress(1, 0, 1))
            await function.read()
            net = await VirtioNet.open(function, NetOptions())
            assert not await net.receive(timeout=10_000)
            assert orders(b"play") == "ok"
            found = []
            while len(found) < len(frames):
                fresh = await net.receive(timeout=100_000)
                assert fresh, "nothing comes any more"
                found += [item.data for item in fresh]
            assert found == frames
            assert orders(b"play") == "ok"
            assert not await net.receive(timeout=10_000)
            await net.transmit([TxFrame(frames[0])])
            assert not await net.receive(timeout=10_000)
            await net.stop()

        asyncio.run(run())
        host.close()
        assert orders(b"no play").endswith("; there are link down, link up, play")
    rows = device.stop()
    assert rows["wire, frames in"] == [f"20 ({sum(map(len, frames))} bytes)"]
    assert rows["drops"] == ["none"]
    assert [frame.data for frame in read_frames(out)] == frames[:1]
