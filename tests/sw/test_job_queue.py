"""The driver of a job queue against soft job queues: rings, completions, waits."""

from itertools import pairwise

import pytest

from tailrace.errors import TailraceError
from tailrace.jobs.errors import BadJob, JobError, JobQueueStopped
from tailrace.jobs.types import Job, JobResult
from tailrace.regs import jobs
from tailrace.regs.job_memory import MAX_COPY, MAX_ENTRIES, JobOpcode, JobStatus
from tailrace_sim.soft_device import DeviceBench
from tailrace_sim.soft_job_bench import bench_with, check, copies

COPY, CRC32C = JobOpcode.COPY, JobOpcode.CRC32C


@pytest.mark.parametrize("function", [0, 1])
@pytest.mark.parametrize("size", [2, 4, 64])
@pytest.mark.parametrize("seed", range(2))
def test_jobs_round_the_rings(function, size, seed):
    bench, queue = bench_with(function, size, seed)
    made, places, wanted = copies(bench, 5 * size + 3)
    check(bench.run(queue.run_all(made)), places, wanted)
    bench.run(queue.kick())  # nothing to tell
    assert bench.jobs.doorbells <= len(made) // queue.batch + 2
    assert (bench.jobs.interrupts > 0) == (function == 0)
    assert bench.jobs.interrupts <= bench.jobs.doorbells
    counters = bench.run(queue.counters())
    assert (counters.done, counters.failed, counters.dropped) == (len(made), 0, 0)
    assert counters.bytes == sum(map(len, wanted))


def test_indices_wrap_at_16_bits():
    bench, queue = bench_with(size=4)
    soft = bench.jobs._queues[1]
    near = (1 << 16) - 8
    queue._tail = queue._rung = queue._head = queue._told = near
    soft.tail = soft.head = soft.taken = soft.written = near
    made, places, wanted = copies(bench, 40)
    check(bench.run(queue.run_all(made)), places, wanted)
    assert soft.tail == near + 40 - (1 << 16)


def test_several_tasks_share_a_queue():
    """Nobody's wake-up is lost, whoever sleeps on the one interrupt."""
    for seed in range(5):
        bench, queue = bench_with(size=4, seed=seed)
        parts = [copies(bench, 20) for _ in range(4)]
        start = bench.host.cycles()
        ends = bench.host.run(*(queue.run_all(made) for made, _, _ in parts))
        for results, (_, places, wanted) in zip(ends, parts, strict=True):
            check(results, places, wanted)
        assert bench.host.cycles() - start < 20_000


def test_a_sleeper_does_not_take_the_event_of_another():
    """Who waits for the second job clears the first one's interrupt."""
    for seed in range(10):
        bench, queue = bench_with(seed=seed)
        made, _, _ = copies(bench, 2)
        since = []

        def one_only(raw: bytes, bench=bench, since=since) -> bytes:
            bench.jobs.stuck = True
            since.append(bench.host.cycles())
            return raw

        async def kicked(job, queue=queue):
            ticket = await queue.submit(job)
            await queue.kick()
            return ticket

        bench.jobs.stuck = True
        tickets = [bench.run(kicked(job)) for job in made]
        bench.jobs.tamper = one_only
        took = []

        async def first(queue=queue, bench=bench, tickets=tickets, since=since, took=took):
            await queue.wait(tickets[0])
            took.append(bench.host.cycles() - since[0])
            bench.jobs.stuck = False

        async def second(queue=queue, tickets=tickets):
            await queue.wait(tickets[1])

        async def go(bench=bench):
            await bench.host.delay(1_000)
            bench.jobs.stuck = False

        bench.host.run(second(), first(), go())
        assert took[0] < 500


def test_a_job_that_ends_under_the_doorbell_is_seen_at_once():
    """Its interrupt is there before the driver clears the event and goes to sleep."""
    for seed in range(5):
        bench, queue = bench_with(seed=seed)
        bench.jobs._latency = 0
        [job], places, wanted = copies(bench, 1)
        ticket = bench.run(queue.submit(job))
        start = bench.host.cycles()
        check([bench.run(queue.wait(ticket))], places, wanted)
        assert bench.host.cycles() - start < 500


def test_a_full_ring_waits_for_room():
    bench, queue = bench_with(size=4)

    async def fill() -> None:
        made, places, wanted = copies(bench, 5)
        bench.jobs.stuck = True
        tickets = [await queue.submit(job) for job in made[:4]]
        assert (queue.room, queue.untold) == (0, 4)
        bench.jobs.stuck = False
        tickets.append(await queue.submit(made[4]))  # kicks, and waits
        check([await queue.wait(ticket) for ticket in tickets], places, wanted)

    bench.run(fill())


def test_a_wait_rings_the_doorbell():
    bench, queue = bench_with()
    [job], places, wanted = copies(bench, 1)

    async def forget_to_kick() -> JobResult:
        return await queue.wait(await queue.submit(job))

    check([bench.run(forget_to_kick())], places, wanted)


def test_lists():
    bench, queue = bench_with()
    rng = bench.rng
    for _ in range(30):
        data = rng.randbytes(rng.randint(1, 1000))
        area = bench.host.alloc(4 * len(data) + 4096)

        def pieces(at: int, total: int) -> list[tuple[int, int]]:
            cuts = sorted(rng.randint(0, total) for _ in range(rng.randint(0, MAX_ENTRIES - 1)))
            edges = [0, *cuts, total]
            return [(at + a, b - a) for a, b in pairwise(edges)]

        area.mem[: len(data)] = data
        job = Job(
            COPY, pieces(area.address, len(data)),
            pieces(area.address + len(data), len(data)),
        )  # fmt: skip
        bench.run(queue.run(job)).check()
        assert bytes(area.mem[len(data) : 2 * len(data)]) == data
        bench.host.free(area)
    bench.run(queue.close())
    assert bench.host.memory_in_use == 0, "the lists were given back"


