"""CommitFifo: failed packets never show, all else leaves in order, and every place comes back."""

from collections import deque
from dataclasses import dataclass

import pytest

from tailrace_hw.crypto.commit_fifo import CommitFifo
from tailrace_sim.streams import from_beats, receive_packets, to_beats
from tailrace_sim.unit import STALLS, check_refused, expect_silence, seeded, simulate

META = 8


@dataclass
class Job:
    """A packet on its way through the pipeline in front of the queue.

    Attributes
    ----------
    contents, meta : the packet
    stream : each beat may leave at once
    keep : as given with the last beat
    refused : beats behind the packet that have a place and are not written
    """

    contents: bytes
    meta: int
    stream: bool = False
    keep: bool = True
    refused: int = 0

    @property
    def packet(self):
        return self.contents, self.meta

    @property
    def leaves(self) -> bool:
        return bool(self.contents) and (self.stream or self.keep)

    def items(self, width, rng) -> list:
        """What comes to ``i`` for each place, None for one that is released."""
        beats = list(to_beats(self.contents, width, self.meta)) if self.contents else []
        keeps = [self.keep if beat["last"] else rng.getrandbits(1) for beat in beats]
        items = [
            {"beat": beat, "stream": self.stream, "keep": keep}
            for beat, keep in zip(beats, keeps, strict=True)
        ]
        return items + [None] * self.refused


class Pipeline:
    """The free-running pipeline in front: a place is reserved at its entry, used at its end."""

    EMPTY = object()

    def __init__(self, dut, latency: int, rng, stall: float = 0.0):
        self._dut = dut
        self._stages = deque([self.EMPTY] * latency)
        self._rng = rng
        self._stall = stall

    async def run(self, ctx, items):
        waiting = deque(items)
        while waiting or any(stage is not self.EMPTY for stage in self._stages):
            enters = waiting and ctx.get(self._dut.room) and self._rng.random() >= self._stall
            self._stages.append(waiting.popleft() if enters else self.EMPTY)
            ctx.set(self._dut.reserve, bool(enters))
            item = self._stages.popleft()
            written = item is not None and item is not self.EMPTY
            ctx.set(self._dut.i.valid, written)
            ctx.set(self._dut.release, item is None)
            if written:
                ctx.set(self._dut.i.payload, item)
            await ctx.tick()
        for signal in (self._dut.reserve, self._dut.i.valid, self._dut.release):
            ctx.set(signal, 0)


