"""Inside the simulator: the demo's loop from the wire to the driver and back."""

import dataclasses
import json
from pathlib import Path

import cocotb
from cocotb.triggers import Event

from tailrace.virtio.net import VirtioNet
from tailrace.virtio.net_types import NetOptions, TxFrame
from tailrace_sim.demo_crypto_run import seal_frames
from tailrace_sim.demo_report import match
from tailrace_sim.run import parameters, seed
from tailrace_sim.system import System
from tailrace_sim.traffic import load_frames, save_frames

#: Frames that may be inside the device or the host at once: enough to fill the pipeline, and no
#: more than the receive buffer and the rings hold, so that nothing is lost.
_WINDOW_FRAMES = 48
_WINDOW_BYTES = 32768
#: Without a frame for so many cycles the run is over, one way or the other.
_PATIENCE = 50_000


@dataclasses.dataclass
class Replay:
    """Sends the input within the window and echoes what arrives."""

    system: System
    net: VirtioNet
    inputs: list[bytes]
    progress: Path
    delivered: list[int] = dataclasses.field(default_factory=list)
    delivered_data: list[bytes] = dataclasses.field(default_factory=list)
    queues: list[int] = dataclasses.field(default_factory=list)
    depth: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    inside: list[int] = dataclasses.field(default_factory=lambda: [0, 0])
    room: Event = dataclasses.field(default_factory=Event)
    done: bool = False

    def _account(self, frames: int, size: int) -> None:
        self.inside[0] += frames
        self.inside[1] += size
        self.depth.append((self.system.port.now(), self.inside[0]))

    async def feed(self) -> None:
        """Frames into the port, as long as the window has room."""
        for frame in self.inputs:
            while self.inside[0] >= _WINDOW_FRAMES or self.inside[1] > _WINDOW_BYTES:
                self.room.clear()
                await self.room.wait()
            self._account(1, len(frame))
            self.system.port.send(frame)

    async def echo(self, queue: int) -> None:
        """What a receive queue brings goes out through the transmit queue of the same pair."""
        while not self.done:
            frames = await self.net.receive(queue, timeout=_PATIENCE)
            now = self.system.host.cycles()
            for frame in frames:
                self.delivered.append(now)
                self.delivered_data.append(frame.data)
                self.queues.append(queue)
            if frames:
                await self.net.transmit([TxFrame(frame.data) for frame in frames], queue)

    async def collect(self) -> list[tuple[bytes, int, int]]:
        """Frames that leave the port, until all are there or none comes any more."""
        outputs: list[tuple[bytes, int, int]] = []
        idle = 0
        while len(outputs) < len(self.inputs) and idle < _PATIENCE:
            while not self.system.port.received.empty():
                frame = self.system.port.received.get_nowait()
                outputs.append((frame.data, frame.start, frame.end))
                self._account(-1, -len(frame.data))
                self.room.set()
                idle = 0
            await self.system.wait(64)
            idle += 64
            self.progress.write_text(str(len(outputs)))
        self.done = True
        return outputs


@cocotb.test()
async def demo(dut) -> None:
    """Replay the frames of ``input.txt`` and seal them; leave ``outcome.json`` and ``output.txt``.
    """
    settings = parameters()
    work = Path(settings["work"])
    inputs = load_frames(work / "input.txt")
    system = await System.start(dut, memory_size=64 << 20)
    pairs = system.config.virtio_net.queue_pairs
    options = NetOptions(packed=settings["ring"] == "packed", queue_pairs=pairs)
    net = await system.device.net(0, options)
    # A read behind the notifications: the device knows of its buffers before the first frame.
    await net.check()

    system.pcie.reset_traffic()
    replay = Replay(system, net, inputs, work / "progress")
    for queue in range(pairs):
        cocotb.start_soon(replay.echo(queue))
    cocotb.start_soon(replay.feed())
    outputs = await replay.collect()
    traffic = system.pcie.traffic

    entered = system.port.sent
    base = entered[0].start if entered else 0
    outcome = {
        "entered": [(frame.start - base, frame.end - base) for frame in entered],
        "left": [(start - base, end - base) for _, start, end in outputs],
        "delivered": [cycle - base for cycle in replay.delivered],
        "delivered_frames": match(inputs, replay.delivered_data),
        "queues": replay.queues,
        "depth": [(cycle - base, depth) for cycle, depth in replay.depth],
        "drops": await system.drops(),
        "cycles": (outputs[-1][2] - base) if outputs else 0,
        "interrupts": traffic.interrupts,
        "dma_read": traffic.read_bytes,
        "dma_written": traffic.write_bytes,
        "seed": seed(),
    }
    # Behind all that was measured.
    outcome["sealed"] = await seal_frames(system, inputs)
    save_frames(work / "output.txt", [data for data, _, _ in outputs])
    (work / "outcome.json").write_text(json.dumps(outcome))
