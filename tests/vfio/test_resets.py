"""Resets, disconnects, maps that come and go, memory that is refused: all of it in traffic."""

import asyncio
import os
import random
import signal
import struct
import time

import pytest

from tailrace.host import FunctionAddress
from tailrace.pci import PciFunction
from tailrace.virtio.net import VirtioNet
from tailrace.virtio.net_types import NetOptions, TxFrame
from tailrace_sim.models import vfio_client as vfio
from tailrace_sim.models.vfio_client import CONFIG, PATIENCE, VfioClient
from tailrace_sim.models.vfio_host import LONG, VfioHost
from tailrace_sim.run import pick_seed

MSIX, PCIE = 0x60, 0x70
BAR0 = 0


@pytest.fixture
def rng():
    seed = pick_seed()
    print(f"seed {seed}")
    return random.Random(seed)


async def bring_up(host, **options):
    function = PciFunction(host, FunctionAddress(1, 0, 1))
    await function.read()
    return await VirtioNet.open(function, NetOptions(**options))


def pump(device, rng, frames):
    """Frames into the port, as many as a socket takes."""
    for _ in range(frames):
        device.wire.send(rng.randbytes(rng.randrange(60, 1500)))


async def works(device, client, host, rng, **options):
    """The driver comes up, and a frame goes each way."""
    net = await bring_up(host, **options)
    # What was on its way into the port may still come.
    mark, arrived = rng.randbytes(100), False
    end = time.monotonic() + PATIENCE
    while not arrived:
        assert time.monotonic() < end, f"not in {PATIENCE} s: a frame from the wire in the driver"
        # The first frames behind a start may find no buffers.
        device.wire.send(mark)
        arrived = any(item.data == mark for item in await net.receive(timeout=10_000))
    await net.transmit([TxFrame(mark)])
    while True:
        client.expect(device.wire.fileno(), "the driver's frame on the wire")
        if device.wire.recv(65536) == mark:
            return net


def use(client):
    """Something in all that a reset clears."""
    client.set_config(4, 6, 2)
    client.set_config(MSIX + 2, 0x8000, 2)
    client.write(CONFIG, 0x10, struct.pack("<I", 0xFEDC_0000))
    client.write(BAR0, 0x14, b"\1")
    client.write(BAR0, 0x10, b"\7\0")  # config_msix_vector
    assert client.config(MSIX + 2, 2) & 0x8000
    assert client.read(BAR0, 0x14, 1) == b"\1"


def check_cleared(client):
    """In the block, in the gateware, and of what the server keeps (PCIe 5.0, 6.6.2)."""
    assert client.config(4, 2) == 0, "Command survives"
    assert not client.config(MSIX + 2, 2) & 0x8000, "MSI-X Enable survives"
    assert client.config(0x10) == 4, "the address of a BAR survives"
    client.set_config(4, 2, 2)
    assert client.read(BAR0, 0x14, 1) == b"\0", "device_status survives"
    assert client.read(BAR0, 0x10, 2) == b"\xff\xff", "a vector of virtio survives"
    # The table is the server's, and masked as long as nobody listens.
    for vector in range(client.irq(vfio.MSIX)[3]):
        address, data, control = struct.unpack("<QII", client.read(2, 16 * vector, 16))
        assert address, f"nobody has programmed vector {vector} since"
        assert (data, control) == (vector, 1), f"vector {vector} is not masked"


@pytest.mark.parametrize("how", ["message", "flr", "disconnect"])
def test_what_a_reset_clears(device, how):
    with VfioClient(device.sockets[1]) as client:
        use(client)
        if how == "message":
            client.reset()
            check_cleared(client)
        elif how == "flr":
            client.set_config(PCIE + 8, 0x8000 | client.config(PCIE + 8, 2), 2)
            check_cleared(client)
    with VfioClient(device.sockets[1]) as again:
        check_cleared(again)


@pytest.mark.parametrize("how", ["message", "flr"])
@pytest.mark.parametrize("by_fd", [True, False])
def test_resets_in_traffic(device, rng, how, by_fd):
    with VfioClient(device.sockets[1]) as client:
        host = VfioHost({1: client}, by_fd=by_fd)
        for _ in range(4):
            net = asyncio.run(works(device, client, host, rng, packed=rng.random() < 0.5))
            pump(device, rng, 20)
            asyncio.run(net.transmit([TxFrame(rng.randbytes(1000)) for _ in range(20)]))
            if how == "message":
                client.reset()
            else:
                client.set_config(PCIE + 8, 0x8000 | client.config(PCIE + 8, 2), 2)
            # As a reset leaves it, and nothing comes out of it any more.
            assert client.config(4, 2) == 0, "Command survives a reset"
            assert client.read(CONFIG, 0x10, 24) == struct.pack("<6I", 4, 0, 12, 0, 0, 0)
            before = bytes(host.map)
            number = len(client.dma)
            client.serve(0.1)
            assert bytes(host.map) == before
            assert len(client.dma) == number
            client.set_config(4, 2, 2)
            assert client.read(BAR0, 0x14, 1) == b"\0"
            host.disable_interrupts(1)
            host.assign(1, client)
        host.close()


