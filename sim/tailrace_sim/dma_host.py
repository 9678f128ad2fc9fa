"""Host memory behind DMA ports, with PCIe's ordering and nothing more."""

from collections import deque
from dataclasses import dataclass
from random import Random
from typing import Any

from tailrace_hw.lib.packet import beat_layout
from tailrace_hw.pcie.dma import (
    DmaReadMeta,
    DmaReadRequest,
    DmaStatus,
    DmaWriteRequest,
    DmaWriteResponse,
)
from tailrace_sim.stream_ports import Codec, Sink, Source

__all__ = ["HostLink", "Memory", "ReadAgent", "WriteAgent"]

_READ = Codec(DmaReadRequest)
_WRITE = Codec(DmaWriteRequest)
_RESPONSE = Codec(DmaWriteResponse)
#: To mypy an amaranth enumeration is no enumeration.
_STATUS: Any = DmaStatus
_OK = _STATUS.OK.value


class Memory:
    """Host memory as the CPU sees it. ``allowed`` are the ranges a device may write."""

    def __init__(self):
        self.pages: dict[int, bytearray] = {}
        self.allowed: list[range] = []
        self.watch = lambda address, data: None

    def read(self, address: int, length: int) -> bytes:
        return bytes(
            self.pages.get(a >> 12, b"\0" * 4096)[a & 4095]
            for a in range(address, address + length)
        )

    def write(self, address: int, data: bytes) -> None:
        for a, byte in enumerate(data, address):
            self.pages.setdefault(a >> 12, bytearray(4096))[a & 4095] = byte

    def read_int(self, address: int, length: int) -> int:
        return int.from_bytes(self.read(address, length), "little")

    def write_int(self, address: int, length: int, value: int) -> None:
        self.write(address, value.to_bytes(length, "little"))

    def device_write(self, address: int, data: bytes) -> None:
        fits = any(address in r and address + len(data) <= r.stop for r in self.allowed)
        assert fits, f"the device wrote {len(data)} bytes at {address:#x}, where nothing is its own"
        self.write(address, data)
        self.watch(address, data)


def _check_function(function, request) -> None:
    """``function`` is the only one, or says whose memory is at an address."""
    expected = function(request.address) if callable(function) else function
    assert request.function == expected, (
        f"function {request.function} asks for {request.address:#x}, which is of {expected}"
    )


class HostLink:
    """The way upstream: what enters arrives in the order it entered, some cycles later.

    Writes enter when the DMA engine answers them; reads some time after they were asked for, and
    are answered with what memory holds when they arrive; interrupts are writes.
    """

    def __init__(self, rng: Random, latency: tuple[int, int]):
        self.rng = rng
        self.latency = latency
        self.now = 0
        self.travelling: deque = deque()

    def enter(self, arrive) -> None:
        at = self.now + self.rng.randint(*self.latency)
        if self.travelling:
            at = max(at, self.travelling[-1][0])
        self.travelling.append((at, arrive))

    def step(self) -> None:
        self.now += 1
        while self.travelling and self.travelling[0][0] <= self.now:
            self.travelling.popleft()[1]()


@dataclass
class _Faults:
    """Chance that a request fails, and for which addresses."""

    chance: float = 0.0
    where: range = range(1 << 64)

    def status(self, rng: Random, address: int) -> int:
        if self.chance and address in self.where and rng.random() < self.chance:
            return rng.choice([s.value for s in _STATUS if s is not DmaStatus.OK])
        return _OK


