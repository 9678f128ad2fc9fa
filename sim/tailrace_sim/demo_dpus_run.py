"""Inside the simulator: two DPUs and a cable; host B sends back what host A has sent."""

import dataclasses
import json
from pathlib import Path

import cocotb
from cocotb.triggers import Event

from tailrace.virtio.net import VirtioNet
from tailrace.virtio.net_types import NetOptions, TxFrame
from tailrace_sim.fast.link import Faults, Link, cable
from tailrace_sim.fast.mac_port import FastPort
from tailrace_sim.run import parameters, seed
from tailrace_sim.system import System
from tailrace_sim.traffic import load_frames, save_frames

#: Frames that may be on their way at once: no more than a receive buffer and the rings hold.
_WINDOW_FRAMES = 48
_WINDOW_BYTES = 32768
#: Without a frame for so many cycles the run is over, one way or the other.
_PATIENCE = 50_000
_SLICE = 128


@dataclasses.dataclass
class RoundTrip:
    """Frames of host A through both devices to host B, and back.

    Attributes
    ----------
    posted : cycle in which the driver of A was given each frame
    arrived : frames that B received
    returned : (frame, queue, cycle) of each that A received
    """

    systems: list[System]
    nets: list[VirtioNet]
    links: tuple[Link, Link]
    inputs: list[bytes]
    progress: Path
    posted: list[int] = dataclasses.field(default_factory=list)
    arrived: int = 0
    returned: list[tuple[bytes, int, int]] = dataclasses.field(default_factory=list)
    room: Event = dataclasses.field(default_factory=Event)

    def under_way(self) -> int:
        """Frames that can still come back."""
        counters = [link.counters() for link in self.links]
        more = sum(c.duplicated for c in counters)
        gone = sum(c.lost + c.corrupted for c in counters)
        return len(self.posted) + more - gone - len(self.returned)

    async def feed(self) -> None:
        """All frames, as long as the window has room."""
        window = max(1, min(_WINDOW_FRAMES, _WINDOW_BYTES // max(map(len, self.inputs))))
        host = self.systems[0].host
        while len(self.posted) < len(self.inputs):
            start = len(self.posted)
            batch = self.inputs[start : start + max(0, window - self.under_way())]
            if not batch:
                self.room.clear()
                await self.room.wait()
                continue
            self.posted += [host.cycles()] * len(batch)
            await self.nets[0].transmit([TxFrame(frame) for frame in batch])

    async def echo(self, queue: int) -> None:
        """Host B, without end."""
        while True:
            frames = await self.nets[1].receive(queue)
            self.arrived += len(frames)
            await self.nets[1].transmit([TxFrame(frame.data) for frame in frames], queue)

    async def collect(self, queue: int) -> None:
        """Host A, without end."""
        while True:
            frames = await self.nets[0].receive(queue)
            now = self.systems[0].host.cycles()
            self.returned += [(frame.data, queue, now) for frame in frames]
            self.room.set()

    async def finish(self) -> None:
        """Until nothing can come back any more, or nothing does."""
        idle = 0
        while (len(self.posted) < len(self.inputs) or self.under_way()) and idle < _PATIENCE:
            before = len(self.returned), self.arrived
            await self.systems[0].wait(_SLICE)
            idle = 0 if (len(self.returned), self.arrived) != before else idle + _SLICE
            # A lost frame makes room too.
            self.room.set()
            self.progress.write_text(str(len(self.returned)))


@cocotb.test()
async def demo_dpus(dut) -> None:
    """Send the frames of ``input.txt``; leave ``outcome.json`` and ``output.txt``."""
    settings = parameters()
    work = Path(settings["work"])
    systems = await System.start_all(memory_size=64 << 20)
    pairs = systems[0].config.virtio_net.queue_pairs
    options = NetOptions(packed=settings["ring"] == "packed", queue_pairs=pairs)
    nets = [await system.device.net(0, options) for system in systems]
    for net in nets:
        # A read behind the notifications: the device knows of its buffers before the first frame.
        await net.check()
    for system in systems:
        system.pcie.reset_traffic()
    a, b = (system.port for system in systems)
    assert isinstance(a, FastPort)
    assert isinstance(b, FastPort)
    links = cable(a, b, Faults(**settings["faults"]))
    trip = RoundTrip(systems, nets, links, load_frames(work / "input.txt"), work / "progress")
    for queue in range(pairs):
        cocotb.start_soon(trip.echo(queue))
        cocotb.start_soon(trip.collect(queue))
    cocotb.start_soon(trip.feed())
    await trip.finish()

    base = trip.posted[0]
    outcome = {
        "posted": [cycle - base for cycle in trip.posted],
        "arrived": trip.arrived,
        "queues": [queue for _, queue, _ in trip.returned],
        "returned": [cycle - base for _, _, cycle in trip.returned],
        "links": [dataclasses.asdict(link.counters()) for link in links],
        "drops": [await system.drops() for system in systems],
        "interrupts": [system.pcie.traffic.interrupts for system in systems],
        "seed": seed(),
    }
    save_frames(work / "output.txt", [data for data, _, _ in trip.returned])
    (work / "outcome.json").write_text(json.dumps(outcome))
