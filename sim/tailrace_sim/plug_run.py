"""Inside the simulator: the device in the slot of another program, until that has gone."""

import os
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import cocotb
from cocotb.triggers import Event, First
from rich.console import Console
from rich.table import Table

from tailrace.cli.errors import UserError
from tailrace_sim.fast.control import Control
from tailrace_sim.fast.kernel import Kernel
from tailrace_sim.fast.mac_port import FastPort
from tailrace_sim.fast.network.address import open_peer
from tailrace_sim.fast.network.capture import CapturePeer
from tailrace_sim.fast.network.nowhere import Nowhere
from tailrace_sim.fast.network.peer import Limits, Peer
from tailrace_sim.fast.pacer import Pacer
from tailrace_sim.fast.pcie_host import FastPcieHost
from tailrace_sim.fast.process import running
from tailrace_sim.fast.vfio.slot import Place, Slot
from tailrace_sim.run import parameters
from tailrace_sim.system import System

#: Why the device's requests were refused, by number in ``core/fast.h``.
_REASONS = {
    1: "not mapped",
    2: "the map does not allow it",
    3: "Bus Master is off",
    4: "no interrupt message",
    5: "the client's file is too short by now",
    6: "an error of the client",
}
_WRITES = 8
#: A sender outside knows nothing of simulated time, and would fill the wire with frames without an
#: end: more of them than a split ring takes, more bytes than PCIe carries in the 128-byte TLPs that
#: Linux sets here. Cycles from frame to frame, and bytes a cycle in 1/256, that the device keeps up
#: with; what waits for its turn stays with the sender.
_SPACING, _RATE = 16, 32 << 8
#: Cycles until the device has seen its link's pin.
_SEEN = 16


def _open(settings: dict[str, Any], system: System) -> tuple[Peer, Slot]:
    port = system.config.port
    limits = Limits(shortest=max(port.min_length, Limits.shortest), longest=port.max_length)
    text = settings["peer"]
    peer = Nowhere("nowhere", limits) if text is None else open_peer(text, limits)
    host = system.pcie
    assert isinstance(host, FastPcieHost)
    try:
        paths = {int(number): Path(path) for number, path in settings["functions"].items()}
        return peer, Slot(host, paths, settings["patience"])
    except UserError:
        peer.close()
        raise


async def _play(capture: CapturePeer) -> None:
    """The frames of a capture begin to enter."""
    capture.playing = True
    capture.pump()


async def _set_link(system: System, peer: Peer, up: bool) -> None:
    """The port's wire is put in, or pulled out: what is on it is lost."""
    peer.link_up = up
    system.dut.port0__link.value = int(up)
    await system.wait(_SEEN)


def _orders(system: System, peer: Peer) -> dict[str, Callable[[], Awaitable[None]]]:
    """What the control socket takes."""
    orders: dict[str, Callable[[], Awaitable[None]]] = {
        "link down": partial(_set_link, system, peer, up=False),
        "link up": partial(_set_link, system, peer, up=True),
    }
    if isinstance(peer, CapturePeer):
        # Whoever gives orders can say when there is a driver; without one all of it is lost.
        peer.playing = False
        orders["play"] = partial(_play, peer)
    return orders


def _control(path: str | None, system: System, peer: Peer, slot: Slot) -> Control | None:
    if path is None:
        return None
    control = Control(Path(path), _orders(system, peer))
    slot.also(control.fileno(), control.pump)
    return control


