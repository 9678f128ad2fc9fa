"""virtio-net receive: frames from the wire end in the driver's buffers, or are counted drops."""

from collections import Counter

import pytest

from tailrace_hw.errors import ErrorCode
from tailrace_hw.virtio.net_rx import NetReceive
from tailrace_sim.models.net_offload import receive_queue, receive_verdict
from tailrace_sim.net_frames import random_frame
from tailrace_sim.net_unit import Buffer, Chain, ChainAgent, Clock, WriteAgent
from tailrace_sim.streams import receive, send, to_beats
from tailrace_sim.unit import seeded, simulate

FUNCTION = 3
REASONS = ("overflow", "marked", "not_ready", "no_buffer", "too_long", "bad_direction", "fault")


class Bench:
    """NetReceive with agents on its ports; runs until all frames are accounted for."""

    def __init__(
        self, width, pairs=1, *, latency=4, stall=0.0, keeps=None, mrg=True, guest_csum=True, **dut
    ):
        self.rng = seeded()
        self.width = width
        self.pairs = pairs
        self.clock = Clock()
        self.dut = NetReceive(pairs, width, **dut)
        self.engine = ChainAgent(
            self.dut.chains, self.clock, self.rng, latency=latency, stall=stall, keeps=keeps
        )
        self.host = WriteAgent(self.dut.dma, self.clock, self.rng, stall=stall)
        self.levels = {"mrg_rxbuf": mrg, "guest_csum": guest_csum, "active_pairs": pairs}
        self.counts = Counter()
        self.events = []
        self._next_address = 0x7FFF_0000_0000

    def post(self, queue, *lengths, writable=True):
        """Make a chain of buffers of these lengths available, at odd places."""
        buffers = []
        for length in lengths:
            self._next_address += self.rng.randint(1, 100)
            buffers.append(Buffer(self._next_address, length, writable))
            self._next_address += length
        chains = self.engine.posted[queue]
        chains.append(Chain(tuple(buffers), self.rng.getrandbits(16), len(buffers)))
        return chains[-1]

    def run(self, frames, *, marked=frozenset(), gap=0.0, flush=False, flips=(), limit=60_000):
        """Send all frames; returns cycles from the first beat to the last completion."""

        async def source(ctx):
            for name, level in self.levels.items():
                ctx.set(getattr(self.dut, name), level)
            ctx.set(self.dut.function, FUNCTION)
            ctx.set(self.dut.flush, flush)
            self.start = self.clock.cycle
            for index, frame in enumerate(frames):
                meta = {"drop": int(index in marked)}
                await send(ctx, self.dut.frames, to_beats(frame, self.width, meta), self.rng, gap)
            while self.settled() < len(frames):
                await ctx.tick()
            await ctx.tick().repeat(40)

        agents = self.engine.benches() + self.host.benches()

        async def flip(ctx):
            for cycles in flips:
                await ctx.tick().repeat(cycles)
                ctx.set(self.dut.flush, not ctx.get(self.dut.flush))

        simulate(
            self.dut,
            source,
            background=[self.clock.run, self._count, self._errors, flip, *agents],
            cycles=limit,
        )
        assert self.settled() == len(frames)
        assert not any(self.engine.outstanding(queue) for queue in range(self.pairs))
        return (self.engine.completed_at or [0])[-1] - self.start

    def settled(self):
        return self.counts["delivered"] + sum(self.counts[reason] for reason in REASONS)

    async def _count(self, ctx):
        counters = [getattr(self.dut.counters, name) for name in ("delivered", *REASONS)]
        while True:
            _, _, *pulses, octets = await ctx.tick().sample(*counters, self.dut.counters.bytes)
            self.counts.update(dict(zip(("delivered", *REASONS), pulses, strict=True)))
            self.counts["bytes"] += octets if pulses[0] else 0

    async def _errors(self, ctx):
        while True:
            for event in await receive(ctx, self.dut.errors, 1, self.rng, self.engine.stall):
                assert event.function == FUNCTION
                self.events.append((ErrorCode(event.code), event.queue, event.info))

    def expect(self, frames, faults=frozenset()):
        """The plain model: what every queue's completions and every buffer must be."""
        mrg = self.levels["mrg_rxbuf"]
        used = [0] * self.pairs
        expected = [[] for _ in range(self.pairs)]
        delivered = Counter()
        drops = []
        for frame in frames:
            queue = receive_queue(frame, self.pairs)
            chains = self.engine.posted[queue][used[queue] :]
            header_frame = len(frame) + 12
            count = capacity = 0
            while capacity < header_frame and count < (len(chains) if mrg else 1):
                capacity += sum(b.length for b in chains[count].buffers) if chains else 0
                count += 1
            kept = sum(len(chain.buffers) for chain in chains[:count])
            crowded = self.engine.keeps is not None and kept > self.engine.keeps
            if capacity < header_frame or crowded:
                reason = "too_long" if crowded or (chains and not mrg) else "no_buffer"
                delivered[reason] += 1
                drops.append((ErrorCode[f"NET_RX_{reason.upper()}"], queue, len(frame)))
                continue
            delivered["delivered"] += 1
            delivered["bytes"] += len(frame)
            used[queue] += count
            valid = self.levels["guest_csum"] and receive_verdict(frame)
            data = bytes([2 * valid]) + bytes(9) + count.to_bytes(2, "little") + frame
            for index, chain in enumerate(chains[:count]):
                written = self._check_buffers(chain, data)
                data = data[written:]
                expected[queue].append((chain.id, chain.slots, written, int(index < count - 1)))
            assert not data
        completed = [[] for _ in range(self.pairs)]
        for queue, *rest in self.engine.completed:
            completed[queue].append(tuple(rest))
        assert completed == expected
        assert any(expected), "nothing was delivered"
        codes = (ErrorCode.NET_RX_TOO_LONG, ErrorCode.NET_RX_NO_BUFFER)
        assert [event for event in self.events if event[0] in codes] == drops
        for name in ("delivered", "bytes", "too_long", "no_buffer"):
            assert self.counts[name] == delivered[name], name
        # A merged frame's completions come together, whatever the other queues do.
        inside = None
        for queue, _, _, _, more in self.engine.completed:
            assert inside in (None, queue)
            inside = queue if more else None

    def _check_buffers(self, chain, data):
        """Compare a chain's memory with the start of ``data``; returns the bytes it holds."""
        written = 0
        for buffer in chain.buffers:
            part = data[written : written + buffer.length]
            assert self.host.read(buffer.address, len(part)) == part
            assert buffer.address + len(part) not in self.host.memory
            written += len(part)
        return written


