"""Tests of the job queues, in the simulator; started by test_jobs.py."""

from collections import Counter
from random import Random

import cocotb
from job_maker import COPY, CRC, KINDS, POISON
from jobs_bench import begin, traffic

from tailrace_sim.models.jobs import DESTINATION_LIST, SOURCE_LIST, list_table
from tailrace_sim.run import parameters, seed

P = parameters()
#: Statuses that a descriptor alone can lead to, with the engines of these tests.
STATUSES = {0, *range(1, 9), *range(0x10, 0x16)}


@cocotb.test()
async def random_jobs(dut):
    """Everything at random on all queues; every status comes, every completion is right."""
    rng = Random(seed())
    stall = rng.choice((0.0, 0.1, 0.4))
    latency = (1, rng.choice((5, 100, 300)))
    bench = await begin(dut, rng, P["width"], stall=stall, latency=latency)
    for queue in range(4):
        logs = {"ring_log2": rng.randint(1, 5), "completions_log2": rng.randint(1, 5)}
        bench.add(queue, longest=10 * P["width"], **logs)
        await bench.start(queue)
    kinds = list(KINDS) + ["good"] * len(KINDS)
    bench.meanwhile = lambda: traffic(bench, kinds)
    statuses: set[int] = set()
    for _ in range(P["rounds"]):
        await bench.cycles(1000)
        statuses = {s for driver in bench.drivers.values() for s in driver.statuses}
        if statuses == STATUSES and all(d.finished > 150 for d in bench.drivers.values()):
            break
    bench.meanwhile = None
    await bench.drain()
    total = sum((driver.statuses for driver in bench.drivers.values()), start=Counter())
    cocotb.log.info(f"stall {stall}, latency {latency}: {dict(sorted(total.items()))}")
    statuses = set(total)
    assert statuses == STATUSES, f"never seen: {sorted(STATUSES - statuses)}"
    assert not bench.errors
    for queue, driver in bench.drivers.items():
        assert await bench.read("done", queue) == driver.statuses[0]
        assert await bench.read("failed", queue) == driver.finished - driver.statuses[0]
        assert await bench.read("bytes", queue) == driver.good_bytes
        position = await bench.read("position", queue)
        assert position == (driver.tail & 0xFFFF) * 0x10001


@cocotb.test()
async def last_address(dut):
    """A piece may end with the last byte there is, and not go beyond it."""
    bench = await begin(dut, Random(seed()), P["width"])
    # The addresses at the end are those of function 15.
    driver = bench.add(0, function=15)
    await bench.start(0)
    expected = Counter()
    for beyond in (0, 1):
        for source in (True, False):
            for listed in (True, False):
                d = driver.maker.blank(COPY, bench.rng.randint(2, 3000))
                last = [((1 << 64) - d.length + beyond, d.length)]
                driver.maker.side(d, source, last, listed=True)
                if not listed:
                    d.flags &= ~(SOURCE_LIST if source else DESTINATION_LIST)
                    setattr(d, "source" if source else "destination", last[0][0])
                driver.maker.side(d, not source)
                driver.submit(d)
                driver.ring_doorbell()
                await bench.drain()
                expected[0 if not beyond else 0x13 if source else 0x14] += 1
    assert driver.statuses == expected == {0: 4, 0x13: 2, 0x14: 2}


