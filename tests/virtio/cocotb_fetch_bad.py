"""Drivers that break the rules, in the simulator; started by test_fetch.py."""

import struct

import cocotb
from fetch_bench import random_bench
from fetch_rings import GOOD, INDIRECT, NEXT, WRITE, PackedRing, SplitRing

from tailrace_hw.pcie.dma import DmaStatus
from tailrace_hw.virtio.interfaces import QueueOp, TakeAction


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
        for _ in range(8):
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