@pytest.mark.parametrize("width", [64, 512])
@pytest.mark.parametrize("stall", [0.0, 0.3])
@pytest.mark.parametrize("mrg", [True, False], ids=["mergeable", "single"])
def test_random_frames_into_random_chains(width, stall, mrg):
    bench = Bench(width, 3, stall=stall, mrg=mrg)
    rng = bench.rng
    frames = [random_frame(rng, 300) for _ in range(50)]
    for queue in range(3):
        for _ in range(60):
            if rng.random() < 0.3 or not mrg:
                bench.post(queue, *(rng.randint(1, 300) for _ in range(rng.randint(1, 5))))
            else:
                bench.post(queue, rng.choice([rng.randint(1, 40), 64, 2048]))
    bench.run(frames, gap=stall)
    bench.expect(frames)
    assert {code for code, _, _ in bench.events} <= {
        ErrorCode.NET_RX_NO_BUFFER,
        ErrorCode.NET_RX_TOO_LONG,
    }
    assert all(function == FUNCTION for _, _, function in bench.host.requests)
    dropped = bench.counts["no_buffer"] + bench.counts["too_long"]
    assert len(bench.events) == dropped


@pytest.mark.parametrize("width", [64, 512])
def test_every_length_and_every_cut(width):
    """Short frames of all lengths, cut at every place of the first beats."""
    bench = Bench(width)
    octets = width // 8
    frames = [bench.rng.randbytes(n) for n in range(14, 14 + 2 * octets + 10)]
    for index, frame in enumerate(frames):
        bench.post(0, 1 + index % (2 * octets), len(frame) + 12 - 1, 7)
    bench.run(frames)
    bench.expect(frames)


