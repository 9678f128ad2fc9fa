"""Inside the simulator, on either backend: how long do frames through the driver take?"""

import json
import time
from pathlib import Path
from random import Random

import cocotb

from tailrace.virtio.net import VirtioNet
from tailrace.virtio.net_types import NetOptions, TxFrame
from tailrace_sim.run import parameters, seed
from tailrace_sim.system import System

#: Frames that may be inside at once: the pipeline is full, and nothing is dropped.
_WINDOW = 40
_PATIENCE = 50_000


async def _echo(net: VirtioNet, queue: int) -> None:
    """What arrives is sent again, without end."""
    while True:
        frames = await net.receive(queue, timeout=_PATIENCE)
        if frames:
            await net.transmit([TxFrame(frame.data) for frame in frames], queue)


async def _circulate(system: System, frames: list[bytes]) -> None:
    """All frames in and out again, each compared."""
    inside: dict[bytes, int] = {}
    sent = 0
    while sent < len(frames) or inside:
        while sent < len(frames) and len(inside) < _WINDOW:
            inside[frames[sent]] = sent
            system.port.send(frames[sent])
            sent += 1
        frame = await system.port.receive()
        assert frame.data in inside, "a frame left that never entered"
        del inside[frame.data]


@cocotb.test()
async def cosim(dut) -> None:
    """CPU seconds and cycles of the load and of idleness, into ``cosim.json``."""
    settings = parameters()
    rng = Random(seed())
    system = await System.start(dut, memory_size=64 << 20)
    pairs = system.config.virtio_net.queue_pairs
    net = await system.device.net(0, NetOptions(packed=True, queue_pairs=pairs))
    await net.check()
    frames = [rng.randbytes(settings["size"]) for _ in range(settings["frames"])]
    assert len(set(frames)) == len(frames)
    for queue in range(pairs):
        cocotb.start_soon(_echo(net, queue))
    await system.wait(2000)

    start, cycle = time.process_time(), system.host.cycles()
    await _circulate(system, frames)
    loaded = {"seconds": time.process_time() - start, "cycles": system.host.cycles() - cycle}
    drops = {name: count for name, count in (await system.drops()).items() if count}
    assert not drops, drops

    await system.wait(2000)
    start = time.process_time()
    await system.wait(settings["idle"])
    idle = {"idle_seconds": time.process_time() - start, "idle_cycles": settings["idle"]}
    found = {"frames": len(frames), **loaded, **idle}
    Path("cosim.json").write_text(json.dumps(found))
