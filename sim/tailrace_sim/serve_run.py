"""Inside the simulator: the device on a network, and a host behind it that answers."""

import ipaddress
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cocotb
from cocotb.task import Task
from cocotb.triggers import Event, First
from rich.console import Console
from rich.live import Live

from tailrace.cli.errors import UserError
from tailrace.virtio.net import VirtioNet
from tailrace.virtio.net_types import NetOptions, TxFrame
from tailrace_sim.cli.terminal import print_rows
from tailrace_sim.fast.kernel import Kernel
from tailrace_sim.fast.network.address import open_peer
from tailrace_sim.fast.network.peer import Limits, Peer
from tailrace_sim.fast.pacer import Pacer
from tailrace_sim.fast.process import running
from tailrace_sim.responder import Responder
from tailrace_sim.run import parameters
from tailrace_sim.system import System

#: Ours, if the device has none of its own.
_MAC = "02:54:52:00:00:01"
#: Seconds between two looks at the counters.
_REDRAW = 0.25
#: Cycles without a frame behind the end of a capture, until all is over.
_QUIET = 50_000
#: Not the number of a device: our place in ``Kernel.before_stride``.
_HOOK = -1


@dataclass
class Service:
    """The host behind the device, and how long it goes on.

    Attributes
    ----------
    received, sent : frames and bytes of the host, through the driver
    done : it is over
    """

    system: System
    net: VirtioNet
    peer: Peer
    responder: Responder
    echo: bool
    received: list[int] = field(default_factory=lambda: [0, 0])
    sent: list[int] = field(default_factory=lambda: [0, 0])
    done: Event = field(default_factory=Event)

    def answer(self, frame: bytes) -> bytes | None:
        return frame if self.echo else self.responder.answer(frame)

    async def serve(self, queue: int) -> None:
        """Receive, and send what there is to say, without end."""
        while True:
            frames = [frame.data for frame in await self.net.receive(queue)]
            answers = [answer for frame in frames if (answer := self.answer(frame)) is not None]
            for count, data in ((self.received, frames), (self.sent, answers)):
                count[0] += len(data)
                count[1] += sum(map(len, data))
            if answers:
                await self.net.transmit([TxFrame(answer) for answer in answers], queue)

    async def end_of_capture(self) -> None:
        """A peer that has nothing more to say, and a device with nothing more to do."""
        seen: tuple[int, ...] | None = None
        while True:
            now = (self.peer.counters.frames_in, self.peer.counters.frames_out, *self.received)
            if self.peer.finished and now == seen:
                self.done.set()
            seen = now
            await self.system.wait(_QUIET)


class Display:
    """A line of counters on a terminal, and the end that the wall clock sets.

    Parameters
    ----------
    seconds : until the end; None: none
    """

    def __init__(self, kernel: Kernel, service: Service, seconds: float | None, console: Console):
        self._kernel = kernel
        self._service = service
        self._console = console
        self.start, self.begin = time.monotonic(), kernel.now()
        self._end = None if seconds is None else self.start + seconds
        self._next = 0.0
        self.live = Live(console=console, transient=True, auto_refresh=False)
        kernel.before_stride[_HOOK] = self._tick
        kernel.on_interrupt = self._interrupt
        self._expired = False

    def _interrupt(self) -> None:
        self._kernel.was_interrupted = not self._expired
        self._service.done.set()

    def _tick(self) -> None:
        now = time.monotonic()
        if self._end is not None and now >= self._end and not self._expired:
            self._expired = self._kernel.interrupted = True
        if now >= self._next and self._console.is_terminal:
            self._next = now + _REDRAW
            self.live.update(self.line(), refresh=True)

    def line(self) -> str:
        """All in one line."""
        service, simulated = self._service, self._kernel.now() - self.begin
        peer, seconds = service.peer.counters, max(time.monotonic() - self.start, 1e-9)
        return (
            f"{seconds:.0f} s, simulated {simulated / 1e9:.3f} ms, "
            f"{simulated / 4000 / seconds:,.0f} cycles/s | in {peer.frames_in}, "
            f"to host {service.received[0]}, from host {service.sent[0]}, out {peer.frames_out}"
        )

    async def summary(self) -> list[tuple[str, Any]]:
        """What happened, by name."""
        service, simulated = self._service, self._kernel.now() - self.begin
        seconds = max(time.monotonic() - self.start, 1e-9)
        drops = {name: n for name, n in (await service.system.drops()).items() if n}
        errors = await service.system.device.management.errors()
        rows: list[tuple[str, Any]] = [
            ("time", f"{seconds:.1f} s, simulated {simulated / 1e9:.3f} ms"),
            ("speed", f"{simulated / 4000 / seconds:,.0f} cycles a second"),
            *((f"wire, {name}", value) for name, value in service.peer.counters.lines()),
            ("host, received", f"{service.received[0]} ({service.received[1]} bytes)"),
            ("host, sent", f"{service.sent[0]} ({service.sent[1]} bytes)"),
        ]
        if not service.echo:
            who = service.responder
            rows.append(("answered", f"{who.arps} ARP, {who.pings} pings; {who.ignored} ignored"))
        rows.append(("drops", ", ".join(f"{k} {v}" for k, v in drops.items()) or "none"))
        return [*rows, ("errors", "; ".join(map(str, errors)) or "none")]


