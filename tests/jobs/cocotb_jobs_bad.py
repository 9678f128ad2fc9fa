"""Queues that are wrong, and queues that are reset, in the simulator; started by test_jobs.py."""

from random import Random

import cocotb
from job_maker import COPY, KINDS, POISON
from jobs_bench import begin, traffic

from tailrace_hw.errors import ErrorCode, ErrorSource
from tailrace_sim.models.jobs import INTERRUPT, Descriptor, Outcome
from tailrace_sim.run import parameters, seed

P = parameters()


async def with_queues(dut, count=2, **options):
    rng = Random(seed())
    bench = await begin(dut, rng, P["width"], **options)
    for queue in range(count):
        bench.add(queue)
        await bench.start(queue)
    return bench


def expect_error(bench, code, queue, info=None):
    """Just this error has been reported since the last look."""
    (event,) = bench.errors
    bench.errors.clear()
    driver = bench.drivers[queue]
    got = (event.source, event.code, event.queue, event.function)
    assert got == (ErrorSource.JOBS.value, code.value, queue, driver.function)
    assert info is None or event.info == info, f"{event.info:#x}"


async def stopped(bench, queue, code, info=None):
    """Wait for the queue to stop, check why, reset it; the others must work all the while."""
    await bench.until(lambda: bench.errors, 5000, "an error")
    expect_error(bench, code, queue, info)
    assert await bench.state(queue) == "stopped"
    assert (await bench.read("state", queue)) >> 16 & 0xFF == code.value
    # A stopped queue does nothing: neither start nor doorbell brings it back.
    bench.post("control", queue, 1)
    before = await bench.read("position", queue)
    bench.post("tail", queue, 3)
    await bench.cycles(200)
    assert await bench.state(queue) == "stopped"
    assert await bench.read("position", queue) & 0xFFFF == before & 0xFFFF
    assert not bench.errors


@cocotb.test()
async def bad_rings(dut):
    """Start refuses sizes and addresses that can't be."""
    bench = await with_queues(dut, 1)
    good = bench.drivers[0]
    bench.meanwhile = lambda: traffic(bench, ["good"], queues=[0])
    driver = bench.add(1)
    cases = (
        ("ring", driver.ring | 32, 4, 4), ("ring", driver.ring | 1, 4, 4),
        ("completions", driver.completions | 16, 4, 4), ("ring", driver.ring, 0, 4),
        ("completions", driver.completions, 4, 0),
    )  # fmt: skip
    for name, address, ring_log2, completions_log2 in cases:
        before = driver.ring, driver.completions
        setattr(driver, name, address)
        driver.ring_log2, driver.completions_log2 = ring_log2, completions_log2
        await bench.start(1, settle=False)
        await stopped(bench, 1, ErrorCode.JOB_BAD_RING, address)
        await bench.reset(1)
        driver.ring, driver.completions = before
        driver.ring_log2 = driver.completions_log2 = 4
    await bench.start(1)
    driver.submit(driver.maker.good())
    driver.ring_doorbell()
    bench.meanwhile = None
    await bench.drain()
    assert driver.finished == 1
    assert good.finished > 10


@cocotb.test()
async def index_jumps(dut):
    """A doorbell ahead of what can be stops its queue, jobs before it come back."""
    bench = await with_queues(dut)
    good, driver = bench.drivers[0], bench.drivers[1]
    bench.meanwhile = lambda: traffic(bench, ["good"], queues=[0])
    size = 1 << driver.ring_log2
    for name, index in (("tail", size + 1), ("tail", 0xFFFF), ("head", 1), ("head", 0x8000)):
        done = driver.finished
        for _ in range(3):
            driver.submit(driver.maker.good(COPY))
        driver.ring_doorbell()
        await bench.drain([1])
        assert driver.finished == done + 3
        at = {"tail": driver.tail, "head": driver.head}[name]
        bench.post(name, 1, (at + index) & 0xFFFF)
        await stopped(bench, 1, ErrorCode.JOB_INDEX_JUMP)
        await bench.reset(1)
        await bench.start(1)
    bench.meanwhile = None
    await bench.drain()
    assert good.finished > 10


