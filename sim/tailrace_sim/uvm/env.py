"""The environment of the virtio-net path, and the test that runs in it.

::

    config = NetConfig(system, net, ring, geometry, run)
    config.publish()
    await uvm_root().run_test(NetTest, keep_singletons=True)
"""

import cocotb
from cocotb.triggers import First, Timer
from pyuvm import uvm_env, uvm_test

from tailrace_sim.models.scoreboard import ScoreboardError
from tailrace_sim.uvm.config import NetConfig, net_config
from tailrace_sim.uvm.host_agent import HostAgent
from tailrace_sim.uvm.registers import RegisterAgent
from tailrace_sim.uvm.scoreboard import CoverageCollector, NetScoreboard
from tailrace_sim.uvm.sequences import (
    BadReceive,
    BadTransmit,
    DirectedReceive,
    DirectedTransmit,
    RandomReceive,
    RandomTransmit,
)
from tailrace_sim.uvm.space import STALLS
from tailrace_sim.uvm.stalls import Staller
from tailrace_sim.uvm.wire_agent import WireAgent

__all__ = ["NetEnv", "NetTest"]

#: Cycles without anything coming after which the scoreboard has the last word.
_PATIENCE = 20_000
_STEP = 64
#: From the last beat of a frame that is dropped to its count, with everything stalled.
_SETTLE = 400
#: Blocks whose frame, byte and drop counters are compared.
_COUNTED = ("port0", "virtio_net0")


class NetEnv(uvm_env):
    """Wire agent, host agent, register agent, scoreboard and coverage of one driver start."""

    def build_phase(self):
        self.config = net_config(self)
        self.wire = WireAgent.create("wire", self)
        self.host = HostAgent.create("host", self)
        self.registers = RegisterAgent.create("registers", self)
        self.scoreboard = NetScoreboard.create("scoreboard", self)
        self.collector = CoverageCollector.create("collector", self)

    def connect_phase(self):
        board = self.scoreboard
        self.wire.driver.ap.connect(board.sent_in)
        self.wire.monitor.ap.connect(board.on_wire)
        self.host.driver.ap.connect(board.sent_out)
        self.host.monitor.ap.connect(board.delivered)
        board.matched.connect(self.collector.analysis_export)
        self.registers.attach(self.config.system.device.management, self.config.run.registers)

    async def counters(self) -> dict[tuple[str, str], int]:
        """Frame, byte and drop counters of the path, read through the register model."""
        model = self.config.run.registers
        return {
            (block, name): await model.value(block, name)
            for block, name in model.names()
            if block in _COUNTED and name.startswith(("rx_", "tx_"))
        }

    async def drain(self) -> None:
        """Wait until everything that was sent is out, or nothing comes any more."""
        system, board = self.config.system, self.scoreboard
        await system.port.drained()
        for queue in range(self.config.queue_pairs):
            await self.config.net.flush(queue)
        idle, before = 0, board.pending
        while before and idle < _PATIENCE:
            await system.wait(_STEP)
            idle = idle + _STEP if board.pending == before else 0
            before = board.pending
        await system.wait(_SETTLE)

    async def stop(self) -> None:
        """Nothing of this environment uses the driver or the port any more."""
        await self.host.monitor.stop()


class NetTest(uvm_test):
    """Each stall pattern once: directed and bad frames both ways, then random ones at full rate.

    The phases of pyuvm check the scoreboard at the end; the device's counters are compared here.
    """

    def build_phase(self):
        self.config: NetConfig = net_config(self)
        self.env = NetEnv.create("env", self)

    async def run_phase(self):
        self.raise_objection()
        before = await self.env.counters()
        await self.traffic()
        after = await self.env.counters()
        self.env.scoreboard.check_counts({key: after[key] - before[key] for key in after})
        await self.env.stop()
        self.drop_objection()

    async def traffic(self) -> None:
        """Everything that this test sends."""
        config = self.config
        staller = Staller(config.system, config.rng)
        for stall in config.rng.sample(STALLS, len(STALLS)):
            self.logger.info(f"stalls: {stall}; {config.net.options}")
            config.stall = stall
            await staller.set(stall)
            await self._both_ways(
                [DirectedReceive(config, config.frames, config.run.planners["receive"])],
                [DirectedTransmit(config, config.frames, config.run.planners["transmit"])],
            )
            await self.env.drain()
        config.stall = "none"
        await staller.set("none")
        await self._both_ways(
            [RandomReceive(config, config.random_frames), BadReceive(config, 3)],
            [RandomTransmit(config, config.random_frames), BadTransmit(config, 2)],
        )
        await self.env.drain()

    async def _both_ways(self, into_port, into_queues) -> None:
        """Run sequences at once, those of one side mixed by its sequencer."""
        tasks = [
            cocotb.start_soon(sequence.start(agent.sequencer))
            for agent, sequences in ((self.env.wire, into_port), (self.env.host, into_queues))
            for sequence in sequences
        ]
        for task in tasks:
            if not task.done():
                await First(task, Timer(16 * _PATIENCE, "ns"))
            if not task.done():
                errors = await self.config.system.device.management.errors()
                raise ScoreboardError(f"a sequence stands still; {'; '.join(map(str, errors))}")
