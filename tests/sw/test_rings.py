"""Driver's ring against the device's ring: every order of events, and what each must not accept."""

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrace.errors import QueueFull, VirtqueueError
from tailrace.host import FunctionAddress
from tailrace.pci import PciFunction
from tailrace.virtio.packed import PackedQueue
from tailrace.virtio.pci_transport import PciTransport
from tailrace.virtio.queue import Piece, Virtqueue, need_event
from tailrace.virtio.spec import Feature
from tailrace.virtio.split import SplitQueue
from tailrace_sim.models.pci import SoftFunction
from tailrace_sim.models.soft_host import SoftHost
from tailrace_sim.models.virtqueue import DeviceQueue, PackedDevice, QueueFault, SplitDevice

KINDS = {"split": (SplitQueue, SplitDevice), "packed": (PackedQueue, PackedDevice)}
BUFFER = 0x1_0000_0000  # host memory of the soft host begins here


def make(
    kind: str, size: int, *, event_idx: bool = True, indirect: bool = True
) -> tuple[SoftHost, Virtqueue, DeviceQueue]:
    """A driver's queue and a device's queue on the same memory."""
    host = SoftHost({0: SoftFunction(1, 2, 3, bar0=4096, vectors=1)}, size=1 << 18)
    transport = PciTransport(PciFunction(host, FunctionAddress(1, 0, 0)))
    transport.features = Feature(0)
    transport.features |= Feature.EVENT_IDX if event_idx else 0
    transport.features |= Feature.INDIRECT_DESC if indirect else 0
    driver_kind, device_kind = KINDS[kind]
    driver = driver_kind(transport, 0, size)
    areas = driver.areas
    device = device_kind(
        host.dma,
        size,
        (areas.desc, areas.driver, areas.device),
        event_idx=event_idx,
        indirect=indirect,
    )
    return host, driver, device


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param


class _Play:
    """Random legal play of both sides, with the rules of notification checked on the way."""

    def __init__(self, kind: str, size: int, event_idx: bool, indirect: bool, seed: int):
        self.rng = random.Random(seed)
        _, self.driver, self.device = make(kind, size, event_idx=event_idx, indirect=indirect)
        self.size = size
        self.at_device: list = []
        self.waiting: list[int] = []  # tokens published, in order
        self.added: list[int] = []
        self.used: list[tuple[int, int]] = []
        self.shape: dict[int, tuple[int, int]] = {}
        self.token = 0
        self.collected = 0

    def add(self) -> None:
        readable, writable = self.rng.randint(0, 3), self.rng.randint(0, 3)
        pieces = [Piece(BUFFER + 64 * i, self.rng.randint(1, 64)) for i in range(6)]
        if not readable + writable or readable + writable > self.size:
            return
        fits = self.driver.can_add(readable + writable)
        try:
            self.driver.add(pieces[:readable], pieces[3 : 3 + writable], self.token)
        except QueueFull:
            assert not fits
            return
        assert fits
        room = sum(n for _, n in pieces[3 : 3 + writable])
        self.shape[self.token] = (sum(n for _, n in pieces[:readable]), room)
        self.added.append(self.token)
        self.token += 1

    def publish(self) -> None:
        self.driver.publish()
        self.waiting += self.added
        self.added = []
        self.driver.notification_wanted()

    def take(self) -> None:
        chain = self.device.pop()
        assert (chain is not None) == bool(self.waiting)
        if chain is not None:
            token = self.waiting.pop(0)
            assert (chain.readable, chain.writable) == self.shape[token]
            self.at_device.append((token, chain))

    def give_back(self) -> None:
        if self.at_device:
            token, chain = self.at_device.pop(self.rng.randrange(len(self.at_device)))
            written = self.rng.randint(0, chain.writable)
            self.device.push(chain, written)
            self.used.append((token, written))

    def collect(self) -> None:
        self.device.flush()
        limit = self.rng.choice([None, 1, 3])
        found = self.driver.collect(limit)
        expected = self.used[: len(found)]
        assert [tuple(u) for u in found] == expected
        assert len(found) == (len(self.used) if limit is None else min(limit, len(self.used)))
        del self.used[: len(found)]
        self.collected += len(found)

    def finish(self) -> None:
        self.publish()
        while self.waiting:
            self.take()
        while self.at_device:
            self.give_back()
        while self.used:
            self.collect()
        assert self.driver.outstanding == 0
        assert self.driver.free == self.size
        assert self.collected == self.token


