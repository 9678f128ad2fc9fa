"""Clients of the DMA engines, their errors and counters, and the host behind them."""

import random
from collections import deque
from dataclasses import dataclass, field

import cocotb
from amaranth.lib import data as layouts
from cocotb.triggers import ClockCycles, Event, RisingEdge, with_timeout
from dma_top import CLIENTS, FUNCTIONS

from tailrace_hw.errors import ErrorCode, ErrorEvent
from tailrace_hw.lib.packet import beat_layout
from tailrace_hw.pcie.dma import DmaReadMeta, DmaReadRequest, DmaStatus, DmaWriteResponse
from tailrace_hw.pcie.dma_events import DmaCounts
from tailrace_hw.pcie.identity import management, virtio_net
from tailrace_sim.bfm.pcie_host import PcieHost
from tailrace_sim.run import seed

MEMORY = 1 << 20


def coin(rng, probability):
    """Endless random pauses."""
    while True:
        yield rng.random() < probability


class Fields:
    """Packs and unpacks a layout's members as integers; made for speed."""

    def __init__(self, shape):
        layout = layouts.Layout.cast(shape)
        self._fields = {
            str(key): (f.offset, layouts.Shape.cast(f.shape).width) for key, f in layout
        }

    def pack(self, **values) -> int:
        return sum(value << self._fields[name][0] for name, value in values.items())

    def get(self, bits: int, name: str) -> int:
        offset, width = self._fields[name]
        return bits >> offset & (1 << width) - 1


REQUEST = Fields(DmaReadRequest)
RESPONSE = Fields(DmaWriteResponse)
META = Fields(DmaReadMeta)
COUNTS = Fields(DmaCounts)


class Source:
    """Drives a stream from a queue, with random gaps."""

    def __init__(self, dut, name, rng):
        self.valid = getattr(dut, f"{name}__valid")
        self.ready = getattr(dut, f"{name}__ready")
        self.payload = getattr(dut, f"{name}__payload")
        self.edge = RisingEdge(dut.clk)
        self.rng = rng
        self.stall = 0.0
        self.queue: deque[int] = deque()
        self._wake = Event()
        self.valid.value = 0
        cocotb.start_soon(self._run())

    def send(self, *items):
        self.queue.extend(items)
        self._wake.set()

    async def _run(self):
        while True:
            if not self.queue:
                self.valid.value = 0
                self._wake.clear()
                await self._wake.wait()
                await self.edge
            while self.stall and self.rng.random() < self.stall:
                self.valid.value = 0
                await self.edge
            self.payload.value = self.queue.popleft()
            self.valid.value = 1
            await self.edge
            while not self.ready.value:
                await self.edge


class Sink:
    """Takes a stream's items, with random pauses, and checks that offers hold."""

    def __init__(self, dut, name, rng, take):
        self.valid = getattr(dut, f"{name}__valid")
        self.ready = getattr(dut, f"{name}__ready")
        self.payload = getattr(dut, f"{name}__payload")
        self.edge = RisingEdge(dut.clk)
        self.name = name
        self.rng = rng
        self.stall = 0.0
        self.take = take
        self.ready.value = 0
        self._reset = dut.rst
        cocotb.start_soon(self._run())

    async def _run(self):
        ready = False
        waiting = None
        # What a test before this one left in flight goes with the reset.
        await RisingEdge(self._reset)
        while self._reset.value:
            await self.edge
        while True:
            await self.edge
            if self.valid.value:
                payload = int(self.payload.value)
                assert waiting in (None, payload), f"{self.name} changed while it waited"
                waiting = None if ready else payload
                if ready:
                    self.take(payload)
            else:
                assert waiting is None, f"{self.name} withdrew what it offered"
            ready = self.rng.random() >= self.stall
            self.ready.value = ready


@dataclass
class Read:
    """One read: what was asked, what came."""

    function: int
    address: int
    length: int
    tag: int
    started: int = 0
    data: bytearray = field(default_factory=bytearray)
    status: DmaStatus | None = None
    done: Event = field(default_factory=Event)


@dataclass
class Write:
    """One write."""

    function: int
    address: int
    length: int
    tag: int
    status: DmaStatus | None = None
    done: Event = field(default_factory=Event)


class ReadClient:
    """Sends read requests and reassembles the packets that answer them, in order."""

    def __init__(self, bench, index):
        self._bench = bench
        self._beat = Fields(beat_layout(bench.width, DmaReadMeta))
        self._bytes = bench.width // 8
        self.waiting: deque[Read] = deque()
        self.ended: list[Read] = []
        self.beats = 0
        self.requests = Source(bench.dut, f"reads__{index}__request", bench.rng)
        self.sink = Sink(bench.dut, f"reads__{index}__data", bench.rng, self._take)
        self._tag = index << 12

    def read(self, address, length, function=0) -> Read:
        self._tag += 1
        one = Read(function, address, length, self._tag & 0xFFFF)
        self.waiting.append(one)
        self.requests.send(
            REQUEST.pack(function=function, address=address, length=length, tag=one.tag)
        )
        return one

    def _take(self, bits):
        assert self.waiting, "data that nobody asked for"
        self.beats += 1
        one = self.waiting[0]
        beat = self._beat
        last = beat.get(bits, "last")
        empty = beat.get(bits, "empty")
        meta = beat.get(bits, "meta")
        assert META.get(meta, "tag") == one.tag
        assert last or not empty, "a beat in the middle is not full"
        one.data += beat.get(bits, "data").to_bytes(self._bytes, "little")[: self._bytes - empty]
        if last:
            one.status = DmaStatus(META.get(meta, "status"))
            if one.status == DmaStatus.OK:
                assert len(one.data) == one.length
            self.waiting.popleft()
            self.ended.append(one)
            one.done.set()