async def _start(dut: Any, settings: dict[str, Any], peer_of: Any) -> Service:
    system = await System.start(dut, memory_size=64 << 20)
    pairs = system.config.virtio_net.queue_pairs
    net = await system.device.net(0, NetOptions(queue_pairs=pairs))
    await net.check()
    mac = net.config.mac.hex(":") if net.config.mac else _MAC
    responder = Responder(mac, ipaddress.IPv4Address(settings["address"]))
    port = system.config.port
    limits = Limits(shortest=max(port.min_length, Limits.shortest), longest=port.max_length)
    return Service(system, net, peer_of(settings["peer"], limits), responder, settings["echo"])


async def _started(dut: Any, settings: dict[str, Any], kernel: Kernel) -> Service | None:
    """The service; None if it was interrupted on the way.

    Raises
    ------
    UserError
        The peer cannot be opened.
    """
    interrupted = Event()
    kernel.on_interrupt = interrupted.set

    async def outcome() -> Service | UserError:
        # What a task raises would be the failure of the test that we are.
        try:
            return await _start(dut, settings, open_peer)
        except UserError as error:
            return error

    starting: Task = cocotb.start_soon(outcome())
    await First(starting, interrupted.wait())
    if not starting.done():
        starting.cancel()
        return None
    found = starting.result()
    if isinstance(found, UserError):
        raise found
    return found


async def work(dut) -> None:
    """Until an interrupt, the end of the time or of the capture; then the summary."""
    settings = parameters()
    kernel = running()
    assert kernel is not None
    console = Console(width=None if Console().is_terminal else 200)
    begin = time.monotonic()
    # Paths of peers are the user's; ours are absolute.
    complaint = Path("complaint").absolute()
    os.chdir(settings["cwd"])
    try:
        service = await _started(dut, settings, kernel)
    except UserError as error:
        complaint.write_text(str(error))
        return
    if service is None:
        seconds, simulated = time.monotonic() - begin, kernel.now() / 1e9
        rows = [
            ("time", f"{seconds:.1f} s, simulated {simulated:.3f} ms"),
            ("interrupted", "while the driver was brought up"),
            ("wire", f"no frame in or out; {settings['peer']} was not open yet"),
        ]
        print_rows(console, rows)
        Path(settings["told"]).touch()
        return
    with service.peer as peer:
        pacer = Pacer(kernel, [peer], settings["realtime"])
        display = Display(kernel, service, settings["seconds"], console)
        what = "sends every frame back" if settings["echo"] else (
            f"answers ARP and ping for {settings['address']} at {service.responder.mac}"
        )  # fmt: skip
        console.print(f"port 0 is at {peer.name}; the host {what}; Ctrl-C ends it")
        for queue in range(service.system.config.virtio_net.queue_pairs):
            cocotb.start_soon(service.serve(queue))
        cocotb.start_soon(peer.run(service.system.port))
        cocotb.start_soon(service.end_of_capture())
        with display.live:
            await service.done.wait()
        del kernel.before_stride[_HOOK]
        pacer.stop()
    print_rows(console, await display.summary())
    Path(settings["told"]).touch()


@cocotb.test()
async def serve(dut) -> None:
    """See :func:`work`."""
    await work(dut)