def _function_rows(number: int, place: Place) -> list[tuple[str, str]]:
    """What happened to one function."""
    function, space = place.function, place.function.space
    name = f"function {number}"
    interrupts = ", ".join(f"{vector}: {n}" for vector, n in function.vectors.counts().items())
    rows = [
        (f"{name}, clients", str(place.clients)),
        (f"{name}, accesses", f"{function.reads} reads, {function.writes} writes"),
        (f"{name}, resets", str(function.resets)),
        (
            f"{name}, DMA",
            f"read {space.read_bytes} bytes in {space.read_tlps},"
            f" written {space.write_bytes} in {space.write_tlps} requests",
        ),
        (f"{name}, interrupts by vector", interrupts or "none"),
    ]
    counts = {
        "DMA by message": place.messages,
        "interrupts that nobody heard": function.vectors.unheard,
        "accesses refused by the device": function.unsupported,
        "reads that the device did not answer": function.unanswered,
        "accesses answered before the device did": place.late,
        "writes to the MSI-X table, dropped": function.table_writes,
        "clients sent away, one was there": place.busy,
    }
    rows += [(f"{name}, {what}", str(count)) for what, count in counts.items() if count]
    for reason, text in _REASONS.items():
        for what, index in (("read", reason), ("write", _WRITES + reason)):
            if count := space.refused[index]:
                where = space.refused_at[index]
                rows.append((f"{name}, DMA {what}s refused", f"{count}, {text}, last {where:#x}"))
    for why, count in place.complaints.refused.items():
        rows.append((f"{name}, requests refused", f"{count}, {why}"))
    for why, count in place.complaints.dropped.items():
        rows.append((f"{name}, clients disconnected", f"{count}, {why}"))
    return rows


class Plugged:
    """The run, and what is said of it at the end."""

    def __init__(
        self, kernel: Kernel, system: System, peer: Peer, slot: Slot, control: Control | None
    ):
        self._kernel = kernel
        self._system = system
        self._peer = peer
        self._slot = slot
        self._control = control
        self._start, self._begin = time.monotonic(), kernel.now()
        self.interrupted = Event()
        kernel.on_interrupt = self._interrupt

    def _interrupt(self) -> None:
        self.interrupted.set()

    async def summary(self, slept: float) -> list[tuple[str, str]]:
        """What happened, by name."""
        system, simulated = self._system, self._kernel.now() - self._begin
        seconds = max(time.monotonic() - self._start, 1e-9)
        rows = [
            ("time", f"{seconds:.1f} s, asleep {slept:.1f} s, simulated {simulated / 1e9:.3f} ms"),
            ("speed", f"{simulated / 4000 / max(seconds - slept, 1e-9):,.0f} cycles a second"),
        ]
        rows += [(f"wire, {name}", value) for name, value in self._peer.counters.lines()]
        if self._control is not None:
            done, refused = self._control.done, self._control.refused
            rows.append(("orders", f"{done} carried out, {refused} refused"))
        for number, place in self._slot.places.items():
            rows += _function_rows(number, place)
            # Ours again, for what is read below.
            await place.function.enable()
        drops = {name: n for name, n in (await system.drops()).items() if n}
        errors = await system.device.management.errors()
        rows.append(("drops", ", ".join(f"{k} {v}" for k, v in drops.items()) or "none"))
        return [*rows, ("errors", "; ".join(map(str, errors)) or "none")]


def _print(console: Console, rows: list[tuple[str, str]]) -> None:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in rows:
        table.add_row(name, value)
    console.print(table)


@cocotb.test()
async def plug(dut) -> None:
    """Until an interrupt, or the end of all clients; then the summary."""
    settings = parameters()
    kernel = running()
    assert kernel is not None
    console = Console(width=None if Console().is_terminal else 1000)
    # Paths are the user's; ours are absolute.
    complaint = Path("complaint").absolute()
    os.chdir(settings["cwd"])
    system = await System.start(dut)
    with ExitStack() as stack:
        try:
            peer, slot = _open(settings, system)
            stack.enter_context(peer)
            stack.enter_context(slot)
            control = _control(settings["control"], system, peer, slot)
            if control is not None:
                stack.enter_context(control)
        except UserError as error:
            complaint.write_text(str(error))
            return
        plugged = Plugged(kernel, system, peer, slot, control)
        await slot.start()
        assert isinstance(system.port, FastPort)
        system.port.settings.spacing, system.port.settings.rate = _SPACING, _RATE
        cocotb.start_soon(peer.run(system.port))
        pacer = Pacer(kernel, [peer], settings["realtime"], source=slot)
        for number, place in slot.places.items():
            console.print(
                f"function {number} ({place.function.identity.name}) listens at {place.path}"
            )
        console.print(f"port 0 is at {peer.name}; Ctrl-C ends it")
        left = slot.left if settings["once"] else Event()
        await First(plugged.interrupted.wait(), left.wait())
        pacer.stop()
        await slot.finish()
    kernel.was_interrupted = plugged.interrupted.is_set()
    _print(console, await plugged.summary(pacer.slept))
