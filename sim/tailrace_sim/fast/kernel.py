"""Simulated time of the fast backend: strides of the C++ core, and the Python that runs between.

Between two strides nothing moves. A stride ends when Python has something to do: a timer is due, a
clock that somebody waits for is about to rise, or the core has an event (an interrupt, a frame, a
completion). So a simulation in which Python waits for interrupts costs Python nothing a cycle.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tailrace_sim.fast.interface import load

__all__ = ["EDGE_FALLING", "EDGE_RISING", "LONGEST", "Callback", "Kernel", "Pin"]

EDGE_RISING, EDGE_FALLING = 1, 2
#: Longest stride in ps: what a Ctrl-C may have to wait for.
LONGEST = 40_000_000


class Callback:
    """A function to be called once, unless it is cancelled before."""

    __slots__ = ("_function", "active")

    def __init__(self, function: Callable[[], object]):
        self._function = function
        self.active = True

    def cancel(self) -> None:
        self.active = False

    def fire(self) -> None:
        if self.active:
            self.active = False
            self._function()


class Pin:
    """A port of a device's top module.

    Attributes
    ----------
    device, index : which
    name, bits, is_input : from the Verilog
    """

    def __init__(self, kernel: "Kernel", device: int, index: int, name: str, bits: int, inp: bool):
        self.device = device
        self.index = index
        self.name = name
        self.bits = bits
        self.is_input = inp
        self._kernel = kernel
        self._words = kernel.ffi.new("uint32_t[]", (bits + 31) // 32)
        self._buffer = kernel.ffi.buffer(self._words)

    def read(self) -> int:
        """Value now; at a clock edge, the one before it."""
        self._kernel.lib.tr_peek(self._kernel.world, self.device, self.index, self._words)
        return int.from_bytes(self._buffer, "little")

    def write(self, value: int) -> None:
        """Set an input; at a clock edge, behind it."""
        self._buffer[:] = (value & (1 << self.bits) - 1).to_bytes(len(self._buffer), "little")
        self._kernel.lib.tr_poke(self._kernel.world, self.device, self.index, self._words)
        self._kernel.written(self, value)


class Kernel:
    """The world of the C++ core and everything that waits for it.

    Attributes
    ----------
    ffi, lib, world : the core, see ``core/fast.h``
    pins : of each device by name
    before_stride : called before each stride, by device
    after_events : called after each lot of events
    on_error : told what the handler of an event has raised
    observers : called with each event, before its handler
    interrupted : somebody wants the simulation to end; set it at any moment
    on_interrupt : called for that between two strides; ends the run, unless it is replaced
    was_interrupted : that has happened
    raise_interrupt : Python waits for the user: an interrupt is an exception as usual
    at_close : called before the world is freed, last first
    between : called between strides; may wait for wall-clock time, and wake tasks
    longest : the next stride at most, in ps; ``between`` may change it
    strides : so far

    Parameters
    ----------
    library : shared object, from :func:`tailrace_sim.fast.library.build_library`
    devices : in the world
    seed : of the core's random choices
    """

    def __init__(self, library: Path, *, devices: int = 1, seed: int = 0):
        self.ffi, self.lib = load(library)
        self.world = self.lib.tr_new(devices, seed)
        self.devices = devices
        self.strides = 0
        self.longest = LONGEST
        self.before_stride: dict[int, Callable[[], None]] = {}
        self.between: Callable[[], None] | None = None
        self.after_events: Callable[[], None] | None = None
        self.on_error: Callable[[Exception], None] | None = None
        self.observers: list[Callable[[Any], None]] = []
        self.interrupted = self.was_interrupted = self.raise_interrupt = False
        self.on_interrupt: Callable[[], None] = self._abort
        self.at_close: list[Callable[[], None]] = []
        self.pins = [self._discover(device) for device in range(devices)]
        self._timers: list[tuple[int, int, Callback]] = []
        self._order = itertools.count()
        self._soon: deque[Callback] = deque()
        self._phases: dict[str, list[Callback]] = {"readwrite": [], "readonly": [], "next": []}
        self._edges: dict[Pin, list[tuple[int, Callback]]] = {}
        self._last: dict[Pin, int] = {}
        self._clocks: dict[Pin, tuple[int, int]] = {}
        self._handlers: dict[tuple[int, int], Callable[[Any], None]] = {
            (device, self.lib.TR_BROKEN): self._broken for device in range(devices)
        }
        self._watched = [0] * devices
        self._running = self._aborted = False
        self._at_edge = False
        self._events = self.ffi.new("const tr_event **")

    def _discover(self, device: int) -> dict[str, Pin]:
        table = self.ffi.new("const tr_pin **")
        pins = {}
        for index in range(self.lib.tr_pins(self.world, table)):
            entry = table[0][index]
            name = self.ffi.string(entry.name).decode()
            pins[name] = Pin(self, device, index, name, entry.bits, bool(entry.input))
        return pins

    # What Python waits for

    def now(self) -> int:
        """Picoseconds since the start."""
        return int(self.lib.tr_now(self.world))

    def at(self, delay: int, function: Callable[[], object]) -> Callback:
        """Call back ``delay`` ps from now."""
        callback = Callback(function)
        heapq.heappush(self._timers, (self.now() + delay, next(self._order), callback))
        return callback

    def in_phase(self, phase: str, function: Callable[[], object]) -> Callback:
        """Call back in a phase of this time step: ``readwrite``, ``readonly``, or the ``next``."""
        callback = Callback(function)
        self._phases[phase].append(callback)
        return callback

    def on_edge(self, pin: Pin, edge: int, function: Callable[[], object]) -> Callback:
        """Call back at the next edge of a pin: a clock's rising one, any one of another pin.

        Edges of pins that the design drives are seen at the clock edge that follows.
        """
        if pin in self._clocks and edge != EDGE_RISING:
            raise NotImplementedError(f"{pin.name} is a clock: only its rising edge is waited for")
        callback = Callback(function)
        self._edges.setdefault(pin, []).append((edge, callback))
        if pin not in self._clocks:
            self._last.setdefault(pin, pin.read())
        return callback

    def on_event(self, device: int, kind: int, handler: Callable[[Any], None]) -> None:
        """Call ``handler`` with each event of a kind (``TR_...`` of ``core/fast.h``)."""
        self._handlers[device, kind] = handler

    def start_clock(self, pin: Pin, period: int) -> None:
        """Run a clock from now on; its first rising edge is now."""
        self._clocks[pin] = (self.now(), period)
        self.lib.tr_clock(self.world, pin.device, pin.index, period, 0)

    def stop_clock(self, pin: Pin) -> None:
        """Stop a clock."""
        self._clocks.pop(pin, None)
        self.lib.tr_clock(self.world, pin.device, pin.index, 0, 0)

    def written(self, pin: Pin, value: int) -> None:
        """Python has set an input: who waits for its edge is called in this time step."""
        if pin in self._last:
            self._compare(pin, value)

    # The loop

    def stop(self) -> None:
        """Leave :meth:`run` as soon as the current callback returns."""
        self._running = False

    def run(self) -> bool:
        """Until :meth:`stop`; False if it ended before: by an interrupt, or because nothing is left
        that could ever happen."""
        self._running, self._aborted = True, False
        while self._running:
            self._settle()
            if self.interrupted:
                self._obey()
            if not self._running:
                break
            if not self._timers and not self._clocks:
                return False
            self._stride()
        return not self._aborted

    def _obey(self) -> None:
        self.interrupted, self.was_interrupted = False, True
        self.on_interrupt()
        if self.after_events is not None:
            self.after_events()

    def _abort(self) -> None:
        self._running, self._aborted = False, True

    def _settle(self) -> None:
        """Everything that is still to happen at this time."""
        while self._running:
            if self._soon:
                self._soon.popleft().fire()
            elif self._phases["readwrite"]:
                self._drain("readwrite")
            elif self._phases["readonly"]:
                if self._at_edge:
                    self._advance(self.now())
                self._drain("readonly")
            else:
                return

    def _drain(self, phase: str) -> None:
        callbacks, self._phases[phase] = self._phases[phase], []
        for callback in callbacks:
            callback.fire()

    def _stride(self) -> None:
        for hook in self.before_stride.values():
            hook()
        if self.between is not None:
            self.between()
            self._settle()
            if not self._running:
                return
        self._watch()
        while self._timers and not self._timers[0][2].active:
            heapq.heappop(self._timers)
        until = self.now() + self.longest
        if self._timers:
            until = min(until, self._timers[0][0])
        reason = self._advance(until)
        now = self.now()
        while self._timers and self._timers[0][0] <= now:
            self._soon.append(heapq.heappop(self._timers)[2])
        self._changes()
        if reason == self.lib.TR_EDGE:
            self._rising(now)

    def _advance(self, until: int) -> int:
        """Run the core, an edge that it stands at first; returns why it ended."""
        before = self.now()
        reason: int = self.lib.tr_run(self.world, until)
        self._at_edge = reason == self.lib.TR_EDGE
        self.strides += 1
        if self.now() > before:
            self._drain("next")
        self._dispatch()
        return reason

    def _watch(self) -> None:
        """Tell the core which clocks are waited for."""
        masks = [0] * self.devices
        for pin in [pin for pin, waiting in self._edges.items() if waiting]:
            waiting = [entry for entry in self._edges[pin] if entry[1].active]
            self._edges[pin] = waiting
            if not waiting:
                self._last.pop(pin, None)
                continue
            clocks = [pin] if pin in self._clocks else self._clocks_of(pin.device)
            for clock in clocks:
                masks[pin.device] |= 1 << clock.index
        for device, mask in enumerate(masks):
            if mask != self._watched[device]:
                self._watched[device] = mask
                self.lib.tr_watch(self.world, device, mask)

    def _clocks_of(self, device: int) -> list[Pin]:
        return [pin for pin in self._clocks if pin.device == device]

    def _dispatch(self) -> None:
        count = self.lib.tr_events(self.world, self._events)
        for index in range(count):
            event = self._events[0][index]
            for observer in self.observers:
                observer(event)
            handler = self._handlers.get((event.device, event.kind))
            if handler is None:
                continue
            try:
                handler(event)
            except Exception as error:
                # The failure of a test, not of the simulator.
                if self.on_error is None:
                    raise
                self.on_error(error)
        if count and self.after_events is not None:
            self.after_events()

    def _broken(self, event: Any) -> None:
        text = bytes(self.ffi.buffer(event.data, event.length)).decode()
        raise AssertionError(f"the design breaks the rules of its interface: {text}")

    def _changes(self) -> None:
        for pin in list(self._last):
            self._compare(pin, pin.read())

    def _compare(self, pin: Pin, value: int) -> None:
        last, self._last[pin] = self._last[pin], value
        if value == last:
            return
        edge = EDGE_RISING if value & 1 else EDGE_FALLING
        self._fire(pin, edge)

    def _rising(self, now: int) -> None:
        for pin, (first, period) in list(self._clocks.items()):
            if self._edges.get(pin) and now >= first and (now - first) % period == 0:
                self._fire(pin, EDGE_RISING)

    def _fire(self, pin: Pin, edge: int) -> None:
        """Who waits for this edge of the pin is called; the others go on waiting."""
        rest = []
        for wanted, callback in self._edges[pin]:
            if wanted & edge:
                self._soon.append(callback)
            else:
                rest.append((wanted, callback))
        self._edges[pin] = rest

    def close(self) -> None:
        """Free the world; waves are complete behind it."""
        while self.at_close:
            self.at_close.pop()()
        self.lib.tr_free(self.world)