@settings(max_examples=120, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    log_size=st.integers(0, 5),
    event_idx=st.booleans(),
    indirect=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_every_chain_comes_back_once(kind, log_size, event_idx, indirect, seed):
    play = _Play(kind, 1 << log_size, event_idx, indirect, seed)
    moves = [play.add, play.add, play.publish, play.take, play.give_back, play.collect]
    for _ in range(150):
        play.rng.choice(moves)()
    play.finish()


@given(st.integers(0, 65535), st.integers(0, 65535), st.integers(0, 300))
def test_need_event_is_a_walk_past_the_event(event, old, moved):
    walked = {(old + step) & 0xFFFF for step in range(moved)}
    assert need_event(event, (old + moved) & 0xFFFF, old) == (event in walked)


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    event_idx=st.booleans(),
    size=st.sampled_from([4, 8, 32]),
    seed=st.integers(0, 2**32),
)
def test_no_notification_is_lost(kind, event_idx, size, seed):
    """A side that asked and found nothing gets a notification for the next thing there is."""
    rng = random.Random(seed)
    _, driver, device = make(kind, size, event_idx=event_idx, indirect=False)
    chains = []
    for _ in range(60):
        # Device: empty, listening. Driver: adds some; the device must be told.
        device.listen(True)
        count = rng.randint(1, size)
        for token in range(count):
            driver.add([Piece(BUFFER, 1)], [], token)
        driver.publish()
        assert driver.notification_wanted()
        driver._pending = 0
        device.listen(False)
        if driver.free:
            driver.add([Piece(BUFFER, 1)], [], "more")
            driver.publish()
            assert not driver.notification_wanted()
            driver._pending = 0
        while chain := device.pop():
            chains.append(chain)
        # Driver: nothing used, listening. Device: returns some; the driver must be told.
        assert not driver.enable_interrupt()
        while chains:
            for chain in chains[: rng.randint(1, 5)]:
                device.push(chain, 0)
                chains.remove(chain)
            wanted = device.flush()
            if driver.outstanding and not driver.collect():
                raise AssertionError("nothing was collected")
            if event_idx:
                assert wanted  # the event lies on the next entry
            driver.disable_interrupt()
            if chains:
                device.push(chains.pop(0), 0)
                assert not device.flush()
                driver.collect()
            assert not driver.enable_interrupt()


def test_interrupt_enabling_sees_what_came_before(kind):
    _, driver, device = make(kind, 4)
    driver.add([Piece(BUFFER, 1)], [], "a")
    driver.publish()
    device.push(device.pop(), 0)
    device.flush()
    assert driver.enable_interrupt()
    assert driver.used_pending()
    assert driver.collect()[0].token == "a"
    assert not driver.used_pending()
    assert not driver.enable_interrupt()


def test_detach_returns_what_the_device_has(kind):
    _, driver, device = make(kind, 8)
    for token in "abc":
        driver.add([Piece(BUFFER, 1)], [], token)
    driver.publish()
    device.push(device.pop(), 0)
    device.flush()
    driver.collect()
    assert driver.detach() == ["b", "c"]
    assert (driver.free, driver.outstanding, driver.used_pending()) == (8, 0, False)


def test_an_impossible_chain_is_refused(kind):
    _, driver, _ = make(kind, 4)
    with pytest.raises(VirtqueueError, match="empty"):
        driver.add([], [], None)
    with pytest.raises(VirtqueueError, match="chain of 5"):
        driver.add([Piece(BUFFER, 1)] * 5, [], None)
    with pytest.raises(VirtqueueError):
        make(kind, 0)
    with pytest.raises(VirtqueueError, match="power of two"):
        make("split", 6)


def test_a_device_that_returns_nonsense_is_noticed(kind):
    _, driver, device = make(kind, 4)
    driver.add([], [Piece(BUFFER, 10)], "a")
    driver.add([], [Piece(BUFFER, 10)], "b")
    driver.publish()
    first, second = device.pop(), device.pop()
    assert first
    assert second
    device.push(first, 11)
    device.flush()
    with pytest.raises(VirtqueueError, match="11 bytes"):
        driver.collect()
    driver.reset()
    driver.add([], [Piece(BUFFER, 10)], "a")
    driver.publish()
    twin = type(device)(
        device._dma,
        4,
        (device.desc, device.driver, device.device),
        event_idx=True,
        indirect=True,
    )
    chain = twin.pop()
    twin.push(type(chain)(3, 1, chain.segments), 0)
    twin.flush()
    with pytest.raises(VirtqueueError, match="chain 3"):
        driver.collect()


