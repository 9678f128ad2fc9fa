"""The C++ core of the fast backend around the whole device, without the Python models on top."""

import itertools

import numpy as np
import pytest

from tailrace_hw.config import Config, VirtioNetConfig
from tailrace_hw.emit import NAME
from tailrace_sim.device import NO_CIPHER, device_verilog
from tailrace_sim.fast.interface import load
from tailrace_sim.fast.library import build_library

NARROW = Config(width=64, virtio_net=VirtioNetConfig(queue_pairs=2), jobs=NO_CIPHER)
CORE_PERIOD, PORT_PERIOD = 4000, 3100
#: PF 0 and PF 1: memory and bus master enabled.
ENABLED = 0x66
MAGIC = int.from_bytes(b"TLRC", "little")
SCRATCH, PORT_COUNTERS = 0x10, 0x1000
RX_FRAMES, RX_DROP_ERROR, RX_DROP_RUNT = 0x08, 0x28, 0x2C
US = 1_000_000


@pytest.fixture(scope="module")
def library():
    return build_library(device_verilog(NARROW), NAME)


class World:
    """Devices in the core, by C calls only."""

    def __init__(self, library, devices=1, seed=1):
        self.ffi, self.lib = load(library.path)
        self.devices = devices
        self.world = self.lib.tr_new(devices, seed)
        self.pins = {pin.name: index for index, pin in enumerate(library.pins)}
        self.bits = {pin.name: pin.bits for pin in library.pins}
        self.seen = []

    def poke(self, name, value, device=0):
        words = [value >> 32 * k & 0xFFFFFFFF for k in range((self.bits[name] + 31) // 32)]
        self.lib.tr_poke(self.world, device, self.pins[name], words)

    def peek(self, name, device=0):
        words = self.ffi.new("uint32_t[]", (self.bits[name] + 31) // 32)
        self.lib.tr_peek(self.world, device, self.pins[name], words)
        return sum(word << 32 * k for k, word in enumerate(words))

    def cycles(self, name, device=0):
        return self.lib.tr_cycles(self.world, device, self.pins[name])

    def now(self):
        return self.lib.tr_now(self.world)

    def events(self):
        """What happened since the last call: (kind, device, time, a, b, c, d, payload)."""
        array = self.ffi.new("const tr_event **")
        count = self.lib.tr_events(self.world, array)
        return [
            (e.kind, e.device, e.time, e.a, e.b, e.c, e.d, bytes(self.ffi.buffer(e.data, e.length)))
            for e in array[0][0:count]
        ]

    def run(self, duration):
        """Events until ``duration`` picoseconds are over."""
        until = self.now() + duration
        events = []
        while (reason := self.lib.tr_run(self.world, until)) != self.lib.TR_TIME:
            assert reason == self.lib.TR_EVENT
            events += self.events()
        return events + self.events()

    def wait(self, kind, duration=US):
        """The next event of a kind; any other is an error."""
        until = self.now() + duration
        while self.lib.tr_run(self.world, until) == self.lib.TR_EVENT:
            found = self.events()
            assert [event[0] for event in found] == [kind]
            return found[0]
        raise AssertionError(f"no event {kind} in {duration} ps")

    def start(self, port_period=PORT_PERIOD):
        """Clocks, reset, link, functions enabled."""
        for device in range(self.devices):
            for name in ("rst", "port0_rst", "pcie__user_lnk_up", "port0__link"):
                self.poke(name, 1, device)
            self.poke("pcie__cfg_function_status", ENABLED, device)
            self.poke("pcie__cfg_max_read_req", 2, device)
            self.lib.tr_clock(self.world, device, self.pins["clk"], CORE_PERIOD, 0)
            self.lib.tr_clock(self.world, device, self.pins["port0_clk"], port_period, 0)
        assert self.run(20 * CORE_PERIOD) == []
        for device in range(self.devices):
            self.poke("rst", 0, device)
            self.poke("port0_rst", 0, device)
        assert self.run(100 * CORE_PERIOD) == []

    def request(self, address, data=None, *, function=0, tag=5, device=0):
        """A completer request of one dword to BAR 0 of a function."""
        aperture = 16 if function == 0 else 14
        dwords = [
            address,
            1,
            1 | (data is not None) << 11,
            tag | function << 8 | aperture << 19,
            *([] if data is None else [data]),
        ]
        self.lib.tr_pcie_request(self.world, device, dwords, len(dwords), 15, 0)

    def read(self, address, tag=5, device=0):
        """A register of the management function."""
        self.request(address, tag=tag, device=device)
        event = self.wait(self.lib.TR_COMPLETION)
        dwords = np.frombuffer(event[7], "<u4")
        assert event[1] == device
        assert event[3] == 0
        assert len(dwords) == 4
        assert dwords[1] & 0x3FFF == 1, "one dword, successful completion"
        assert dwords[2] & 0xFF == tag
        return int(dwords[3])

    def send(self, frame, error=False, device=0):
        return self.lib.tr_port_send(self.world, device, 0, frame, len(frame), error)


@pytest.fixture
def world(library):
    made = []

    def make(**options):
        made.append(World(library, **options))
        return made[-1]

    yield make
    for each in made:
        each.lib.tr_free(each.world)


def test_clocks(world):
    """Two periods and a phase: cycles are right, watched edges stop strides before they are."""
    w = world()
    w.lib.tr_clock(w.world, 0, w.pins["clk"], 4000, 0)
    w.lib.tr_clock(w.world, 0, w.pins["port0_clk"], 3100, 500)
    assert w.lib.tr_run(w.world, 4000) == w.lib.TR_TIME
    assert (w.now(), w.cycles("clk"), w.cycles("port0_clk")) == (4000, 1, 2)
    assert w.lib.tr_run(w.world, 124_000) == w.lib.TR_TIME
    assert (w.cycles("clk"), w.cycles("port0_clk")) == (31, 40)
    w.lib.tr_watch(w.world, 0, 1 << w.pins["clk"])
    for edge in range(31, 40):
        assert w.lib.tr_run(w.world, 1 << 60) == w.lib.TR_EDGE
        assert (w.now(), w.cycles("clk")) == (4000 * edge, edge)
    w.lib.tr_watch(w.world, 0, 0)
    w.lib.tr_clock(w.world, 0, w.pins["clk"], 0, 0)
    assert w.lib.tr_run(w.world, 1_000_000) == w.lib.TR_TIME
    assert (w.now(), w.cycles("clk")) == (1_000_000, 39)
    assert w.cycles("port0_clk") == (1_000_000 - 500 - 1) // 3100 + 1


def test_poke_at_an_edge(world):
    """During a watched edge the values are those of before it, and inputs change behind it."""
    w = world()
    w.start()
    w.lib.tr_watch(w.world, 0, 1 << w.pins["clk"])
    assert w.lib.tr_run(w.world, 1 << 60) == w.lib.TR_EDGE
    w.poke("pcie__cfg_ext__read_received", 1)
    assert w.peek("pcie__cfg_ext__read_received") == 0
    assert w.lib.tr_run(w.world, 1 << 60) == w.lib.TR_EDGE
    assert w.peek("pcie__cfg_ext__read_received") == 1
    w.lib.tr_watch(w.world, 0, 0)
    w.poke("pcie__cfg_ext__read_received", 0)
    w.lib.tr_clock(w.world, 0, w.pins["clk"], 0, 0)
    assert w.lib.tr_run(w.world, w.now() + 10_000) == w.lib.TR_TIME
    assert w.peek("pcie__cfg_ext__read_received") == 0, "kept although the clock was stopped"


def test_reset(world):
    """Nothing is driven before the reset ends; what was asked for waits."""
    w = world()
    for name in ("rst", "port0_rst"):
        w.poke(name, 1)
    w.lib.tr_clock(w.world, 0, w.pins["clk"], CORE_PERIOD, 0)
    w.lib.tr_clock(w.world, 0, w.pins["port0_clk"], CORE_PERIOD, 0)
    w.request(0)
    w.send(bytes(64))
    inputs = ("pcie__rq__tready", "pcie__cq__tvalid", "pcie__cc__tready", "port0__rx__tvalid",
              "port0__tx__tready")  # fmt: skip
    assert w.run(10 * CORE_PERIOD) == []
    assert [w.peek(name) for name in inputs] == [0] * len(inputs)
    assert w.lib.tr_pcie_pending(w.world, 0) == 1
    for name in ("pcie__user_lnk_up", "port0__link"):
        w.poke(name, 1)
    w.poke("pcie__cfg_function_status", ENABLED)
    w.poke("rst", 0)
    w.poke("port0_rst", 0)
    kinds = {event[0] for event in w.run(100 * CORE_PERIOD)}
    assert kinds == {w.lib.TR_COMPLETION, w.lib.TR_FRAME_IN}
    assert w.lib.tr_pcie_pending(w.world, 0) == 0


def test_registers(world):
    """Reads and writes of registers over CQ and CC."""
    w = world()
    w.start()
    assert w.read(0) == MAGIC
    w.request(SCRATCH, 0x12345678)
    assert w.read(SCRATCH, tag=7) == 0x12345678
    for tag in range(8):
        w.request(SCRATCH if tag % 2 else 0, tag=tag)
    events = w.run(US)
    values = {e[7][8]: int.from_bytes(e[7][12:], "little") for e in events}
    assert values == {tag: 0x12345678 if tag % 2 else MAGIC for tag in range(8)}


@pytest.mark.parametrize("port_period", [4000, PORT_PERIOD, 6400])
def test_frames(world, port_period):
    """Good, bad and short frames are counted by the device; cycles and numbers are right."""
    w = world()
    w.start(port_period)
    port = w.lib.tr_port_of(w.world, 0, 0)
    lanes = w.bits["port0__rx__tdata"] // 8
    frames = [(bytes([k]) * (60 + k), False) for k in range(20)]
    frames += [(bytes(80), True)] * 3 + [(bytes(13), False)] * 2
    numbers = [w.send(data, error) for data, error in frames]
    assert port.waiting == len(frames)
    events = w.run(5 * US)
    assert [event[0] for event in events] == [w.lib.TR_FRAME_IN] * len(frames)
    assert [event[6] for event in events] == numbers == list(range(len(frames)))
    assert [event[5] - event[4] + 1 for event in events] == [-(-len(d) // lanes) for d, _ in frames]
    assert all(this[4] == last[5] + 1 for last, this in itertools.pairwise(events)), "back to back"
    assert all(event[2] == event[5] * port_period for event in events)
    assert (port.frames_in, port.bytes_in) == (len(frames), sum(len(d) for d, _ in frames))
    assert port.waiting == 0
    found = [w.read(PORT_COUNTERS + r) for r in (RX_FRAMES, RX_DROP_ERROR, RX_DROP_RUNT)]
    assert found == [20, 3, 2]


def test_frame_stride(world):
    """Frames may wait for the end of a stride, but no longer than asked."""
    w = world()
    w.start()
    port = w.lib.tr_port_of(w.world, 0, 0)
    port.frame_stride = 50
    for _ in range(20):
        w.send(bytes(64))
    assert w.lib.tr_run(w.world, 1 << 60) == w.lib.TR_EVENT
    events = w.events()
    assert 5 <= len(events) <= 7
    assert w.now() - events[0][2] == 50 * PORT_PERIOD
    assert len(events) + len(w.run(10 * US)) == 20


def test_rate_pause_and_gaps(world):
    """A port's rate limit, pause and idle pattern."""
    w = world()
    w.start()
    port = w.lib.tr_port_of(w.world, 0, 0)
    lanes = w.bits["port0__rx__tdata"] // 8
    size = 8 * lanes

    def spans(count):
        for _ in range(count):
            w.send(bytes(size))
        events = [event for event in w.run(US) if event[0] == w.lib.TR_FRAME_IN]
        return [(event[4], event[5]) for event in events]

    port.rate = lanes * 256 // 4
    found = spans(4)
    assert found[-1][1] - found[0][0] == 4 * (4 * 8 - 1)
    # What was not used while nothing was sent is not made up for.
    found = spans(4)
    assert found[-1][1] - found[0][0] == 4 * (4 * 8 - 1)
    port.rate = 0
    # From start to start, also of those that are longer than that, and across a rest.
    for spacing, apart in ((20, 20), (8, 8), (5, 8)):
        port.spacing = spacing
        found = spans(4)
        starts = [first for first, _ in found]
        assert [b - a for a, b in itertools.pairwise(starts)] == [apart] * 3
        assert all(last - first == 7 for first, last in found)
    port.spacing = 0
    port.pause = 1
    assert spans(1) == []
    port.pause = 0
    assert len(w.run(US)) == 1
    w.lib.tr_port_pattern(w.world, 0, 0, 0, bytes([0, 1, 1] * 4), 12)
    w.send(bytes(size))
    events = w.run(US)
    assert [event[0] for event in events] == [w.lib.TR_PATTERN, w.lib.TR_FRAME_IN]
    first, last = events[1][4:6]
    assert last - first + 1 == 8 + 2 * 4


def test_garbage(world):
    """TLPs of types that no register answers, and stalled streams: the device goes on."""
    w = world()
    w.start()
    dwords = [0, 1, 1 | 4 << 11, 9 | 16 << 19, 0xFFFFFFFF]
    w.lib.tr_pcie_request(w.world, 0, dwords, len(dwords), 15, 0)
    event = w.wait(w.lib.TR_COMPLETION)
    assert np.frombuffer(event[7], "<u4")[1] >> 11 & 7 != 0, "an atomic is refused"
    link = w.lib.tr_pcie_of(w.world, 0)
    link.stall_rq = link.stall_rc = 200
    w.lib.tr_pcie_complete(w.world, 0, [1 << 12 | 1 << 30, 0, 77], 3, 0)
    w.lib.tr_pcie_complete(w.world, 0, [4 << 16, 1, 78, 0xAAAAAAAA], 4, 1)
    assert w.run(US) == []
    assert link.outstanding == 0
    assert w.read(0) == MAGIC


def test_two_devices(world):
    """Devices of a world share time and nothing else."""
    w = world(devices=2)
    w.start()
    w.request(SCRATCH, 0xAAAA5555, device=0)
    w.request(SCRATCH, 0x11112222, device=1)
    assert w.read(SCRATCH, device=0) == 0xAAAA5555
    assert w.read(SCRATCH, device=1) == 0x11112222
    link = w.lib.tr_connect(w.world, 0, 0, 1, 0)
    assert link != w.ffi.NULL
    assert w.lib.tr_connect(w.world, 0, 1, 1, 0) == w.ffi.NULL
    w.send(bytes(100), device=1)
    assert [event[:2] for event in w.run(US)] == [(w.lib.TR_FRAME_IN, 1)]
    assert (link.taken, link.delivered) == (0, 0)


def test_same_seed_same_cycles(library, world):
    """Two runs of the same calls give the same events."""
    runs = []
    for _ in range(2):
        w = world(seed=3)
        w.start()
        w.lib.tr_pcie_of(w.world, 0).stall_rc = 100
        for tag in range(4):
            w.request(0, tag=tag)
            w.send(bytes(60 + tag))
        runs.append(w.run(US))
    assert runs[0] == runs[1]
    assert len(runs[0]) == 8


def test_profile(world):
    """The sampler sees the process where it is: most of the time in the model."""
    w = world()
    w.start()
    assert w.lib.tr_profile(1000) == 1
    w.run(60 * US)
    assert w.lib.tr_profile(0) == 1
    counts, elsewhere = w.ffi.new("const uint32_t **"), w.ffi.new("uint64_t *")
    number = w.lib.tr_samples(counts, elsewhere)
    inside = int(np.frombuffer(w.ffi.buffer(counts[0], 4 * number), "<u4").sum())
    assert inside > elsewhere[0]
    assert inside > 10
