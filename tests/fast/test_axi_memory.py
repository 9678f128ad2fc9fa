"""The core's AXI4 memory: the test plays the manager, beat by beat, against a model of its own."""

import random
from collections import defaultdict

import numpy as np
import pytest

from tailrace_sim.fast.library import build_library
from tailrace_sim.models.axi import (
    BOUNDARY,
    DECERR,
    FIXED,
    INCR,
    OKAY,
    SLVERR,
    WRAP,
    Burst,
    random_burst,
)
from tailrace_sim.run import pick_seed

BASE, SIZE = 0x10000, 1 << 16
PERIOD = 4000
ID_BITS = 4
#: Bits of the data by name.
WIDTHS = {"narrow": 32, "wide": 512}
_IN = {
    "aw": {"id": ID_BITS, "addr": 40, "len": 8, "size": 3, "burst": 2, "valid": 1},
    "ar": {"id": ID_BITS, "addr": 40, "len": 8, "size": 3, "burst": 2, "valid": 1},
}


def verilog(width: int) -> str:
    """A top without a design; ``x_NAME`` drives output ``NAME``."""
    driven = [(f"{c}{name}", bits) for c, fields in _IN.items() for name, bits in fields.items()]
    driven += [("wdata", width), ("wstrb", width // 8), ("wlast", 1), ("wvalid", 1)]
    driven += [("bready", 1), ("rready", 1)]
    taken = [("awready", 1), ("wready", 1), ("arready", 1), ("bid", ID_BITS), ("bresp", 2)]
    taken += [("bvalid", 1), ("rid", ID_BITS), ("rdata", width), ("rresp", 2), ("rlast", 1)]
    taken += [("rvalid", 1)]
    ports = ["input clk", "input rst", *(f"input [{bits - 1}:0] mem0__{n}" for n, bits in taken)]
    for name, bits in driven:
        ports += [f"input [{bits - 1}:0] x_mem0__{name}", f"output [{bits - 1}:0] mem0__{name}"]
    body = "\n".join(f"assign mem0__{name} = x_mem0__{name};" for name, _ in driven)
    return f"module axi_probe({', '.join(ports)});\n{body}\nendmodule\n"


class Manager:
    """Sends bursts and checks responses: order of each id, and what they bring."""

    def __init__(self, probe, rng, *, idle=0.0):
        self.probe = probe
        self.lanes = probe.pins["mem0__wdata"][1] // 8
        self.axi = probe.lib.tr_axi_of(probe.world, 0, 0)
        self.data = np.zeros(SIZE, np.uint8)
        self.array = probe.ffi.from_buffer(self.data)
        probe.lib.tr_axi_memory(probe.world, 0, 0, self.array, BASE, SIZE)
        self.axi.outstanding, self.axi.reorder = 16, 1
        self.rng = rng
        self.idle = idle
        self.queues = {"aw": [], "w": [], "ar": []}
        self.shown = dict.fromkeys(self.queues)
        self.open = {True: defaultdict(list), False: defaultdict(list)}
        self.responses = []  # (burst, response) of writes, in order
        self.beats = []  # (burst, beat, data, response) of reads, in order
        self.ready = {"b": 1, "r": 1}
        self.cycles = 0
        self.sent = []  # reads, in order
        self.order = []  # reads in the order in which they ended
        self.step()
        self.step()

    def send(self, burst, *, length=None, last=None):
        """Queue a burst; ``length`` and ``last`` plant mistakes."""
        length = burst.beats - 1 if length is None else length
        fields = {"id": burst.id, "addr": burst.address, "len": length, "size": burst.size,
                  "burst": burst.type}  # fmt: skip
        self.queues["aw" if burst.write else "ar"].append(fields)
        if not burst.write:
            self.sent.append(burst)
        self.open[burst.write][burst.id].append(burst)
        for beat, (data, strobes) in enumerate(zip(burst.data, burst.strobes, strict=True)):
            end = beat + 1 == burst.beats if last is None else beat == last
            self.queues["w"].append({"data": data, "strb": strobes, "last": int(end)})

    def step(self):
        """A cycle: what was shown is sampled, the next is shown."""
        p = self.probe
        for channel, shown in self.shown.items():
            if shown is not None and p.peek(f"mem0__{channel}ready"):
                self.queues[channel].pop(0)
                self.shown[channel] = None
        if p.peek("mem0__bvalid") and self.ready["b"]:
            burst = self.open[True][p.peek("mem0__bid")].pop(0)
            self.responses.append((burst, p.peek("mem0__bresp")))
        if p.peek("mem0__rvalid") and self.ready["r"]:
            self._take_beat()
        for channel, queue in self.queues.items():
            if self.shown[channel] is None and queue and self.rng.random() >= self.idle:
                self.shown[channel] = queue[0]
            shown = self.shown[channel]
            names = ("data", "strb", "last") if channel == "w" else ("id", "addr", "len", "size",
                                                                     "burst")  # fmt: skip
            for name in names:
                p.poke(f"x_mem0__{channel}{name}", shown[name] if shown else 0)
            p.poke(f"x_mem0__{channel}valid", shown is not None)
        for channel in self.ready:
            self.ready[channel] = int(self.rng.random() >= self.idle)
            p.poke(f"x_mem0__{channel}ready", self.ready[channel])
        p.cycle()
        self.cycles += 1

    def _take_beat(self):
        p = self.probe
        burst = self.open[False][p.peek("mem0__rid")][0]
        beat = sum(1 for other in self.beats if other[0] is burst)
        data, last = p.peek("mem0__rdata"), p.peek("mem0__rlast")
        self.beats.append((burst, beat, data, p.peek("mem0__rresp")))
        assert last == (beat + 1 == burst.beats)
        if last:
            self.open[False][burst.id].pop(0)
            self.order.append(burst)

    def busy(self):
        return any(self.queues.values()) or any(
            some for way in self.open.values() for some in way.values()
        )

    def run(self, limit=20_000):
        end = self.cycles + limit
        while self.busy():
            assert self.cycles < end, "it hangs"
            self.step()

    def broken(self):
        return [event[5].decode() for event in self.probe.take(self.probe.lib.TR_BROKEN)]


@pytest.fixture(scope="module", params=list(WIDTHS))
def library(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("axi") / "axi_probe.v"
    path.write_text(verilog(WIDTHS[request.param]))
    return build_library(path, "axi_probe")


@pytest.fixture
def manager(library, probe):
    return lambda seed=0, **options: Manager(
        probe(library, seed=seed), random.Random(seed), **options
    )


def check_reads(m, memory):
    """Each beat brought what the model has in its lanes, and nothing elsewhere."""
    for burst, beat, data, response in m.beats:
        assert response == OKAY
        word = burst.address_of(beat) // m.lanes * m.lanes - BASE
        lanes = burst.lanes_of(beat, m.lanes)
        for lane in range(m.lanes):
            expected = int(memory[word + lane]) if lane in lanes else 0
            assert data >> 8 * lane & 0xFF == expected, (burst, beat, lane)


@pytest.mark.parametrize("harsh", [False, True], ids=["calm", "harsh"])
def test_random_traffic(manager, harsh):
    """Reads and writes at once in two halves of the memory, which change places."""
    seed = pick_seed()
    print(f"seed {seed}")
    rng = random.Random(seed)
    m = manager(seed, idle=0.3 if harsh else 0)
    if harsh:
        m.axi.latency, m.axi.jitter = 20 * PERIOD, 40 * PERIOD
        m.axi.reorder, m.axi.interleave, m.axi.outstanding = 8, 1, 6
        for channel in ("aw", "w", "b", "ar", "r"):
            setattr(m.axi, f"stall_{channel}", 80)
    m.data[:] = np.frombuffer(rng.randbytes(SIZE), np.uint8)
    golden = m.data.copy()
    pages = range(BASE, BASE + SIZE, BOUNDARY)
    count = 0
    for turn in range(4):
        # No order is promised between ids: no two writes in one place at once.
        for write, read in zip(pages[turn % 2 :: 2], pages[1 - turn % 2 :: 2], strict=True):
            burst = random_burst(rng, m.lanes, 1 << ID_BITS, True, write)
            burst.store(golden, BASE, m.lanes)
            m.send(burst)
            m.send(random_burst(rng, m.lanes, 1 << ID_BITS, False, read))
            count += 1
        m.run()
        assert np.array_equal(m.data, golden)
        check_reads(m, golden)
        m.beats = []
    assert [response for _, response in m.responses] == [OKAY] * count
    assert m.broken() == []
    assert (m.axi.read_bursts, m.axi.write_bursts, m.axi.errors) == (count, count, 0)
    if harsh:
        assert m.order != sorted(m.order, key=m.sent.index), "reads of several ids overtake"


def test_order_and_latency(manager):
    """In order with one id, whatever the jitter; no response before its time; then out of order."""
    m = manager()
    m.axi.latency, m.axi.jitter, m.axi.reorder = 30 * PERIOD, 50 * PERIOD, 16
    same = [Burst(False, 3, BASE + 64 * k, 0, 1) for k in range(12)]
    for burst in same:
        m.send(burst)
    start = m.cycles
    while not m.beats:
        m.step()
    assert m.cycles - start >= 30
    m.run()
    assert m.order == same
    for k in range(12):
        m.send(Burst(False, k, BASE + 64 * k, 0, 1))
    m.run()
    later = m.order[12:]
    assert [burst.id for burst in later] != list(range(12))
    assert sorted(burst.id for burst in later) == list(range(12))


def test_interleaving(manager):
    """Beats of several ids take turns only if asked to."""
    for interleave in (0, 1):
        m = manager(1)
        m.axi.reorder, m.axi.interleave, m.axi.latency = 4, interleave, 20 * PERIOD
        for k in range(4):
            m.send(Burst(False, k, BASE + 256 * k, 2, 16))
        m.run()
        turns = sum(a[0] is not b[0] for a, b in zip(m.beats, m.beats[1:], strict=False))
        assert turns > 20 if interleave else turns == 3


def test_full_rate(manager):
    """A beat a cycle each way at once, in long bursts and in bursts of one beat."""
    lanes = manager().lanes
    size = lanes.bit_length() - 1
    for beats, count in ((16, 16), (1, 200)):
        m = manager()
        for k in range(count):
            place = BASE + k * beats * lanes % (SIZE // 2)
            full = (1 << lanes) - 1
            m.send(Burst(True, k % 4, place, size, beats, INCR, [k] * beats, [full] * beats))
            m.send(Burst(False, k % 4, place + SIZE // 2, size, beats))
        start = m.cycles
        m.run()
        assert m.axi.read_beats == m.axi.write_beats == beats * count
        assert m.cycles - start <= beats * count + 8


def test_a_write_is_there_with_its_response(manager):
    m = manager()
    m.axi.latency = 50 * PERIOD
    m.send(Burst(True, 0, BASE, 0, 1, INCR, [0x5A], [1]))
    for _ in range(30):
        m.step()
    assert m.data[0] == 0
    m.run()
    assert m.data[0] == 0x5A


def test_data_before_its_address(manager):
    """W may run ahead of AW, as the specification allows."""
    m = manager()
    for k in range(3):
        m.send(Burst(True, k, BASE + 8 * k, 2, 2, INCR, [k, k], [0, 0]))
    late, m.queues["aw"] = m.queues["aw"], []
    for _ in range(20):
        m.step()
    assert m.axi.write_beats == 6
    assert m.responses == []
    m.queues["aw"] = late
    m.run()
    assert len(m.responses) == 3


def test_errors_by_address(manager):
    """Outside: DECERR. In a fault range: what it says, by the beat, and nothing is written."""
    m = manager()
    lib, world = m.probe.lib, m.probe.world
    ends = [BASE + 12, BASE + 65]
    lib.tr_axi_fault(world, 0, 0, [BASE + 8, BASE + 64], ends, [SLVERR, DECERR], 2)
    m.data[:64] = 0xEE
    for address in (BASE - 4, BASE + SIZE, 0):
        m.send(Burst(False, 0, address, 2, 1))
    m.send(Burst(False, 0, BASE, 2, 4))
    m.send(Burst(False, 0, BASE + 64, 0, 2))
    m.run()
    responses = [response for *_, response in m.beats]
    assert responses == [DECERR] * 3 + [OKAY, OKAY, SLVERR, OKAY] + [DECERR, OKAY]
    assert all(data == 0 for *_, data, response in m.beats if response != OKAY)
    word = (1 << 8 * m.lanes) - 1
    strobes = [0xF << (4 * k) % m.lanes for k in range(4)]
    m.send(Burst(True, 1, BASE, 2, 4, INCR, [word] * 4, strobes))
    m.send(Burst(True, 1, BASE + SIZE, 2, 1, INCR, [word], [0xF]))
    m.run()
    assert [response for _, response in m.responses] == [SLVERR, DECERR]
    assert m.data[:16].tolist() == [0xFF] * 8 + [0xEE] * 4 + [0xFF] * 4
    assert m.axi.errors == 7
    lib.tr_axi_fault(world, 0, 0, [], [], [], 0)
    m.send(Burst(False, 0, BASE + 8, 2, 1))
    m.run()
    assert m.beats[-1][3] == OKAY
    assert m.broken() == []


def plain(write=False, address=BASE, size=0, beats=1, type=INCR):
    return Burst(write, 0, address, size, beats, type, [0] * beats * write, [0] * beats * write)


@pytest.mark.parametrize(
    ("burst", "plant", "text"),
    [
        (plain(address=BASE + BOUNDARY - 2, beats=4), {}, "4 KiB"),
        (plain(True, address=BASE + BOUNDARY - 1, beats=2), {}, "4 KiB"),
        (plain(size=7), {}, "wider than the bus"),
        (plain(type=3), {}, "reserved type"),
        (plain(type=WRAP, beats=3), {}, "WRAP burst of other than"),
        (plain(type=WRAP, beats=2, size=1, address=BASE + 1), {}, "not aligned"),
        (plain(type=FIXED, beats=17), {}, "FIXED burst of more"),
        (plain(True, beats=4), {"last": 1}, "wlast ends a burst behind 2 beats, awlen says 4"),
        (plain(True, beats=4), {"length": 2}, "wlast is 0 in the last beat"),
        (Burst(True, 0, BASE + 1, 1, 1, INCR, [0], [3]), {}, "wstrb: a strobe outside"),
        (Burst(True, 0, BASE, 0, 1, INCR, [0], [2]), {}, "wstrb: a strobe outside"),
    ],
)
def test_rules_of_a_burst(manager, burst, plant, text):
    """What a manager must not do is told, and the next burst is understood after a reset."""
    m = manager()
    m.send(burst, **plant)
    for _ in range(60):
        m.step()
    found = m.broken()
    assert found
    assert text in found[0]
    assert found[0].startswith("mem0: ")


@pytest.mark.parametrize("channel", ["aw", "w", "ar"])
@pytest.mark.parametrize("what", ["falls", "changes"])
def test_rules_of_a_handshake(manager, channel, what):
    """What is offered stays until it is taken."""
    m = manager()
    p = m.probe
    setattr(m.axi, f"stall_{channel}", 256)
    for _ in range(3):
        m.step()
    p.poke(f"x_mem0__{channel}valid", 1)
    p.cycle()
    p.cycle()
    assert m.broken() == []
    if what == "falls":
        p.poke(f"x_mem0__{channel}valid", 0)
    else:
        p.poke(f"x_mem0__{channel}{'data' if channel == 'w' else 'addr'}", 1)
    p.cycle()
    p.cycle()
    found = m.broken()
    assert len(found) == 1
    assert what in found[0]
    assert f"mem0: {channel}" in found[0]


def test_reset(manager):
    """Nothing is offered in reset, and nothing of before comes behind it."""
    m = manager()
    p = m.probe
    m.axi.latency = 20 * PERIOD
    for k in range(4):
        m.send(Burst(False, k, BASE, 0, 4))
    for _ in range(8):
        m.step()
    assert m.beats == []
    p.poke("rst", 1)
    for _ in range(4):
        p.cycle()
    for name in ("awready", "wready", "arready", "rvalid", "bvalid"):
        assert not p.peek(f"mem0__{name}")
    assert m.broken() == []
    p.poke("x_mem0__arvalid", 1)
    for _ in range(4):
        p.cycle()
    assert len(m.broken()) == 1
    p.poke("x_mem0__arvalid", 0)
    p.cycle()
    p.poke("rst", 0)
    for _ in range(60):
        p.cycle()
        assert not p.peek("mem0__rvalid")
    m.open[False].clear()
    m.send(Burst(False, 7, BASE, 0, 2))
    m.run()
    assert len(m.order) == 1


def test_no_such_memory(manager):
    m = manager()
    assert not m.probe.lib.tr_axi_of(m.probe.world, 0, 1)
