"""A job queue as its driver sees it."""

from collections import deque
from collections.abc import Awaitable, Callable, Iterable

from tailrace.errors import ResponseTimeout
from tailrace.host import DmaBuffer, Host, Interrupt, Mutex
from tailrace.jobs.data import Request, run_data
from tailrace.jobs.errors import BadJob, JobQueueStopped, JobReset
from tailrace.jobs.queue_registers import QueueCounters, QueueRegisters, QueueState
from tailrace.jobs.types import Job, JobResult, Registers, Ticket
from tailrace.pci import PciFunction
from tailrace.regs import jobs
from tailrace.regs.job_memory import (
    COMPLETION,
    DESCRIPTOR,
    DESCRIPTOR_FIELDS,
    NO_VECTOR,
    RING_ALIGNMENT,
    JobFlag,
    JobOpcode,
    JobStatus,
)

__all__ = ["JobQueue"]

#: A task that waits asks this often (cycles) whether the queue still runs.
_SLICE = 4096
#: Without an interrupt it looks this often at the ring.
_INTERVAL = 32
_FLAGS_AT = DESCRIPTOR_FIELDS.index("flags")  # all fields up to it are bytes
_LARGEST_LOG2 = (1 << jobs.SETUP__RING_LOG2[1]) - 1


class JobQueue:
    """A running job queue; ``await JobQueue.open(...)``, or ``await device.jobs(...)``.

    ::

        ticket = await queue.submit(Job(JobOpcode.COPY, (a, 100), (b, 100)))
        await queue.kick()
        result = await queue.wait(ticket)

    Any number of tasks may use it. Jobs end in the order of :meth:`submit`. When the queue has
    stopped every call raises :class:`JobQueueStopped` until :meth:`reset`.

    Attributes
    ----------
    registers, function, index : of the management function; the owner; number of the queue
    size : entries of each ring
    batch : jobs after which :meth:`run_all` rings the doorbell
    interrupt : what it sleeps on, or None when it polls
    timeout : cycles without a completion after which a wait gives up
    """

    def __init__(
        self, registers: Registers, function: PciFunction, index: int, *, size: int,
        vector: int | None, interrupt: Interrupt | None, timeout: int,
        cause: Callable[[], Awaitable[str]] | None,
    ):  # fmt: skip
        if not 0 <= index < jobs.STATE_COUNT:
            raise BadJob(f"job queue {index} does not exist; there are {jobs.STATE_COUNT} at most")
        if size & (size - 1) or not 2 <= size <= 1 << _LARGEST_LOG2:
            raise BadJob(f"a ring has a power of two of entries, 2 to 32768, not {size}")
        self.registers, self.function, self.index = registers, function, index
        self.host: Host = function.host
        self.size, self.batch = size, max(1, size // 4)
        self.interrupt = interrupt
        self.timeout = timeout
        self._vector = NO_VECTOR if vector is None else vector
        self._cause = cause
        self._queue = QueueRegisters(registers, index)
        self._ring: DmaBuffer
        self._completions: DmaBuffer
        #: Jobs that the ring has, in their order.
        self._waiting: deque[Ticket] = deque()
        # All four count from the start on and are not cut to 16 bits: descriptors written and told
        # of, completions taken back and told of.
        self._tail = self._rung = self._head = self._told = 0
        self._broken: Exception | None = None
        self._closed = False
        self._sleeping = False
        #: Doorbells of two tasks must not pass each other, or a reset.
        self._ringing = Mutex(self.host)

    @classmethod
    async def open(
        cls, management: Registers, function: PciFunction, index: int, *, size: int = 64,
        vector: int | None = None, interrupt: Interrupt | None = None, timeout: int = 500_000,
        cause: Callable[[], Awaitable[str]] | None = None,
    ) -> "JobQueue":  # fmt: skip
        """Make the rings and start the queue; one that is not idle is reset first.

        Parameters
        ----------
        management : its registers
        function : the owner: DMA, keys and interrupts are this function's; enabled, Bus Master
        index : of the queue
        size : entries of each ring, a power of two
        vector, interrupt : MSI-X vector of ``function``, and where the host sees it; None: poll
        timeout : cycles that the device has to end a job, or a reset
        cause : asked for the reason when the queue has stopped
        """
        queue = cls(
            management, function, index, size=size, vector=vector, interrupt=interrupt,
            timeout=timeout, cause=cause,
        )  # fmt: skip
        if not (await queue._queue.state()).idle:
            await queue._queue.reset(queue.host, timeout)
        queue._ring = queue.host.alloc(size * DESCRIPTOR.size, RING_ALIGNMENT)
        queue._completions = queue.host.alloc(size * COMPLETION.size, COMPLETION.size)
        try:
            await queue._start()
        except Exception:
            queue._give_back()
            raise
        return queue

    def __str__(self) -> str:
        return f"job queue {self.index} of function {self.function.address.function}"

    @property
    def closed(self) -> bool:
        return self._closed

    # Life ----------------------------------------------------------------------------------------

    async def _start(self) -> None:
        await self._queue.start(
            self._ring.address, self._completions.address, self.size.bit_length() - 1,
            self.function.address.function, self._vector,
        )  # fmt: skip
        state = await self._queue.state()
        if state.idle:
            raise JobQueueStopped(
                f"{self} did not start", "the device has fewer queues, or the function is in reset"
            )
        if not state.running:
            raise await self._stopped(state)

    async def reset(self) -> None:
        """Drop all jobs and start again, at any time.

        Who waits for a job that had not ended gets :class:`JobReset`; who waits for room goes on.
        """
        async with self._ringing:
            await self._end("was dropped by a reset of its queue")
            self._ring.view[:] = 0
            self._completions.view[:] = 0
            self._broken = None
            try:
                await self._start()
            except JobQueueStopped as error:
                self._broken = error
                raise

    async def close(self) -> None:
        """Drop all jobs, stop, give the memory back."""
        async with self._ringing:
            if self._closed:
                return
            await self._end("was dropped: its queue was closed")
            self._broken = JobReset(f"{self} was closed")
            self._closed = True
            self._give_back()

    async def _end(self, why: str) -> None:
        """Reset; when the device is done with all jobs, they have ended."""
        if self._closed:
            raise JobReset(f"{self} was closed")
        await self._queue.reset(self.host, self.timeout)
        self._collect()
        while self._waiting:
            ticket = self._waiting.popleft()
            ticket.error = JobReset(f"job {ticket.cookie} of {self} {why}")
            self._free(ticket.buffers)
        self._tail = self._rung = self._head = self._told = 0

    def _give_back(self) -> None:
        self.host.free(self._ring)
        self.host.free(self._completions)

    # Jobs ----------------------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """Jobs that the ring has room for now."""
        return self.size - len(self._waiting)

    @property
    def untold(self) -> int:
        """Jobs that the device has not been told of; :meth:`kick` does."""
        return self._tail - self._rung

    async def submit(self, job: Job) -> Ticket:
        """Write a descriptor, when there is room; the device is told by :meth:`kick`."""
        while True:
            if self._broken is not None:
                raise self._broken
            if self.room:
                return self._write(job)
            await self._wait_until(lambda: self.room > 0, eager=False)

    def _write(self, job: Job) -> Ticket:
        ticket = Ticket(self._tail & 0xFFFF_FFFF)
        try:
            descriptor = job.pack(self.host, ticket.cookie, ticket.buffers)
        except Exception:
            self._free(ticket.buffers)
            raise
        at = self._tail % self.size * DESCRIPTOR.size
        self._ring.mem[at : at + DESCRIPTOR.size] = descriptor
        self._waiting.append(ticket)
        self._tail += 1
        return ticket

    async def kick(self) -> None:
        """Ring the doorbell for what was submitted; the last of it sends an interrupt."""
        async with self._ringing:
            if self._broken is not None or not self.untold:
                return
            if self.interrupt is not None:
                last = (self._tail - 1) % self.size * DESCRIPTOR.size
                self._ring.mem[last + _FLAGS_AT] |= JobFlag.INTERRUPT
            # A store barrier stands here on a real CPU: descriptors before the doorbell.
            self._rung = self._tail
            await self._queue.tell_tail(self._rung)

    async def wait(self, ticket: Ticket) -> JobResult:
        """How a job ended, whatever its status.

        Raises
        ------
        JobReset
            It was dropped.
        JobQueueStopped
            The queue does not run any more.
        ResponseTimeout
            No job of the queue has ended for ``timeout`` cycles.
        """
        await self._wait_until(lambda: ticket.ended)
        if ticket.error is not None:
            raise ticket.error
        assert ticket.result is not None
        return ticket.result

    async def run(self, job: Job) -> JobResult:
        """Submit a job and wait for its end."""
        return (await self.run_all([job]))[0]

    async def run_all(self, jobs: Iterable[Job]) -> list[JobResult]:
        """Submit jobs, as many at once as the ring holds; their ends in the same order."""
        tickets = []
        for job in jobs:
            tickets.append(await self.submit(job))
            if self.untold >= self.batch:
                await self.kick()
        return [await self.wait(ticket) for ticket in tickets]

    async def copy(self, data: bytes) -> bytes:
        """Through the device and back."""
        [ended] = await run_data(self, [Request(JobOpcode.COPY, data, len(data))])
        return ended.check("COPY")

    async def crc32c(self, data: bytes) -> int:
        """CRC-32C (RFC 3720, B.4)."""
        [ended] = await run_data(self, [Request(JobOpcode.CRC32C, data)])
        return ended.result.check("CRC32C").crc

    def release(self, ticket: Ticket, *buffers: DmaBuffer) -> None:
        """Erase memory of a job and give it back, as soon as the device is done with the job."""
        ticket.buffers += buffers
        if ticket.ended:
            self._free(ticket.buffers)

    def _free(self, buffers: list[DmaBuffer]) -> None:
        while buffers:
            buffer = buffers.pop()
            buffer.view[:] = 0
            self.host.free(buffer)

    async def counters(self) -> QueueCounters:
        """What the device has counted for this queue since its reset."""
        return await self._queue.counters()

    # Completions ---------------------------------------------------------------------------------

    def _collect(self) -> None:
        """Take back what has ended."""
        while self._waiting and not self._closed:
            at = self._head % self.size * COMPLETION.size
            entry = COMPLETION.unpack_from(self._completions.mem, at)
            status, phase, queue, _, cookie, length, crc, tag = entry
            if phase != 1 - self._head // self.size % 2:
                return
            ticket = self._waiting[0]
            # Of a descriptor that could not be read nobody knows the cookie.
            lost = status == JobStatus.DESCRIPTOR_FAULT
            known = status in JobStatus.__members__.values()
            if not known or queue != self.index or (cookie != ticket.cookie and not lost):
                self._broken = JobQueueStopped(
                    f"{self} can't be trusted",
                    f"completion {self._head} has status 0x{status:02x}, queue {queue} and cookie"
                    f" {cookie}, where job {ticket.cookie} must be",
                )
                return
            self._waiting.popleft()
            self._head += 1
            ticket.result = JobResult(JobStatus(status), length, crc, tag)
            self._free(ticket.buffers)

    async def _take_back(self) -> None:
        """Collect; tell the device after each quarter of the ring.

        It then still has places for the completions of at least three quarters, so it never waits
        for the rest.
        """
        self._collect()
        if self._head - self._told < self.batch:
            return
        async with self._ringing:
            if self._broken is None and self._head != self._told:
                self._told = self._head
                await self._queue.tell_head(self._told)

    async def _wait_until(self, done: Callable[[], bool], *, eager: bool = True) -> None:
        """Take completions back until it is so; not ``eager``: a batch may grow meanwhile."""
        head, checked = self._head, self.host.cycles()
        deadline = checked + self.timeout
        while True:
            await self._take_back()
            if done():
                return
            if self._broken is not None:
                raise self._broken
            if eager or self._rung == self._head:
                await self.kick()
            now = self.host.cycles()
            if self._head != head:
                head, deadline = self._head, now + self.timeout
            if now - checked >= _SLICE or now >= deadline:
                checked = now
                await self._check()
                self._collect()
                if now >= deadline and self._head == head and not done():
                    raise await self._no_answer()
            await self._sleep(done, deadline)

    async def _sleep(self, done: Callable[[], bool], deadline: int) -> None:
        """Until something may have ended.

        Only one task sleeps on the interrupt, the others look by themselves: an event that one of
        them clears would be lost for the other. Nothing is awaited between clear and sleep.
        """
        alone = self.interrupt is not None and not self._sleeping
        if alone and self.interrupt is not None:
            self.interrupt.clear()
        self._collect()
        if done() or self._broken is not None:
            return
        left = max(1, deadline - self.host.cycles())
        if not alone or self.interrupt is None:
            await self.host.delay(min(left, _INTERVAL))
            return
        self._sleeping = True
        try:
            await self.interrupt.wait(min(left, _SLICE))
        finally:
            self._sleeping = False

    async def _check(self) -> None:
        """Find out whether the queue still runs."""
        async with self._ringing:
            if self._broken is not None:
                return
            state = await self._queue.state()
            if not state.running and not state.in_flight:
                # The read's answer came behind all completions, so none is to be expected.
                self._collect()
                self._broken = await self._stopped(state)

    async def _stopped(self, state: QueueState) -> JobQueueStopped:
        if state.stopped:
            return JobQueueStopped(f"{self}: {state}", await self._ask())
        return JobQueueStopped(
            f"{self}: {state}", "it was reset, by a function level reset or by somebody else"
        )

    async def _no_answer(self) -> ResponseTimeout:
        state = await self._queue.state()
        return ResponseTimeout(
            f"{self}: no job ended within {self.timeout} cycles, {len(self._waiting)} are waited"
            f" for; {state}; {await self._ask()}"
        )

    async def _ask(self) -> str:
        return "no cause was reported" if self._cause is None else await self._cause()