@cocotb.test()
async def descriptor_fault(dut):
    """A ring that can't be read: one completion says so, and the queue stops."""
    bench = await with_queues(dut, 1)
    good = bench.drivers[0]
    bench.meanwhile = lambda: traffic(bench, ["good"], queues=[0])
    driver = bench.add(1)
    driver.ring |= POISON
    await bench.start(1)
    driver.expected.append((Descriptor(0, flags=INTERRUPT), Outcome(status=0x16)))
    bench.post("tail", 1, 1)
    await bench.drain([1])
    assert driver.statuses == {0x16: 1}
    assert driver.interrupts == 1
    await stopped(bench, 1, ErrorCode.JOB_DESCRIPTOR_FAULT, 0)
    await bench.reset(1)
    driver.ring &= ~POISON
    await bench.start(1)
    driver.submit(driver.maker.good())
    driver.ring_doorbell()
    bench.meanwhile = None
    await bench.drain()
    assert driver.finished == 2
    assert good.finished > 10


@cocotb.test()
async def completion_fault(dut):
    """A completion that can't be written stops the queue; no interrupt tells of it."""
    bench = await with_queues(dut, 1)
    good = bench.drivers[0]
    bench.meanwhile = lambda: traffic(bench, ["good"], queues=[0])
    driver = bench.add(1)
    driver.completions |= POISON
    await bench.start(1)
    driver.submit(driver.maker.good(COPY))
    driver.expected[0][0].flags |= 1
    driver.ring_doorbell()
    await stopped(bench, 1, ErrorCode.JOB_COMPLETION_FAULT, 0)
    assert await bench.read("dropped", 1) == 1
    assert driver.interrupts == 0
    await bench.reset(1)
    driver.completions &= ~POISON
    await bench.start(1)
    driver.submit(driver.maker.good())
    driver.ring_doorbell()
    bench.meanwhile = None
    await bench.drain()
    assert driver.finished == 1
    assert good.finished > 10


@cocotb.test()
async def resets_in_traffic(dut):
    """Queues are reset at any time; the others go on, and nothing comes of one that is idle."""
    rng = Random(seed())
    stall = rng.choice((0.0, 0.2))
    bench = await begin(dut, rng, P["width"], stall=stall, latency=(1, rng.choice((20, 200))))
    for queue in range(4):
        bench.add(queue, longest=40 * P["width"])
        await bench.start(queue)
    kinds = list(KINDS) + ["good"] * len(KINDS)
    running = {0, 1, 2, 3}
    bench.meanwhile = lambda: traffic(bench, kinds, 0.02, running)
    lost = 0
    for _ in range(P["rounds"]):
        await bench.cycles(rng.randint(1, 500))
        queue = rng.randrange(1, 4)
        driver = bench.drivers[queue]
        running.discard(queue)
        lost += len(driver.expected)
        await bench.reset(queue)
        await bench.cycles(rng.choice((0, 100)))
        assert await bench.state(queue) == "idle"
        await bench.start(queue)
        running.add(queue)
    bench.meanwhile = None
    await bench.drain()
    assert not bench.errors
    assert lost > P["rounds"], "hardly anything was in flight"
    assert bench.drivers[0].finished > 20
    dropped = [await bench.read("dropped", queue) for queue in range(4)]
    cocotb.log.info(f"{lost} jobs not returned, dropped {dropped}")
    assert dropped[0] == 0
    assert 0 < sum(dropped) <= lost


