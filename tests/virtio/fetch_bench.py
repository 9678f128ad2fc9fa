"""Test bench of the descriptor fetch: DMA agents and a device, one step a clock cycle."""

import random
from collections import deque
from dataclasses import dataclass
from types import SimpleNamespace

from amaranth.sim import Simulator
from fetch_rings import Memory

from tailrace_hw.errors import ErrorEvent
from tailrace_hw.pcie.dma import DmaReadRequest, DmaStatus, DmaWriteRequest, DmaWriteResponse
from tailrace_hw.virtio.fetch import DescriptorFetch
from tailrace_hw.virtio.interfaces import (
    QueueCommand,
    QueueNotify,
    QueueOp,
    Segment,
    TakeRequest,
)

PERIOD = 4e-9


class Source:
    """Drives an input stream from a queue of payloads, with random gaps."""

    def __init__(self, bench, port, shape):
        self.bench, self.port, self.shape = bench, port, shape
        self.items = deque()
        self.valid = False
        bench.watch(port.ready)

    def before(self, ctx):
        if self.valid or not self.items or self.bench.stalls():
            return
        item = self.items[0]
        value = item if isinstance(item, int) else self.shape.const(item).as_value().value
        ctx.set(self.port.payload.as_value(), value)
        ctx.set(self.port.valid, 1)
        self.valid = True

    def after(self, ctx, seen):
        if self.valid and seen(self.port.ready):
            self.items.popleft()
            ctx.set(self.port.valid, 0)
            self.valid = False


class Sink:
    """Takes an output stream, with random gaps, and calls ``taken`` for each item."""

    def __init__(self, bench, port, shape, taken):
        self.bench, self.port, self.shape, self.taken = bench, port, shape, taken
        self.ready = False
        self.held = None
        bench.watch(port.valid)
        self.raw = port.payload if shape is None else port.payload.as_value()
        bench.watch(self.raw)

    def before(self, ctx):
        ready = not self.bench.stalls()
        if ready != self.ready:
            ctx.set(self.port.ready, ready)
            self.ready = ready

    def after(self, ctx, seen):
        valid, raw = seen(self.port.valid), seen(self.raw)
        if self.held is not None:
            assert valid and raw == self.held, "an offered item changed before it was taken"
        self.held = raw if valid and not self.ready else None
        if valid and self.ready:
            self.taken(raw if self.shape is None else self.shape.from_bits(raw))


@dataclass
class Read:
    request: DmaReadRequest
    due: int
    data: bytes | None


class ReadAgent:
    """Host memory behind a read port: in order, with latency, and with faults on demand."""

    def __init__(self, bench, port):
        self.bench, self.port = bench, port
        self.waiting: deque[Read] = deque()
        self.reads = 0
        self.layout = port.data.payload.shape()
        self.sink = Sink(bench, port.request, DmaReadRequest, self._asked)
        self.source = Source(bench, port.data, self.layout)
        bench.parts += [self.sink, self.source, self]

    def _asked(self, request):
        bench = self.bench
        self.reads += 1
        address, length = int(request.address), int(request.length)
        assert request.function == bench.function
        assert 0 < length <= 128, f"a read of {length} bytes"
        bench.read_log.append((bench.cycle, address, length))
        early = bench.rng.random() < 0.5
        data = bench.memory.read(address, length) if early else None
        due = bench.cycle + bench.latency + bench.rng.randint(0, bench.jitter)
        self.waiting.append(Read(request, due, data))

    def busy(self) -> list[int]:
        """Queues that have a read in flight."""
        return [int(read.request.tag) for read in self.waiting]

    def before(self, ctx):
        while self.waiting and self.waiting[0].due <= self.bench.cycle and not self.source.items:
            self._answer(self.waiting.popleft())

    def _answer(self, read):
        address, length = int(read.request.address), int(read.request.length)
        data = read.data or self.bench.memory.read(address, length)
        status = self.bench.fault(address, length)
        if status != DmaStatus.OK:
            # Data before the failing beat is undefined.
            data = self.bench.rng.randbytes(length)
        step = self.bench.width // 8
        for start in range(0, length, step):
            part = data[start : start + step]
            last = start + step >= length
            self.source.items.append(
                {
                    "data": int.from_bytes(part, "little"),
                    "empty": step - len(part) if last else 0,
                    "last": last,
                    "meta": {
                        "tag": int(read.request.tag),
                        "status": status if last else DmaStatus.OK,
                    },
                }
            )

    def after(self, ctx, seen):
        pass


