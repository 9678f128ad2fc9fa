"""Tests of the descriptor fetch, in the simulator; started by test_fetch.py."""

import struct
from random import Random

import cocotb
from fetch_bench import Bench, start
from fetch_rings import INDIRECT, NEXT, WRITE, Buffer, PackedRing, SplitRing, random_chain

from tailrace_hw.pcie.dma import DmaStatus
from tailrace_hw.virtio.interfaces import QueueOp, TakeAction
from tailrace_sim.run import parameters, seed

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


async def random_bench(dut):
    rng = Random(seed())
    stall = rng.choice((0.0, 0.1, 0.5))
    bench = await start(
        dut, rng=rng, stall=stall, latency=rng.choice((3, 30, 150)), jitter=rng.choice((0, 40))
    )
    return bench, rng


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
    cycles = await sustained(bench, PackedRing, P["queues"], 2500)
    cocotb.log.info(f"packed, {P['queues']} queues: {cycles:.2f} cycles a chain")
    assert cycles <= 3


@cocotb.test()
async def split_rate(dut):
    bench = await start(dut, latency=250, jitter=0)
    cycles = await sustained(bench, SplitRing, P["queues"], 1500)
    cocotb.log.info(f"split, {P['queues']} queues: {cycles:.2f} cycles a chain")
    assert cycles <= 6


@cocotb.test()
async def linked_rate(dut):
    """Split chains of two neighbours need no dependent read."""
    bench = await start(dut, latency=250, jitter=0)
    cycles = await sustained(bench, SplitRing, P["queues"], 1000, length=2)
    cocotb.log.info(f"split, chains of 2: {cycles:.2f} cycles a chain")
    assert cycles <= 8


GOOD = [Buffer(0x9000, 64, False), Buffer(0xA000, 64, True)]


def raw(ring, *descriptors):
    """Puts descriptors (address, length, flags) up as a chain, whatever they say."""
    if ring.packed_ring:
        ring.publish([(address, length, flags) for address, length, flags in descriptors], 77)
        return
    for index, (address, length, flags) in enumerate(descriptors):
        entry = struct.pack("<QIHH", address, length, flags, (index + 1) % ring.size)
        ring.memory.write(ring.desc + 16 * index, entry)
    ring.publish(0)


def table(ring, *descriptors):
    """An indirect table of (address, length, flags, next); its address."""
    place = ring.table_address()
    for index, (address, length, flags, following) in enumerate(descriptors):
        if ring.packed_ring:
            entry = struct.pack("<QIHH", address, length, 0, flags)
        else:
            entry = struct.pack("<QIHH", address, length, flags, following)
        ring.memory.write(place + 16 * index, entry)
    return place


def big(ring):
    raw(ring, (0x1000, 0xFFFFFFFF, NEXT), (0x2000, 2, 0))


def loop(ring):
    raw(ring, *[(0x1000, 1, NEXT)] * ring.size)


def wild_next(ring):
    ring.memory.write(ring.desc, struct.pack("<QIHH", 0x1000, 1, NEXT, ring.size))
    ring.publish(0)


def wild_next_in_table(ring):
    raw(ring, (table(ring, (0x1000, 1, NEXT, 2), (0x2000, 1, 0, 0)), 32, INDIRECT))


def loop_in_table(ring):
    raw(ring, (table(ring, (0x1000, 1, NEXT, 1), (0x2000, 1, NEXT, 0)), 32, INDIRECT))


def nested(ring):
    raw(ring, (table(ring, (0x1000, 16, INDIRECT, 0)), 16, INDIRECT))


def zero_in_table(ring):
    raw(ring, (table(ring, (0x1000, 16, NEXT, 1), (0x1000, 0, 0, 0)), 32, INDIRECT))


def fault_in_table(ring):
    place = table(ring, (0x1000, 16, NEXT, 1), (0x1000, 3, 0, 0))
    raw(ring, (place, 32, INDIRECT))
    return place + 16


