"""What a client may ask, and every kind of nonsense, which gets an error reply."""

import errno
import os
import random
import struct

import pytest

from tailrace_sim.models import vfio_client as vfio
from tailrace_sim.models.vfio_client import Refused, VfioClient
from tailrace_sim.run import pick_seed

BAR0, BAR2, ROM, VGA = 0, 2, 6, 8
pytestmark = pytest.mark.usefixtures("unharmed")


def refused(number, function, *arguments, **options):
    with pytest.raises(Refused) as info:
        function(*arguments, **options)
    assert info.value.number == number


# What there is


def test_what_there_is(client):
    assert client.info() == (16, 3, 9, 5)
    sizes = {index: client.region(index)[4] for index in range(9)}
    assert sizes == {**dict.fromkeys(range(9), 0), 0: 0x4000, 2: 0x8000, 7: 4096}
    assert client.region(BAR0) == (32, 3, 0, 0, 0x4000, 0)
    assert [client.irq(index)[3] for index in range(5)] == [0, 0, 10, 0, 0]


def test_capabilities_are_a_subset_of_those_asked_for(device):
    for asked, answered in (
        (vfio.CAPABILITIES, vfio.CAPABILITIES),
        ({}, {}),
        ({"max_msg_fds": 1, "twin_socket": {"supported": True}}, {"max_msg_fds": 8}),
    ):
        with VfioClient(device.sockets[1], greet=False) as client:
            assert client.version(asked) == answered
    with VfioClient(device.sockets[1], greet=False) as client:
        assert client.request(vfio.VERSION, bytes(4))[:4] == bytes(4)


def test_configuration_space(client):
    whole = client.read(vfio.CONFIG, 0, 4096)
    assert whole[:4] == bytes.fromhex("f41a4110")
    rng = random.Random(pick_seed())
    for _ in range(20):
        offset = rng.randrange(0x100)
        size = min(rng.choice([1, 2, 4, 8, 3, 17]), 4096 - offset)
        assert client.read(vfio.CONFIG, offset, size) == whole[offset : offset + size]
    # Parts of a register, and a register that the gateware answers.
    client.set_config(0x3C, 0x55, 1)
    assert client.config(0x3C, 1) == 0x55
    client.set_config(4, 0x0406, 2)
    assert client.config(4, 2) == 0x0406
    assert client.config(0xB0, 1) == 9
    assert client.config(0x100, 2) == 1


def test_the_link(client):
    """Speed and width as lspci reads them: Gen3 x16 (PCIe 5.0, 7.5.3)."""
    speed, width = 3, 16
    assert client.config(0x70 + 0x0C) & 0x3FF == speed | width << 4
    assert client.config(0x70 + 0x12, 2) & 0x3FF == speed | width << 4
    assert client.config(0x70 + 0x2C) >> 1 & 0x7F == 0b111
    assert client.config(0x70 + 0x30) & 0xF == speed


def test_bars_are_sized_and_moved(client):
    before = client.read(vfio.CONFIG, 0x10, 24)
    assert before == struct.pack("<6I", 4, 0, 12, 0, 0, 0)
    client.write(vfio.CONFIG, 0x10, b"\xff" * 28)
    client.set_config(0x30, 0xFFFFFFFF)
    sized = struct.unpack("<6I", client.read(vfio.CONFIG, 0x10, 24))
    assert sized == (0xFFFFC004, 0xFFFFFFFF, 0xFFFF800C, 0xFFFFFFFF, 0, 0)
    assert client.config(0x30) == 0
    client.set_config(4, 2, 2)
    for address in (0x12340000, 0xFEDC0000):
        client.set_config(0x10, address)
        client.set_config(0x14, 0x77)
        assert client.config(0x10) == address | 4
        assert client.read(BAR0, 0x2000, 6) == bytes.fromhex("025452000001")


def test_memory_space_enable(client):
    assert client.read(BAR0, 0x2000, 4) == b"\xff" * 4
    client.write(BAR0, 0x14, b"\x01")
    client.set_config(4, 2, 2)
    assert client.read(BAR0, 0x14, 1) == b"\0"
    assert client.read(BAR0, 0x2000, 4) == bytes.fromhex("02545200")
    client.set_config(4, 0, 2)
    assert client.read(BAR0, 0x2000, 8) == b"\xff" * 8


def test_accesses_of_all_sizes(client):
    client.set_config(4, 2, 2)
    mac = bytes.fromhex("025452000001")
    for offset in range(6):
        for size in range(1, 7 - offset):
            assert client.read(BAR0, 0x2000 + offset, size) == mac[offset : offset + size]
    # A queue's address in one access of 8 bytes, and in parts.
    client.write(BAR0, 0x16, b"\0\0")
    client.write(BAR0, 0x20, struct.pack("<Q", 0x1122334455667000))
    assert client.read(BAR0, 0x20, 8) == struct.pack("<Q", 0x1122334455667000)
    client.write(BAR0, 0x24, struct.pack("<I", 0x99))
    assert client.read(BAR0, 0x20, 8) == struct.pack("<Q", 0x9955667000)


