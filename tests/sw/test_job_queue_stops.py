"""What stops a job queue, and what ends that: errors of the device, silence, resets."""

import random
from contextlib import suppress

import pytest

from tailrace.errors import ResponseTimeout
from tailrace.jobs.errors import JobError, JobQueueStopped, JobReset
from tailrace.regs import address_map, jobs
from tailrace.regs.job_memory import DESCRIPTOR
from tailrace_sim.soft_job_bench import bench_with, check, copies


def test_a_bad_doorbell_stops_the_queue_until_reset():
    bench, queue = bench_with(size=4)
    tail = address_map.JOBS + jobs.TAIL + jobs.TAIL_STRIDE
    made, places, wanted = copies(bench, 2)

    async def poison() -> None:
        ticket = await queue.submit(made[0])
        await bench.tailrace.management.write(tail, 100)
        await queue.wait(ticket)

    start = bench.host.cycles()
    with pytest.raises(
        JobQueueStopped,
        match="job queue 1 of function 0: it has stopped with "
        "JOB_INDEX_JUMP: JOB_INDEX_JUMP from JOBS, function 0 queue 1",
    ) as error:
        bench.run(poison())  # fmt: skip
    assert "first at cycle" in error.value.cause
    assert bench.host.cycles() - start < 10_000, "the timeout was not waited for"
    for call in (queue.submit(made[1]), queue.run(made[1]), queue.copy(b"x")):
        with pytest.raises(JobQueueStopped, match="JOB_INDEX_JUMP"):
            bench.run(call)
    bench.run(queue.reset())
    check(bench.run(queue.run_all(made)), places, wanted)


@pytest.mark.parametrize("function", [0, 1])
def test_a_descriptor_that_can_not_be_read(function):
    bench, queue = bench_with(function)
    made, places, wanted = copies(bench, 2)
    bench.run(queue.run(made[0]))
    honest = bench.host.dma
    ring = queue._ring.address + DESCRIPTOR.size

    async def poison() -> list:
        first = await queue.submit(made[0])
        await queue.submit(made[1])
        bench.host.dma = lambda address, length: (  # type: ignore[method-assign]
            None if address == ring else honest(address, length)
        )
        await queue.kick()
        result = await queue.wait(first)
        with pytest.raises(JobError, match=r"DESCRIPTOR_FAULT: .* reset the queue"):
            result.check()
        second = queue._waiting[-1]
        with pytest.raises(JobQueueStopped, match="JOB_DESCRIPTOR_FAULT from JOBS"):
            await queue.wait(second)
        bench.host.dma = honest  # type: ignore[method-assign]
        await queue.reset()
        with pytest.raises(JobReset, match="was dropped by a reset"):
            await queue.wait(second)
        return await queue.run_all(made)

    check(bench.run(poison()), places, wanted)


def test_completions_that_can_not_be_written():
    bench, queue = bench_with()
    honest = bench.host.dma
    ring = queue._completions.address
    bench.host.dma = lambda address, length: (  # type: ignore[method-assign]
        None if ring <= address < ring + 2048 else honest(address, length)
    )
    with pytest.raises(JobQueueStopped, match="JOB_COMPLETION_FAULT from JOBS"):
        bench.run(queue.copy(b"x"))
    assert bench.run(queue.counters()).dropped == 1


@pytest.mark.parametrize(
    ("at", "what"), [(0, "status 0x7f"), (2, "queue 127"), (4, "cookie 127, where job 0 must be")]
)
def test_completions_that_can_not_be(at, what):
    bench, queue = bench_with()
    bench.jobs.tamper = lambda raw: raw[:at] + b"\x7f" + raw[at + 1 :]
    with pytest.raises(JobQueueStopped, match=f"can't be trusted: .*{what}"):
        bench.run(queue.copy(b"x"))
    bench.jobs.tamper = lambda raw: raw
    bench.run(queue.reset())
    assert bench.run(queue.copy(b"x")) == b"x"


def test_a_completion_with_another_length():
    bench, queue = bench_with()
    bench.jobs.tamper = lambda raw: raw[:8] + b"\x02" + raw[9:]
    with pytest.raises(JobQueueStopped, match="2 bytes were written of 3"):
        bench.run(queue.copy(b"abc"))