BOTH, SPLIT, PACKED = (SplitRing, PackedRing), (SplitRing,), (PackedRing,)
#: name: (ring formats, error, what the driver does, returns an address that faults or None)
NONSENSE = {
    "zero length": (BOTH, "ZERO_LENGTH", lambda r: raw(r, (0x1000, 0, 0))),
    "zero later": (BOTH, "ZERO_LENGTH", lambda r: raw(r, (0x1000, 9, NEXT), (0x1000, 0, 0))),
    "wraps": (BOTH, "BAD_ADDRESS", lambda r: raw(r, ((1 << 64) - 8, 9, 0))),
    "4 GiB": (BOTH, "LENGTH_TOO_BIG", big),
    "direction": (
        BOTH,
        "BAD_DIRECTION",
        lambda r: raw(r, (0x1000, 9, NEXT | WRITE), (0x2000, 9, 0)),
    ),
    "loop": (SPLIT, "CHAIN_TOO_LONG", loop),
    "head": (SPLIT, "DESCRIPTOR_INDEX", lambda r: r.publish(r.size)),
    "next": (SPLIT, "DESCRIPTOR_INDEX", wild_next),
    "next in table": (SPLIT, "DESCRIPTOR_INDEX", wild_next_in_table),
    "loop in table": (SPLIT, "CHAIN_TOO_LONG", loop_in_table),
    "jump": (SPLIT, "INDEX_JUMP", lambda r: r.publish(0, r.size + 1)),
    "backwards": (SPLIT, "INDEX_JUMP", lambda r: r.publish(0, -1)),
    "empty table": (BOTH, "BAD_INDIRECT", lambda r: raw(r, (0x1000, 0, INDIRECT))),
    "crooked table": (BOTH, "BAD_INDIRECT", lambda r: raw(r, (0x1000, 24, INDIRECT))),
    "long table": (
        BOTH,
        "BAD_INDIRECT",
        lambda r: raw(r, (0x1000, 16 * r.size + 16, INDIRECT)),
    ),
    "table and next": (
        BOTH,
        "BAD_INDIRECT",
        lambda r: raw(r, (0x1000, 16, INDIRECT | NEXT), (0x1000, 1, 0)),
    ),
    "nested": (BOTH, "BAD_INDIRECT", nested),
    "zero in table": (BOTH, "ZERO_LENGTH", zero_in_table),
    "fault in table": (BOTH, "FETCH_FAULT", fault_in_table),
    "fault in ring": (BOTH, "FETCH_FAULT", lambda r: raw(r, (0x1000, 1, 0)) or r.desc + 8),
    "fault of index": (SPLIT, "FETCH_FAULT", lambda r: r.publish(0) or r.driver + 2),
    "fault of entries": (SPLIT, "FETCH_FAULT", lambda r: r.publish(0) or r.driver + 4),
}


async def nonsense_on(bench, kind, error, build, other, good, negotiated=True):
    """One queue gets ``good`` chains and then a bad one; another goes on."""
    bench.memory.restart_at(bench.base)
    ring = kind(bench.memory, bench.rng, 0, 8)
    ring.shuffles = False
    ring.indirect = negotiated
    await bench.enable(ring)
    if good:
        # These are cached before the bad chain comes up.
        for _ in range(good):
            bench.post(ring, GOOD)
        await bench.cycles(12 * bench.latency + 200)
    errors = len(bench.errors)
    place = build(ring)
    bench.faults = {place: bench.rng.choice(list(DmaStatus)[1:6])} if place else {}
    bench.notify(ring)
    await bench.until(lambda: len(bench.errors) > errors, 9000, f"{error} on {ring}")
    bench.faults = {}
    event = bench.errors[-1]
    assert (event.code.name, event.queue) == (f"QUEUE_{error}", 0)
    # The others do not notice.
    bench.post(other, GOOD)
    bench.take(other.queue, TakeAction.TAKE_COMMIT)
    # Whole chains are still given, then none; a notification changes nothing.
    bench.notify(ring)
    for _ in range(good):
        bench.take(0, TakeAction.TAKE_COMMIT)
    await bench.answered()
    assert ring.given == good
    ring.stopped = True
    nones = bench.nones
    bench.take(0, TakeAction.TAKE)
    await bench.answered()
    assert bench.nones == nones + 1
    assert len(bench.errors) == errors + 1, "more than one error"
    other.complete(other.committed - other.completed)
    # As good as new.
    bench.memory.write(ring.desc, bytes(16 * ring.size))
    await bench.reset(ring)


@cocotb.test()
async def nonsense(dut):
    """Every rule a driver can break: the error is reported, and the queue stops, alone."""
    bench, rng = await random_bench(dut)
    bench.latency = min(bench.latency, 30)
    other = PackedRing(bench.memory, rng, 2, 16)
    await bench.enable(other)
    bench.base = bench.memory.mark()
    count = 0
    for name, (kinds, error, build) in NONSENSE.items():
        for kind in kinds:
            cocotb.log.info(f"{name}, {kind.__name__}")
            # A bad chain at the start of the ring can only be the first one.
            await nonsense_on(bench, kind, error, build, other, 0)
            count += 1
    for kind in BOTH:
        await nonsense_on(
            bench, kind, "BAD_INDIRECT", lambda r: raw(r, (0x1000, 16, INDIRECT)), other, 0, False
        )
    assert count > 30


@cocotb.test()
async def endless_packed_chain(dut):
    """A packed chain that goes on when it has used all of the ring."""
    bench, rng = await random_bench(dut)
    ring = PackedRing(bench.memory, rng, 0, 5)
    await bench.enable(ring)
    raw(ring, *[(0x1000, 1, NEXT)] * 5)
    bench.notify(ring)
    await bench.cycles(5 * bench.latency + 200)
    assert not bench.errors
    raw(ring, (0x1000, 1, 0))
    bench.notify(ring)
    await bench.until(lambda: bench.errors, 3000, "the error")
    assert bench.errors[0].code.name == "QUEUE_CHAIN_TOO_LONG"


