"""Interrupts: the client's eventfds, masks in the device's own table, pending bits."""

import errno
import os
import struct

import pytest

from tailrace_sim.models.vfio_client import (
    BOOL,
    EVENTFD,
    MASK,
    MSIX,
    NONE,
    TRIGGER,
    UNMASK,
    Refused,
    VfioClient,
)

BAR0, BAR2, PBA = 0, 2, 0x4000
#: Registers of the error collector, and a way to make one: it interrupts with vector 0.
VECTORS = 10


class Eventfds:
    """Eventfds by vector."""

    def __init__(self, count):
        self.all = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(count)]

    def count(self, vector):
        try:
            return os.eventfd_read(self.all[vector])
        except BlockingIOError:
            return 0

    def wait(self, client, vector):
        """How many have come when there is one."""
        came = 0

        def there():
            nonlocal came
            client.read(BAR0, 0x14, 1)
            came = self.count(vector)
            return came

        client.until(there, f"an interrupt of vector {vector}")
        return came

    def wait_pending(self, client, vector):
        """The device has an interrupt of this vector and keeps it."""

        def there():
            assert not self.count(vector), f"vector {vector} interrupts, although it is masked"
            return pending(client)

        client.until(there, f"a pending bit, that of vector {vector}, which is masked")
        assert pending(client) == 1 << vector
        assert not self.count(vector)

    def close(self):
        for descriptor in self.all:
            os.close(descriptor)


@pytest.fixture
def client(device):
    with VfioClient(device.sockets[1]) as made:
        made.set_config(4, 6, 2)
        capability = 0x60
        assert made.config(capability, 1) == 0x11
        made.set_config(capability + 2, 0x8000, 2)
        yield made


@pytest.fixture
def events():
    made = Eventfds(VECTORS)
    yield made
    made.close()


def assign(client, start, fds, action=TRIGGER):
    """Eight at a time, as agreed on."""
    for first in range(0, len(fds), 8):
        part = fds[first : first + 8]
        client.set_irqs(EVENTFD | action, start + first, len(part), fds=part)


def refused(function, *arguments, **options):
    with pytest.raises(Refused) as info:
        function(*arguments, **options)
    assert info.value.number == errno.EINVAL


def make_config_interrupt(client, vector):
    """A device without memory that is told to start: its DMA fails, it needs a reset, and says so
    with an interrupt of its configuration vector (virtio 1.2, 2.1.2)."""
    common = lambda offset, value, size: client.write(  # noqa: E731
        BAR0, offset, value.to_bytes(size, "little")
    )
    common(0x14, 0, 1)
    client.until(lambda: client.read(BAR0, 0x14, 1) == b"\0", "the end of a virtio reset")
    common(0x14, 1, 1)
    common(0x14, 3, 1)
    common(0x08, 1, 4)
    common(0x0C, 1, 4)  # VERSION_1
    common(0x08, 0, 4)
    common(0x0C, 0, 4)
    common(0x14, 11, 1)
    assert client.read(BAR0, 0x14, 1) == b"\x0b"
    common(0x10, vector, 2)
    common(0x16, 0, 2)
    for place in (0x20, 0x28, 0x30):
        common(place, 0x1234_5000, 8)
    common(0x1C, 1, 2)
    common(0x14, 15, 1)
    notify = 4 * int.from_bytes(client.read(BAR0, 0x1E, 2), "little")
    common(0x3000 + notify, 0, 2)


def pending(client):
    return int.from_bytes(client.read(BAR2, PBA, 8), "little")


def needs_reset(client):
    return bool(client.read(BAR0, 0x14, 1)[0] & 0x40)


def test_an_interrupt_of_the_device(client, events):
    assign(client, 0, events.all)
    make_config_interrupt(client, 7)
    assert events.wait(client, 7) == 1
    assert needs_reset(client)
    assert [events.count(vector) for vector in range(VECTORS)] == [0] * VECTORS


def test_a_vector_without_eventfd_is_pending(client, events):
    """It comes when somebody listens."""
    make_config_interrupt(client, 3)
    client.until(lambda: needs_reset(client), "DEVICE_NEEDS_RESET, as its DMA fails")
    events.wait_pending(client, 3)
    assign(client, 3, [events.all[3]])
    assert events.wait(client, 3) == 1
    assert pending(client) == 0
    # Taken away again: the next one is pending again.
    client.set_irqs(EVENTFD | TRIGGER, 3, 1)
    make_config_interrupt(client, 3)
    events.wait_pending(client, 3)


@pytest.mark.parametrize("data", [NONE, BOOL])
def test_masks(client, events, data):
    def act(action, vector):
        if data == NONE:
            client.set_irqs(NONE | action, vector, 1)
        else:
            chosen = bytes(number == vector for number in range(VECTORS))
            client.set_irqs(BOOL | action, 0, VECTORS, data=chosen)

    assign(client, 0, events.all)
    tell = Eventfds(2)
    assign(client, 5, [tell.all[0]], MASK)
    assign(client, 5, [tell.all[1]], UNMASK)
    act(MASK, 5)
    assert (tell.count(0), tell.count(1)) == (1, 0)
    make_config_interrupt(client, 5)
    events.wait_pending(client, 5)
    act(UNMASK, 5)
    assert events.wait(client, 5) == 1
    assert (tell.count(0), tell.count(1)) == (0, 1)
    assert pending(client) == 0
    act(UNMASK, 5)
    assert tell.count(1) == 0
    tell.close()


