"""Random traffic whose every frame and cycle is written down, for comparison of runs."""

import hashlib
import json
from pathlib import Path
from random import Random

import cocotb
from system_traffic import Traffic, random_stalls

from tailrace.virtio.net_types import NetOptions
from tailrace_sim.run import seed
from tailrace_sim.system import System


@cocotb.test()
async def footprint(dut) -> None:
    """Leaves ``footprint.json``: frames on the wire, cycles of each, DMA counters, the end."""
    rng = Random(seed())
    system = await System.start(dut)
    net = await system.device.net(0, NetOptions(packed=True, queue_pairs=2))
    random_stalls(system, rng)
    left: list = []
    system.port.monitor.add_callback(left.append)
    traffic = Traffic(system, net, rng)
    await traffic.run(12, 6)
    assert len(left) == 12
    counted = system.pcie.traffic
    found = {
        "frames": sorted(hashlib.sha256(frame.data).hexdigest() for frame in left),
        "entered": [hashlib.sha256(frame.data).hexdigest() for frame in system.port.sent],
        "cycles": [[frame.start, frame.end] for frame in [*system.port.sent, *left]],
        "dma": [counted.read_bytes, counted.write_bytes, counted.interrupts],
        "end": system.host.cycles(),
    }
    Path("footprint.json").write_text(json.dumps(found))
