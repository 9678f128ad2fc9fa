"""Agents for unit tests of virtio devices in Amaranth's own simulator.

They are the virtqueue engine and host memory behind a device's ports.

Each agent has coroutine functions for ``simulate(..., background=agent.benches())``.
"""

from collections import deque
from dataclasses import dataclass, field
from random import Random

from tailrace_hw.pcie.dma import DmaStatus
from tailrace_hw.virtio.interfaces import TakeAction
from tailrace_sim.streams import from_beats, receive, to_beats

__all__ = ["Buffer", "Chain", "ChainAgent", "Clock", "ReadAgent", "WriteAgent"]


@dataclass(frozen=True)
class Buffer:
    """A segment of a chain."""

    address: int
    length: int
    writable: bool


@dataclass(frozen=True)
class Chain:
    """A descriptor chain as a driver makes it available."""

    buffers: tuple[Buffer, ...]
    id: int
    slots: int = 1
    #: The engine gives these buffers and then finds out that the chain is bad.
    broken: bool = False


class Clock:
    """Counts cycles of the simulation."""

    def __init__(self):
        self.cycle = 0

    async def run(self, ctx):
        while True:
            await ctx.tick()
            self.cycle += 1


class ChainAgent:
    """The engine's side of a ChainPort: gives posted chains, collects completions.

    Parameters
    ----------
    port : the device's ChainPort
    clock : running :class:`Clock`
    latency : cycles from a take to its first segment
    stall : probability of a stall on each of the three streams
    keeps : buffers of chains taken and not committed at most; more are answered ``crowded``
    """

    def __init__(
        self,
        port,
        clock: Clock,
        rng: Random,
        *,
        latency: int = 4,
        stall: float = 0.0,
        keeps: int | None = None,
    ):
        self.port = port
        self.keeps = keeps
        self.clock = clock
        self.rng = rng
        self.latency = latency
        self.stall = stall
        count = len(port.available)
        self.posted: list[list[Chain]] = [[] for _ in range(count)]
        self.taken = [0] * count
        self.committed = [0] * count
        #: (queue, id, slots, written, more), in the order they came.
        self.completed: list[tuple[int, int, int, int, int]] = []
        #: Cycle of each completion.
        self.completed_at: list[int] = []
        self._answers: deque = deque()

    def benches(self):
        return [self._take, self._answer, self._complete, self._available]

    def outstanding(self, queue: int) -> int:
        """Chains given and not consumed: 0 when the device is idle."""
        return self.taken[queue] - self.committed[queue]

    async def _take(self, ctx):
        while True:
            (request,) = await receive(ctx, self.port.take, 1, self.rng, self.stall)
            queue, action = request.queue, TakeAction(request.action)
            if action in (TakeAction.TAKE, TakeAction.TAKE_COMMIT):
                crowded = self._crowded(queue)
                chain = None if crowded else self._next(queue)
                self._answers.append((self.clock.cycle + self.latency, queue, chain, crowded))
            if action in (TakeAction.COMMIT, TakeAction.TAKE_COMMIT):
                self.committed[queue] = self.taken[queue]
            if action == TakeAction.ROLLBACK:
                self.taken[queue] = self.committed[queue]

    def _crowded(self, queue: int) -> bool:
        chains = self.posted[queue][self.committed[queue] : self.taken[queue] + 1]
        return self.keeps is not None and sum(len(c.buffers) for c in chains) > self.keeps

    def _next(self, queue: int) -> Chain | None:
        if self.taken[queue] == len(self.posted[queue]):
            return None
        self.taken[queue] += 1
        return self.posted[queue][self.taken[queue] - 1]

    async def _answer(self, ctx):
        stream = self.port.segments
        while True:
            if not self._answers or self._answers[0][0] > self.clock.cycle + 1:
                await ctx.tick()
                continue
            _, queue, chain, crowded = self._answers.popleft()
            for segment in self._segments(queue, chain, crowded):
                while self.stall and self.rng.random() < self.stall:
                    await ctx.tick()
                ctx.set(stream.payload, segment)
                ctx.set(stream.valid, 1)
                await ctx.tick().until(stream.ready)
                ctx.set(stream.valid, 0)

    @staticmethod
    def _segments(queue: int, chain: Chain | None, crowded: bool):
        if chain is None:
            yield {"queue": queue, "none": 1, "last": 1, "crowded": int(crowded)}
            return
        for index, buffer in enumerate(chain.buffers):
            last = index == len(chain.buffers) - 1 and not chain.broken
            yield {
                "queue": queue,
                "address": buffer.address,
                "length": buffer.length,
                "writable": int(buffer.writable),
                "last": int(last),
                # Only the last segment's are defined.
                "id": chain.id if last else 0xDEAD,
                "slots": chain.slots if last else 0xBEEF,
            }
        if chain.broken:
            yield {"queue": queue, "none": 1, "last": 1, "length": 0x55555555}

    async def _complete(self, ctx):
        while True:
            (c,) = await receive(ctx, self.port.complete, 1, self.rng, self.stall)
            self.completed.append((c.queue, c.id, c.slots, c.written, c.more))
            self.completed_at.append(self.clock.cycle)

    async def _available(self, ctx):
        while True:
            bits = sum((self.taken[q] < len(chains)) << q for q, chains in enumerate(self.posted))
            ctx.set(self.port.available, bits)
            await ctx.tick()