def test_function_mask(client, events):
    """MSI-X Control is the guest's: it goes through to the device."""
    assign(client, 0, events.all)
    client.set_config(0x62, 0xC000, 2)
    make_config_interrupt(client, 2)
    events.wait_pending(client, 2)
    client.set_config(0x62, 0x8000, 2)
    assert events.wait(client, 2) == 1


def test_the_client_triggers(client, events):
    assign(client, 0, events.all)
    client.set_irqs(NONE | TRIGGER, 1, 3)
    client.set_irqs(BOOL | TRIGGER, 0, 4, data=b"\1\0\0\1")
    assert [events.count(vector) for vector in range(5)] == [1, 1, 1, 2, 0]
    client.set_irqs(NONE | TRIGGER, 0, 0)
    client.set_irqs(NONE | TRIGGER, 1, 3)
    assert [events.count(vector) for vector in range(5)] == [0] * 5


def test_the_table_is_the_servers(client, events):
    assign(client, 0, events.all)
    before = client.read(BAR2, 0, 64)
    client.write(BAR2, 0, bytes(64))
    assert client.read(BAR2, 0, 64) == before
    make_config_interrupt(client, 1)
    assert events.wait(client, 1) == 1


def test_a_full_eventfd_holds_up_nothing(client):
    blocking = os.eventfd(0)
    os.eventfd_write(blocking, (1 << 64) - 2)
    client.set_irqs(EVENTFD | TRIGGER, 0, 1, fds=[blocking])
    client.set_irqs(NONE | TRIGGER, 0, 1)
    assert client.config(0) == 0x10411AF4
    os.close(blocking)


@pytest.mark.parametrize("index", [0, 1, 3, 4])
def test_other_kinds(client, events, index):
    client.set_irqs(NONE | TRIGGER, 0, 0, index=index)
    refused(client.set_irqs, NONE | TRIGGER, 0, 1, index=index)
    refused(client.set_irqs, EVENTFD | TRIGGER, 0, 1, fds=[events.all[0]], index=index)


@pytest.mark.parametrize(
    ("flags", "start", "count", "data", "fds", "index"),
    [
        (0, 0, 1, b"", 0, MSIX),
        (NONE, 0, 1, b"", 0, MSIX),
        (TRIGGER, 0, 1, b"", 0, MSIX),
        (NONE | BOOL | TRIGGER, 0, 1, b"\0", 0, MSIX),
        (NONE | MASK | UNMASK, 0, 1, b"", 0, MSIX),
        (NONE | TRIGGER | 1 << 6, 0, 1, b"", 0, MSIX),
        (NONE | TRIGGER, 0, 11, b"", 0, MSIX),
        (NONE | TRIGGER, 10, 1, b"", 0, MSIX),
        (NONE | TRIGGER, 0xFFFFFFFF, 2, b"", 0, MSIX),
        (NONE | TRIGGER, 1, 0, b"", 0, MSIX),
        (NONE | MASK, 0, 0, b"", 0, MSIX),
        (EVENTFD | TRIGGER, 0, 0, b"", 0, MSIX),
        (NONE | TRIGGER, 0, 1, b"x", 0, MSIX),
        (NONE | TRIGGER, 0, 1, b"", 1, MSIX),
        (NONE | TRIGGER, 0, 0, b"", 1, MSIX),
        (BOOL | TRIGGER, 0, 2, b"\1", 0, MSIX),
        (BOOL | TRIGGER, 0, 2, b"\1\1\1", 0, MSIX),
        (EVENTFD | TRIGGER, 0, 2, b"", 1, MSIX),
        (EVENTFD | TRIGGER, 0, 1, b"", 2, MSIX),
        (EVENTFD | TRIGGER, 0, 1, b"\0" * 4, 1, MSIX),
        (NONE | TRIGGER, 0, 1, b"", 0, 5),
        (NONE | TRIGGER, 0, 0, b"", 0, 0xFFFFFFFF),
    ],
)
def test_wrong_requests_change_nothing(client, events, flags, start, count, data, fds, index):
    assign(client, 0, events.all)
    refused(client.set_irqs, flags, start, count, data=data, fds=events.all[:fds], index=index)
    client.set_irqs(NONE | TRIGGER, 0, VECTORS)
    assert [events.count(vector) for vector in range(VECTORS)] == [1] * VECTORS


def test_what_is_no_eventfd(client):
    with open("/dev/null") as null:
        refused(client.set_irqs, EVENTFD | TRIGGER, 0, 1, fds=[null.fileno()])
    pair = struct.pack("<IIII", 20, EVENTFD | TRIGGER, MSIX, 0)
    refused(client.request, 8, pair)
