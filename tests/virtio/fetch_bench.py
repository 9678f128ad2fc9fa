"""Test bench of the descriptor fetch: DMA agents and a device, one step a clock cycle."""

from collections import deque
from dataclasses import dataclass
from random import Random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge, ReadOnly
from fetch_rings import Memory

from tailrace_hw.errors import ErrorCode, ErrorEvent, ErrorSource
from tailrace_hw.lib.packet import beat_layout
from tailrace_hw.pcie.dma import (
    DmaReadMeta,
    DmaReadRequest,
    DmaStatus,
    DmaWriteRequest,
    DmaWriteResponse,
)
from tailrace_hw.virtio.fetch_types import TABLE_TAG
from tailrace_hw.virtio.interfaces import (
    QueueCommand,
    QueueNotify,
    QueueOp,
    Segment,
    TakeAction,
    TakeRequest,
)
from tailrace_sim.run import parameters, seed
from tailrace_sim.stream_ports import Codec, Sink, Source

FUNCTION = 5
COMMAND, NOTIFY, TAKE = Codec(QueueCommand), Codec(QueueNotify), Codec(TakeRequest)
SEGMENT, ERROR = Codec(Segment), Codec(ErrorEvent)
READ, WRITE, RESPONSE = Codec(DmaReadRequest), Codec(DmaWriteRequest), Codec(DmaWriteResponse)


@dataclass
class Read:
    address: int
    length: int
    tag: int
    due: int
    data: bytes | None


class ReadAgent:
    """Host memory behind a read port: in order, with latency, and with faults on demand."""

    def __init__(self, bench, name):
        self.bench = bench
        self.waiting: deque[Read] = deque()
        self.reads = 0
        self.beat = Codec(beat_layout(bench.width, DmaReadMeta))
        self.source = bench.source(f"{name}__data")
        bench.sink(f"{name}__request", self._asked)

    def _asked(self, word):
        bench, request = self.bench, READ.unpack(word)
        self.reads += 1
        assert request.function == FUNCTION
        assert 0 < request.length <= 128, f"a read of {request.length} bytes"
        early = bench.rng.random() < 0.5
        data = bench.memory.read(request.address, request.length) if early else None
        due = bench.now + bench.latency + bench.rng.randint(0, bench.jitter)
        self.waiting.append(Read(request.address, request.length, request.tag, due, data))

    def in_flight(self, queue) -> int:
        return sum(read.tag & ~TABLE_TAG == queue for read in self.waiting)

    def step(self):
        # A beat or two ahead, so that data comes without gaps.
        while self.waiting and self.waiting[0].due <= self.bench.now and len(self.source.items) < 2:
            self._answer(self.waiting.popleft())

    def _answer(self, read):
        data = read.data or self.bench.memory.read(read.address, read.length)
        status = self.bench.fault(read.address, read.length)
        if status != DmaStatus.OK:
            # Data before the failing beat is undefined.
            data = self.bench.rng.randbytes(read.length)
        step = self.bench.width // 8
        meta = self.beat.fields[-1]
        for start in range(0, read.length, step):
            part, last = data[start : start + step], start + step >= read.length
            ending = Codec(DmaReadMeta).pack(
                tag=read.tag, status=status.value if last else DmaStatus.OK.value
            )
            assert meta[0] == "meta"
            self.source.items.append(
                self.beat.pack(
                    data=int.from_bytes(part, "little"),
                    empty=step - len(part) if last else 0,
                    last=int(last),
                    meta=ending,
                )
            )


