"""Tests of the descriptor fetch, in the simulator; started by test_fetch.py."""

from random import Random

import cocotb
from fetch_bench import Bench, random_bench, start
from fetch_rings import GOOD, Buffer, PackedRing, SplitRing, random_chain

from tailrace_hw.virtio.interfaces import TakeAction
from tailrace_sim.run import parameters

P = parameters()
SIZES = {SplitRing: (2, 8, 32, 64), PackedRing: (3, 8, 17, 40)}


class Traffic:
    """Drivers that post and a device that takes, both at random."""

    def __init__(self, bench: Bench, rng: Random):
        self.bench, self.rng = bench, rng
        self.rate = rng.choice((0.02, 0.1, 0.5))
        self.takes = rng.choice((0.05, 0.3))

    def make(self, queue):
        bench, rng = self.bench, self.rng
        kind = rng.choice((SplitRing, PackedRing))
        ring = kind(bench.memory, rng, queue, rng.choice(SIZES[kind]))
        ring.event_idx = rng.random() < 0.5
        ring.indirect = rng.random() < 0.7
        # A consumer that keeps chains can have them only as far as the cache goes.
        ring.keeps = rng.random() < 0.5
        ring.longest = min(ring.size, bench.depth // 4 if ring.keeps else bench.depth + 9)
        return ring

    def step(self):
        bench, rng = self.bench, self.rng
        rings = [ring for ring in bench.rings.values() if not ring.stopped]
        if rings and rng.random() < self.rate:
            self._post(rng.choice(rings))
        if rings and rng.random() < self.takes and len(bench.expected) < 4:
            self._take(rng.choice(rings))
        if rings and rng.random() < 0.1:
            ring = rng.choice(rings)
            ring.complete(rng.randint(0, ring.committed - ring.completed))

    def _post(self, ring):
        for _ in range(self.rng.choice((1, 1, 2, 6))):
            room = ring.room()
            indirect = ring.indirect and self.rng.random() < 0.5
            longest = ring.longest if indirect else min(ring.longest, room)
            if room and longest:
                self.bench.post(ring, random_chain(self.rng, longest), indirect)

    def _take(self, ring):
        rng, queue = self.rng, ring.queue
        action = TakeAction.TAKE_COMMIT
        if ring.keeps:
            action = rng.choice(list(TakeAction))
            if rng.random() < 0.1:
                self.bench.take(queue, TakeAction.TAKE)
                self.bench.take(queue, TakeAction.TAKE)
                action = rng.choice((TakeAction.COMMIT, TakeAction.ROLLBACK))
        self.bench.take(queue, action)


@cocotb.test()
async def random_traffic(dut):
    """All queues at once in all modes, everything at random."""
    bench, rng = await random_bench(dut)
    for _ in range(P["rounds"]):
        traffic = Traffic(bench, rng)
        bench.memory.restart()
        for queue in range(bench.queues):
            await bench.enable(traffic.make(queue))
        before = bench.compared
        for _ in range(P["cycles"]):
            traffic.step()
            await bench.cycle()
        await bench.answered()
        await bench.drain()
        assert bench.compared - before > 5, "hardly anything was compared"
        assert not bench.errors, bench.errors
        cocotb.log.info(
            f"{bench.compared} chains, {bench.nones} nones, {bench.event.writes} events, "
            f"{bench.ring.reads} ring and {bench.chain.reads} chain reads in {bench.now} cycles"
        )
        for ring in list(bench.rings.values()):
            await bench.reset(ring)
    assert bench.event.writes or bench.chain.reads


@cocotb.test()
async def reset_in_traffic(dut):
    """Queues are reset and enabled anew while reads are in flight and TAKEs wait."""
    bench, rng = await random_bench(dut)
    traffic = Traffic(bench, rng)
    for queue in range(bench.queues):
        await bench.enable(traffic.make(queue))

    for _ in range(P["rounds"]):
        for _ in range(rng.randint(1, 400)):
            traffic.step()
            await bench.cycle()
        ring = bench.rings[rng.randrange(bench.queues)]
        await bench.reset(ring)
        # What the ring was made of is the driver's again.
        bench.memory.write(ring.desc, rng.randbytes(16 * ring.size))
        for _ in range(rng.randint(0, 60)):
            traffic.step()
            await bench.cycle()
        if bench.memory.left() < 1 << 17:
            break
        await bench.enable(traffic.make(ring.queue))
    await bench.answered()
    await bench.drain()
    assert bench.compared > 20
    assert not bench.errors, bench.errors


async def sustained(bench, kind, queues, chains, length=1, indirect=False, size=256):
    """Drivers and device keep rings busy: cycles a chain in the second half of the run."""
    for queue in range(queues):
        ring = kind(bench.memory, bench.rng, queue, size, tables=size)
        ring.shuffles = False
        ring.indirect = True
        await bench.enable(ring)
    rings = list(bench.rings.values())
    turn = 0
    while bench.compared < chains:
        for ring in rings:
            ring.complete(ring.committed - ring.completed)
            if ring.room() >= 16:
                while ring.room() >= length:
                    place = len(ring.posted) << 12
                    parts = [Buffer(place + 256 * part, 64, False) for part in range(length)]
                    ring.post(parts, indirect)
                bench.notify(ring)
        while len(bench.expected) < 8:
            bench.take(rings[turn % queues].queue, TakeAction.TAKE_COMMIT)
            turn += 1
        await bench.cycle()
    half = bench.compared // 2
    assert bench.nones < chains // 4
    return (bench.given_at[-1] - bench.given_at[-half]) / half


@cocotb.test()
async def packed_rate(dut):
    """One descriptor in 3 cycles with 250 cycles from request to data, on a single queue."""
    bench = await start(dut, latency=250, jitter=0)
    cycles = await sustained(bench, PackedRing, 1, 1500)
    cocotb.log.info(f"packed, 1 queue: {cycles:.2f} cycles a chain")
    assert cycles <= 3


@cocotb.test()
async def packed_rate_queues(dut):
    """The same over several queues."""
    bench = await start(dut, latency=250, jitter=0)
    cycles = await sustained(bench, PackedRing, P["queues"], 1500)
    cocotb.log.info(f"packed, {P['queues']} queues: {cycles:.2f} cycles a chain")
    assert cycles <= 3


@cocotb.test()
async def split_rate(dut):
    """Two reads in a row for each chain, so slower than a packed ring; heads are pipelined."""
    bench = await start(dut, latency=250, jitter=0)
    cycles = await sustained(bench, SplitRing, P["queues"], 1500)
    cocotb.log.info(f"split, {P['queues']} queues: {cycles:.2f} cycles a chain")
    assert cycles <= 10


@cocotb.test()
async def linked_rate(dut):
    """Split chains of two neighbours need no dependent read."""
    bench = await start(dut, latency=250, jitter=0)
    cycles = await sustained(bench, SplitRing, P["queues"], 1000, length=2)
    cocotb.log.info(f"split, chains of 2: {cycles:.2f} cycles a chain")
    assert cycles <= 20


async def keep_all(bench, ring):
    """TAKEs while there is room beside what is kept, and once more; returns the segments kept."""
    while ring.given < len(ring.posted) and ring.kept(1) <= bench.depth:
        bench.take(ring.queue, TakeAction.TAKE)
        await bench.answered()
    kept, nones = ring.kept(), bench.nones
    bench.take(ring.queue, TakeAction.TAKE)
    await bench.answered()
    assert bench.nones == nones + 1
    bench.take(ring.queue, bench.rng.choice((TakeAction.COMMIT, TakeAction.ROLLBACK)))
    return kept


def post_many(bench, ring, length, indirect):
    """More chains than the cache holds, of ``length`` or of any, as far as the ring has room."""
    for _ in range(bench.depth // (length or 4) + 2):
        count = length or bench.rng.choice((1, 2, 5, 9, bench.depth // 2))
        if indirect or ring.room() >= count:
            bench.post(ring, [Buffer(0x100, 64, True)] * count, indirect)


@cocotb.test()
async def chains_kept_together(dut):
    """Chains are kept up to what the cache holds, however it was read ahead."""
    bench, rng = await random_bench(dut)
    bench.latency = min(bench.latency, 30)
    kept = []
    for kind in (SplitRing, PackedRing):
        for indirect in (False, True):
            bench.memory.restart()
            rings = [kind(bench.memory, rng, queue, 256, tables=160) for queue in range(2)]
            for ring in rings:
                await bench.enable(ring)
            for length in (1, 3, 4, 8, None):
                for ring in rings:
                    post_many(bench, ring, length, indirect)
                await bench.cycles(2 * bench.latency)
                for ring in rings * 2:
                    kept.append(await keep_all(bench, ring))
                await bench.drain()
                for ring in rings:
                    bench.take(ring.queue, TakeAction.COMMIT)
                    await bench.cycles(30)
                    ring.complete(ring.committed - ring.completed)
            for ring in rings:
                await bench.reset(ring)
    assert max(kept) == bench.depth


#: Ring, queues, descriptors in a table: cycles a chain at most.
TABLE_RATES = {
    (SplitRing, 1, 2): 20,
    (SplitRing, 1, 8): 65,
    (SplitRing, 4, 2): 14,
    (SplitRing, 4, 8): 27,
    (PackedRing, 1, 2): 10,
    (PackedRing, 1, 8): 42,
    (PackedRing, 4, 2): 10,
    (PackedRing, 4, 8): 18,
}


@cocotb.test()
async def table_rates(dut):
    """Many tables are in flight, with 250 cycles from request to data."""
    bench = await start(dut, latency=250, jitter=0)
    for (kind, queues, length), bound in TABLE_RATES.items():
        bench.compared, bench.nones = 0, 0
        cycles = await sustained(bench, kind, queues, 800, length, indirect=True)
        cocotb.log.info(f"{kind.__name__}, {queues} queues, tables of {length}: {cycles:.2f}")
        assert cycles <= bound
        for ring in list(bench.rings.values()):
            await bench.reset(ring)
        bench.memory.restart()


@cocotb.test()
async def longer_than_the_cache(dut):
    """Such chains are given while they are fetched; keeping one is an error, not a hang."""
    bench, rng = await random_bench(dut)
    bench.latency = min(bench.latency, 30)
    count = bench.depth + 5
    for kind in (SplitRing, PackedRing):
        for indirect in (False, True):
            bench.memory.restart()
            ring, other = kind(bench.memory, rng, 0, 256), kind(bench.memory, rng, 1, 256)
            for each in (ring, other):
                each.large_tables()
                await bench.enable(each)
            chain = [Buffer(0x1000 * part, 64, False) for part in range(count)]
            bench.post(ring, GOOD)
            bench.post(ring, chain, indirect)
            bench.post(ring, GOOD)
            bench.post(other, GOOD)
            await bench.until(lambda: int(dut.available.value) & 3 == 3, 9000, "both to be seen")
            bench.take(0, TakeAction.TAKE_COMMIT)
            bench.take(1, TakeAction.TAKE_COMMIT)
            await bench.answered()
            # Nobody would ask for the long chain else.
            await bench.until(lambda: int(dut.available.value) & 3 == 1, 30000, "the long chain")
            for queue in (0, 0):
                bench.take(queue, TakeAction.TAKE_COMMIT)
            await bench.answered()
            assert (ring.given, other.given) == (3, 1)
            # Now it is to be kept.
            bench.post(ring, chain, indirect)
            errors, nones = len(bench.errors), bench.nones
            await bench.cycles(60 * bench.latency)
            ring.stopped = True
            bench.take(0, TakeAction.TAKE)
            await bench.answered()
            assert bench.nones == nones + 1
            assert [e.code.name for e in bench.errors[errors:]] == ["QUEUE_CHAIN_TOO_LONG"]
            for each in (ring, other):
                await bench.reset(each)


@cocotb.test()
async def takes_at_full_rate(dut):
    """Cached one-segment chains are given one in 2 cycles."""
    bench = await start(dut, latency=10, jitter=0)
    rings = [PackedRing(bench.memory, bench.rng, queue, 64) for queue in range(2)]
    for ring in rings:
        await bench.enable(ring)
        for part in range(16):
            bench.post(ring, [Buffer(0x1000 * part, 64, True)])
    await bench.cycles(600)
    for queue in [0] * 8 + [1] * 8 + [0, 1] * 8:
        bench.take(queue, TakeAction.TAKE_COMMIT)
    await bench.answered()
    spent = bench.given_at[31] - bench.given_at[0]
    assert spent <= 2 * 31, f"{spent} cycles for 31 chains"