@cocotb.test()
async def reset_of_a_long_job(dut):
    """1 MiB that is under way is given up at once, not read and written to its end."""
    bench = await with_queues(dut)
    long = bench.drivers[1]
    for _ in range(8):
        d = long.maker.blank(COPY, 1 << 20)
        for source in (True, False):
            long.maker.side(d, source, listed=False)
        long.submit(d)
    long.ring_doorbell()
    await bench.until(lambda: bench.destination.bytes > 20000, 20000, "some of it")
    # Zeros take its place within the device, a beat a cycle; the jobs behind it take no time.
    await bench.reset(1, (1 << 23) // P["width"] + 3000)
    # What was read ahead is 64 chunks at most.
    assert bench.destination.bytes < 1 << 19
    good = bench.drivers[0]
    good.submit(good.maker.good(COPY))
    good.ring_doorbell()
    await bench.drain([0])
    assert good.statuses == {0: 1}


@cocotb.test()
async def function_reset(dut):
    """Function level reset of an owner stops its queues and no other; start waits for its end."""
    rng = Random(seed())
    bench = await begin(dut, rng, P["width"], latency=(1, 100))
    for queue in range(4):
        bench.add(queue)
        await bench.start(queue)
    running = {0, 1, 2, 3}
    bench.meanwhile = lambda: traffic(bench, ["good", "good", "bad_source"], 0.02, running)
    for _ in range(P["rounds"]):
        await bench.cycles(rng.randint(1, 400))
        function = rng.choice((1, 2))
        mine = [q for q, d in bench.drivers.items() if d.function == function]
        running -= set(mine)
        bench.ask_flr(function, 1)
        await bench.until(lambda f=function: bench.done[f], 20000, "the function's rest")
        assert bench.done == [int(f == function) for f in range(bench.functions)]
        for queue in mine:
            assert await bench.state(queue) == "idle"
            await bench.at_rest(queue)
            # Nothing of this function starts while it is in reset.
            bench.post("control", queue, 1)
            await bench.cycles(20)
            assert await bench.state(queue) == "idle"
        assert bench.done[function]
        bench.ask_flr(function, 0)
        await bench.until(lambda f=function: not bench.done[f], 10, "the end")
        for queue in mine:
            await bench.start(queue)
        running |= set(mine)
    # A function without queues is at rest at once.
    bench.ask_flr(0, 1)
    await bench.until(lambda: bench.done[0], 4, "function 0")
    bench.ask_flr(0, 0)
    bench.meanwhile = None
    await bench.drain()
    assert not bench.errors
    assert all(driver.finished > 5 for driver in bench.drivers.values())


@cocotb.test()
async def reset_of_a_stopped(dut):
    """Function level reset ends a queue that has stopped, too."""
    bench = await with_queues(dut)
    bench.post("tail", 1, 1000)
    await stopped(bench, 1, ErrorCode.JOB_INDEX_JUMP, 1000)
    function = bench.drivers[1].function
    bench.ask_flr(function, 1)
    await bench.until(lambda: bench.done[function], 20000, "the function's rest")
    assert await bench.state(1) == "idle"
    assert await bench.state(0) == "running"
    bench.ask_flr(function, 0)
    await bench.until(lambda: not bench.done[function], 10, "the end")
    await bench.at_rest(1)
    await bench.start(1)
    for driver in bench.drivers.values():
        driver.submit(driver.maker.good(COPY))
        driver.ring_doorbell()
    await bench.drain()
    assert all(driver.statuses == {0: 1} for driver in bench.drivers.values())


@cocotb.test()
async def without_vector(dut):
    """A queue without a vector never interrupts, whatever its jobs ask for."""
    bench = await begin(dut, Random(seed()), P["width"])
    driver = bench.add(0)
    driver.vector = 0xFFFF
    await bench.start(0)
    for _ in range(4):
        d = driver.maker.good(COPY)
        d.flags |= 1
        driver.submit(d)
    driver.ring_doorbell()

    def back():
        driver.poll()
        return not driver.expected

    await bench.until(back, 5000, "completions")
    await bench.cycles(300)
    assert driver.flagged == 4
    assert driver.interrupts == 0