@pytest.mark.parametrize("guest_csum", [False, True])
def test_data_valid_needs_guest_csum(guest_csum):
    bench = Bench(64, guest_csum=guest_csum)
    frames = [random_frame(bench.rng, 100, "tcp4") for _ in range(5)]
    for _ in frames:
        bench.post(0, 2048)
    bench.run(frames)
    bench.expect(frames)
    flags = {bench.host.memory[c.buffers[0].address] for c in bench.engine.posted[0]}
    assert flags == {2 if guest_csum else 0}


def test_no_buffers_then_some():
    bench = Bench(64)
    frames = [random_frame(bench.rng, 60, "udp4") for _ in range(12)]
    for _ in range(5):
        bench.post(0, 2048)
    bench.run(frames)
    bench.expect(frames)
    assert bench.counts["no_buffer"] == 7
    assert bench.events == [(ErrorCode.NET_RX_NO_BUFFER, 0, len(frame)) for frame in frames[5:]]


def test_a_frame_that_finds_too_few_chains_leaves_them_to_the_next():
    bench = Bench(64)
    frames = [bytes(300), bytes(range(60))]
    bench.post(0, 100)
    bench.post(0, 100)
    bench.run(frames)
    bench.expect(frames)
    assert bench.counts["no_buffer"] == 1


def test_too_many_pieces():
    bench = Bench(64, max_segments=8)
    bench.post(0, *[10] * 9, 100)
    bench.run([bytes(100), bytes(60), bytes(range(50))])
    assert bench.counts["too_long"] == 1
    no_buffer = (ErrorCode.NET_RX_NO_BUFFER, 0, 50)
    assert bench.events == [(ErrorCode.NET_RX_TOO_LONG, 0, 100), no_buffer]
    assert bench.counts["delivered"] == 1
    assert bench.counts["no_buffer"] == 1


def test_more_chains_than_the_engine_keeps():
    """Frames that have room are served in full, alone and behind one that has none."""
    bench = Bench(64, keeps=16)
    for _ in range(64):
        bench.post(0, 10, 10, 10, 10)
    frames = [
        bytes([n]) * length for n, length in enumerate((148, 149, 60, 148, 1000, 20, 20, 148))
    ]
    bench.run(frames)
    bench.expect(frames)
    too_long = [(ErrorCode.NET_RX_TOO_LONG, 0, length) for length in (149, 1000)]
    assert bench.events == too_long
    assert bench.counts["delivered"] == 6


@pytest.mark.parametrize("queue", range(3))
def test_drops_name_their_queue(queue):
    """One reason after the other, each on every queue."""
    bench = Bench(64, 3)
    frames = []
    while len(frames) < 6:
        frame = random_frame(bench.rng, 40, "tcp4")
        if receive_queue(frame, 3) == queue:
            frames.append(frame)
    bench.post(queue, 2048)
    bench.run(frames)
    bench.expect(frames)
    assert bench.counts["no_buffer"] == 5
    assert {event[1] for event in bench.events} == {queue}


@pytest.mark.parametrize("queue", range(3))
def test_readable_buffer_in_a_receive_chain(queue):
    bench = Bench(64, 3)
    frames = []
    while len(frames) < 4:
        frame = random_frame(bench.rng, 40, "tcp4")
        if receive_queue(frame, 3) == queue:
            frames.append(frame)
    bench.post(queue, 2048)
    bad = bench.post(queue, 30, 2048, writable=False)
    bench.run(frames)
    assert bench.counts["delivered"] == 1
    assert bench.counts["bad_direction"] == 3
    assert bench.events == [(ErrorCode.QUEUE_BAD_DIRECTION, queue, bad.buffers[0].address)] * 3
    assert len(bench.engine.completed) == 1


def test_marked_frames_and_flush():
    bench = Bench(64)
    frames = [random_frame(bench.rng, 200, "udp6") for _ in range(6)]
    for _ in frames:
        bench.post(0, 2048)
    bench.run(frames, marked={0, 3, 5})
    assert bench.counts["marked"] == 3
    bench.expect([frames[k] for k in (1, 2, 4)])

    bench = Bench(64)
    bench.post(0, 2048)
    bench.run(frames, flush=True)
    assert bench.counts["not_ready"] == 6
    assert not bench.events
    assert not bench.engine.completed


