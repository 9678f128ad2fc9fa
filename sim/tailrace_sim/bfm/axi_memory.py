"""Device memory behind an AXI4 manager of a design, on the cocotb backend, and what every backend's
memory has in common.

Ports are those of AXI4 (ARM IHI 0022) behind a prefix: ``mem0__awid``, ``mem0__awaddr`` and so on,
as Amaranth's Verilog names the members of a port ``mem0``.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from cocotb.triggers import Timer
from cocotbext.axi import AxiBus, AxiResp, AxiSlave

__all__ = [
    "CHANNELS", "AxiCounters", "AxiFault", "AxiMemoryAgent", "AxiSettings", "DeviceMemory",
]  # fmt: skip

CHANNELS = ("aw", "w", "b", "ar", "r")
_RESPONSES = {"SLVERR": AxiResp.SLVERR, "DECERR": AxiResp.DECERR}


@dataclass
class AxiSettings:
    """How a memory answers.

    Attributes
    ----------
    latency_ns : from an address (of a write: its last beat too) to its response
    jitter_ns : up to so much is added at random
    reorder : responses come from the oldest so many bursts, in order for each id
    interleave : read data of several ids takes turns by the beat
    outstanding : bursts that are taken before one is answered, each of both ways
    """

    latency_ns: float = 0
    jitter_ns: float = 0
    reorder: int = 1
    interleave: bool = False
    outstanding: int = 16


@dataclass(frozen=True)
class AxiFault:
    """Addresses [low, high) that answer with an error: ``SLVERR`` or ``DECERR``."""

    low: int
    high: int
    response: str

    def __post_init__(self) -> None:
        if self.response not in _RESPONSES:
            raise ValueError(f"response must be {' or '.join(_RESPONSES)}, not {self.response}")
        if not 0 <= self.low < self.high:
            raise ValueError(f"no address is in {self.low:#x} to {self.high:#x}")

    @property
    def code(self) -> int:
        """As on BRESP and RRESP."""
        return int(_RESPONSES[self.response])


@dataclass
class AxiCounters:
    """Bursts that were answered, and their beats; errors of reads are counted by the beat."""

    read_bursts: int = 0
    read_beats: int = 0
    write_bursts: int = 0
    write_beats: int = 0
    errors: int = 0


class DeviceMemory(ABC):
    """``size`` bytes from address ``base``; what is beside them is answered with DECERR.

    Attributes
    ----------
    data : uint8 array; index 0 is address ``base``
    faults : addresses that answer with an error, in the order in which they were made
    settings : how it answers
    """

    def __init__(self, size: int, base: int, lanes: int):
        if size < 1 or base < 0 or size % lanes or base % lanes:
            raise ValueError(f"size and base must be multiples of the bus, {lanes} bytes")
        self.base = base
        self.size = size
        self.data = np.zeros(size, np.uint8)
        self.faults: list[AxiFault] = []
        self.settings = AxiSettings()

    def _place(self, address: int, length: int) -> slice:
        start = address - self.base
        if start < 0 or length < 0 or start + length > self.size:
            raise ValueError(f"{address:#x}, {length} bytes, is not in this memory")
        return slice(start, start + length)

    def read(self, address: int, length: int) -> bytes:
        """Bytes as they are now."""
        return self.data[self._place(address, length)].tobytes()

    def write(self, address: int, data: bytes) -> None:
        """Change bytes behind the design's back."""
        self.data[self._place(address, len(data))] = np.frombuffer(data, np.uint8)

    def fault(self, low: int, high: int, response: str = "SLVERR") -> None:
        """From now on beats that touch [low, high) are answered so, and not written."""
        self.faults.append(AxiFault(low, high, response))
        self._faults_changed()

    def clear_faults(self) -> None:
        """No errors any more, but for addresses outside."""
        self.faults.clear()
        self._faults_changed()

    @abstractmethod
    def _faults_changed(self) -> None:
        """What has to be told to whoever answers the accesses."""

    def stall(self, channel: str, share: float) -> None:
        """Share of cycles, 0 to below 1, in which a channel of :data:`CHANNELS` moves nothing."""
        if channel not in CHANNELS:
            raise ValueError(f"no channel {channel}; there are {', '.join(CHANNELS)}")
        if not 0 <= share < 1:
            raise ValueError(f"a share of cycles is from 0 to below 1, not {share}")
        self._stall(channel, share)

    @abstractmethod
    def _stall(self, channel: str, share: float) -> None:
        """The same, of what is known to be right."""

    @property
    @abstractmethod
    def counters(self) -> AxiCounters:
        """So far."""