def test_management_function(device):
    with VfioClient(device.sockets[0]) as client:
        client.set_config(4, 2, 2)
        assert client.region(BAR0)[4] == 0x10000
        assert len(client.read(BAR0, 0, 256)) == 256
        assert client.read(BAR0, 0, 4) != b"\xff" * 4


def test_requests_without_reply(client):
    client.set_config(4, 2, 2)
    body = struct.pack("<QII", 0x20, BAR0, 8)
    client.send(vfio.WRITE, body + struct.pack("<Q", 0x5000), flags=vfio.NO_REPLY)
    client.send(vfio.READ, struct.pack("<QII", 1 << 40, BAR0, 8), flags=vfio.NO_REPLY)
    assert client.read(BAR0, 0x20, 8) == struct.pack("<Q", 0x5000)
    assert not client.replies


def test_many_requests_at_once(client):
    """More than the server takes at a time; answers come in order."""
    client.set_config(4, 2, 2)
    numbers = [
        client.send(vfio.READ, struct.pack("<QII", 0x2000 + index % 6, BAR0, 1))
        for index in range(150)
    ]
    mac = bytes.fromhex("025452000001")
    for index, number in enumerate(numbers):
        assert client.wait(number).body[16:] == mac[index % 6 : index % 6 + 1]
        assert not client.replies


# Nonsense that gets an error reply


@pytest.mark.parametrize(
    ("command", "body", "number"),
    [
        (0, b"", errno.ENOTSUP),
        (99, b"", errno.ENOTSUP),
        (14, bytes(16), errno.ENOTSUP),
        (vfio.IO_FDS, bytes(16), errno.ENOTSUP),
        (vfio.DMA_READ, bytes(16), errno.ENOTSUP),
        (vfio.DMA_WRITE, bytes(16), errno.ENOTSUP),
        (vfio.VERSION, bytes(4), errno.EINVAL),
        (vfio.INFO, b"", errno.EINVAL),
        (vfio.INFO, struct.pack("<IIII", 15, 0, 0, 0), errno.EINVAL),
        (vfio.REGION_INFO, struct.pack("<IIIIQQ", 32, 0, 9, 0, 0, 0), errno.EINVAL),
        (vfio.REGION_INFO, struct.pack("<IIIIQQ", 31, 0, 0, 0, 0, 0), errno.EINVAL),
        (vfio.REGION_INFO, bytes(31), errno.EINVAL),
        (vfio.IRQ_INFO, struct.pack("<IIII", 16, 0, 5, 0), errno.EINVAL),
        (vfio.IRQ_INFO, bytes(3), errno.EINVAL),
        (vfio.RESET, b"\0", errno.EINVAL),
        (vfio.READ, bytes(15), errno.EINVAL),
        (vfio.READ, bytes(17), errno.EINVAL),
        (vfio.READ, struct.pack("<QII", 0, BAR0, 0), errno.EINVAL),
        (vfio.READ, struct.pack("<QII", 0x3FFF, BAR0, 2), errno.EINVAL),
        (vfio.READ, struct.pack("<QII", (1 << 64) - 1, BAR0, 2), errno.EINVAL),
        (vfio.READ, struct.pack("<QII", 0, BAR0, 0xFFFFFFFF), errno.EINVAL),
        (vfio.READ, struct.pack("<QII", 0, 1, 4), errno.EINVAL),
        (vfio.READ, struct.pack("<QII", 0, ROM, 4), errno.EINVAL),
        (vfio.READ, struct.pack("<QII", 0, VGA, 4), errno.EINVAL),
        (vfio.READ, struct.pack("<QII", 0, 9, 4), errno.EINVAL),
        (vfio.READ, struct.pack("<QII", 0, 0xFFFFFFFF, 4), errno.EINVAL),
        (vfio.READ, struct.pack("<QII", 4095, vfio.CONFIG, 2), errno.EINVAL),
        (vfio.WRITE, struct.pack("<QII", 0, BAR0, 4) + bytes(3), errno.EINVAL),
        (vfio.WRITE, struct.pack("<QII", 0, BAR0, 4) + bytes(5), errno.EINVAL),
        (vfio.WRITE, struct.pack("<QII", 0x3FFE, BAR0, 4) + bytes(4), errno.EINVAL),
        (vfio.WRITE, struct.pack("<QII", 4093, vfio.CONFIG, 4) + bytes(4), errno.EINVAL),
        (vfio.MAP, bytes(31), errno.EINVAL),
        (vfio.MAP, bytes(33), errno.EINVAL),
        (vfio.MAP, struct.pack("<IIQQQ", 32, 0, 0, 0, 4096), errno.EINVAL),
        (vfio.MAP, struct.pack("<IIQQQ", 32, 7, 0, 0, 4096), errno.EINVAL),
        (vfio.MAP, struct.pack("<IIQQQ", 32, 3, 0, 0, 0), errno.EINVAL),
        (vfio.MAP, struct.pack("<IIQQQ", 32, 3, 0, 1 << 63, (1 << 63) + 1), errno.EINVAL),
        (vfio.UNMAP, bytes(23), errno.EINVAL),
        (vfio.UNMAP, struct.pack("<IIQQ", 24, 1, 0, 4096), errno.EINVAL),
        (vfio.UNMAP, struct.pack("<IIQQ", 24, 0, 0, 4096), errno.ENOENT),
    ],
)
def test_an_error_reply(client, command, body, number):
    refused(number, client.request, command, body)
    assert client.config(0) == 0x10411AF4