@pytest.mark.parametrize("by_fd", [True, False])
def test_disconnects_in_traffic(device, rng, by_fd):
    """A guest that dies, four times; then one that lives."""
    for _ in range(4):
        with VfioClient(device.sockets[1]) as client:
            host = VfioHost({1: client}, by_fd=by_fd)
            net = asyncio.run(works(device, client, host, rng))
            pump(device, rng, rng.randrange(40))
            asyncio.run(net.transmit([TxFrame(rng.randbytes(1000)) for _ in range(20)]))
        after = bytes(host.map)
        with VfioClient(device.sockets[1]) as again:
            assert again.config(4, 2) == 0, "Command survives a client's end"
        assert bytes(host.map) == after or by_fd
        settled = bytes(host.map)
        time.sleep(0.1)
        assert bytes(host.map) == settled
        host.close()
    with VfioClient(device.sockets[1]) as client:
        host = VfioHost({1: client})
        asyncio.run(works(device, client, host, rng))
        host.close()


def test_unmap_in_traffic(device, rng):
    """Behind the answer to an unmap, the device touches nothing of it."""
    with VfioClient(device.sockets[1]) as client:
        for _ in range(8):
            host = VfioHost({1: client}, base=rng.choice([1 << 32, 0x10_0000]))
            net = asyncio.run(works(device, client, host, rng, packed=rng.random() < 0.5))
            pump(device, rng, 30)
            asyncio.run(net.transmit([TxFrame(rng.randbytes(1000)) for _ in range(30)]))
            time.sleep(rng.random() * 0.02)
            if rng.random() < 0.5:
                client.unmap(host.memory_base, len(host.memory))
            else:
                client.unmap(0, 0, flags=2)
            after = bytes(host.map)
            time.sleep(0.05)
            assert bytes(host.map) == after
            client.reset()
            host.disable_interrupts(1)
            host.close()


class Probe:
    """A device that is told to read its ring at an address: with what result?"""

    def __init__(self, client):
        self.client = client
        client.set_config(4, 6, 2)

    def write(self, offset, value, size):
        self.client.write(BAR0, offset, value.to_bytes(size, "little"))

    def outcome(self, address):
        """Whether the device came through, with a packed transmit ring at this address."""
        self.write(0x14, 0, 1)
        self.client.until(
            lambda: self.client.read(BAR0, 0x14, 1) == b"\0", "the end of a virtio reset"
        )
        for status in (1, 3):
            self.write(0x14, status, 1)
        for select, value in ((0, 0), (1, 1 | 1 << 2)):  # VERSION_1, RING_PACKED
            self.write(0x08, select, 4)
            self.write(0x0C, value, 4)
        self.write(0x14, 11, 1)
        self.write(0x16, 1, 2)
        self.write(0x18, 16, 2)
        for place, offset in ((0x20, 0), (0x28, 0x800), (0x30, 0x900)):
            self.write(place, address + offset, 8)
        self.write(0x1C, 1, 2)
        self.write(0x14, 15, 1)
        notify = 4 * int.from_bytes(self.client.read(BAR0, 0x1E, 2), "little")
        self.write(0x3000 + notify, 1, 2)
        deadline = time.monotonic() + 0.3
        while time.monotonic() < deadline:
            if self.client.read(BAR0, 0x14, 1)[0] & 0x40:
                return False
        return True