@dataclass
class WriteAgent:
    """Host memory behind a DmaWritePort. Writes at addresses in ``faults`` fail.

    Attributes
    ----------
    memory : bytes written, by address
    requests : (address, length, function) of all requests
    """

    port: object
    clock: Clock
    rng: Random
    latency: int = 20
    stall: float = 0.0
    faults: frozenset = frozenset()
    memory: dict = field(default_factory=dict)
    requests: list = field(default_factory=list)
    beats: int = 0

    def __post_init__(self):
        self._pending: deque = deque()
        self._responses: deque = deque()

    def benches(self):
        return [self._request, self._data, self._respond]

    def read(self, address: int, length: int) -> bytes:
        return bytes(self.memory[address + k] for k in range(length))

    async def _request(self, ctx):
        while True:
            (request,) = await receive(ctx, self.port.request, 1, self.rng, self.stall)
            self.requests.append((request.address, request.length, request.function))
            self._pending.append(request)

    async def _data(self, ctx):
        port = self.port.data
        beats: list = []
        while True:
            ready = bool(self._pending) and not self.rng.random() < self.stall
            ctx.set(port.ready, ready)
            _, _, valid, beat = await ctx.tick().sample(port.valid, port.payload)
            if not (ready and valid):
                continue
            self.beats += 1
            beats.append(beat)
            if beat.last:
                self._store(self._pending.popleft(), from_beats(beats)[0][0])
                beats = []

    def _store(self, request, data: bytes):
        assert len(data) == request.length, f"{len(data)} bytes for a write of {request.length}"
        status = DmaStatus.UR if request.address in self.faults else DmaStatus.OK
        if status == DmaStatus.OK:
            for offset, octet in enumerate(data):
                self.memory[request.address + offset] = octet
        self._responses.append((self.clock.cycle + self.latency, request.tag, status))

    async def _respond(self, ctx):
        stream = self.port.response
        while True:
            if not self._responses or self._responses[0][0] > self.clock.cycle:
                await ctx.tick()
                continue
            _, tag, status = self._responses.popleft()
            ctx.set(stream.payload, {"tag": tag, "status": status})
            ctx.set(stream.valid, 1)
            await ctx.tick().until(stream.ready)
            ctx.set(stream.valid, 0)


@dataclass
class ReadAgent:
    """Host memory behind a DmaReadPort: ``memory`` is read, addresses in ``faults`` fail."""

    port: object
    clock: Clock
    rng: Random
    width: int
    latency: int = 20
    stall: float = 0.0
    faults: frozenset = frozenset()
    memory: dict = field(default_factory=dict)
    requests: list = field(default_factory=list)

    def __post_init__(self):
        self._pending: deque = deque()

    def benches(self):
        return [self._request, self._data]

    def write(self, address: int, data: bytes):
        for offset, octet in enumerate(data):
            self.memory[address + offset] = octet

    async def _request(self, ctx):
        while True:
            (request,) = await receive(ctx, self.port.request, 1, self.rng, self.stall)
            self.requests.append((request.address, request.length, request.function))
            self._pending.append((self.clock.cycle + self.latency, request))

    def _beats(self, request):
        """Data of a request; a failing one breaks off after a beat, as it may."""
        meta = {"tag": request.tag, "status": DmaStatus.OK}
        if request.address in self.faults:
            meta = {"tag": request.tag, "status": DmaStatus.CA}
            yield from to_beats(self.rng.randbytes(self.rng.randint(1, 80)), self.width, meta)
            return
        data = bytes(self.memory[request.address + k] for k in range(request.length))
        yield from to_beats(data, self.width, meta)

    async def _data(self, ctx):
        stream = self.port.data
        while True:
            if not self._pending or self._pending[0][0] > self.clock.cycle:
                await ctx.tick()
                continue
            for beat in self._beats(self._pending.popleft()[1]):
                while self.stall and self.rng.random() < self.stall:
                    await ctx.tick()
                ctx.set(stream.payload, beat)
                ctx.set(stream.valid, 1)
                await ctx.tick().until(stream.ready)
                ctx.set(stream.valid, 0)