def test_message_types(client):
    for kind in (2, 15):
        number = client.send(vfio.INFO, struct.pack("<IIII", 16, 0, 0, 0), flags=kind)
        reply = client.wait(number)
        assert (reply.flags, reply.error) == (vfio.REPLY | vfio.ERROR, errno.EINVAL)


def test_maps(client):
    client.map(0x10000, 0x4000)
    for address, size in ((0x10000, 0x4000), (0x13000, 0x1000), (0, 0x10001), (0, 1 << 40),
                          (0x11000, 0x1000)):  # fmt: skip
        refused(errno.EEXIST, client.map, address, size)
    client.map(0x14000, 0x1000)
    client.map(0xF000, 0x1000)
    client.map((1 << 64) - 4096, 4096)
    for address, size in ((0x10000, 0x3000), (0x11000, 0x3000), (0x10000, 0x5000)):
        refused(errno.ENOENT, client.unmap, address, size)
    client.unmap(0x10000, 0x4000)
    refused(errno.ENOENT, client.unmap, 0x10000, 0x4000)
    client.map(0x10000, 0x4000)
    client.unmap(0, 0, flags=2)
    refused(errno.ENOENT, client.unmap, 0x14000, 0x1000)
    client.map(0, 1 << 63)


def test_file_descriptors_of_maps(client):
    memory = os.memfd_create("m")
    os.ftruncate(memory, 0x3000)
    readable, writable = os.pipe()
    read_only = os.open("/proc/version", os.O_RDONLY)
    try:
        client.map(0, 0x3000, fd=memory)
        client.map(0x8000, 0x1000, fd=memory, offset=0x1800)
        for offset, size in ((0, 0x3001), (0x3000, 1), (0x2800, 0x1000), (1 << 63, 0x1000)):
            refused(errno.EINVAL, client.map, 0x10000, size, fd=memory, offset=offset)
        refused(errno.ENODEV, client.map, 0x10000, 0x1000, fd=readable, flags=1)
        refused(errno.EACCES, client.map, 0x10000, 0x1000, fd=writable, flags=3)
        refused(errno.EINVAL, client.map, 0x10000, 0x1000, fd=read_only)
        body = struct.pack("<IIQQQ", 32, 3, 0, 0x10000, 0x1000)
        refused(errno.EINVAL, client.request, vfio.MAP, body, fds=[memory, memory])
        # Needless ones, and more than agreed on.
        assert client.request(vfio.INFO, struct.pack("<IIII", 16, 0, 0, 0), fds=[memory])
        refused(errno.EINVAL, client.request, vfio.MAP, body, fds=[memory] * 30)
        assert client.config(0) == 0x10411AF4
    finally:
        for descriptor in (memory, readable, writable, read_only):
            os.close(descriptor)


def test_random_accesses(device):
    """Anything anywhere: resets, power states, interrupts, doorbells, with memory there or not."""
    seed = pick_seed()
    print(f"seed {seed}")
    rng = random.Random(seed)
    with VfioClient(device.sockets[1]) as client:
        client.map(0, 1 << 20)
        client.guest.append((0, memoryview(bytearray(1 << 20))))
        for _ in range(400):
            size = rng.choice([1, 2, 4, 8])
            region = rng.choice([vfio.CONFIG, BAR0, BAR0, BAR2])
            most = {vfio.CONFIG: rng.choice([64, 256, 4096]), BAR0: rng.choice([0x40, 0x4000])}
            offset = rng.randrange(most.get(region, 0x8000) - size)
            if rng.random() < 0.4:
                assert len(client.read(region, offset, size)) == size
            else:
                data = rng.choice([rng.randbytes(size), b"\xff" * size, bytes(size), b"\1" * size])
                client.write(region, offset, data[:size])
            if rng.random() < 0.1:
                client.set_config(4, 6, 2)
        client.reset()
        client.set_config(4, 2, 2)
        assert client.read(BAR0, 0x2000, 6) == bytes.fromhex("025452000001")