@cocotb.test()
async def failed_source_stops(dut):
    """When a read fails, the rest of a long job is neither read nor written."""
    bench = await begin(dut, Random(seed()), P["width"])
    driver = bench.add(0)
    await bench.start(0)
    length = 1 << 20
    d = driver.maker.blank(COPY, length)
    base = driver.maker.place(length)
    for source, first in ((True, base | POISON), (False, base + (1 << 21))):
        rest = driver.maker.place(length)
        driver.maker.side(d, source, [(first, 4096), (rest, length - 4096)], listed=True)
    driver.submit(d)
    driver.ring_doorbell()
    # A beat a cycle of what was read ahead, then of zeros.
    await bench.drain(cycles=((1 << 23) + 64 * 4096 * 8) // P["width"] + 5000)
    assert driver.statuses == {0x13: 1}
    # As many reads as may be ahead, and what was cut for writes before.
    assert bench.source.count <= 70
    assert bench.destination.bytes <= 10 * 4096


def aligned(driver, opcode, length, pieces=1):
    """A job as a driver that wants speed makes it: pages, or a list of parts of one."""
    maker = driver.maker
    d = maker.blank(opcode, length)
    part = length // pieces
    for source in (True, False):
        maker.next = (maker.next + 4095) & ~4095
        base = maker.next
        maker.next += max(length, 4096)
        if source:
            maker.memory.write(base, maker.rng.randbytes(length))
        # The pieces are in another order than they are used in.
        order = [base + k * part for k in range(pieces)][::-1]
        if pieces > 1:
            table = maker.next
            maker.next += 4096
            maker.memory.write(table, list_table([(at, part) for at in order]))
            d.flags |= SOURCE_LIST if source else DESTINATION_LIST
        where = table if pieces > 1 else base
        count = pieces if pieces > 1 else 0
        if source:
            d.source, d.source_entries = where, count
        else:
            d.destination, d.destination_entries = where, count
    return d


async def measure(bench, make, count, warm_up=16) -> float:
    """Cycles a job of up to 4 KiB over all queues, with the rings always full, after a start.

    The first ``warm_up`` jobs of those made here are the start; jobs of before are not counted.
    """
    drivers = list(bench.drivers.values())
    before = sum(driver.finished for driver in drivers)
    marks: list[tuple[int, int]] = []

    def feed():
        for driver in drivers:
            if driver.room >= 8:
                for _ in range(driver.room):
                    driver.submit(make(driver))
                driver.ring_doorbell()
            driver.poll()
            if driver.head - driver.told >= 8:
                driver.tell_head()
        finished = sum(driver.finished for driver in drivers) - before
        if len(marks) == 0 and finished >= warm_up:
            marks.append((bench.link.now, finished))
        if len(marks) == 1 and finished >= marks[0][1] + count:
            marks.append((bench.link.now, finished))

    bench.meanwhile = feed
    longest = (400 + (1 << 16) // P["width"]) * count + 20000
    await bench.until(lambda: len(marks) == 2, longest, "the jobs")
    bench.meanwhile = None
    await bench.drain(cycles=20000 + (1 << 22) // P["width"] * len(drivers))
    (since, first), (until, last) = marks
    return (until - since) / (last - first)


async def busy_queues(dut):
    """Four queues with rings of 32, and a host that needs 100 to 150 cycles to answer."""
    bench = await begin(dut, Random(seed()), P["width"], latency=(40, 60), delay=(40, 60))
    for queue in range(4):
        bench.add(queue, ring_log2=5, completions_log2=5)
        await bench.start(queue)
    return bench


@cocotb.test()
async def full_rate(dut):
    """COPY of 4 KiB at 90 % of what a DMA port can carry: a beat a cycle."""
    bench = await busy_queues(dut)
    cycles = await measure(bench, lambda driver: aligned(driver, COPY, 4096), 60)
    cocotb.log.info(f"4 KiB: {cycles:.2f} cycles a job")
    beats = 4096 * 8 // P["width"]
    assert beats <= cycles <= beats / 0.9


@cocotb.test()
async def full_rate_lists(dut):
    """The same in lists of four."""
    bench = await busy_queues(dut)
    cycles = await measure(bench, lambda driver: aligned(driver, COPY, 4096, 4), 60)
    cocotb.log.info(f"4 KiB in lists of 4: {cycles:.2f} cycles a job")
    beats = 4096 * 8 // P["width"]
    assert beats <= cycles <= beats / 0.9


@cocotb.test()
async def small_jobs(dut):
    """64 bytes: one in at most 40 cycles over all queues."""
    bench = await busy_queues(dut)
    cycles = await measure(bench, lambda driver: aligned(driver, COPY, 64), 300, warm_up=64)
    cocotb.log.info(f"64 bytes: {cycles:.2f} cycles a job")
    assert cycles <= 40


@cocotb.test()
async def in_turn(dut):
    """Queues that always have jobs get the same number of them."""
    bench = await busy_queues(dut)
    counts: list = []

    def make(driver):
        if sum(d.finished for d in bench.drivers.values()) >= 64 and not counts:
            counts.append({q: d.finished for q, d in bench.drivers.items()})
        return aligned(driver, CRC, 64)

    await measure(bench, make, 200)
    least, most = min(counts[0].values()), max(counts[0].values())
    assert most - least <= 8, counts


@cocotb.test()
async def longest(dut):
    """A job of 1 MiB from anywhere to anywhere, another queue's jobs before and behind it."""
    bench = await begin(dut, Random(seed()), P["width"], latency=(5, 30))
    for queue in range(2):
        bench.add(queue)
        await bench.start(queue)
    big, small = bench.drivers[0], bench.drivers[1]
    d = big.maker.blank(COPY, 1 << 20)
    for source in (True, False):
        big.maker.side(d, source, listed=False)
    big.submit(d)
    big.ring_doorbell()
    for _ in range(3):
        small.submit(small.maker.good(COPY, 100))
    small.ring_doorbell()
    beats = (1 << 23) // P["width"]
    await bench.drain(cycles=2 * beats + 5000)
    assert big.statuses == {0: 1}
    assert small.statuses == {0: 3}


@cocotb.test()
async def index_wraps(dut):
    """More jobs than an index can count."""
    bench = await busy_queues(dut)
    for queue in (1, 2, 3):
        await bench.reset(queue)
        del bench.drivers[queue]
    await measure(bench, lambda driver: aligned(driver, CRC, 64), 66000)
    assert bench.drivers[0].tail > 1 << 16
    position = await bench.read("position", 0)
    assert position == (bench.drivers[0].tail & 0xFFFF) * 0x10001
