"""CQ and CC of the C++ core (PG213): the test plays the design, beat by beat."""

import random

import pytest

from tailrace_sim.run import pick_seed

HEADER = 4
#: Places in tuser of CQ: last_be, byte enables, start, end, place of the end (PG213, "CQ").
_USER = {256: (4, 8, 40, None, None), 512: (8, 16, 80, 86, 88)}


@pytest.fixture(scope="module", params=["narrow", "wide"])
def library(request, probe_library):
    return probe_library(request.param)


def request(rng):
    """(dwords with descriptor, first_be, last_be)"""
    length = rng.choice([0, 1, 1, 2, 3, 4, 5, 12, 13, 28, rng.randrange(1, 70)])
    dwords = [rng.getrandbits(32) for _ in range(HEADER + length)]
    return dwords, rng.randrange(1, 16), 0 if length < 2 else rng.randrange(1, 16)


class Receiver:
    """Puts the requests of CQ together and checks every bit of each beat."""

    def __init__(self, probe):
        self.probe = probe
        self.width = probe.pins["pcie__cq__tdata"][1]
        self.got = []
        self.dwords, self.enables, self.firsts = [], [], (0, 0)
        self.held = None
        self.ready = 0

    def step(self, ready):
        p = self.probe
        beat = tuple(p.peek(f"pcie__cq__{name}") for name in ("tdata", "tkeep", "tuser", "tlast"))
        valid = p.peek("pcie__cq__tvalid")
        if self.held is not None:
            assert valid
            assert beat == self.held, "what is offered stays"
        if valid and self.ready:
            self.take(*beat)
        self.held = beat if valid and not self.ready else None
        self.ready = ready
        p.poke("x_pcie__cq__tready", ready)
        p.cycle()

    def take(self, data, keep, user, last):
        last_at, enables_at, start_at, end_at, place_at = _USER[self.width]
        count = keep.bit_length()
        assert keep == (1 << count) - 1
        assert last or count == self.width // 32
        expected = user & ((1 << 4 * count) - 1) << enables_at
        if not self.dwords:
            self.firsts = (user & 15, user >> last_at & 15)
            expected |= self.firsts[0] | self.firsts[1] << last_at | 1 << start_at
        if last and end_at is not None:
            expected |= 1 << end_at | count - 1 << place_at
        assert user == expected, f"{user:x}, {expected:x}"
        self.dwords += [data >> 32 * k & 0xFFFFFFFF for k in range(count)]
        self.enables += [user >> enables_at + 4 * k & 15 for k in range(count)]
        assert data >> 32 * count == 0
        if last:
            first, final = self.firsts
            size = len(self.dwords) - HEADER
            wanted = [15] * size
            if size > 1:
                wanted[-1] = final
            if size:
                wanted[0] = first
            assert self.enables == [0] * HEADER + wanted
            self.got.append((self.dwords, first, final))
            self.dwords, self.enables = [], []


def test_requests(library, probe):
    """Every request comes over CQ, in order, whatever the design's stalls."""
    seed = pick_seed()
    rng = random.Random(seed)
    p = probe(library)
    receiver = Receiver(p)
    sent = [request(rng) for _ in range(120)]
    for dwords, first, last in sent:
        p.lib.tr_pcie_request(p.world, 0, dwords, len(dwords), first, last)
    assert p.lib.tr_pcie_pending(p.world, 0) == len(sent)
    for _ in range(3000):
        receiver.step(int(rng.random() < 0.6))
    assert receiver.got == sent, f"seed {seed}"
    assert p.lib.tr_pcie_pending(p.world, 0) == 0


