"""A driver, an engine and a wire around virtio-net transmit, in Amaranth's simulator."""

from collections import Counter
from dataclasses import dataclass

from tailrace_hw.errors import ErrorCode
from tailrace_hw.virtio.net_tx import NetTransmit
from tailrace_sim.net_unit import Buffer, Chain, ChainAgent, Clock, ReadAgent
from tailrace_sim.streams import receive, receive_packets
from tailrace_sim.unit import seeded, simulate

__all__ = ["FUNCTION", "MAX_FRAME", "REASONS", "Bench", "Header"]

FUNCTION = 5
REASONS = ("bad_chain", "bad_header", "fault", "flushed")
MAX_FRAME = 1518


@dataclass
class Header:
    """struct virtio_net_hdr (5.1.6)."""

    flags: int = 0
    gso_type: int = 0
    csum_start: int = 0
    csum_offset: int = 0

    def __bytes__(self):
        fields = (0, 0, self.csum_start, self.csum_offset, 0)
        return bytes([self.flags, self.gso_type]) + b"".join(
            field.to_bytes(2, "little") for field in fields
        )


class Bench:
    """NetTransmit with agents on its ports; runs until every chain is accounted for."""

    def __init__(self, width, pairs=1, *, latency=4, memory=20, stall=0.0, csum=True, **dut):
        self.rng = seeded()
        self.clock = Clock()
        self.pairs = pairs
        self.csum = csum
        self.stall = stall
        self.dut = NetTransmit(pairs, width, max_frame=MAX_FRAME, **dut)
        self.engine = ChainAgent(
            self.dut.chains, self.clock, self.rng, latency=latency, stall=stall
        )
        self.host = ReadAgent(
            self.dut.dma, self.clock, self.rng, width, latency=memory, stall=stall
        )
        self.counts = Counter()
        self.events = []
        self.frames = []
        self._next_address = 0x1_2345_6789

    def post(self, queue, data, cuts=(), writable=False):
        """Make ``data`` available as a chain of buffers that end at ``cuts`` and at its end."""
        ends = [*sorted(cuts), len(data)]
        buffers = []
        for start, end in zip([0, *ends], ends, strict=False):
            self._next_address += self.rng.randint(1, 100)
            buffers.append(Buffer(self._next_address, end - start, writable))
            self.host.write(self._next_address, data[start:end])
            self._next_address += end - start
        chain = Chain(tuple(buffers), self.rng.getrandbits(16), len(buffers))
        self.engine.posted[queue].append(chain)
        return chain

    def random_cuts(self, length):
        cuts = {self.rng.randrange(1, length) for _ in range(self.rng.randint(0, 5))}
        if self.rng.random() < 0.2:
            cuts |= set(range(1, self.rng.randint(2, min(length, 30))))
        return cuts

    def run(self, *, gap=0.0, flush=False, flips=(), limit=60_000):
        """Returns cycles from the start to the last frame's end."""
        total = sum(not chain.broken for chains in self.engine.posted for chain in chains)
        finished = 0

        async def main(ctx):
            ctx.set(self.dut.csum, self.csum)
            ctx.set(self.dut.function, FUNCTION)
            ctx.set(self.dut.flush, flush)
            while not flush and self.settled() < total:
                await ctx.tick()
            await ctx.tick().repeat(60)

        async def sink(ctx):
            nonlocal finished
            while True:
                for contents, _ in await receive_packets(ctx, self.dut.frames, 1, self.rng, gap):
                    self.frames.append(contents)
                    finished = self.clock.cycle

        async def flip(ctx):
            for cycles in flips:
                await ctx.tick().repeat(cycles)
                ctx.set(self.dut.flush, not ctx.get(self.dut.flush))

        agents = self.engine.benches() + self.host.benches()
        simulate(
            self.dut,
            main,
            background=[self.clock.run, self._count, self._errors, sink, flip, *agents],
            cycles=limit,
        )
        assert self.counts["sent"] == len(self.frames)
        assert self.counts["bytes"] == sum(map(len, self.frames))
        if not flush:
            assert self.settled() == total
            expected = [
                [(chain.id, chain.slots, 0, 0) for chain in chains if not chain.broken]
                for chains in self.engine.posted
            ]
            completed = [[] for _ in range(self.pairs)]
            for queue, *rest in self.engine.completed:
                completed[queue].append(tuple(rest))
            assert completed == expected, "not every chain came back once, in order"
        assert all(function == FUNCTION for _, _, function in self.host.requests)
        return finished

    def settled(self):
        return self.counts["sent"] + sum(self.counts[reason] for reason in REASONS)

    async def _count(self, ctx):
        names = ("sent", *REASONS)
        counters = [getattr(self.dut.counters, name) for name in names]
        while True:
            _, _, *pulses, octets = await ctx.tick().sample(*counters, self.dut.counters.bytes)
            self.counts.update(dict(zip(names, pulses, strict=True)))
            self.counts["bytes"] += octets if pulses[0] else 0

    async def _errors(self, ctx):
        while True:
            for event in await receive(ctx, self.dut.errors, 1, self.rng, self.stall):
                assert event.function == FUNCTION
                self.events.append((ErrorCode(event.code), event.queue, event.info))