def test_no_answer():
    bench, queue = bench_with(timeout=10_000)
    bench.jobs.stuck = True
    bench.management.report(0x04, 1, 0, 0xFFFF, 0)
    with pytest.raises(
        ResponseTimeout,
        match="job queue 1 of function 0: no job ended within 10000 cycles, 1 are waited for; it"
        " runs with 0 jobs in flight; DMA_TIMEOUT from DMA_READ",
    ):
        bench.run(queue.copy(b"secret"))
    assert b"secret" in bytes(bench.host.memory), "the device may still read it"
    bench.jobs.stuck = False
    assert bench.run(queue.copy(b"x")) == b"x"
    assert b"secret" not in bytes(bench.host.memory)
    bench.run(queue.close())
    assert bench.host.memory_in_use == 0


def test_a_slow_device_that_goes_on_is_waited_for():
    """The timeout counts from the last completion of the queue, not from the call."""
    bench, queue = bench_with(size=64, timeout=3_000)
    bench.jobs._latency = 300
    made, places, wanted = copies(bench, 60)
    start = bench.host.cycles()

    async def last() -> None:
        tickets = [await queue.submit(job) for job in made]
        await queue.wait(tickets[-1])
        check([await queue.wait(ticket) for ticket in tickets], places, wanted)

    bench.run(last())
    assert bench.host.cycles() - start > 3_000


# Reset -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [0, 1])
def test_reset_in_the_middle_of_traffic(function):
    """A job that ended is right, one that did not is dropped, and the memory comes back."""
    dropped = 0
    for seed in range(20):
        bench, queue = bench_with(function, size=8, seed=seed)
        rng = random.Random(seed)
        made, places, wanted = copies(bench, 60)
        before = bench.host.memory_in_use
        lost = []

        async def traffic(queue=queue, made=made, places=places, wanted=wanted, lost=lost):
            for job, place, data in zip(made, places, wanted, strict=True):
                ticket = await queue.submit(job)
                try:
                    result = await queue.wait(ticket)
                except JobReset:
                    lost.append(job)
                    continue
                assert result.ok
                assert bytes(place.mem) == data

        async def resets(queue=queue, bench=bench, rng=rng):
            for _ in range(10):
                await bench.host.delay(rng.randint(1, 600))
                await queue.reset()

        async def more(queue=queue):
            for _ in range(10):
                with suppress(JobReset):
                    assert await queue.copy(b"more") == b"more"

        bench.host.run(traffic(), resets(), more())
        dropped += len(lost)
        assert bench.host.memory_in_use == before
    assert dropped


def test_close_ends_everything():
    bench, queue = bench_with()
    bench.jobs.stuck = True
    ends = []

    async def waiter() -> None:
        with pytest.raises(JobReset, match="its queue was closed"):
            await queue.copy(b"x")
        ends.append(True)

    async def closer() -> None:
        await bench.host.delay(5_000)
        bench.jobs._flight.clear()
        bench.jobs._queues[1].in_flight = 0
        bench.jobs.stuck = False
        bench.jobs._queues[1].tail = bench.jobs._queues[1].taken
        await queue.close()
        await queue.close()

    bench.host.run(waiter(), closer())
    assert ends
    for call in (queue.copy(b"x"), queue.reset()):
        with pytest.raises(JobReset, match="was closed"):
            bench.run(call)
    assert bench.host.memory_in_use == 0


def test_a_function_level_reset_of_the_owner():
    bench, queue = bench_with(function=1)

    async def flr() -> None:
        bench.jobs.stuck = True
        ticket = await queue.submit(copies(bench, 1)[0][0])
        await queue.kick()
        bench.jobs.function_reset(1)
        bench.jobs.stuck = False
        await queue.wait(ticket)

    with pytest.raises(JobQueueStopped, match="it is idle: it was reset, by a function level"):
        bench.run(flr())
    bench.run(queue.reset())
    assert bench.run(queue.copy(b"x")) == b"x"