class WriteAgent:
    """Host memory behind the avail_event port."""

    def __init__(self, bench, port):
        self.bench = bench
        self.requests = deque()
        self.responses = deque()
        self.writes = 0
        self.failing = False
        self.layout = port.data.payload.shape()
        self.response = Source(bench, port.response, DmaWriteResponse)
        bench.parts += [
            Sink(bench, port.request, DmaWriteRequest, self.requests.append),
            Sink(bench, port.data, self.layout, self._data),
            self.response,
            self,
        ]

    def _data(self, beat):
        request = self.requests.popleft()
        bench = self.bench
        assert beat.last
        assert request.length == 2
        status = DmaStatus.UR if self.failing else DmaStatus.OK
        if status == DmaStatus.OK:
            bench.memory.write(
                int(request.address), (int(beat.data) & 0xFFFF).to_bytes(2, "little")
            )
        self.writes += 1
        self.responses.append((bench.cycle + bench.latency // 2, status))

    def before(self, ctx):
        while self.responses and self.responses[0][0] <= self.bench.cycle:
            self.response.items.append({"tag": 0, "status": self.responses.popleft()[1]})

    def after(self, ctx, seen):
        pass


class Bench:
    """The device under test with agents on every port.

    ``run(body)`` runs the coroutine ``body(bench)``, which awaits ``bench.step()`` for each clock
    cycle; ``answers`` collects finished TAKE answers as lists of segments.
    """

    def __init__(
        self, seed, queues=3, width=128, depth=32, latency=20, jitter=8, stall=0.3, **options
    ):
        self.dut = DescriptorFetch(queues, width, depth, **options)
        self.seed = seed
        self.rng = random.Random(seed)
        self.width, self.queues, self.depth = width, queues, depth
        self.latency, self.jitter, self.stall = latency, jitter, stall
        self.function = 5
        self.cycle = 0
        self.memory = Memory()
        self.faults: dict[int, DmaStatus] = {}
        self.read_log: list[tuple[int, int, int]] = []
        self.acks: list[int] = []
        self.errors: list = []
        self.answers: deque = deque()
        self.answer: list = []
        self.given_at: list[int] = []
        self.parts: list = []
        self._watched: list = []
        self._numbers: dict[int, int] = {}
        dut = self.dut
        self.ring = ReadAgent(self, dut.ring)
        self.chain = ReadAgent(self, dut.chain)
        self.event = WriteAgent(self, dut.event)
        self.commands = Source(self, dut.command, QueueCommand)
        self.notifies = Source(self, dut.notify, QueueNotify)
        self.takes = Source(self, dut.take, TakeRequest)
        self.segments = Sink(self, dut.segments, Segment, self._segment)
        self.parts += [
            self.commands,
            self.notifies,
            self.takes,
            self.segments,
            Sink(self, dut.ack, None, self.acks.append),
            Sink(self, dut.errors, ErrorEvent, self.errors.append),
        ]
        self.watch(dut.available)
        self.available = 0

    def watch(self, signal):
        self._numbers[id(signal)] = len(self._watched)
        self._watched.append(signal)

    def stalls(self) -> bool:
        return self.stall > 0 and self.rng.random() < self.stall

    def fault(self, address, length) -> DmaStatus:
        for place, status in self.faults.items():
            if address <= place < address + length:
                return status
        return DmaStatus.OK

    def _segment(self, segment):
        fields = ("queue", "address", "length", "writable", "last", "id", "slots", "none")
        self.answer.append(SimpleNamespace(**{name: int(segment[name]) for name in fields}))
        self.given_at.append(self.cycle)
        if segment.last:
            self.answers.append(self.answer)
            self.answer = []

    async def step(self, cycles: int = 1):
        ctx = self._ctx
        for _ in range(cycles):
            for part in self.parts:
                part.before(ctx)
            _, _, *values = await ctx.tick().sample(*self._watched)
            numbers = self._numbers

            def seen(signal, values=values, numbers=numbers):
                return values[numbers[id(signal)]]

            self.cycle += 1
            self.available = seen(self.dut.available)
            for part in self.parts:
                part.after(ctx, seen)

    async def until(self, condition, limit: int = 20000, what: str = "condition"):
        for _ in range(limit):
            if condition():
                return
            await self.step()
        raise AssertionError(f"no {what} within {limit} cycles (seed {self.seed})")

    async def command(self, op, ring, **changes):
        fields = {
            "op": op,
            "queue": ring.queue,
            "size": ring.size,
            "desc": ring.desc,
            "driver": ring.driver,
            "device": ring.device,
            "vector": 0xFFFF,
            "packed_ring": ring.packed_ring,
            "event_idx": ring.event_idx,
            "indirect": ring.indirect,
        }
        before = len(self.acks)
        self.commands.items.append({**fields, **changes})
        await self.until(lambda: len(self.acks) > before, what=f"ack of {op}")
        assert self.acks[-1] == ring.queue

    async def enable(self, ring, **changes):
        await self.command(QueueOp.ENABLE, ring, **changes)

    async def reset(self, ring):
        await self.command(QueueOp.RESET, ring)

    def notify(self, queue):
        self.notifies.items.append({"queue": queue})

    def take(self, queue, action):
        self.takes.items.append({"queue": queue, "action": action})

    async def taken(self, queue, action, limit=20000):
        """Sends a TAKE and waits for its whole answer."""
        self.take(queue, action)
        await self.until(lambda: self.answers, limit, f"answer of queue {queue}")
        return self.answers.popleft()

    def run(self, body):
        print(f"seed {self.seed} (replay: TAILRACE_SEED={self.seed})")

        async def testbench(ctx):
            self._ctx = ctx
            ctx.set(self.dut.function, self.function)
            await body(self)

        simulator = Simulator(self.dut)
        simulator.add_clock(PERIOD)
        simulator.add_testbench(testbench)
        simulator.run()


def check_chain(answer, queue, chain):
    """A TAKE's answer is exactly what the driver posted."""
    assert [(s.address, s.length, bool(s.writable)) for s in answer] == [
        (b.address, b.length, b.writable) for b in chain.buffers
    ]
    assert all(s.queue == queue and not s.none for s in answer)
    assert [s.last for s in answer] == [0] * (len(answer) - 1) + [1]
    assert (answer[-1].id, answer[-1].slots) == (chain.id, chain.slots)


def is_none(answer):
    return len(answer) == 1 and bool(answer[0].none)