class _Error(Exception):
    """Tells the library that an access is answered with an error; which one, the agent knows."""


class _Target:
    """The memory as the library's subordinate sees it, a whole word of the bus at a time."""

    def __init__(self, memory: "AxiMemoryAgent"):
        self._memory = memory
        self.response = 0

    def _check(self, address: int, length: int) -> None:
        memory = self._memory
        codes = [f.code for f in memory.faults if address < f.high and f.low < address + length]
        if not memory.base <= address <= memory.base + memory.size - length:
            codes = [int(AxiResp.DECERR)]
        if codes:
            # That of the first beat with an error is that of a write.
            self.response = self.response or codes[0]
            raise _Error

    async def read(self, address: int, length: int) -> bytes:
        self._check(address, length)
        return self._memory.read(address, length)

    async def write(self, address: int, data: bytes) -> None:
        self._check(address, len(data))
        self._memory.write(address, data)


class AxiMemoryAgent(DeviceMemory):
    """See :class:`DeviceMemory`: on cocotbext-axi's subordinate.

    That answers one read and one write at a time, in order, so that ``reorder``, ``interleave`` and
    ``outstanding`` say nothing here; a read is judged by whole words of the bus.

    Parameters
    ----------
    dut : the top level
    index : of the ports ``mem<index>__``
    clock, reset : of their domain
    size, base : of the memory
    seed : of stalls and jitter
    """

    def __init__(
        self, dut, index: int, clock, reset, *, size: int, base: int = 0, seed: int = 0
    ):  # fmt: skip
        prefix = f"mem{index}"
        super().__init__(size, base, len(getattr(dut, f"{prefix}__wdata")) // 8)
        self._rng = Random(seed)
        self._counters = AxiCounters()
        reads, writes = _Target(self), _Target(self)
        bus = AxiBus.from_prefix(dut, prefix, bus_separator="__")
        subordinate = AxiSlave(bus, clock, reset)
        read, write = subordinate.read_if, subordinate.write_if
        read.target, write.target = reads, writes
        self._channels = {
            "aw": write.aw_channel, "w": write.w_channel, "b": write.b_channel,
            "ar": read.ar_channel, "r": read.r_channel,
        }  # fmt: skip
        for name in ("ar", "aw"):
            self._channels[name].recv = self._late(self._channels[name].recv)
        write.b_channel.send = self._judged(write.b_channel.send, writes, "bresp")
        read.r_channel.send = self._judged(read.r_channel.send, reads, "rresp")
        write.w_channel.recv = self._counted(write.w_channel.recv)

    def _late(self, recv: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[Any]]:
        async def late() -> Any:
            burst = await recv()
            wait = self.settings.latency_ns + self._rng.random() * self.settings.jitter_ns
            if wait:
                await Timer(round(1000 * wait), "ps")
            return burst

        return late

    def _counted(self, recv: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[Any]]:
        async def counted() -> Any:
            beat = await recv()
            self._counters.write_beats += 1
            return beat

        return counted

    def _judged(
        self, send: Callable[[Any], Awaitable[None]], target: _Target, field: str
    ) -> Callable[[Any], Awaitable[None]]:
        """The response that the target has found, where the library knows one error only."""

        async def judged(item: Any) -> None:
            counters = self._counters
            if getattr(item, field) != AxiResp.OKAY:
                setattr(item, field, target.response)
                target.response = 0
                counters.errors += 1
            if field == "bresp":
                counters.write_bursts += 1
            else:
                counters.read_beats += 1
                counters.read_bursts += bool(item.rlast)
            await send(item)

        return judged

    def _faults_changed(self) -> None:
        """Nothing: each access looks at them."""

    def _stall(self, channel: str, share: float) -> None:
        def pattern() -> Iterator[bool]:
            for _ in itertools.count():
                yield self._rng.random() < share

        stalled = self._channels[channel]
        stalled.set_pause_generator(pattern() if share else None)
        stalled.pause = False

    @property
    def counters(self) -> AxiCounters:
        return self._counters