def test_requests_at_full_rate(library, probe):
    """A beat a cycle while the design is ready."""
    p = probe(library)
    receiver = Receiver(p)
    dwords = list(range(HEADER + 28))
    beats = -(-len(dwords) // (receiver.width // 32))
    for _ in range(20):
        p.lib.tr_pcie_request(p.world, 0, dwords, len(dwords), 15, 15)
    for _ in range(20 * beats + 3):
        receiver.step(1)
    assert len(receiver.got) == 20


def test_a_reset_in_a_request(library, probe):
    """What the design saw the start of is lost with it; the others come behind the reset."""
    p = probe(library)
    receiver = Receiver(p)
    for number in range(3):
        dwords = [number] * (HEADER + 60)
        p.lib.tr_pcie_request(p.world, 0, dwords, len(dwords), 15, 15)
    for _ in range(4):
        receiver.step(1)
    assert receiver.dwords
    p.poke("rst", 1)
    p.cycle()
    p.cycle()
    assert not p.peek("pcie__cq__tvalid")
    p.poke("rst", 0)
    receiver.dwords, receiver.enables, receiver.held = [], [], None
    for _ in range(40):
        receiver.step(1)
    assert [dwords[0] for dwords, _, _ in receiver.got] == [1, 2]


def completions(rng, count):
    """Completions with their descriptor, of whole TLPs."""
    sizes = [rng.choice([3, 4, 5, 8, 16, 17, rng.randrange(3, 60)]) for _ in range(count)]
    return [[rng.getrandbits(32) for _ in range(size)] for size in sizes]


def cc_beats(dwords, width, discontinue):
    """One TLP's beats; the mark is on the last one."""
    lanes = width // 32
    for start in range(0, len(dwords), lanes):
        piece = dwords[start : start + lanes]
        last = start + lanes >= len(dwords)
        user = 0
        if width == 512:
            user |= (start == 0) | (last << 6 | len(piece) - 1 << 8 if last else 0)
        if last and discontinue:
            user |= 1 << (16 if width == 512 else 0)
        yield {
            "tdata": sum(d << 32 * k for k, d in enumerate(piece)), "tkeep": (1 << len(piece)) - 1,
            "tuser": user, "tlast": int(last),
        }  # fmt: skip


def send(p, beats, rng):
    """Beats over CC, with gaps; CC is always ready."""
    p.cycle()
    p.cycle()
    for beat in beats:
        while rng.random() < 0.2:
            p.drive("pcie__cc")
            p.cycle()
        p.drive("pcie__cc", tvalid=1, **beat)
        p.cycle()
        assert p.peek("pcie__cc__tready")
    p.drive("pcie__cc")
    p.cycle()


def test_completions(library, probe):
    """Every completion comes to Python whole, with the mark of a discontinued one."""
    seed = pick_seed()
    rng = random.Random(seed)
    p = probe(library)
    width = p.pins["pcie__cc__tdata"][1]
    sent = [(dwords, rng.random() < 0.3) for dwords in completions(rng, 60)]
    send(p, [beat for dwords, bad in sent for beat in cc_beats(dwords, width, bad)], rng)
    found = [(list(memoryview(e[5]).cast("I")), bool(e[1])) for e in p.take(p.lib.TR_COMPLETION)]
    assert found == sent, f"seed {seed}"
    assert p.take(p.lib.TR_BROKEN) == []


@pytest.mark.parametrize(
    "change", [{"tkeep": 0}, {"tkeep": 5}, {"tlast": 0, "tkeep": 7}], ids=["none", "holes", "short"]
)
def test_rules_of_completions(library, probe, change):
    """A beat that no integrated block would take is told, and the next completion is whole."""
    p = probe(library)
    width = p.pins["pcie__cc__tdata"][1]
    (beat,) = cc_beats([1, 2, 3], width, False)
    send(p, [beat | change, beat], random.Random(0))
    assert len(p.take(p.lib.TR_BROKEN)) == 1
    assert [list(memoryview(e[5]).cast("I")) for e in p.take(p.lib.TR_COMPLETION)] == [[1, 2, 3]]


def test_a_completion_without_end(library, probe):
    p = probe(library)
    lanes = p.pins["pcie__cc__tdata"][1] // 32
    beat = {"tdata": 0, "tkeep": (1 << lanes) - 1, "tuser": 0, "tlast": 0}
    send(p, [beat] * (1200 // lanes), random.Random(0))
    texts = [event[5].decode() for event in p.take(p.lib.TR_BROKEN)]
    assert len(texts) == 1
    assert "more than 4096 bytes" in texts[0]