class WriteAgent:
    """Host memory behind the avail_event port."""

    def __init__(self, bench):
        self.bench = bench
        self.requests: deque = deque()
        self.responses: deque = deque()
        self.writes = 0
        self.status = DmaStatus.OK
        self.beat = Codec(beat_layout(bench.width))
        self.source = bench.source("event__response")
        bench.sink("event__request", lambda word: self.requests.append(WRITE.unpack(word)))
        bench.sink("event__data", self._data)

    def _data(self, word):
        request, beat = self.requests.popleft(), self.beat.unpack(word)
        assert beat.last
        assert request.length == 2
        if self.status == DmaStatus.OK:
            value = (beat.data & 0xFFFF).to_bytes(2, "little")
            self.bench.memory.write(request.address, value)
        self.writes += 1
        self.responses.append((self.bench.now + self.bench.latency // 2, self.status))

    def idle(self) -> bool:
        return not (self.requests or self.responses or self.source.items)

    def step(self):
        while self.responses and self.responses[0][0] <= self.bench.now:
            self.source.items.append(RESPONSE.pack(status=self.responses.popleft()[1].value))


@dataclass
class Take:
    queue: int
    #: The queue's ring when this was sent; it may have another when this is answered.
    ring: object
    action: TakeAction
    #: Chains that a notification had told of when this was sent.
    notified: int


class Bench:
    """The component with agents on every port, a model of what each TAKE must give, and counts.

    ``rings`` has the driver's ring of each enabled queue. Answers are compared as they come;
    ``compared`` counts chains, ``nones`` the answers ``none``.
    """

    def __init__(self, dut, rng, *, latency=20, jitter=8, stall=0.0):
        self.dut, self.rng = dut, rng
        self.width, self.queues = parameters()["width"], parameters()["queues"]
        self.depth = parameters()["depth"]
        self.latency, self.jitter, self.stall = latency, jitter, stall
        self.now = 0
        self.memory = Memory()
        self.faults: dict[int, DmaStatus] = {}
        self.ports: list = []
        self.ring, self.chain, self.event = (
            ReadAgent(self, "ring"),
            ReadAgent(self, "chain"),
            WriteAgent(self),
        )
        self.commands, self.takes = self.source("command"), self.source("take")
        self.notifies = self.source("notify")
        self._told: deque = deque()
        self.acks: list[int] = []
        self.errors: list = []
        self.sink("ack", self.acks.append)
        self.sink("errors", self._error)
        self.segments = self.sink("segments", self._segment)
        self.rings: dict[int, object] = {}
        self.expected: deque[Take] = deque()
        self._answer: list = []
        self.compared, self.nones, self.cut = 0, 0, 0
        self.given_at: list[int] = []
        self.halted = False

    def source(self, name):
        self.ports.append(Source(self.dut, name, self.rng, self.stall))
        return self.ports[-1]

    def sink(self, name, use):
        self.ports.append(Sink(self.dut, name, self.rng, self.stall, use))
        return self.ports[-1]

    def fault(self, address, length) -> DmaStatus:
        for place, status in self.faults.items():
            if address <= place < address + length:
                return status
        return DmaStatus.OK

    def _error(self, word):
        event = ERROR.unpack(word)
        assert event.source == ErrorSource.VIRTIO_FETCH.value
        assert event.function == FUNCTION
        event.code = ErrorCode(event.code)
        self.errors.append(event)

    # The device's side.

    def take(self, queue, action):
        self.takes.items.append(TAKE.pack(queue=queue, action=action.value))
        ring = self.rings.get(queue)
        self.expected.append(Take(queue, ring, action, ring.notified if ring else 0))
        self._apply()

    def _apply(self):
        """COMMIT and ROLLBACK have no answer: they take effect when all before them was given."""
        while self.expected and self.expected[0].action in (
            TakeAction.COMMIT,
            TakeAction.ROLLBACK,
        ):
            take = self.expected.popleft()
            ring = self.rings.get(take.queue)
            if ring is None:
                continue
            if take.action == TakeAction.COMMIT:
                ring.committed = ring.given
            else:
                ring.given = ring.committed

    def answering(self, queue) -> int:
        return sum(take.ring is not None and take.ring.queue == queue for take in self.expected)

    def _segment(self, word):
        segment = SEGMENT.unpack(word)
        self._answer.append(segment)
        if segment.last:
            answer, self._answer = self._answer, []
            self.given_at.append(self.now)
            self._check(self.expected.popleft(), answer)
            self._apply()

    def _check(self, take, answer):
        queue = answer[-1].queue
        ring = self.rings.get(queue)
        if answer[-1].none:
            self.nones += 1
            self.cut += len(answer) > 1
            if ring is None or ring is not take.ring or ring.stopped or self.halted:
                return
            assert len(answer) == 1, "an answer broke off"
            state = (
                f"queue {queue}: none at {self.now}, {take.notified} chains were notified, "
                f"{ring.given} given, and segments up to the next are {ring.kept(1)}"
            )
            if answer[-1].crowded:
                assert ring.kept(1) > self.depth or ring.kept() == self.depth, state
            else:
                assert ring.given >= take.notified, state
            return
        assert ring is not None, f"queue {queue} is not enabled, but gave a chain"
        assert not self.halted
        assert ring.given < len(ring.posted), f"queue {queue} gave a chain nobody posted"
        chain = ring.posted[ring.given]
        got = [(s.address, s.length, bool(s.writable)) for s in answer]
        assert got == [(b.address, b.length, b.writable) for b in chain.buffers]
        assert all(s.queue == queue and not s.none for s in answer)
        assert (answer[-1].id, answer[-1].slots) == (chain.id, chain.slots)
        ring.given += 1
        if take.action == TakeAction.TAKE_COMMIT:
            ring.committed = ring.given
        self.compared += 1

    # The driver's side.

    def notify(self, ring):
        self.notifies.items.append(NOTIFY.pack(queue=ring.queue))
        self._told.append((ring, len(ring.posted)))

    def post(self, ring, buffers, indirect=False):
        """Posts a chain and notifies if the device wants to be told."""
        ring.post(buffers, indirect)
        if ring.wants_notify():
            self.notify(ring)

    async def command(self, op, ring, **changes):
        fields = {
            name: int(getattr(ring, name))
            for name in (
                "queue", "size", "desc", "driver", "device", "packed_ring", "event_idx", "indirect"
            )
        }  # fmt: skip
        before = len(self.acks)
        self.commands.items.append(
            COMMAND.pack(**{**fields, "op": op.value, "vector": 0xFFFF, **changes})
        )
        await self.until(lambda: len(self.acks) > before, 30000, f"the answer to {op}")
        assert self.acks[before:] == [ring.queue]

    async def enable(self, ring, **changes):
        self.rings.pop(ring.queue, None)
        await self.command(QueueOp.ENABLE, ring, **changes)
        self.rings[ring.queue] = ring

    async def reset(self, ring):
        ring.stopped = True
        await self.command(QueueOp.RESET, ring)
        assert not self.ring.in_flight(ring.queue), "a ring read is in flight after the reset"
        assert not self.chain.in_flight(ring.queue), "a table read is in flight after the reset"
        assert not self._answer or self._answer[0].queue != ring.queue
        del self.rings[ring.queue]

    def __str__(self):
        """What is going on, for the message of a test that hangs."""
        waiting = [(t.ring and t.ring.queue, t.action.name) for t in self.expected]
        rings = [str(ring) for ring in self.rings.values()]
        errors = [(e.code.name, e.queue, hex(e.info)) for e in self.errors]
        return (
            f"TAKEs {waiting}, segments {len(self._answer)}, {rings}, errors {errors}, "
            f"reads in flight {len(self.ring.waiting)}+{len(self.chain.waiting)}"
        )

    # Time.

    async def cycle(self):
        for agent in (self.ring, self.chain, self.event):
            agent.step()
        await FallingEdge(self.dut.clk)
        self.dut.halt.value = int(self.halted)
        for port in self.ports:
            port.drive()
        await ReadOnly()
        told = self.notifies.taken
        for port in self.ports:
            port.sample()
        if self.notifies.taken != told:
            ring, count = self._told.popleft()
            ring.notified = max(ring.notified, count)
        self.now += 1

    async def cycles(self, count):
        for _ in range(count):
            await self.cycle()

    async def until(self, condition, limit, what):
        start = self.now
        while not condition():
            assert self.now - start < limit, f"still waiting for {what} at {self.now}: {self}"
            await self.cycle()
        return self.now - start

    async def answered(self, limit=30000):
        await self.until(lambda: not self.expected, limit, "answers")

    async def drain(self, tries=200):
        """Takes all that was posted; the component must find it by itself."""
        for ring in self.rings.values():
            self.take(ring.queue, TakeAction.ROLLBACK)
        await self.answered()
        for _ in range(tries):
            left = [ring for ring in self.rings.values() if ring.given < len(ring.posted)]
            if not left:
                break
            for ring in left:
                self.take(ring.queue, TakeAction.TAKE_COMMIT)
            await self.answered()
        assert all(ring.given == len(ring.posted) for ring in self.rings.values()), (
            "chains were never found"
        )
        nones = self.nones
        for ring in self.rings.values():
            self.take(ring.queue, TakeAction.TAKE)
        await self.answered()
        assert self.nones - nones == len(self.rings)


async def start(dut, **options) -> Bench:
    """A bench around the component just out of reset."""
    cocotb.start_soon(Clock(dut.clk, 4, unit="ns").start())
    dut.rst.value = 1
    dut.halt.value = 0
    dut.function.value = FUNCTION
    await ClockCycles(dut.clk, 3)
    await FallingEdge(dut.clk)
    dut.rst.value = 0
    return Bench(dut, options.pop("rng", None) or Random(seed()), **options)


async def random_bench(dut) -> tuple[Bench, Random]:
    """A bench with latency and stalls drawn from the seed."""
    rng = Random(seed())
    stall = rng.choice((0.0, 0.1, 0.5))
    bench = await start(
        dut, rng=rng, stall=stall, latency=rng.choice((3, 30, 150)), jitter=rng.choice((0, 40))
    )
    return bench, rng