def test_what_memory_refuses(plug, tmp_path):
    """Each reason, and the summary has it."""
    device = plug("--once", functions=(1,))
    memory = os.memfd_create("m")
    os.ftruncate(memory, 0x4000)
    short = os.memfd_create("s")
    os.ftruncate(short, 0x4000)
    with VfioClient(device.sockets[1]) as client:
        probe = Probe(client)
        client.map(0x10000, 0x4000, fd=memory)
        assert probe.outcome(0x10000)
        assert not probe.outcome(0x20000), "not mapped"
        client.map(0x20000, 0x4000, fd=memory, flags=2)
        assert not probe.outcome(0x20000), "write-only"
        # The client's file becomes shorter than what it has mapped of it.
        client.map(0x30000, 0x4000, fd=short)
        assert probe.outcome(0x30000)
        os.ftruncate(short, 0)
        assert not probe.outcome(0x30000), "gone"
        # By message: one that the client does not answer with success.
        client.map(0x40000, 0x4000)
        client.guest.append((0x40000, memoryview(bytearray(0x4000))))
        assert probe.outcome(0x40000)
        client.failing = True
        assert not probe.outcome(0x40000), "an error of the client"
        assert probe.outcome(0x10000)
        client.set_config(4, 2, 2)
        # The device itself asks nothing then.
        assert not probe.outcome(0x10000), "no bus master"
        client.request(vfio.INFO, struct.pack("<IIII", 16, 0, 0, 0))
        with pytest.raises(vfio.Refused):
            client.request(99)
    rows = device.stop(how=None)
    assert device.process.returncode == 0
    refused = "\n".join(rows["function 1, DMA reads refused"])
    for reason in ("not mapped", "the map does not allow it", "file is too short",
                   "an error of the client"):  # fmt: skip
        assert reason in refused, refused
    assert rows["function 1, requests refused"] == ["1, command 99, which we don't have"]
    assert rows["function 1, clients"] == ["1"]
    assert not device.sockets[1].exists()
    os.close(memory)
    os.close(short)


def test_reads_while_the_device_waits_for_the_client(device, rng):
    """A client that answers no DMA while it waits for a register, as QEMU with its lock held."""
    with VfioClient(device.sockets[1]) as client:
        host = VfioHost({1: client}, by_fd=False)
        net = asyncio.run(works(device, client, host, rng))
        client.answering = False
        asyncio.run(net.transmit([TxFrame(rng.randbytes(1000)) for _ in range(10)]))
        for _ in range(50):
            assert client.read(BAR0, 0x2000, 6) == bytes.fromhex("025452000001")
        assert client.unanswered
        client.answering = True
        client.answer_dma()
        for _ in range(10):
            client.expect(device.wire.fileno(), "a frame that waited for the client")
            device.wire.recv(65536)
        host.close()


def test_both_functions_at_once(device, rng):
    """One in traffic, the other one reset, disconnected, and abused."""
    with VfioClient(device.sockets[1]) as client:
        host = VfioHost({1: client})
        net = asyncio.run(works(device, client, host, rng))
        for _ in range(10):
            with VfioClient(device.sockets[0]) as other:
                other.set_config(4, 2, 2)
                assert other.read(BAR0, 0, 4) != b"\xff" * 4
                if rng.random() < 0.5:
                    other.reset()
                other.sock.send(rng.randbytes(100))
            frame = rng.randbytes(500)
            device.wire.send(frame)
            received = None
            while received != frame:
                items = asyncio.run(net.receive(limit=1, timeout=LONG))
                assert items, f"not in {PATIENCE} s: a frame from the wire in the driver"
                received = items[0].data
        host.close()


def test_idle_costs_nothing(plug):
    """Neither with nobody there nor with a driver that waits."""
    device = plug(functions=(1,))
    rng = random.Random(1)
    with VfioClient(device.sockets[1]) as client:
        host = VfioHost({1: client})
        asyncio.run(works(device, client, host, rng))
        shares = []
        while not shares or shares[-1] > 0.1:
            # However slow the machine is, it comes to rest at some time.
            assert len(shares) < 60, shares
            before = device.cpu()
            time.sleep(1)
            shares.append(device.cpu() - before)
        host.close()
    rows = device.stop(signal.SIGINT)
    assert device.process.returncode == 130
    assert device.errors.splitlines()[-1] == "tailrace: interrupted"
    assert "drops" in rows
    # A frame may have come before the first buffers, see above; nothing else may.
    kinds = {row.split()[0] for row in rows["errors"]}
    assert kinds <= {"none", "NET_RX_NO_BUFFER"}, rows["errors"]
    assert not device.sockets[1].exists()


def test_the_summary_behind_a_guest_with_everything(plug):
    """Both functions are given back before the counters are read."""
    device = plug("--once")
    with VfioClient(device.sockets[0]) as first, VfioClient(device.sockets[1]) as second:
        for client in (first, second):
            client.set_config(4, 6, 2)
            client.send(vfio.READ, struct.pack("<QII", 0, CONFIG, 512))
    rows = device.stop(how=None)
    assert device.process.returncode == 0
    assert rows["errors"] == ["none"]
    assert rows["drops"] == ["none"]
