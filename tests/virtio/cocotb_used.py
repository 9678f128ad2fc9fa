"""Tests of the used-ring writer, in the simulator; started by test_used.py."""

from random import Random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge
from used_bench import COMPLETION, FUNCTION, UsedBench

from tailrace_hw.errors import ErrorCode, ErrorSource
from tailrace_hw.pcie.dma import DmaStatus
from tailrace_hw.virtio.interfaces import NO_VECTOR, QueueOp
from tailrace_sim.run import parameters, seed

P = parameters()

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


async def start(dut, rng=None, **options) -> UsedBench:
    """A bench around the component just out of reset."""
    cocotb.start_soon(Clock(dut.clk, 4, unit="ns").start())
    dut.rst.value = 1
    await ClockCycles(dut.clk, 3)
    await FallingEdge(dut.clk)
    dut.rst.value = 0
    return UsedBench(dut, rng or Random(seed()), P["width"], **options)


def traffic(bench, numbers, pace=0.1, group=4, chain=3):
    """A device and drivers that make and complete chains at random."""
    rng = bench.rng
    for n in numbers:
        driver = bench.drivers[n]
        slots = rng.choice((1, 1, 1, rng.randint(1, chain)))
        if driver.free >= slots and rng.random() < 0.5:
            driver.post(slots)
        if driver.with_device and not bench.pending[n] and rng.random() < pace:
            for _ in range(rng.choice((1, 1, 3))):
                if driver.with_device:
                    bench.give_back(n, rng.randint(1, min(group, len(driver.with_device))))
    bench.feed()


async def add_queues(bench, kinds, **options):
    for n, (size, packed, event_idx) in enumerate(kinds):
        bench.add(n, size, packed, event_idx, **options)
        await bench.enable(n)


@cocotb.test()
async def random_traffic(dut):
    """All modes at once, everything at random, until every queue went round several times."""
    rng = Random(seed())
    stall = rng.choice((0.0, 0.2, 0.6))
    bench = await start(dut, rng, stall=stall, latency=(1, rng.choice((5, 100))))
    for _ in range(P["rounds"]):
        bench.expected = rng.random() < 0.5
        kinds = rng.sample(QUEUES, P["queues"])
        for n, (size, packed, event_idx) in enumerate(kinds):
            bench.add(n, size, packed, event_idx, polls=rng.random() < 0.15)
            await bench.enable(n)
        pace, group = rng.choice((0.002, 0.01, 0.1)), rng.choice((1, 4, 32))
        for _ in range(P["cycles"]):
            traffic(bench, range(P["queues"]), pace, group)
            await bench.cycle()
        await bench.drain()
        for n, driver in bench.drivers.items():
            cocotb.log.info(
                f"{driver}: {driver.returned} chains, {driver.arms} arms, "
                f"{driver.interrupts} interrupts"
            )
            assert driver.returned == driver.posted > 1
            assert driver.polls or driver.interrupts > 0
            bench.check_interrupts(n)
            await bench.reset(n)
        assert not bench.errors
        assert bench.writes.idle
        assert bench.reads.idle


async def run_at(bench, numbers, period, count):
    """One completion every ``period`` cycles, queues in turn; returns cycles and DMA writes."""
    writes, cycles = bench.writes.count, 0
    for k in range(count):
        number = numbers[k % len(numbers)]
        driver = bench.drivers[number]
        for _ in range(period):
            await bench.cycle()
            cycles += 1
        while not driver.free or bench.complete.items:
            await bench.cycle()
            cycles += 1
        driver.post(1)
        bench.give_back(number, 1)
        bench.push(number, bench.pending[number].popleft())
    taken = bench.complete.taken
    await bench.drain()
    assert bench.complete.taken - taken <= 2
    return cycles, bench.writes.count - writes


@cocotb.test()
async def full_rate(dut):
    """Sustained rates, and how many writes they take."""
    everything = list(range(P["queues"]))
    #: queues, packed, cycles a completion, most writes a completion
    cases = [
        ([0], True, 4, 0.3),
        ([1], True, 2, 0.3),
        ([2], False, 4, 0.55),
        ([3], False, 2, 0.3),
        (everything, True, 4, 1.05),
        (everything, False, 4, 2.05),
        (everything, True, 2, 1.05),
    ]
    bench = await start(dut, latency=(50, 60), delay=(10, 10))
    for numbers, packed, period, most in cases:
        for event_idx in (False, True):
            for n in numbers:
                bench.add(n, 256, packed, event_idx, brisk=True)
                await bench.enable(n)
            cycles, writes = await run_at(bench, numbers, period, P["count"])
            each = cycles / P["count"]
            cocotb.log.info(
                f"{len(numbers)} queues, packed {packed}, EVENT_IDX {event_idx}: "
                f"{each:.2f} cycles and {writes / P['count']:.3f} writes a completion"
            )
            assert each <= period * 1.01
            assert writes <= most * P["count"] + 4
            for n in numbers:
                bench.check_interrupts(n)
                await bench.reset(n)