def test_a_used_index_that_jumps_is_noticed():
    _, driver, _ = make("split", 4)
    driver.add([Piece(BUFFER, 1)], [], "a")
    driver.publish()
    struct.pack_into("<H", driver._used.mem, 2, 3)
    with pytest.raises(VirtqueueError, match="moved by 3"):
        driver.collect()


def _desc(queue: Virtqueue, index: int, address: int, length: int, a: int, b: int) -> None:
    at = queue.areas.desc + 16 * index - BUFFER
    struct.pack_into("<QIHH", queue.host.memory.data, at, address, length, a, b)


NEXT, WRITE, INDIRECT, AVAIL = 1, 2, 4, 1 << 7

#: Ring contents no driver may write: descriptors as (address, length, flags, next), and the code.
NONSENSE = {
    "zero length": ([(BUFFER, 0, 0, 0)], "QUEUE_ZERO_LENGTH"),
    "huge length": ([(BUFFER, 1 << 31, 0, 0)], "QUEUE_LENGTH_TOO_BIG"),
    "readable behind writable": (
        [(BUFFER, 8, WRITE | NEXT, 1), (BUFFER, 8, 0, 0)],
        "QUEUE_BAD_DIRECTION",
    ),
    "loop": ([(BUFFER, 8, NEXT, 1), (BUFFER, 8, NEXT, 0)] * 2, "QUEUE_CHAIN_TOO_LONG"),
    "indirect and next": ([(BUFFER, 16, INDIRECT | NEXT, 1)], "QUEUE_BAD_INDIRECT"),
    "odd indirect table": ([(BUFFER, 17, INDIRECT, 0)], "QUEUE_BAD_INDIRECT"),
    "empty indirect table": ([(BUFFER, 0, INDIRECT, 0)], "QUEUE_BAD_INDIRECT"),
    "indirect table nowhere": ([(0xDEAD_0000_0000, 16, INDIRECT, 0)], "QUEUE_FETCH_FAULT"),
}


@pytest.mark.parametrize("case", NONSENSE)
def test_nonsense_of_the_driver_is_a_fault(kind, case):
    _, driver, device = make(kind, 4)
    descriptors, code = NONSENSE[case]
    for i, (address, length, flags, following) in enumerate(descriptors):
        if kind == "packed":
            _desc(driver, i, address, length, 0, flags | AVAIL)
        else:
            _desc(driver, i, address, length, flags, following)
    if kind == "split":
        struct.pack_into("<HHH", driver._avail.mem, 0, 0, 1, 0)
    with pytest.raises(QueueFault) as caught:
        device.pop()
    assert caught.value.code == code


def test_nonsense_of_split_indices_is_a_fault():
    for idx, head, flags, following, code in [
        (5, 0, 0, 0, "QUEUE_INDEX_JUMP"),
        (0xFFFF, 0, 0, 0, "QUEUE_INDEX_JUMP"),
        (1, 4, 0, 0, "QUEUE_DESCRIPTOR_INDEX"),
        (1, 0, NEXT, 9, "QUEUE_DESCRIPTOR_INDEX"),
    ]:
        _, driver, device = make("split", 4)
        _desc(driver, 0, BUFFER, 8, flags, following)
        struct.pack_into("<HHH", driver._avail.mem, 0, 0, idx, head)
        with pytest.raises(QueueFault) as caught:
            device.pop()
        assert caught.value.code == code


def test_indirect_without_the_feature_is_a_fault(kind):
    _, driver, device = make(kind, 4, indirect=False)
    address = driver.areas.desc
    if kind == "packed":
        _desc(driver, 0, address, 16, 0, INDIRECT | AVAIL)
    else:
        _desc(driver, 0, address, 16, INDIRECT, 0)
        struct.pack_into("<HHH", driver._avail.mem, 0, 0, 1, 0)
    with pytest.raises(QueueFault, match="QUEUE_BAD_INDIRECT"):
        device.pop()
