"""A job queue on a soft device, and copies to send through it."""

from tailrace.jobs.queue import JobQueue
from tailrace.jobs.types import Job, JobResult
from tailrace.regs.job_memory import JobOpcode
from tailrace_sim.models.jobs import crc32c
from tailrace_sim.soft_device import DeviceBench

__all__ = ["bench_with", "check", "copies"]


def bench_with(
    function: int = 0, size: int = 64, seed: int = 0, timeout: int = 50_000
) -> tuple[DeviceBench, JobQueue]:
    """Job queue 1 of a function."""
    bench = DeviceBench(seed=seed)
    device = bench.find()
    queue: JobQueue = bench.run(device.jobs(1, function, size=size, timeout=timeout))
    return bench, queue


def copies(bench: DeviceBench, count: int) -> tuple[list[Job], list, list[bytes]]:
    """Jobs, their destinations, and what must be there."""
    made, places, wanted = [], [], []
    for _ in range(count):
        data = bench.rng.randbytes(bench.rng.randint(1, 200))
        source, place = bench.host.alloc(len(data)), bench.host.alloc(len(data))
        source.mem[:] = data
        made.append(Job(JobOpcode.COPY, (source.address, len(data)), (place.address, len(data))))
        places.append(place)
        wanted.append(data)
    return made, places, wanted


def check(results: list[JobResult], places: list, wanted: list[bytes]) -> None:
    """All ended well, and everything is where it must be."""
    assert len(results) == len(wanted) > 0
    for result, place, data in zip(results, places, wanted, strict=True):
        assert result.ok
        assert (bytes(place.mem), result.crc) == (data, crc32c(data))