@cocotb.test()
async def index_wraps(dut):
    """The 16-bit used index of a split ring, and interrupts around its end."""
    bench = await start(dut, latency=(5, 20))
    await add_queues(bench, [(256, False, True)], brisk=True)
    cycles, _ = await run_at(bench, [0], 2, 66_000)
    assert cycles < 66_000 * 2.05
    driver = bench.drivers[0]
    assert driver.used == 66_000 - 65_536
    bench.check_interrupts(0)


@cocotb.test()
async def latency(dut):
    """A lone completion: to the write, and through to the interrupt."""
    bench = await start(dut, latency=(1, 1), delay=(1, 1))
    bench.reads.delay = (1, 1)
    for n, packed in enumerate((True, False)):
        bench.add(n, 16, packed, True)
        await bench.enable(n)
        await bench.cycles(20)
        bench.drivers[n].post(1)
        bench.give_back(n, 1)
        bench.writes.first_request = bench.first_interrupt = None
        bench.push(n, bench.pending[n].popleft())
        begin = bench.link.now
        await bench.until(lambda: bench.first_interrupt, 200, "the interrupt")
        write = bench.writes.first_request - begin
        interrupt = bench.first_interrupt - begin
        cocotb.log.info(f"packed {packed}: write after {write}, interrupt after {interrupt}")
        assert write <= 16
        # With the agents' own cycles (8, in a split ring 9).
        assert interrupt <= 35
        await bench.drain()


@cocotb.test()
async def bounded_delay(dut):
    """A trickle that never pauses is not held back beyond the bound."""
    bench = await start(dut, latency=(1, 1), delay=(1, 1))
    await add_queues(bench, [(256, False, False)], polls=True, brisk=True)
    driver = bench.drivers[0]
    pushed: list[int] = []
    worst = 0
    for cycle in range(400):
        if cycle % 5 == 0:
            driver.post(1)
            bench.give_back(0, 1)
            bench.push(0, bench.pending[0].popleft())
            pushed.append(bench.link.now)
        await bench.cycle()
        if driver.returned < len(pushed):
            worst = max(worst, bench.link.now - pushed[driver.returned])
    cocotb.log.info(f"{bench.writes.count} writes, worst {worst} cycles")
    assert driver.returned > 60
    assert worst <= 16 + 20 + 8
    assert bench.writes.count < driver.returned
    await bench.drain()


@cocotb.test()
async def expected(dut):
    """While more completions are expected an element waits for them, but not beyond the bound."""
    bench = await start(dut, latency=(1, 1), delay=(1, 1))
    await add_queues(bench, [(16, True, False)], polls=True, brisk=True)
    after = []
    for value in (False, True):
        bench.expected = value
        # The ring starts anywhere in a 64-byte line: an element that happens to fill one does not
        # wait, so of two neighbours the one that waited longer is looked at.
        waited = []
        for _ in range(2):
            bench.drivers[0].post(1)
            bench.give_back(0, 1)
            bench.writes.first_request = None
            bench.push(0, bench.pending[0].popleft())
            begin = bench.link.now
            await bench.until(lambda: bench.writes.first_request, 200, "the write")
            waited.append(bench.writes.first_request - begin)
            await bench.drain()
        after.append(max(waited))
    idle, bound = 5, 16
    assert bound - idle - 2 <= after[1] - after[0] <= bound - idle + 2, after


@cocotb.test()
async def no_vector(dut):
    """Without a vector there is no message, but the ISR status learns of it."""
    bench = await start(dut)
    bench.add(0, 8, True, False, vector=NO_VECTOR)
    await bench.enable(0)
    bench.drivers[0].post(1)
    bench.give_back(0, 1)
    bench.push(0, bench.pending[0].popleft())
    await bench.until(lambda: bench.isr, 500, "the ISR pulse")
    await bench.cycles(100)
    assert bench.isr == 1
    assert bench.drivers[0].interrupts == 0
    assert bench.drivers[0].visible() or bench.drivers[0].returned