@cocotb.test()
async def cached_chains_survive(dut):
    """What was cached before the bad chain is still given."""
    bench, rng = await random_bench(dut)
    bench.latency = min(bench.latency, 30)
    other = PackedRing(bench.memory, rng, 2, 16)
    await bench.enable(other)
    bench.base = bench.memory.mark()
    await nonsense_on(
        bench, PackedRing, "ZERO_LENGTH", lambda r: raw(r, (0x1000, 0, 0)), other, good=3
    )
    await nonsense_on(bench, SplitRing, "DESCRIPTOR_INDEX", lambda r: r.publish(8), other, good=3)


@cocotb.test()
async def bad_sizes(dut):
    bench, rng = await random_bench(dut)
    for kind, size in ((SplitRing, 0), (SplitRing, 12), (SplitRing, 2048), (PackedRing, 0)):
        ring = kind(bench.memory, rng, 1, 8)
        errors = len(bench.errors)
        await bench.enable(ring, size=size)
        await bench.until(lambda n=errors: len(bench.errors) > n, 100, "QUEUE_BAD_SIZE")
        assert (bench.errors[-1].code.name, bench.errors[-1].info) == ("QUEUE_BAD_SIZE", size)
        ring.stopped = True
        bench.notify(ring)
        bench.take(1, TakeAction.TAKE)
        await bench.answered()
        await bench.cycles(100)
    assert bench.nones == 4
    assert bench.ring.reads == 0


@cocotb.test()
async def queues_that_are_not_there(dut):
    """Numbers beyond the last queue, and queues that nobody enabled."""
    bench, rng = await random_bench(dut)
    ring = SplitRing(bench.memory, rng, 0, 8)
    ghost = SplitRing(bench.memory, rng, bench.queues + 1, 8)
    await bench.command(QueueOp.ENABLE, ghost)
    bench.notify(ghost)
    bench.notify(ring)
    for action in TakeAction:
        bench.take(ghost.queue, action)
        bench.take(ring.queue, action)
    await bench.answered()
    assert bench.nones == 4
    await bench.command(QueueOp.RESET, ghost)
    await bench.enable(ring)
    bench.post(ring, GOOD)
    bench.take(0, TakeAction.TAKE_COMMIT)
    await bench.answered()
    assert bench.compared == 1


@cocotb.test()
async def halted(dut):
    """The device needs a reset: nothing is read any more and nothing given."""
    bench, rng = await random_bench(dut)
    rings = [kind(bench.memory, rng, queue, 16) for queue, kind in enumerate(BOTH)]
    for ring in rings:
        await bench.enable(ring)
        for _ in range(4):
            bench.post(ring, GOOD)
    await bench.cycles(rng.randint(0, 300))
    bench.halted = True
    await bench.cycles(20)
    reads = bench.ring.reads
    await bench.until(
        lambda: not bench.ring.waiting and not bench.chain.waiting, 2000, "the last data"
    )
    for ring in rings:
        bench.notify(ring)
        bench.take(ring.queue, TakeAction.TAKE_COMMIT)
    await bench.answered()
    assert bench.nones == 2
    assert bench.ring.reads == reads
    for ring in rings:
        await bench.reset(ring)
    bench.halted = False
    for ring in rings:
        await bench.enable(type(ring)(bench.memory, rng, ring.queue, 16))
        bench.post(bench.rings[ring.queue], GOOD)
        bench.take(ring.queue, TakeAction.TAKE_COMMIT)
    await bench.answered()
    assert bench.compared == 2


@cocotb.test()
async def event_fault(dut):
    """An avail_event that cannot be written fails the queue."""
    bench, rng = await random_bench(dut)
    ring = SplitRing(bench.memory, rng, 1, 8)
    ring.event_idx = True
    bench.event.status = DmaStatus.UR
    await bench.enable(ring)
    ring.post(GOOD)
    bench.notify(ring)
    await bench.until(lambda: bench.errors, 3000, "the error")
    assert bench.errors[0].code.name == "QUEUE_FETCH_FAULT"
    assert bench.errors[0].info == ring.device + 4 + 8 * ring.size
    ring.stopped = True
    await bench.reset(ring)


@cocotb.test()
async def longer_than_the_cache(dut):
    """Such chains are given while they are fetched; keeping one is an error, not a hang."""
    bench, rng = await random_bench(dut)
    bench.latency = min(bench.latency, 30)
    count = bench.depth + 5
    for kind in BOTH:
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
            await bench.cycles(60 * bench.latency)
            for queue in (0, 1, 0, 0):
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