def random_job(rng, width, depth) -> Job:
    beats = rng.choice([1, 1, 2, rng.randint(1, depth), depth])
    size = rng.randint((beats - 1) * width // 8 + 1, beats * width // 8)
    job = Job(rng.randbytes(size), rng.getrandbits(META), bool(rng.getrandbits(1)))
    job.keep = rng.random() < 0.6
    if rng.random() < 0.2:
        job.refused = rng.randint(1, 2 * depth)
        if rng.random() < 0.5:
            job.contents = b""
    return job


def run(dut, width, jobs, rng, latency, stalls=(0.0, 0.0), cycles=20_000) -> int:
    """Send the jobs, check what leaves; returns the cycles until the last beat was taken."""
    expected = [job.packet for job in jobs if job.leaves]
    assert expected, "nothing to compare"
    spent = elapsed = 0
    sent = False

    async def count(ctx):
        nonlocal elapsed
        while True:
            await ctx.tick()
            elapsed += 1

    async def source(ctx):
        nonlocal sent
        items = [item for job in jobs for item in job.items(width, rng)]
        await Pipeline(dut, latency, rng, stalls[0]).run(ctx, items)
        sent = True

    async def sink(ctx):
        nonlocal spent
        assert await receive_packets(ctx, dut.o, len(expected), rng, stalls[1]) == expected
        spent = elapsed
        while not sent:
            await expect_silence(ctx, dut.o, 1)
        await expect_silence(ctx, dut.o)
        assert await places(ctx, dut) == dut.depth, "a place got lost"

    simulate(dut, source, sink, background=[count], cycles=cycles)
    return spent


async def places(ctx, dut) -> int:
    """Reserve all that are free, and give them back."""
    count = 0
    while ctx.get(dut.room):
        ctx.set(dut.reserve, 1)
        await ctx.tick()
        count += 1
        assert count <= dut.depth, "more places than rows"
    ctx.set(dut.reserve, 0)
    ctx.set(dut.release, 1)
    for _ in range(count):
        await ctx.tick()
    ctx.set(dut.release, 0)
    return count


@pytest.mark.parametrize("stalls", STALLS, ids=str)
@pytest.mark.parametrize(("width", "latency"), [(64, 0), (64, 30), (512, 9)])
def test_what_failed_is_missing_and_nothing_else(width, latency, stalls):
    rng = seeded()
    depth = 16
    jobs = [random_job(rng, width, depth) for _ in range(80)]
    jobs += [Job(b"fails", 1, keep=False), Job(b"stays", 2)]
    run(CommitFifo(width, META, depth), width, jobs, rng, latency, stalls)


@pytest.mark.parametrize("keep", [False, True])
def test_packet_as_long_as_the_queue_does_not_lock_it(keep):
    """With a reader that is often away, and short packets of every kind right behind it."""
    rng = seeded()
    jobs = []
    for _ in range(6):
        jobs.append(Job(rng.randbytes(8 * 16), 1, keep=keep))
        jobs += [Job(b"streams", 2, stream=True), Job(b"held", 3), Job(b"fails", 4, keep=False)]
        jobs.append(Job(b"", 0, refused=20))
    run(CommitFifo(64, META, 16), 64, jobs, rng, 40, (0.0, 0.9))


def test_failed_packets_leave_nothing_in_the_output_register():
    """Even without ``valid`` the payload shows only what had left before."""
    rng = seeded()
    dut = CommitFifo(64, META, 16)
    seen = set()
    jobs = [Job(b"\x55" * rng.randint(1, 128), 0x55, keep=False) for _ in range(40)]
    jobs.append(Job(b"\xaa", 0xAA))

    async def watch(ctx):
        while True:
            *_, payload = await ctx.tick().sample(dut.o.payload)
            seen.add(int(payload.data))

    async def source(ctx):
        items = [item for job in jobs for item in job.items(64, rng)]
        await Pipeline(dut, 5, rng, 0.2).run(ctx, items)

    async def sink(ctx):
        assert await receive_packets(ctx, dut.o, 1) == [(b"\xaa", 0xAA)]
        await expect_silence(ctx, dut.o)

    simulate(dut, source, sink, background=[watch])
    assert seen == {0, 0xAA}


@pytest.mark.parametrize("stream", [False, True])
def test_latency(stream):
    """2 cycles from a streamed beat, or from a held packet's last, to ``o``."""
    dut = CommitFifo(64, META, 16)
    job = Job(bytes(range(24)), 7, stream=stream)

    async def bench(ctx):
        rows = []
        ctx.set(dut.o.ready, 1)
        for item in [*job.items(64, seeded()), *[None] * 6]:
            ctx.set(dut.reserve, item is not None)
            ctx.set(dut.i.valid, item is not None)
            if item is not None:
                ctx.set(dut.i.payload, item)
            _, _, valid, payload = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            rows.append(payload if valid else None)
        start = 2 if stream else 4
        beats = rows[start : start + 3]
        assert [row is not None for row in rows].count(True) == 3
        assert all(beat is not None for beat in beats)
        assert from_beats(beats) == [job.packet]

    simulate(dut, bench)


@pytest.mark.parametrize(("stream", "size"), [(True, 64), (False, 64), (True, 640), (False, 16384)])
def test_full_rate(stream, size):
    """Packets back to back behind a pipeline of 80 stages: a beat a cycle in and out, no gap."""
    rng = seeded()
    beats, latency = size // 64, 80
    count = -(-1000 // beats)
    jobs = [Job(rng.randbytes(size), index & 255, stream=stream) for index in range(count)]
    spent = run(CommitFifo(512, META, 512), 512, jobs, rng, latency)
    assert spent <= count * beats + latency + 3 + (0 if stream else beats - 1)


def test_depth_that_full_rate_needs():
    """The figure of the docstring: n beats, the cycles from reservation to beat, and 3 more."""
    rng = seeded()
    beats, latency = 18, 11
    jobs = [Job(rng.randbytes(8 * beats), 0) for _ in range(30)]
    depth = 32
    assert depth == beats + latency + 3
    spent = run(CommitFifo(64, META, depth), 64, jobs, rng, latency)
    assert spent <= 30 * beats + latency + 3 + beats - 1


def test_failed_packets_take_no_time_of_the_others():
    """One in two fails: what leaves is at full rate of the input, and the places suffice."""
    rng = seeded()
    jobs = [Job(rng.randbytes(8 * 4), index, keep=index % 2 == 1) for index in range(100)]
    spent = run(CommitFifo(64, META, 32), 64, jobs, rng, 10)
    assert spent <= 400 + 10 + 3 + 3


@pytest.mark.parametrize("depth", [0, 1, 12])
def test_refuses_a_depth(depth):
    check_refused(lambda: CommitFifo(64, depth=depth), str(depth))
