"""The wire side of a port: what a MAC and the network behind it do.

The agents are cocotb-bus drivers and monitors. A beat is one Python integer, made when the frame
is queued, so that a busy port costs little in the clock cycle.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from cocotb.queue import Queue
from cocotb.triggers import Event, RisingEdge
from cocotb.utils import get_sim_time
from cocotb_bus.drivers import BusDriver
from cocotb_bus.monitors import BusMonitor

__all__ = ["MacPortAgent", "WireFrame"]


@dataclass(frozen=True)
class WireFrame:
    """A frame as the wire saw it.

    Attributes
    ----------
    data : without FCS
    start, end : clock cycle in which its first and last beat was handed over
    """

    data: bytes
    start: int
    end: int


def _beats(data: bytes, lanes: int, error: bool) -> Iterator[tuple[int, int, int, int]]:
    """(tdata, tkeep, tlast, tuser) of each beat; a bad frame is marked on its last beat."""
    for offset in range(0, len(data), lanes):
        piece = data[offset : offset + lanes]
        last = offset + lanes >= len(data)
        keep = (1 << len(piece)) - 1
        yield int.from_bytes(piece, "little"), keep, int(last), int(error and last)


class _Source(BusDriver):
    """The MAC's receive side: never waits, as the device has no say in when a frame comes."""

    _signals = ("tdata", "tkeep", "tlast", "tvalid", "tuser")

    def __init__(self, entity, name: str, clock, cycle):
        super().__init__(entity, name, clock, bus_separator="__")
        self._cycle = cycle
        self._lanes = len(self.bus.tkeep)
        self.gaps: Iterator[bool] | None = None
        self.sent: list[WireFrame] = []
        self.busy = False
        self.idle = Event()
        self.bus.tvalid.value = 0

    @property
    def pending(self) -> bool:
        """A frame is under way or waits."""
        return self.busy or bool(self._sendQ)

    async def _driver_send(self, transaction, sync=True, **kwargs):
        data, error = transaction
        self.busy = True
        self.idle.clear()
        edge = RisingEdge(self.clock)
        if sync:
            await edge
        start = None
        for tdata, tkeep, tlast, tuser in _beats(data, self._lanes, error):
            while self.gaps is not None and next(self.gaps):
                self.bus.tvalid.value = 0
                await edge
            self.bus.tdata.value = tdata
            self.bus.tkeep.value = tkeep
            self.bus.tlast.value = tlast
            self.bus.tuser.value = tuser
            self.bus.tvalid.value = 1
            await edge
            start = self._cycle() if start is None else start
        self.sent.append(WireFrame(data, start if start is not None else 0, self._cycle()))
        if not self._sendQ:
            self.bus.tvalid.value = 0
            self.busy = False
            self.idle.set()


class _Sink(BusMonitor):
    """The MAC's transmit side: takes beats, with stalls if asked, and puts frames together."""

    _signals = ("tdata", "tkeep", "tlast", "tvalid", "tready")

    def __init__(self, entity, name: str, clock, cycle):
        self._cycle = cycle
        self.stalls: Iterator[bool] | None = None
        self.frames: Queue[WireFrame] = Queue()
        super().__init__(entity, name, clock, bus_separator="__")
        self._lanes = len(self.bus.tkeep)

    async def _monitor_recv(self):
        edge = RisingEdge(self.clock)
        parts: list[bytes] = []
        start = 0
        ready = 1
        self.bus.tready.value = 1
        while True:
            await edge
            if ready and self.bus.tvalid.value == 1:
                if not parts:
                    start = self._cycle()
                keep = int(self.bus.tkeep.value)
                beat = int(self.bus.tdata.value).to_bytes(self._lanes, "little")
                parts.append(beat[: keep.bit_length()])
                if self.bus.tlast.value == 1:
                    frame = WireFrame(b"".join(parts), start, self._cycle())
                    parts = []
                    self.frames.put_nowait(frame)
                    self._recv(frame)
            wanted = int(not (self.stalls is not None and next(self.stalls)))
            if wanted != ready:
                ready = wanted
                self.bus.tready.value = ready


class MacPortAgent:
    """Frames into and out of one MAC port of the device.

    Parameters
    ----------
    dut : the top level, with ports ``port<n>__rx__*`` and ``port<n>__tx__*`` (see ``mac/port.py``)
    index : of the port
    clock : the port's clock
    period_ns : of the port's clock
    """

    def __init__(self, dut, index: int, clock, period_ns: float):
        self._period = period_ns
        self._source = _Source(dut, f"port{index}__rx", clock, self.now)
        self._sink = _Sink(dut, f"port{index}__tx", clock, self.now)
        #: cocotb-bus monitor of the frames that leave the device, for scoreboards.
        self.monitor = self._sink

    @property
    def sent(self) -> list[WireFrame]:
        """Frames that have entered the device completely, in order."""
        return self._source.sent

    @property
    def received(self) -> Queue:
        """Frames that left the device, in order, with their cycles."""
        return self._sink.frames

    def set_gaps(self, pattern: Iterator[bool] | None) -> None:
        """Idle cycles between beats offered to the device: True is an idle cycle."""
        self._source.gaps = pattern

    def set_stalls(self, pattern: Iterator[bool] | None) -> None:
        """Cycles in which the MAC takes nothing from the device: True is such a cycle."""
        self._sink.stalls = pattern

    def send(self, data: bytes, *, error: bool = False) -> None:
        """Queue a frame to enter the device; ``error`` marks it as a MAC marks a bad FCS."""
        if not data:
            raise ValueError("a frame has at least one byte")
        self._source.append((data, error))

    async def drained(self) -> None:
        """Wait until every queued frame has entered the device."""
        while self._source.pending:
            self._source.idle.clear()
            await self._source.idle.wait()

    async def receive(self) -> WireFrame:
        """Next frame that the device sent."""
        return await self._sink.frames.get()

    def now(self) -> int:
        """Current cycle of the port's clock."""
        return round(get_sim_time("ns") / self._period)
