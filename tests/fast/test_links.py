"""Links between ports of the C++ core's world, and waves: the test plays the designs."""

import itertools
import random
import struct

import pytest

from tailrace_sim.build import BuildError
from tailrace_sim.run import pick_seed

PERIOD = 4000
LANES = 128


@pytest.fixture(scope="module")
def library(probe_library):
    return probe_library("wide")


class Cable:
    """Device 0 sends to device 1; the test drives what 0 sends and sees what enters 1."""

    def __init__(self, probe):
        self.probe = probe
        self.link = probe.lib.tr_connect(probe.world, 0, 0, 1, 0)
        self.waiting = []
        self.offered = False
        self.open = b""
        #: (data, error, cycle of the first beat, cycle of the last)
        self.arrived = []
        self.left = []
        self.first = 0
        self.cycles = 0
        probe.poke("x_port0__rx__tready", 1, 1)
        for _ in range(2):
            self.step()

    def send(self, frame):
        for start in range(0, len(frame), LANES):
            piece = frame[start : start + LANES]
            fields = {"tdata": int.from_bytes(piece, "little"), "tkeep": (1 << len(piece)) - 1,
                      "tlast": int(start + LANES >= len(frame)), "tvalid": 1}  # fmt: skip
            self.waiting.append(fields)

    def step(self):
        p = self.probe
        if self.offered and p.peek("port0__tx__tready") and self.waiting.pop(0)["tlast"]:
            self.left.append(self.cycles)
        if p.peek("port0__rx__tvalid", 1):
            if not self.open:
                self.first = self.cycles
            count = p.peek("port0__rx__tkeep", 1).bit_length()
            self.open += p.peek("port0__rx__tdata", 1).to_bytes(LANES, "little")[:count]
            if p.peek("port0__rx__tlast", 1):
                error = p.peek("port0__rx__tuser", 1)
                self.arrived.append((self.open, error, self.first, self.cycles))
                self.open = b""
        self.offered = bool(self.waiting)
        p.drive("port0__tx", **(self.waiting[0] if self.offered else {}))
        p.cycle()
        self.cycles += 1

    def run(self, idle):
        quiet = 0
        while quiet < idle:
            before = len(self.arrived)
            self.step()
            quiet = 0 if self.waiting or self.open or len(self.arrived) > before else quiet + 1


@pytest.fixture
def cable(library, probe):
    return lambda **options: Cable(probe(library, devices=2, **options))


def frames(rng, count):
    """Frames that are all different."""
    return [struct.pack("<I", k) + rng.randbytes(rng.randrange(10, 300)) for k in range(count)]


def test_delay_and_order(cable):
    """A link without faults: every frame, in order, no earlier than it may."""
    c = cable()
    c.link.delay = 100 * PERIOD
    sent = frames(random.Random(pick_seed()), 50)
    for frame in sent:
        c.send(frame)
    c.run(150)
    assert [frame[0] for frame in c.arrived] == sent
    assert not any(frame[1] for frame in c.arrived)
    for left, frame in zip(c.left, c.arrived, strict=True):
        assert frame[2] >= left + 100
    assert c.arrived[0][2] <= c.left[0] + 102
    assert (c.link.taken, c.link.delivered, c.link.lost) == (50, 50, 0)
    assert c.probe.events == [], "neither end tells Python of frames on a link"
    receiver = c.probe.lib.tr_port_of(c.probe.world, 1, 0)
    assert (receiver.frames_in, receiver.bytes_in) == (50, sum(map(len, sent)))


