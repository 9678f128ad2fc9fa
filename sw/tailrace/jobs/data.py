"""Jobs on data that the driver copies into DMA memory, and back."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from tailrace.errors import HostError
from tailrace.host import DmaBuffer
from tailrace.jobs.errors import JobQueueStopped
from tailrace.jobs.types import Job, JobResult, Piece, Ticket
from tailrace.regs.job_memory import JobOpcode

if TYPE_CHECKING:
    from tailrace.jobs.queue import JobQueue

__all__ = ["Ended", "Request", "run_data"]


@dataclass(frozen=True)
class Request:
    """A job on bytes.

    Attributes
    ----------
    opcode : what to do
    data : the source
    room : bytes of the destination
    parameters : the other attributes of :class:`Job`
    """

    opcode: JobOpcode
    data: bytes = b""
    room: int = 0
    parameters: dict[str, Any] = field(default_factory=dict)


class Ended(NamedTuple):
    """How a job ended, and what it wrote."""

    result: JobResult
    output: bytes

    def check(self, what: str) -> bytes:
        """The output; raises :class:`JobError` unless the status is OK."""
        self.result.check(what)
        return self.output


@dataclass
class _Begun:
    """A job that the queue has."""

    ticket: Ticket
    buffers: list[DmaBuffer]
    destination: DmaBuffer | None


async def run_data(queue: "JobQueue", requests: Iterable[Request]) -> list[Ended]:
    """Do the jobs, as many at once as ring and host memory hold; ends in the same order.

    What was copied into DMA memory is erased there behind the job. The output of a job that has
    failed is empty.
    """
    begun: deque[_Begun] = deque()
    ended: list[Ended] = []
    try:
        for request in requests:
            while (job := await _try_begin(queue, request, begun)) is None:
                ended.append(await _finish(queue, begun))
            begun.append(job)
            if queue.untold >= queue.batch:
                await queue.kick()
        await queue.kick()
        while begun:
            ended.append(await _finish(queue, begun))
    finally:
        for job in begun:
            queue.release(job.ticket, *job.buffers)
    return ended


async def _try_begin(queue: "JobQueue", request: Request, begun: deque[_Begun]) -> _Begun | None:
    """Begin a job; None if one of those under way must end first, for its place or its memory."""
    if len(begun) >= queue.size:
        return None
    try:
        return await _begin(queue, request)
    except HostError:
        if not begun:
            raise
        return None


async def _begin(queue: "JobQueue", request: Request) -> _Begun:
    buffers: list[DmaBuffer] = []
    try:
        source = destination = None
        if request.data:
            source = queue.host.alloc(len(request.data))
            buffers.append(source)
            source.mem[:] = request.data
        if request.room:
            destination = queue.host.alloc(request.room)
            buffers.append(destination)
        job = Job(
            request.opcode, _place(source), _place(destination),
            length=len(request.data), **request.parameters,
        )  # fmt: skip
        return _Begun(await queue.submit(job), buffers, destination)
    except BaseException:
        for buffer in buffers:
            buffer.view[:] = 0
            queue.host.free(buffer)
        raise


def _place(buffer: DmaBuffer | None) -> tuple[Piece, ...]:
    return () if buffer is None else (Piece(buffer.address, buffer.size),)


async def _finish(queue: "JobQueue", begun: deque[_Begun]) -> Ended:
    """The end of the oldest job."""
    job = begun[0]
    result = await queue.wait(job.ticket)
    output = b""
    if result.ok and job.destination is not None:
        if result.length != job.destination.size:
            raise JobQueueStopped(
                f"{queue} can't be trusted",
                f"{result.length} bytes were written of {job.destination.size}",
            )
        output = bytes(job.destination.mem)
    queue.release(job.ticket, *job.buffers)
    begun.popleft()
    return Ended(result, output)