def test_conveniences():
    bench, queue = bench_with()
    assert bench.run(queue.copy(b"tailrace" * 1000)) == b"tailrace" * 1000
    assert bench.run(queue.crc32c(b"123456789")) == 0xE3069283  # RFC 3720's check value
    for wrong in (queue.copy(b""), queue.crc32c(b"")):
        with pytest.raises(JobError, match="BAD_LENGTH: too short or too long"):
            bench.run(wrong)


@pytest.mark.parametrize(
    ("status", "change"),
    [
        (JobStatus.BAD_OPCODE, {"opcode": 0x7F}),
        (JobStatus.BAD_LENGTH, {"length": 0}),
        (JobStatus.BAD_LENGTH, {"length": MAX_COPY + 1}),
        (JobStatus.BAD_LIST, {"source": ()}),
        (JobStatus.BAD_LIST, {"destination": ()}),
        (JobStatus.BAD_LIST, {"length": 65}),  # one piece that is too short: never overrun
        (JobStatus.BAD_LIST, {"source": [(1 << 32, 10), (1 << 32, 10)]}),
        (JobStatus.SOURCE_FAULT, {"source": (0x10, 64)}),
        (JobStatus.DESTINATION_FAULT, {"destination": (0x10, 64)}),
    ],
)
def test_a_job_that_fails(status, change):
    bench, queue = bench_with()
    source, place = bench.host.alloc(64), bench.host.alloc(64)
    whole = {"opcode": COPY, "source": (source.address, 64), "destination": (place.address, 64),
             "length": 64}  # fmt: skip
    result = bench.run(queue.run(Job(**{**whole, **change})))
    assert (result.status, result.ok) == (status, False)
    with pytest.raises(JobError, match=rf"^job ended with {status.name}: .{{20}}") as error:
        result.check()
    assert error.value.status == status
    assert bench.run(queue.copy(b"x")) == b"x"
    assert bench.run(queue.counters()).failed == 1


def test_every_status_has_its_sentence():
    assert len({str(JobError(status)) for status in JobStatus}) == len(JobStatus)


def test_what_no_descriptor_has_room_for():
    bench, queue = bench_with()
    used = bench.host.memory_in_use
    piece = (bench.host.memory_base, 1)
    for job, what in (
        (Job(COPY, [piece] * 65), "source of 65 pieces"),
        (Job(COPY, [piece] * 2, [piece] * 65), "destination of 65 pieces"),
        (Job(COPY, piece, aad=bytes(97)), "AAD of 97 bytes"),
        (Job(COPY, piece, iv=bytes(17)), "IV of 17"),
        (Job(COPY, piece, key=1 << 16), "key 65536"),
        (Job(COPY, piece, length=-1), "length -1"),
        (Job(COPY, piece, tag_length=256), "tag 256 does not fit into 8 bits"),
    ):
        with pytest.raises(BadJob, match=what):
            bench.run(queue.submit(job))
    assert (queue.room, bench.host.memory_in_use) == (64, used)


def test_what_can_not_be_opened():
    bench = DeviceBench()
    device = bench.find()
    for size in (0, 1, 3, 65536):
        with pytest.raises(BadJob, match=f"not {size}"):
            bench.run(device.jobs(0, size=size))
    with pytest.raises(BadJob, match="job queue 4 does not exist"):
        bench.run(device.jobs(4))
    with pytest.raises(TailraceError, match="PCI function 7 is none of the device's"):
        bench.run(device.jobs(0, 7))
    assert bench.host.memory_in_use == 0


def test_a_queue_that_somebody_left_running_is_reset_first():
    """A driver that went away without a word; ours is told that it has the queue already."""
    bench, queue = bench_with()
    with pytest.raises(TailraceError, match="job queue 1 of function 0 is in use; close it first"):
        bench.run(bench.tailrace.jobs(1))
    assert bench.run(queue.copy(b"still there")) == b"still there"
    again = bench.run(bench.find().jobs(1))
    assert bench.run(again.copy(b"again")) == b"again"
    bench.run(again.close())
    assert bench.run(bench.run(bench.tailrace.jobs(1)).copy(b"once more")) == b"once more"


def test_a_queue_that_does_not_start():
    bench = DeviceBench()
    device = bench.find()
    honest = bench.jobs.write

    def misaligned(offset: int, value: int) -> None:
        honest(offset, value + 4 if offset == jobs.RING else value)

    bench.jobs.write = misaligned  # type: ignore[method-assign]
    with pytest.raises(JobQueueStopped, match="stopped with JOB_BAD_RING: JOB_BAD_RING from JOBS"):
        bench.run(device.jobs())
    bench.jobs.write = lambda offset, value: None  # type: ignore[method-assign]
    with pytest.raises(JobQueueStopped, match="did not start: the device has fewer queues"):
        bench.run(device.jobs(2))
    assert bench.host.memory_in_use == 0


def test_vectors_are_set_up_once():
    """Setting MSI-X up masks all others, so a second queue must not do it again."""
    bench = DeviceBench()
    device = bench.find()
    queues = [bench.run(device.jobs(index)) for index in range(4)]
    for queue in queues:
        assert bench.run(queue.copy(b"x")) == b"x"
    assert [queue.interrupt.count for queue in queues if queue.interrupt] == [1, 1, 1, 1]
    masked = [bench.management.table[16 * vector + 12] & 1 for vector in range(8)]
    assert masked == [0, 0, 0, 0, 0, 1, 1, 1]