def test_faults_are_accounted_for(cable):
    """Loss, duplicates, corruption and reordering: counters tell what arrives."""
    seed = pick_seed()
    c = cable(seed=seed)
    link = c.link
    link.delay = 10 * PERIOD
    link.loss, link.duplicate, link.corrupt, link.reorder = 100_000, 150_000, 100_000, 100_000
    link.reorder_delay = 60 * PERIOD
    sent = frames(random.Random(seed), 600)
    for frame in sent:
        c.send(frame)
    c.run(200)
    assert link.taken == 600
    assert 20 < link.lost < 120, seed
    assert min(link.duplicated, link.corrupted, link.reordered) > 10, seed
    assert link.delivered == link.taken - link.lost + link.duplicated == len(c.arrived)
    bad = [frame for frame in c.arrived if frame[1]]
    good = [frame[0] for frame in c.arrived if not frame[1]]
    assert len(bad) == link.corrupted
    whole = set(sent)
    assert all(data in whole for data in good)
    assert not any(data in whole for data, *_ in bad)
    by_number = [struct.unpack("<I", data[:4])[0] for data in good]
    late = sum(this < last for last, this in itertools.pairwise(by_number))
    assert 0 < late <= link.reordered, "frames overtake each other only if they are reordered"
    assert len(set(good)) >= 600 - link.lost - link.corrupted


def test_frames_are_told_when_asked_for(cable):
    """At both ports: what leaves the one, and what enters the other, marked as it is there."""
    seed = pick_seed()
    c = cable(seed=seed)
    lib, world = c.probe.lib, c.probe.world
    c.link.delay = 30 * PERIOD
    c.link.loss, c.link.duplicate, c.link.corrupt = 200_000, 200_000, 200_000
    for device in range(2):
        lib.tr_port_of(world, device, 0).export_links = 1
    sent = frames(random.Random(seed), 100)
    for frame in sent:
        c.send(frame)
    c.run(100)
    left, entered = c.probe.take(lib.TR_LINK_OUT), c.probe.take(lib.TR_LINK_IN)
    assert [event[5] for event in left] == sent
    assert [(e[5], e[4], e[3] - e[2]) for e in entered] == [
        (data, error, last - first) for data, error, first, last in c.arrived
    ], seed
    assert c.probe.events == [], "and nothing else"


def test_same_seed_same_faults(cable):
    """What a link does depends on the seed alone."""
    results = []
    for seed in (5, 5, 6):
        c = cable(seed=seed)
        c.link.loss = 300_000
        for frame in frames(random.Random(1), 60):
            c.send(frame)
        c.run(50)
        results.append(c.arrived)
    assert results[0] == results[1] != results[2]


def test_waves(probe_library, probe, tmp_path):
    """FST of a window; a library that was built without says so."""
    plain = probe(probe_library("wide"))
    assert plain.lib.tr_waves(plain.world, 0, b"nowhere.fst", 0, 1) == 0
    try:
        library = probe_library("wide", waves=True)
    except BuildError as error:
        pytest.skip(str(error))
    p = probe(library)
    path = tmp_path / "window.fst"
    assert p.lib.tr_waves(p.world, 0, str(path).encode(), 20 * PERIOD, 40 * PERIOD) == 1
    for _ in range(10):
        p.cycle()
    assert not path.exists()
    for value in range(50):
        p.drive("pcie__cc", tdata=value)
        p.cycle()
    p.lib.tr_flush(p.world)
    # The header block of an FST file: type 0, its length, first and last time, big endian.
    kind, _, start, end = struct.unpack(">BQQQ", path.read_bytes()[:25])
    assert kind == 0
    assert (start, end) == (20 * PERIOD, 39 * PERIOD + PERIOD // 2)


def test_a_reordered_frame_is_late_by_what_it_may(cable):
    """Not by less and not by more, beside the delay that every frame has."""
    c = cable()
    c.link.delay, c.link.reorder_delay, c.link.reorder = 20 * PERIOD, 50 * PERIOD, 1_000_000
    for frame in frames(random.Random(1), 3):
        c.send(frame)
    c.run(120)
    for left, arrived in zip(c.left, c.arrived, strict=True):
        assert left + 70 <= arrived[2] <= left + 72
    assert c.link.reordered == 3
