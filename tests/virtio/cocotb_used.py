"""Tests of the used-ring writer, in the simulator; started by test_used.py."""

from random import Random

import cocotb
from cocotb.clock import Clock
from tailrace_sim.run import parameters, seed
from used_bench import UsedBench

P = parameters()


def start(dut, **options) -> UsedBench:
    cocotb.start_soon(Clock(dut.clk, 4, unit="ns").start())
    rng = Random(seed())
    return UsedBench(dut, rng, P["width"], **options)


#: size, packed, event_idx: all modes; sizes at both ends and no powers of two.
QUEUES = [
    (32, False, True),
    (16, True, True),
    (7, True, False),
    (8, False, False),
    (37, True, True),
    (2, False, True),
    (64, True, True),
    (1, True, True),
]


def traffic(bench, numbers, group=4, chain=3):
    """A device and drivers that make and complete chains at random."""
    rng = bench.rng
    for n in numbers:
        driver = bench.drivers[n]
        slots = rng.choice((1, 1, 1, rng.randint(1, chain)))
        if driver.free >= slots and rng.random() < 0.5:
            driver.post(slots)
        if driver.with_device and not bench.pending[n] and rng.random() < 0.1:
            for _ in range(rng.choice((1, 1, 3))):
                if driver.with_device:
                    bench.give_back(n, rng.randint(1, min(group, len(driver.with_device))))
    bench.feed()


@cocotb.test()
async def random_traffic(dut):
    """All modes at once, everything at random, until every queue went round several times."""
    for round_number in range(P["rounds"]):
        rng = Random(seed() + round_number)
        stall = rng.choice((0.0, 0.2, 0.6))
        if round_number == 0:
            bench = start(dut, stall=stall, latency=(1, rng.choice((5, 100))))
        kinds = rng.sample(QUEUES, P["queues"])
        for n, (size, packed, event_idx) in enumerate(kinds):
            bench.add(n, size, packed, event_idx, polls=rng.random() < 0.15)
            await bench.enable(n)
        for _ in range(P["cycles"]):
            traffic(bench, range(P["queues"]))
            await bench.cycle()
        await bench.drain()
        for n, driver in bench.drivers.items():
            cocotb.log.info(
                f"queue {n} {kinds[n]}: {driver.returned} chains, {driver.arms} arms, "
                f"{driver.interrupts} interrupts"
            )
            assert driver.returned == driver.posted > 5
            assert driver.polls or driver.interrupts > 0
            bench.check_interrupts(n)
        assert not bench.errors
        for n in bench.drivers:
            await bench.reset(n)
        assert bench.writes.idle
        assert bench.reads.idle
        bench.memory.allowed.clear()