class WriteClient:
    """Sends write requests with their data and matches the responses, in order."""

    def __init__(self, bench, index):
        self._beat = Fields(beat_layout(bench.width))
        self._bytes = bench.width // 8
        self.waiting: deque[Write] = deque()
        self.ended: list[Write] = []
        self.requests = Source(bench.dut, f"writes__{index}__request", bench.rng)
        self.data = Source(bench.dut, f"writes__{index}__data", bench.rng)
        self.sink = Sink(bench.dut, f"writes__{index}__response", bench.rng, self._take)
        self._tag = index << 12

    def write(self, address, data, function=0, length=None) -> Write:
        """``length``: what the request says, if not the truth."""
        self._tag += 1
        length = len(data) if length is None else length
        one = Write(function, address, length, self._tag & 0xFFFF)
        self.waiting.append(one)
        self.requests.send(
            REQUEST.pack(function=function, address=address, length=length, tag=one.tag)
        )
        for start in range(0, len(data), self._bytes):
            part = data[start : start + self._bytes]
            self.data.send(
                self._beat.pack(
                    data=int.from_bytes(part, "little"),
                    last=start + self._bytes >= len(data),
                    empty=self._bytes - len(part),
                )
            )
        return one

    def _take(self, bits):
        assert self.waiting, "a response that nobody waits for"
        one = self.waiting.popleft()
        assert RESPONSE.get(bits, "tag") == one.tag
        one.status = DmaStatus(RESPONSE.get(bits, "status"))
        self.ended.append(one)
        one.done.set()


class Bench:
    """Host, clients, error and counter monitors. ``expected`` is what memory must be at the end."""

    def __init__(self, dut, **host):
        self.dut = dut
        self.width = len(dut.pcie__rq__tdata)
        self.rng = random.Random(seed())
        self.host = PcieHost(
            dut, [management(), virtio_net(4)], prefix="pcie__", memory_size=MEMORY, seed=seed(),
            **host,
        )  # fmt: skip
        self.readers = [ReadClient(self, index) for index in range(CLIENTS)]
        self.writers = [WriteClient(self, index) for index in range(CLIENTS)]
        self.errors: list[tuple[ErrorCode, int, int]] = []
        self.error_sinks = [
            Sink(dut, f"{kind}_errors", self.rng, self._error) for kind in ("read", "write")
        ]
        self.counts = {
            kind: {"requests": 0, "bytes": 0, "unexpected": 0, "failed": {}}
            for kind in ("read", "write")
        }
        self.expected = bytearray()
        dut.extended_tags.value = 1

    async def start(self, configure=True):
        await self.host.start()
        for kind in self.counts:
            cocotb.start_soon(self._count(kind))
        await self.host.enumerate()
        self.expected = bytearray(self.rng.randbytes(MEMORY))
        self.host.memory.write(self.host.memory.base, self.expected)
        await ClockCycles(self.dut.clk, 20)
        return self

    def stall(self, probability):
        """Random stalls on every port."""
        for client in self.readers:
            client.requests.stall = client.sink.stall = probability
        for client in self.writers:
            client.requests.stall = client.data.stall = client.sink.stall = probability
        for sink in self.error_sinks:
            sink.stall = probability
        self.host.device.rq_sink.set_pause_generator(coin(self.rng, probability))
        self.host.device.rc_source.set_pause_generator(coin(self.rng, probability))

    def _error(self, bits):
        event = ErrorEvent.from_bits(bits)
        assert event.queue == 0xFFFF
        self.errors.append((ErrorCode(event.code), event.function, event.info))

    async def _count(self, kind):
        signal = getattr(self.dut, f"{kind}_counts")
        edge = RisingEdge(self.dut.clk)
        into = self.counts[kind]
        while True:
            await edge
            bits = int(signal.value)
            if bits:
                for name in ("requests", "bytes", "unexpected"):
                    into[name] += COUNTS.get(bits, name)
                failed = COUNTS.get(bits, "failed")
                for status in DmaStatus:
                    number = failed >> 4 * status.value & 15
                    if number:
                        into["failed"][status] = into["failed"].get(status, 0) + number

    async def finish(self, *ones, timeout_us=400):
        """Wait until these (all that wait, if none is named) have ended."""
        ones = ones or [one for c in [*self.readers, *self.writers] for one in c.waiting]
        for one in ones:
            await with_timeout(one.done.wait(), timeout_us, "us")
        # Counter pulses and events come a few cycles behind the answer.
        await self.cycles(8)

    async def cycles(self, count):
        await ClockCycles(self.dut.clk, count)

    def note(self, address, data):
        """A write that must have reached memory at the end."""
        self.expected[address : address + len(data)] = data

    async def check(self, reads):
        """Nothing is left over, reads have the right data and memory is as expected."""
        await self.cycles(300)
        compared = 0
        for one in reads:
            assert one.status is not None, f"read {one.tag} has not ended"
            if one.status == DmaStatus.OK:
                golden = self.expected[one.address : one.address + one.length]
                assert one.data == golden, f"data of {one.address:#x}, {one.length}"
                compared += 1
        assert self.host.memory.read(0, MEMORY) == bytes(self.expected)
        for client in [*self.readers, *self.writers]:
            assert not client.waiting
        assert not self.host.device.local_errors
        return compared


__all__ = ["CLIENTS", "FUNCTIONS", "MEMORY", "Bench", "Read", "Write", "coin"]