def test_a_reset_in_the_middle_of_traffic_loses_whole_frames_only():
    bench = Bench(64, stall=0.2)
    rng = bench.rng
    frames = [bytes([k]) + rng.randbytes(rng.randint(60, 200)) for k in range(60)]
    for _ in range(200):
        bench.post(0, 100)
    bench.run(frames, flips=[rng.randint(20, 150) for _ in range(12)])
    assert bench.counts["not_ready"] > 2
    assert bench.counts["delivered"] > 2
    assert bench.counts["not_ready"] + bench.counts["delivered"] == len(frames)
    assert len(bench.engine.completed) == bench.engine.committed[0]
    arrived, data = [], b""
    chains = bench.engine.posted[0][: len(bench.engine.completed)]
    for chain, (_, number, _, written, more) in zip(chains, bench.engine.completed, strict=True):
        assert number == chain.id
        data += bench.host.read(chain.buffers[0].address, written)
        if not more:
            arrived.append(data[12:])
            data = b""
    remaining = iter(frames)
    assert len(arrived) == bench.counts["delivered"]
    assert all(frame in remaining for frame in arrived), "changed or out of order"


def test_a_chain_that_the_engine_breaks_off_is_not_used():
    bench = Bench(64, stall=0.2)
    frames = [bench.rng.randbytes(80) for _ in range(4)]
    good = [bench.post(0, 2048) for _ in range(2)]
    bench.post(0, 50)
    broken = Chain((Buffer(77, 20, True),), 9, broken=True)
    bench.engine.posted[0].append(broken)
    bench.run(frames)
    assert bench.counts["delivered"] == 2
    assert bench.counts["no_buffer"] == 2
    assert [entry[1] for entry in bench.engine.completed] == [chain.id for chain in good]
    assert 77 not in bench.host.memory


def test_overflow_loses_whole_frames_only():
    bench = Bench(64, latency=60, stall=0.5, depth=1024)
    frames = [random_frame(bench.rng, 200, "udp4") for _ in range(40)]
    frames.insert(10, bytes(1500))
    for _ in frames:
        bench.post(0, 2048)
    bench.run(frames)
    assert bench.counts["overflow"] > 2
    assert bench.counts["overflow"] + bench.counts["delivered"] == len(frames)
    chains = bench.engine.posted[0][: bench.counts["delivered"]]
    written = [entry[3] for entry in bench.engine.completed]
    arrived = [
        bench.host.read(chain.buffers[0].address + 12, count - 12)
        for chain, count in zip(chains, written, strict=True)
    ]
    remaining = iter(frames)
    assert all(frame in remaining for frame in arrived), "changed or out of order"
    assert {event[0] for event in bench.events} == {ErrorCode.MAC_RX_OVERFLOW}


def test_failing_writes_are_reported_and_completed():
    bench = Bench(64)
    frames = [bench.rng.randbytes(100) for _ in range(6)]
    for _ in range(12):
        bench.post(0, 40, 30)
    bad = {2: 0, 5: 1, 9: 0}
    bench.host.faults = frozenset(
        bench.engine.posted[0][chain].buffers[k].address for chain, k in bad.items()
    )
    bench.run(frames)
    assert bench.counts["delivered"] == 3
    assert bench.counts["fault"] == 3
    written = [entry[3] for entry in bench.engine.completed]
    assert written == [0 if k in bad else (70, 42)[k % 2] for k in range(12)]
    assert bench.events == [(ErrorCode.QUEUE_DATA_FAULT, 0, 1)] * 3


@pytest.mark.parametrize("latency", [1, 3, 20])
def test_short_frames_at_one_in_four_cycles(latency):
    bench = Bench(512, latency=latency)
    frames = [bench.rng.randbytes(64) for _ in range(120)]
    for _ in frames:
        bench.post(0, 2048)
    cycles = bench.run(frames)
    bench.expect(frames)
    # 40 cycles: from the first frame's end to its completion, 20 of them in host memory.
    assert cycles <= 4 * len(frames) + 70


def test_long_frames_at_the_rate_of_the_bus():
    bench = Bench(512)
    frames = [bench.rng.randbytes(1500) for _ in range(30)]
    for _ in frames:
        bench.post(0, 2048)
    cycles = bench.run(frames)
    bench.expect(frames)
    assert bench.host.beats == 24 * len(frames)
    assert cycles <= 24 * len(frames) + 100
