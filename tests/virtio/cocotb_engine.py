"""Tests of the virtqueue engine, in the simulator; started by test_engine.py."""

from random import Random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge
from engine_bench import EngineBench

from tailrace_hw.virtio.interfaces import TakeAction
from tailrace_sim.run import parameters, seed

P = parameters()
#: Chains that each queue must have seen for random traffic to say anything.
_ENOUGH = 10

#: size, packed, event_idx
QUEUES = [
    (64, False, True),
    (64, True, True),
    (7, True, False),
    (16, False, False),
    (37, True, True),
    (2, False, True),
    (128, True, False),
]


async def start(dut, rng=None, **options) -> EngineBench:
    cocotb.start_soon(Clock(dut.clk, 4, unit="ns").start())
    dut.rst.value = 1
    await ClockCycles(dut.clk, 3)
    await FallingEdge(dut.clk)
    dut.rst.value = 0
    return EngineBench(dut, rng or Random(seed()), P["width"], **options)


def device(bench, numbers, group=4):
    """Take, commit, roll back and complete at random."""
    rng = bench.rng
    if len(bench.take.items) < 2 and bench.unanswered < 12:
        n = rng.choice(numbers)
        actions = [TakeAction.TAKE, TakeAction.TAKE, TakeAction.TAKE_COMMIT, TakeAction.COMMIT]
        bench.ask(n, rng.choice([*actions, TakeAction.ROLLBACK]))
    for n in numbers:
        ready = bench.committed[n]
        if ready and not bench.pending[n] and rng.random() < 0.1:
            bench.give_back(n, rng.randint(1, min(group, ready)))
    bench.feed()


def post(bench, numbers, chain=3, pace=0.1):
    rng = bench.rng
    for n in numbers:
        slots = rng.choice((1, 1, 1, rng.randint(1, chain)))
        if bench.drivers[n].free >= slots and rng.random() < pace:
            bench.post(n, slots)


async def finish(bench, numbers, limit=20_000):
    """The device goes on until every chain is with its driver again."""
    for _ in range(limit):
        if all(bench.drivers[n].returned == bench.drivers[n].posted for n in numbers):
            return
        device(bench, numbers)
        await bench.cycle()
    raise AssertionError(
        "stuck: " + ", ".join(f"{d}: {d.returned} of {d.posted}" for d in bench.drivers.values())
    )


async def add_queues(bench, kinds, **options):
    for n, (size, packed, event_idx) in enumerate(kinds):
        bench.add(n, size, packed, event_idx, **options)
        await bench.enable(n)


@cocotb.test()
async def random_chains(dut):
    """Chains of all kinds go through the engine and back, with rollbacks and groups."""
    rng = Random(seed())
    bench = await start(dut, rng, stall=rng.choice((0.0, 0.3)))
    numbers = range(P["queues"])
    kinds = rng.sample(QUEUES, P["queues"])
    await add_queues(bench, kinds)
    # A small ring with long chains is slow: every queue gets its share before it is judged.
    for cycle in range(10 * P["cycles"]):
        if cycle >= P["cycles"] and all(d.posted > _ENOUGH for d in bench.drivers.values()):
            break
        post(bench, numbers)
        device(bench, numbers)
        await bench.cycle()
    await finish(bench, numbers)
    for n, driver in bench.drivers.items():
        cocotb.log.info(f"{driver}: {driver.returned} chains, {driver.interrupts} interrupts")
        assert driver.returned > _ENOUGH
        bench.check_interrupts(n)
    assert bench.rollbacks > 10
    assert bench.nones > 0
    assert not bench.errors


@cocotb.test()
async def resets(dut):
    """A reset waits for the chains the device holds; the other queues go on."""
    rng = Random(seed())
    bench = await start(dut, rng, stall=rng.choice((0.0, 0.3)))
    numbers = list(range(P["queues"]))
    await add_queues(bench, rng.sample(QUEUES, P["queues"]))
    for _ in range(P["rounds"]):
        for _ in range(rng.randint(100, 600)):
            post(bench, numbers)
            device(bench, numbers)
            await bench.cycle()
        victim = rng.choice(numbers)
        rest = [n for n in numbers if n != victim]
        before = sum(bench.drivers[n].returned for n in rest)
        held = bench.committed[victim] + bench.tentative[victim]
        bench.meanwhile = lambda rest=rest: (post(bench, rest), device(bench, numbers))
        await bench.reset(victim)
        bench.meanwhile = None
        cocotb.log.info(f"{bench.drivers[victim]}: reset with {held} chains in flight")
        enough = bench.nones + 2
        bench.ask(victim, TakeAction.TAKE)
        bench.ask(victim, TakeAction.TAKE_COMMIT)
        # A device at random may take chains for a long time before it commits some.
        for cycle in range(4000):
            if cycle >= 300 and sum(bench.drivers[n].returned for n in rest) > before:
                break
            post(bench, rest)
            device(bench, rest)
            await bench.cycle()
        while bench.nones < enough:
            await bench.cycle()
        assert sum(bench.drivers[n].returned for n in rest) > before
        await bench.enable(victim)
        bench.drivers[victim].posted = bench.drivers[victim].returned = 0
    await finish(bench, numbers)
    assert not bench.errors


def refill(bench, numbers):
    """Drivers make eight chains available at once, with one notification."""
    for n in numbers:
        if bench.drivers[n].free >= 8:
            for _ in range(7):
                bench.drivers[n].post(1)
            bench.post(n, 1)


async def measure(bench, numbers, total):
    """Run ``total`` chains through; returns cycles and writes a chain after the first quarter."""
    cycles = turn = returned = 0
    begin = None
    while returned < total:
        refill(bench, numbers)
        if not bench.take.items and bench.unanswered < 16:
            bench.ask(numbers[turn % len(numbers)], TakeAction.TAKE_COMMIT)
            turn += 1
        for n in numbers:
            while bench.committed[n]:
                bench.give_back(n, 1)
        bench.feed()
        await bench.cycle()
        cycles += 1
        returned = sum(bench.drivers[n].returned for n in numbers)
        if begin is None and returned > total // 4:
            begin = (cycles, bench.writes.count, returned)
        assert cycles < total * 12, "far too slow"
    chains = returned - begin[2]
    return (cycles - begin[0]) / chains, (bench.writes.count - begin[1]) / chains


async def check_rate(dut, count):
    bench = await start(dut, latency=(90, 100), delay=(10, 10))
    bench.ring.delay = bench.reads.delay = (50, 50)
    await add_queues(bench, [(256, True, True)] * count, brisk=True)
    cycles, writes = await measure(bench, list(range(count)), P["count"])
    cocotb.log.info(f"{count} queues: {cycles:.2f} cycles, {writes:.2f} writes a chain")
    assert cycles <= 4.1
    assert not bench.errors


@cocotb.test()
async def rate_of_one(dut):
    """Packed ring: one chain in 4 cycles from the driver to the device and back."""
    await check_rate(dut, 1)


@cocotb.test()
async def rate_of_all(dut):
    """The same over all queues in turn."""
    await check_rate(dut, P["queues"])
