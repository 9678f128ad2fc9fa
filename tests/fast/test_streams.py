"""Formats and rules of the C++ core's interfaces: the test plays the design, beat by beat."""

import random

import numpy as np
import pytest

from tailrace_sim.models.usp_beats import RcMonitor, Tlp, rq_beats
from tailrace_sim.run import pick_seed

BASE, SIZE = 1 << 32, 1 << 16
PAGE = 4096
BAD_STATUS, POISONED, INVALID_TAG, FLR, TIMEOUT = 2, 1, 6, 8, 9


@pytest.fixture(scope="module", params=["narrow", "wide"])
def library(request, probe_library):
    return probe_library(request.param)


class Bench:
    """A probe with memory behind it."""

    def __init__(self, probe):
        self.probe = probe
        self.width = self.probe.pins["pcie__rq__tdata"][1]
        self.memory = np.zeros(SIZE, np.uint8)
        self.mapped = np.full(SIZE // PAGE, 0xFF, np.uint8)
        p = self.probe
        self.arrays = [p.ffi.from_buffer(self.memory), p.ffi.from_buffer(self.mapped)]
        p.lib.tr_memory(p.world, 0, self.arrays[0], BASE, SIZE, self.arrays[1])
        p.link.extended_tag = 0xF
        p.link.report_dropped = 1
        self.rc = RcMonitor(self.width)
        self.numbers = []
        self.beats = []
        self.rc_ready = 1
        self.offered = False
        self.cycles = 0
        p.poke("x_pcie__rc__tready", 1)
        p.cycle()
        p.cycle()

    def step(self, valid=True, rc_ready=1):
        """A cycle: what was driven is sampled, the next is driven."""
        p = self.probe
        if self.offered and p.peek("pcie__rq__tready"):
            self.beats.pop(0)
        if p.peek("pcie__rc__tvalid") and self.rc_ready:
            names = ("tdata", "tuser", "tkeep", "tlast")
            self.rc.beat(*(p.peek(f"pcie__rc__{name}") for name in names))
        for k in range(2):
            if p.peek(f"pcie__pcie_rq_seq_num_vld{k}"):
                self.numbers.append(p.peek(f"pcie__pcie_rq_seq_num{k}"))
        self.offered = bool(self.beats) and valid
        p.drive("pcie__rq", **(self.beats[0] | {"tvalid": 1} if self.offered else {}))
        self.rc_ready = rc_ready
        p.poke("x_pcie__rc__tready", rc_ready)
        p.cycle()
        self.cycles += 1

    def run(self, tlps, rng=None, idle=40):
        """All the requests, and some time."""
        rng = rng or random.Random(0)
        self.beats += rq_beats(tlps, self.width, rng)
        quiet = 0
        while quiet < idle:
            self.step(rng.random() < 0.8, rng.random() < 0.7)
            busy = self.beats or self.probe.link.outstanding or self.probe.peek("pcie__rc__tvalid")
            quiet = 0 if busy else quiet + 1
            assert self.cycles < 100_000

    def broken(self):
        return [event[5].decode() for event in self.probe.take(self.probe.lib.TR_BROKEN)]


@pytest.fixture
def bench(library, probe):
    return Bench(probe(library))


def random_request(rng, write, tag):
    count = rng.choice([1, 1, 2, 3, 4, 5, 16, rng.randrange(1, 65)])
    address = BASE + rng.randrange(SIZE // PAGE) * PAGE + 4 * rng.randrange(1024 - count)
    if count == 1:
        first, last = rng.choice([15, 1, 2, 4, 8, 3, 6, 12, 7, 14, 0 if not write else 15]), 0
    else:
        first, last = rng.choice([15, 14, 12, 8]), rng.choice([15, 7, 3, 1])
    data = [rng.getrandbits(32) for _ in range(count)] if write else []
    return Tlp(
        write, address, count, first, last, tag, rng.randrange(64), data=data,
        traffic_class=rng.randrange(8), attributes=rng.randrange(8),
    )  # fmt: skip


def enabled(tlp):
    """Offsets of the enabled bytes."""
    lasts = [15] * (tlp.length - 2) + [tlp.last_be] * (tlp.length > 1)
    nibbles = [tlp.first_be, *lasts]
    return [4 * k + b for k, be in enumerate(nibbles) for b in range(4) if be >> b & 1]


def test_random_traffic(bench):
    """Writes land, reads bring what is there, tags and sequence numbers come back."""
    seed = pick_seed()
    rng = random.Random(seed)
    b = bench
    b.memory[:] = np.frombuffer(rng.randbytes(SIZE), np.uint8)
    link = b.probe.link
    link.latency, link.jitter = 20_000, 30_000
    link.stall_rq = link.stall_rc = 60
    tags = list(range(256))
    numbers = []
    reads = 0
    for split, reorder, limit in [(0, 1, 128), (1, 4, 128), (2, 8, 256), (0, 0, 4096)]:
        link.split, link.reorder, link.max_payload = split, reorder, limit
        expected = b.memory.copy()
        rng.shuffle(tags)
        # Reads after writes of the same batch would see some of them: so they come first.
        read = [random_request(rng, False, tag) for tag in tags[:60]]
        writes = [random_request(rng, True, 0) for _ in range(60)]
        for tlp in writes:
            raw = np.array(tlp.data, "<u4").view(np.uint8)
            for offset in enabled(tlp):
                expected[tlp.address - BASE + offset] = raw[offset]
        numbers += [tlp.seq_num for tlp in read + writes]
        before = b.memory.copy()
        b.run(read, rng)
        reads += check_reads(b, read, before, link)
        b.run(writes, rng)
        assert np.array_equal(b.memory, expected)
    assert reads == 240, f"seed {seed}"
    assert b.numbers == numbers
    assert b.broken() == []
    assert link.read_tlps == link.write_tlps == 240


def check_reads(b, requests, memory, link):
    """Every read answered with the bytes of memory, in order, to its last byte."""
    waiting = {tlp.tag: [tlp, enabled(tlp)] for tlp in requests}
    orders = [dwords[2] & 0xFF for dwords, _ in b.rc.tlps]
    if link.reorder <= 1:
        assert list(dict.fromkeys(orders)) == [tlp.tag for tlp in requests]
    for dwords, enables in b.rc.tlps:
        tlp, left = waiting[dwords[2] & 0xFF]
        low, count = dwords[0] & 0xFFF, dwords[0] >> 16 & 0x1FFF
        length = dwords[1] & 0x7FF
        assert len(dwords) == 3 + length
        assert dwords[2] == tlp.fields()
        assert dwords[0] >> 12 & 15 == 0
        assert dwords[1] >> 16 == tlp.function
        assert count == max(len(left), 1)
        start = tlp.address + left[0] if left else tlp.address + 3
        assert low == start & 0xFFF
        assert 4 * length <= max(link.max_payload, 64)
        data = np.array(dwords[3:], "<u4").view(np.uint8)
        first = (start & ~3) - BASE
        assert np.array_equal(data, memory[first : first + 4 * length])
        end = (start & ~3) + 4 * length
        here = [o for o in left if tlp.address + o < end]
        marks = [4 * k + bit for k, be in enumerate(enables) for bit in range(4) if be >> bit & 1]
        # A read of no bytes counts as one.
        assert marks == [12 + tlp.address + o - (start & ~3) for o in here] or not tlp.first_be
        waiting[tlp.tag][1] = left[len(here) :]
        done = bool(dwords[0] >> 30 & 1)
        assert done == (not waiting[tlp.tag][1])
        if done:
            del waiting[tlp.tag]
        else:
            assert end % 64 == 0
    assert not waiting
    b.rc.tlps = []
    return len(requests)


def test_block_rules(bench):
    """Bus Master, fence, faults, function level reset and time-out end reads as they should."""
    b = bench
    p, link = b.probe, b.probe.link
    link.latency = 4_000_000
    lib = p.lib

    def codes():
        found = [(t[0][2] & 0xFF, t[0][0] >> 12 & 15, t[0][0] >> 30 & 1) for t in b.rc.tlps]
        # BAD_STATUS without one would be a malformed completion, whose tag has to rest.
        for (first, second, *_), *_ in b.rc.tlps:
            assert (first >> 12 & 15 == BAD_STATUS) == (second >> 11 & 7 == 1)
        b.rc.tlps = []
        return found

    b.mapped[1] = 1 << 2
    b.run([Tlp(False, BASE + PAGE, 4, 15, 15, tag=3), Tlp(True, BASE + PAGE, 1, 15, 0, data=[1])])
    assert codes() == [(3, BAD_STATUS, 1)]
    assert [e[1:5] for e in p.take(lib.TR_REFUSED)] == [
        (0, BASE + PAGE, 1, 16), (1, BASE + PAGE, 1, 4)
    ]  # fmt: skip
    p.poke("pcie__cfg_function_status", 0x6)
    b.run([Tlp(False, BASE, 4, 15, 15, tag=4), Tlp(True, BASE, 1, 15, 0, data=[1], seq_num=9)])
    assert codes() == [(4, BAD_STATUS, 1)]
    assert b.memory[0] == 0
    assert b.numbers[-1] == 9
    p.poke("pcie__cfg_function_status", 0x66)
    assert [e[1:3] for e in p.take(lib.TR_LOCAL)] == [(4, BAD_STATUS)]
    # A function level reset while reads are under way: their completions then have no request.
    b.beats += rq_beats([Tlp(False, BASE, 4, 15, 15, tag=t) for t in (5, 6)], b.width, random)
    for _ in range(10):
        b.step()
    assert link.outstanding == 2
    p.lib.tr_pcie_end(p.world, 0, 1, FLR)
    assert link.outstanding == 0
    for _ in range(1100):
        b.step()
    assert codes() == [(5, FLR, 1), (6, FLR, 1), (5, INVALID_TAG, 0), (6, INVALID_TAG, 0)]
    link.timeout = 400_000
    b.run([Tlp(False, BASE, 4, 15, 15, tag=7)])
    assert codes() == [(7, TIMEOUT, 1)]
    link.timeout = 0


def test_faults(bench):
    """A read in a fault range comes to Python, whose completions the block judges."""
    b = bench
    p, lib = b.probe, b.probe.lib
    lib.tr_pcie_fault(p.world, 0, [BASE + 64], [BASE + 128], 1)
    b.beats += rq_beats(
        [Tlp(False, BASE + a, 16, 15, 15, tag=t) for t, a in ((1, 0), (2, 64), (4, 128))],
        b.width, random,
    )  # fmt: skip
    for _ in range(20):
        b.step()
    taken = p.take(lib.TR_TAKEN)
    assert [(np.frombuffer(e[5], "<u4")[3] & 0xFF, e[1]) for e in taken] == [(2, 0xFF)]
    assert p.link.outstanding == 1
    half = [32 + 32 << 16 | 64, 8 | 1 << 16, 2, *range(8)]
    poisoned = [32 << 16 | 96, 8 | 1 << 14 | 1 << 16, 2, *range(8)]
    for dwords in (half, poisoned):
        lib.tr_pcie_complete(p.world, 0, dwords, len(dwords), 0)
    for _ in range(10):
        b.step()
    found = [(t[0][2] & 0xFF, t[0][0] >> 12 & 15, t[0][0] >> 30 & 1) for t in b.rc.tlps]
    assert sorted(found) == [(1, 0, 1), (2, 0, 0), (2, POISONED, 1), (4, 0, 1)]
    assert p.link.outstanding == 0


def test_completions_are_told_when_asked_for(bench):
    """Each completion as it stands on RC, those of the block and of Python too."""
    b, p, lib = bench, bench.probe, bench.probe.lib
    p.link.split = 1
    b.run([Tlp(False, BASE + 4, 100, 14, 7, tag=1)])
    assert p.take(lib.TR_READ_COMPLETION) == []
    b.rc.tlps, p.link.export_completions, b.mapped[1] = [], 1, 0
    b.run([Tlp(False, BASE + 4, 100, 14, 7, tag=2), Tlp(False, BASE + PAGE, 4, 15, 15, tag=3)])
    lib.tr_pcie_complete(p.world, 0, [4 << 16, 1 | 1 << 16, 77, 5], 4, 1)
    for _ in range(5):
        b.step()
    told = [(list(memoryview(e[5]).cast("I")), e[1]) for e in p.take(lib.TR_READ_COMPLETION)]
    assert told == [(tlp[0], int(k == 8)) for k, tlp in enumerate(b.rc.tlps)]
    assert b.rc.bad[-9:] == [False] * 8 + [True]
    assert len(told) == 9, "7 pieces of 64 bytes, a refusal, one of Python"


def test_interrupt_follows_writes(bench):
    """When Python sees an interrupt, the writes before it are in memory."""
    b, lib = bench, bench.probe.lib
    b.beats += rq_beats(
        [
            Tlp(True, BASE + 8, 2, 15, 15, data=[0x01020304, 0x05060708]),
            Tlp(True, 0xFEE00000, 1, 15, 0, data=[42]),
            Tlp(True, BASE + 8, 1, 15, 0, data=[0]),
        ],
        b.width,
        random,
    )
    while not (found := b.probe.take(lib.TR_INTERRUPT)):
        b.step()
        assert b.cycles < 100
    assert found[0][1:4] == (42, 0xFEE00000, 1)
    assert b.memory[12] == 8
    assert b.probe.link.interrupts == 1


def test_broken_requests(bench):
    """What no integrated block would take is reported, and the next request is understood."""
    b = bench
    good = Tlp(True, BASE, 1, 15, 0, data=[0x55])
    short = Tlp(True, BASE + 16, 3, 15, 15, data=[1])
    cases = [
        (Tlp(True, BASE + PAGE - 4, 2, 15, 15, data=[1, 2]), "4 KiB"),
        (short, "another length"),
        (Tlp(False, BASE, 0, 15, 0, tag=1), "length of 0"),
    ]
    for tlp, text in cases:
        b.run([tlp, good], idle=3)
        found = b.broken()
        assert len(found) == 1
        assert text in found[0]
    b.probe.link.latency = 400_000
    b.run([Tlp(False, BASE, 1, 15, 0, tag=8), Tlp(False, BASE, 1, 15, 0, tag=8)], idle=3)
    assert ["again" in text for text in b.broken()] == [True]
    b.probe.link.extended_tag = 0
    b.run([Tlp(False, BASE, 1, 15, 0, tag=32)], idle=3)
    assert ["range" in text for text in b.broken()] == [True]
    rng = random.Random(pick_seed())
    for _ in range(200):
        sizes = {"tdata": b.width, "tuser": 73, "tkeep": b.width // 32, "tlast": 1}
        b.beats.append({name: rng.getrandbits(bits) for name, bits in sizes.items()})
    b.run([], idle=3)
    assert len(b.broken()) > 5, "garbage is found out"


def end_of(b):
    """(tag, error code) of what came over RC, which is forgotten."""
    found = [(tlp[0][2] & 0xFF, tlp[0][0] >> 12 & 15) for tlp in b.rc.tlps]
    b.rc.tlps = []
    return found


def test_only_the_function_that_is_reset_loses_its_reads(bench):
    b = bench
    b.probe.poke("pcie__cfg_function_status", 0x6666)
    b.probe.link.latency = 400_000
    for end, code in ((1, FLR), (255, FLR)):
        reads = [Tlp(False, BASE, 1, 15, 0, tag=t, function=t) for t in range(4)]
        b.beats += rq_beats(reads, b.width, random)
        for _ in range(12):
            b.step()
        b.probe.lib.tr_pcie_end(b.probe.world, 0, end, code)
        for _ in range(140):
            b.step()
        ended = {t: code for t in range(4) if end in (t, 255)}
        late = [(t, INVALID_TAG) for t in ended]
        found = end_of(b)
        assert found[: len(ended)] == list(ended.items())
        assert sorted(found) == sorted([(t, ended.get(t, 0)) for t in range(4)] + late)


def test_what_ends_a_read_has_its_fields(bench):
    """A time-out neither early nor late, with traffic class and attributes of the request."""
    b = bench
    b.probe.link.latency, b.probe.link.timeout = 1 << 40, 400_000
    read = Tlp(False, BASE, 1, 15, 0, tag=9, traffic_class=5, attributes=3)
    b.beats += rq_beats([read], b.width, random)
    for _ in range(100):
        b.step()
    assert b.rc.tlps == []
    for _ in range(10):
        b.step()
    ((dwords, _),) = b.rc.tlps
    assert dwords[0] >> 12 & 15 == TIMEOUT
    assert dwords[1] >> 16 == read.function
    assert dwords[2] == read.fields()


def test_where_messages_end(bench):
    """Interrupts are writes to 0xFEE00000 up to 0xFEEFFFFF, and nothing beside them."""
    b = bench
    places = (0xFEDFFFFC, 0xFEE00000, 0xFEE80000, 0xFEEFFFFC, 0xFEF00000)
    b.run([Tlp(True, place, 1, 15, 0, data=[7]) for place in places])
    assert [event[2] for event in b.probe.take(b.probe.lib.TR_INTERRUPT)] == list(places[1:4])
    refused = [event[2] for event in b.probe.take(b.probe.lib.TR_REFUSED)]
    assert refused == [places[0], places[4]]


def test_a_discontinued_request_never_was(bench):
    b = bench
    bad = Tlp(True, BASE, 2, 15, 15, data=[1, 2], seq_num=4, discontinue=True)
    b.run([bad])
    assert (b.numbers, b.memory[:8].tolist(), b.probe.link.write_tlps) == ([], [0] * 8, 0)
    b.run([Tlp(True, BASE, 2, 15, 15, data=[1, 2], seq_num=5)])
    assert (b.numbers, b.memory[4], b.broken()) == ([5], 2, [])


def test_first_and_last_cycle(bench):
    """Counters have the first and the last request of a kind, until Python clears them."""
    b, link = bench, bench.probe.link
    read, write = Tlp(False, BASE, 1, 15, 0), Tlp(True, BASE, 1, 15, 0, data=[1])
    for kind, tlp in (("read", read), ("write", write)):
        for _ in range(3):
            b.run([tlp])
        first, last = getattr(link, f"first_{kind}"), getattr(link, f"last_{kind}")
        assert 80 < last - first < 400
