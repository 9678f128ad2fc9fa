"""Inside the simulator: the pyuvm environment, once for each ring type and buffer geometry."""

import dataclasses
import json
from pathlib import Path
from random import Random

import cocotb
from pyuvm import uvm_factory, uvm_root

from tailrace_hw.config import Config
from tailrace_hw.mgmt.identity import INTERFACE_VERSION
from tailrace_sim.models.scoreboard import ScoreboardError
from tailrace_sim.run import parameters, seed
from tailrace_sim.system import System
from tailrace_sim.uvm.config import NetConfig, Run
from tailrace_sim.uvm.env import NetTest
from tailrace_sim.uvm.register_tests import RegisterTest
from tailrace_sim.uvm.registers import RegisterModel
from tailrace_sim.uvm.space import GEOMETRIES, RINGS, Geometry, Ring
from tailrace_sim.uvm.wire_agent import WireMonitor

#: From the driver's first notification until the device has fetched receive buffers.
_PREFETCH = 3000


async def start(system: System, run: Run, ring: Ring, geometry: Geometry) -> NetConfig:
    """Bring the driver up in one way; the configuration of an environment for it."""
    most = system.config.virtio_net.queue_pairs
    options = geometry.options(
        ring,
        event_idx=run.rng.random() < 0.5,
        queue_pairs=run.rng.choice([1, 2, most]),
    )
    net = await system.device.net(0, options)
    await system.wait(_PREFETCH)
    return NetConfig(system, net, ring, geometry, run)


@cocotb.test()
async def traffic(dut) -> None:
    """Every ring with every buffer geometry, until the coverage's goals are reached."""
    system = await System.start(dut, memory_size=64 << 20)
    run = Run(Random(seed()))
    rounds = [(ring, geometry) for ring in RINGS for geometry in GEOMETRIES]
    run.rng.shuffle(rounds)
    for ring, geometry in rounds:
        if run.coverage.complete:
            break
        config = await start(system, run, ring, geometry)
        config.publish()
        await uvm_root().run_test(NetTest, keep_singletons=True)
        await config.net.stop()
    Path(parameters()["coverage"]).write_text(json.dumps(run.coverage.to_dict()))
    run.coverage.check()


def shown_values(config: Config) -> dict[tuple[str, str], int]:
    """What the registers show that have no reset value, on a device that has done nothing."""
    major, minor, patch = INTERFACE_VERSION
    port = config.port
    return {
        ("identity", "version"): major << 24 | minor << 16 | patch,
        ("identity", "configuration"): int(config.hash()[:8], 16),
        ("identity", "shape"): (
            config.width // 8 | port.count << 8 | 2 << 16 | config.virtio_net.queue_pairs << 24
        ),
        ("identity", "clock"): config.clock_hz,
        ("port0", "status"): 1,
        ("port0", "limits"): port.min_length | port.max_length << 16,
        # Max_Payload_Size 256, Max_Read_Request_Size 512, extended tags, as the host enumerated.
        ("pcie", "status"): 1 | 2 << 4 | 1 << 8,
    }


@cocotb.test()
async def registers(dut) -> None:
    """Reset values and access rights of every register of the management function."""
    system = await System.start(dut)
    model = RegisterModel()
    assert len(model.names()) > 60
    RegisterTest.configure(
        system.device.management, model, shown_values(system.config), Random(seed())
    )
    await uvm_root().run_test(RegisterTest, keep_singletons=True)
    assert not system.host.refused


class FlippingMonitor(WireMonitor):
    """The planted fault: one bit of the third frame that leaves is wrong."""

    frames = 0

    def _observe(self, frame):
        self.frames += 1
        if self.frames == 3:
            data = bytearray(frame.data)
            data[-1] ^= 1
            frame = dataclasses.replace(frame, data=bytes(data))
        super()._observe(frame)


@cocotb.test(expect_error=ScoreboardError)
async def planted_fault(dut) -> None:
    """The environment finds a wrong bit: the factory puts a lying monitor into it."""
    system = await System.start(dut, memory_size=64 << 20)
    config = await start(system, Run(Random(seed())), RINGS[-1], GEOMETRIES[0])
    config.publish()
    uvm_factory().set_type_override_by_type(WireMonitor, FlippingMonitor)
    try:
        await uvm_root().run_test(NetTest, keep_singletons=True)
    finally:
        uvm_factory().clear_overrides()
