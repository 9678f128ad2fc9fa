"""Inside the simulator: the smallest test with a sequence of its own, for docs/verification.md."""

from random import Random

import cocotb
from pyuvm import uvm_root

from tailrace.virtio.net_types import NetOptions
from tailrace_sim.run import seed
from tailrace_sim.system import System
from tailrace_sim.uvm import frames
from tailrace_sim.uvm.config import NetConfig, Run
from tailrace_sim.uvm.env import NetTest
from tailrace_sim.uvm.items import ReceiveItem
from tailrace_sim.uvm.sequences import NetSequence, RandomTransmit
from tailrace_sim.uvm.space import GEOMETRIES, RINGS


class Minimum(NetSequence):
    """The shortest frames there are."""

    def items(self):
        while True:
            yield ReceiveItem(frames.plain(self.rng, 14))


class MinimumTest(NetTest):
    """What it sends is all that differs: scoreboard and counters are checked by the base."""

    async def traffic(self) -> None:
        # Both ways, for a scoreboard that compared nothing in one direction fails.
        await Minimum(self.config, 100).start(self.env.wire.sequencer)
        await RandomTransmit(self.config, 10).start(self.env.host.sequencer)
        await self.env.drain()
        assert self.env.scoreboard.receive.compared == 100


@cocotb.test()
async def minimum(dut) -> None:
    system = await System.start(dut, memory_size=64 << 20)
    ring, geometry = RINGS[0], GEOMETRIES[0]
    options: NetOptions = geometry.options(ring, event_idx=True, queue_pairs=2)
    net = await system.device.net(0, options)
    await system.wait(3000)
    NetConfig(system, net, ring, geometry, Run(Random(seed()))).publish()
    await uvm_root().run_test(MinimumTest, keep_singletons=True)
