"""The wire side of a port on the fast backend."""

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from cocotb.queue import Queue
from cocotb.triggers import Event

from tailrace_sim.bfm.mac_port import WireFrame
from tailrace_sim.fast.kernel import Kernel

__all__ = ["FastPort"]

_GAPS, _STALLS = 0, 1
#: Cycles of a pattern that are made at a time.
_CHUNK = 2048
Watcher = Callable[["FastPort", str, WireFrame, bool], object]


class _Monitor:
    """As much of a cocotb-bus monitor as a scoreboard uses."""

    def __init__(self) -> None:
        self._callbacks: list[Callable[[WireFrame], object]] = []

    def add_callback(self, callback: Callable[[WireFrame], object]) -> None:
        self._callbacks.append(callback)

    def observe(self, frame: WireFrame) -> None:
        for callback in self._callbacks:
            callback(frame)


class FastPort:
    """See :class:`tailrace_sim.bfm.mac_port.MacPortAgent`: same attributes, same methods.

    Attributes
    ----------
    kernel, device, index : the simulation, which device of it, which port of that
    settings : ``tr_port`` of the core: rate, pause, counters
    linked : what leaves goes over a :class:`~tailrace_sim.fast.link.Link`

    Parameters
    ----------
    kernel : simulation that ``dut`` belongs to
    dut : the top level
    index : of the port
    period_ns : of the port's clock
    """

    def __init__(self, kernel: Kernel, dut, index: int, period_ns: float):
        self.kernel = kernel
        self.device: int = dut._handle.device
        self.index = index
        self._period = round(1000 * period_ns)
        self.settings = kernel.lib.tr_port_of(kernel.world, self.device, index)
        self.linked = False
        self.sent: list[WireFrame] = []
        self.received: Queue[WireFrame] = Queue()
        self.monitor = _Monitor()
        self._watchers: list[Watcher] = []
        self._entering: deque[tuple[bytes, bool]] = deque()
        self._idle = Event()
        self._patterns: dict[int, Iterator[bool]] = {}
        for kind, handler in (
            (kernel.lib.TR_FRAME_IN, self._entered),
            (kernel.lib.TR_FRAME_OUT, self._left),
            (kernel.lib.TR_PATTERN, lambda event: self._extend(event.b)),
            (kernel.lib.TR_LINK_IN, lambda event: self._crossed("in", event)),
            (kernel.lib.TR_LINK_OUT, lambda event: self._crossed("out", event)),
        ):
            kernel.on_event(self.device, kind, handler)

    def _frame(self, data: bytes, event: Any) -> WireFrame:
        end = round(event.time / self._period)
        return WireFrame(data, end - (event.c - event.b), end)

    def _entered(self, event: Any) -> None:
        data, error = self._entering.popleft()
        frame = self._frame(data, event)
        self.sent.append(frame)
        self._tell("in", frame, error)
        if not self._entering:
            self._idle.set()

    def _left(self, event: Any) -> None:
        frame = self._frame(self._payload(event), event)
        self.received.put_nowait(frame)
        self.monitor.observe(frame)
        self._tell("out", frame, False)

    def _crossed(self, direction: str, event: Any) -> None:
        """A frame of a link, for those who watch."""
        self._tell(direction, self._frame(self._payload(event), event), bool(event.d))

    def _payload(self, event: Any) -> bytes:
        return bytes(self.kernel.ffi.buffer(event.data, event.length))

    def _tell(self, direction: str, frame: WireFrame, error: bool) -> None:
        for watcher in self._watchers:
            watcher(self, direction, frame, error)

    def watch(self, watcher: "Watcher") -> None:
        """Call with this port, ``in`` or ``out``, each frame from now on, those of links too, and
        whether it has the mark of a bad FCS."""
        self._watchers.append(watcher)
        self.settings.export_links = True

    def _extend(self, which: int) -> None:
        if which in self._patterns:
            chunk = bytes(itertools.islice(self._patterns[which], _CHUNK))
            self._push(which, chunk)

    def _push(self, which: int, chunk: bytes) -> None:
        self.kernel.lib.tr_port_pattern(
            self.kernel.world, self.device, self.index, which, chunk, len(chunk)
        )

    def _set(self, which: int, pattern: Iterator[bool] | None) -> None:
        self._push(which, b"")
        self._patterns.pop(which, None)
        if pattern is not None:
            self._patterns[which] = pattern
            self._extend(which)

    def set_gaps(self, pattern: Iterator[bool] | None) -> None:
        """Idle cycles between beats offered to the device: True is an idle cycle."""
        self._set(_GAPS, pattern)

    def set_stalls(self, pattern: Iterator[bool] | None) -> None:
        """Cycles in which the MAC takes nothing from the device: True is such a cycle."""
        self._set(_STALLS, pattern)

    def send(self, data: bytes, *, error: bool = False) -> None:
        """Queue a frame to enter the device; ``error`` marks it as a MAC marks a bad FCS."""
        if not data:
            raise ValueError("a frame has at least one byte")
        self._idle.clear()
        self._entering.append((data, error))
        self.kernel.lib.tr_port_send(
            self.kernel.world, self.device, self.index, data, len(data), error
        )

    async def drained(self) -> None:
        """Wait until every queued frame has entered the device."""
        while self._entering:
            await self._idle.wait()

    async def receive(self) -> WireFrame:
        """Next frame that the device sent."""
        return await self.received.get()

    def now(self) -> int:
        """Current cycle of the port's clock."""
        return round(self.kernel.now() / self._period)
