"""Packet streams under cocotb: a driver that stalls and a monitor that judges.

Signals are those of a port ``name`` in emitted Verilog: ``name__valid``, ``name__ready`` and the
packed ``name__payload``. The beat's layout packs and unpacks, so that there is one codec.
"""

from collections.abc import Iterator

from cocotb.triggers import RisingEdge
from cocotb_bus.drivers import BusDriver
from cocotb_bus.monitors import BusMonitor

from tailrace_hw.lib.packet import NoMeta, beat_layout
from tailrace_sim.checker import PacketRules
from tailrace_sim.streams import Packet, from_beats, to_beats

__all__ = ["PacketMonitor", "PacketSink", "PacketSource"]

_SIGNALS = ("valid", "ready", "payload")


class PacketSource(BusDriver):
    """Sends packets: ``append((contents, meta))``, or ``await send((contents, meta))``.

    Parameters
    ----------
    entity, name, clock : the design, the port and its clock
    width, meta : of the stream
    gaps : if given, asked before each beat whether to wait a cycle
    """

    _signals = _SIGNALS

    def __init__(self, entity, name: str, clock, width: int, meta=NoMeta, gaps=None):
        super().__init__(entity, name, clock, bus_separator="__")
        self._width = width
        self._layout = beat_layout(width, meta)
        self.gaps: Iterator[bool] | None = gaps
        self.bus.valid.value = 0

    async def _driver_send(self, transaction: Packet, sync=True, **kwargs):
        contents, meta = transaction
        edge = RisingEdge(self.clock)
        if sync:
            await edge
        for beat in to_beats(contents, self._width, meta):
            while self.gaps is not None and next(self.gaps):
                await edge
            self.bus.payload.value = self._layout.const(beat).as_value().value
            self.bus.valid.value = 1
            await edge
            while not int(self.bus.ready.value):
                await edge
            self.bus.valid.value = 0


class PacketSink:
    """Takes what comes. ``stalls``, if given, is asked every cycle whether not to be ready."""

    def __init__(self, entity, name: str, clock, stalls: Iterator[bool] | None = None):
        self._ready = getattr(entity, f"{name}__ready")
        self._clock = clock
        self._stalls = stalls

    async def run(self) -> None:
        """For ``cocotb.start_soon``. Without stalls it costs nothing a cycle."""
        self._ready.value = 1
        while self._stalls is not None:
            self._ready.value = int(not next(self._stalls))
            await RisingEdge(self._clock)


class PacketMonitor(BusMonitor):
    """Judges a packet stream by :class:`PacketRules` and passes on its packets.

    Callbacks and ``wait_for_recv`` get ``(contents, meta)``. A broken rule fails the test.

    Parameters
    ----------
    entity, name, clock : the design, the port and its clock
    width, meta : of the stream
    constant_meta : as in :class:`PacketRules`
    """

    _signals = _SIGNALS

    def __init__(self, entity, name, clock, width, meta=NoMeta, constant_meta=True, **kwargs):
        self._layout = beat_layout(width, meta)
        self.rules = PacketRules(name, constant_meta)
        super().__init__(entity, name, clock, bus_separator="__", **kwargs)

    async def _monitor_recv(self):
        edge = RisingEdge(self.clock)
        beats = []
        while True:
            await edge
            if not int(self.bus.valid.value):
                self.rules.observe(0, 0)
                continue
            ready = int(self.bus.ready.value)
            beat = self._layout.from_bits(int(self.bus.payload.value))
            self.rules.observe(1, ready, beat)
            if ready:
                beats.append(beat)
                if beat.last:
                    self._recv(from_beats(beats)[0])
                    beats = []