@cocotb.test()
async def reset_in_traffic(dut):
    """A queue is reset and enabled again and again while all the others go on."""
    rng = Random(seed())
    bench = await start(dut, rng, stall=rng.choice((0.0, 0.5)))
    queues = P["queues"]
    await add_queues(bench, rng.sample(QUEUES, queues))
    for _ in range(P["rounds"]):
        victim = rng.randrange(queues)

        async def others(victim=victim):
            for _ in range(rng.randrange(200)):
                traffic(bench, range(queues), pace=0.05)
                await bench.cycle()

        await others()
        bench.pending[victim].clear()
        before = [bench.drivers[n].returned for n in range(queues)]
        await bench.reset(victim)
        rest = [n for n in range(queues) if n != victim]
        # Late completions of the queue that is gone are swallowed.
        late = bench.complete.taken
        for _ in range(3):
            bench.complete.items.append(COMPLETION.pack(queue=victim, slots=1))
        for _ in range(200):
            traffic(bench, rest, pace=0.05)
            await bench.cycle()
        assert bench.complete.taken >= late + 3
        assert sum(bench.drivers[n].returned for n in rest) > sum(before[n] for n in rest)
        await bench.enable(victim)
    await bench.drain()
    assert not bench.errors
    for n in range(queues):
        bench.check_interrupts(n)


@cocotb.test()
async def faults(dut):
    """DMA errors stop one queue, are reported once, and leave the others alone."""
    rng = Random(seed())
    bench = await start(dut, rng, stall=0.2)
    queues = P["queues"]
    await add_queues(bench, rng.sample(QUEUES, queues))
    for k in range(P["rounds"]):
        victim = rng.randrange(queues)
        reading = k % 2
        agent = bench.reads if reading else bench.writes
        agent.faults.chance, agent.faults.where = 0.6, bench.areas(victim)
        bench.errors.clear()
        for _ in range(5000):
            traffic(bench, range(queues), pace=0.05)
            await bench.cycle()
            if bench.errors:
                break
        await bench.cycles(100)
        (event,) = bench.errors
        assert event.source == ErrorSource.VIRTIO_USED.value
        assert event.code == ErrorCode.QUEUE_USED_FAULT.value
        assert (event.function, event.queue) == (FUNCTION, victim)
        assert event.info >> 19 == reading
        assert event.info >> 16 & 7 != DmaStatus.OK.value
        # Nothing more happens on the failed queue; its completions are swallowed.
        await bench.cycles(300)
        count = agent.failed
        bench.stop(victim)
        rest = [n for n in range(queues) if n != victim]
        for _ in range(300):
            traffic(bench, rest, pace=0.05)
            if rng.random() < 0.1:
                bench.complete.items.append(COMPLETION.pack(queue=victim, slots=1))
            await bench.cycle()
        assert agent.failed == count
        assert len(bench.errors) == 1
        agent.faults.chance = 0.0
        await bench.drain(rest)
        await bench.reset(victim)
        await bench.enable(victim)
    for _ in range(500):
        traffic(bench, range(queues))
        await bench.cycle()
    await bench.drain()


@cocotb.test()
async def nonsense(dut):
    """Groups that never end, queues that do not exist, halt: nothing is wedged."""
    rng = Random(seed())
    bench = await start(dut, rng)
    await add_queues(bench, [(64, True, True), (64, False, True)])
    for n in (P["queues"], 200, 255):
        await bench.obey(QueueOp.ENABLE, n, size=8)
        bench.complete.items.append(COMPLETION.pack(queue=n, slots=1))
        await bench.obey(QueueOp.RESET, n)
    for n in (0, 1):
        for _ in range(40):
            bench.complete.items.append(COMPLETION.pack(queue=n, slots=1, more=1))
        await bench.until(lambda: not bench.complete.items, 500, "the endless group")
        await bench.cycles(20)
        event = bench.errors.pop()
        assert (event.queue, event.info >> 16) == (n, DmaStatus.OK.value)
        assert not bench.errors
        assert bench.writes.count == 0
        await bench.reset(n)
        await bench.enable(n)
    for _ in range(500):
        traffic(bench, (0, 1))
        await bench.cycle()
    await bench.drain()
    bench.halt(True)
    await bench.cycles(200)
    writes, reads = bench.writes.count, bench.reads.count
    for _ in range(50):
        bench.complete.items.append(COMPLETION.pack(queue=rng.randrange(2), slots=1))
    await bench.until(lambda: not bench.complete.items, 200, "completions under halt")
    await bench.cycles(200)
    assert (bench.writes.count, bench.reads.count) == (writes, reads)
    for n in (0, 1):
        await bench.reset(n)
    bench.halt(False)
    for n in (0, 1):
        await bench.enable(n)
    for _ in range(500):
        traffic(bench, (0, 1))
        await bench.cycle()
    await bench.drain()
    assert not bench.errors