class WriteAgent:
    """DMA write engine of one client."""

    def __init__(self, dut, name, width, memory, link, rng, stall=0.0, delay=(2, 12), function=1):
        self.memory, self.link, self.rng, self.delay = memory, link, rng, delay
        self.function = function
        self.beat = Codec(beat_layout(width))
        self.width = width
        self.faults = _Faults()
        self.count = self.failed = self.bytes = 0
        self.first_request: int | None = None
        self._requests: deque = deque()
        self._packets: deque = deque()
        self._packet = bytearray()
        self._working: deque = deque()
        self.request = Sink(dut, f"{name}__request", rng, stall, self._on_request)
        self.data = Sink(dut, f"{name}__data", rng, stall, self._on_beat)
        self.response = Source(dut, f"{name}__response", rng, stall)
        self.ports = [self.request, self.data, self.response]

    @property
    def idle(self) -> bool:
        return not (self._requests or self._packets or self._packet or self._working)

    def _on_request(self, word):
        if self.first_request is None:
            self.first_request = self.link.now
        self._requests.append(_WRITE.unpack(word))

    def _on_beat(self, word):
        beat = self.beat.unpack(word)
        used = self.width // 8 - beat.empty
        self._packet += beat.data.to_bytes(self.width // 8, "little")[:used]
        assert beat.last or not beat.empty, "only a last beat may be partly empty"
        if beat.last:
            self._packets.append(bytes(self._packet))
            self._packet.clear()

    def step(self) -> None:
        """The engine's own work: match requests and data, answer, send upstream."""
        while self._requests and self._packets:
            at = self.link.now + self.rng.randint(*self.delay)
            self._working.append((at, self._requests.popleft(), self._packets.popleft()))
        while self._working and self._working[0][0] <= self.link.now:
            _, request, data = self._working.popleft()
            assert request.length == len(data), "data disagrees with the request"
            _check_function(self.function, request)
            status = self.faults.status(self.rng, request.address)
            if status == _OK:
                self.link.enter(lambda r=request, d=data: self.memory.device_write(r.address, d))
                self.bytes += len(data)
            else:
                self.failed += 1
            self.count += 1
            self.response.items.append(_RESPONSE.pack(tag=request.tag, status=status))


class ReadAgent:
    """DMA read engine of one client."""

    def __init__(self, dut, name, width, memory, link, rng, stall=0.0, delay=(2, 40), function=1):
        self.memory, self.link, self.rng, self.delay = memory, link, rng, delay
        self.function = function
        self.width = width
        self.beat = Codec(beat_layout(width, DmaReadMeta))
        self.meta = Codec(DmaReadMeta)
        self.faults = _Faults()
        self.count = self.failed = 0
        #: Requests not sent upstream, and answers on their way back: (cycle, what).
        self._asked: deque = deque()
        self._back: deque = deque()
        self.outstanding: list[int] = []
        self.request = Sink(dut, f"{name}__request", rng, stall, self._on_request)
        self.data = Source(dut, f"{name}__data", rng, stall)
        self.ports = [self.request, self.data]

    @property
    def idle(self) -> bool:
        return not (self.outstanding or self.data.items)

    def _on_request(self, word):
        request = _READ.unpack(word)
        _check_function(self.function, request)
        self.outstanding.append(request.address)
        self._asked.append((self.link.now + self.rng.randint(0, self.delay[0]), request))

    def step(self) -> None:
        while self._asked and self._asked[0][0] <= self.link.now:
            request = self._asked.popleft()[1]
            self.link.enter(lambda r=request: self._arrive(r))
        while self._back and self._back[0][0] <= self.link.now:
            _, request, data, status = self._back.popleft()
            self.outstanding.remove(request.address)
            self._give(request, data, status)

    def _arrive(self, request):
        status = self.faults.status(self.rng, request.address)
        self.failed += status != _OK
        self.count += 1
        data = self.memory.read(request.address, request.length)
        at = self.link.now + self.rng.randint(*self.delay)
        if self._back:
            at = max(at, self._back[-1][0])
        self._back.append((at, request, data, status))

    def _give(self, request, data, status):
        size = self.width // 8
        if status != _OK:
            data = self.rng.randbytes(self.rng.randint(1, len(data)))
        for start in range(0, len(data), size):
            part = data[start : start + size]
            last = start + size >= len(data)
            meta = self.meta.pack(tag=request.tag, status=status if last else 0)
            self.data.items.append(
                self.beat.pack(
                    data=int.from_bytes(part, "little"),
                    empty=size - len(part),
                    last=int(last),
                    meta=meta,
                )
            )
