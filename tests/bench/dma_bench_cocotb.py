"""Rates of the DMA engines in the simulator: sustained bytes a cycle, by request size."""

import json
from pathlib import Path

import cocotb
from cocotb.triggers import ClockCycles
from dma_agents import MEMORY, Bench

from tailrace_sim.run import parameters

#: Host memory above 4 GiB, so that requests have the 64-bit headers that the limit counts.
BASE = 1 << 32
WARM_UP = 1500
WINDOW = 3000


class RateBench(Bench):
    """Clients that always have the next request and its data ready."""

    def feed(self, kind, size):
        """Aligned requests of ``size`` bytes, more than the window can take, in turn."""
        blocks = MEMORY // size
        for index in range((WARM_UP + WINDOW) * 64 // size):
            address = BASE + index % blocks * size
            if kind == "read":
                self.readers[index % 2].read(address, size)
            else:
                self.writers[index % 2].write(address, bytes(size))

    async def rate(self, kinds, size):
        """Bytes a cycle of each kind, once it has settled."""
        for kind in kinds:
            self.feed(kind, size)
        await ClockCycles(self.dut.clk, WARM_UP)
        start = {kind: self.counts[kind]["bytes"] for kind in kinds}
        await ClockCycles(self.dut.clk, WINDOW)
        rates = {kind: (self.counts[kind]["bytes"] - start[kind]) / WINDOW for kind in kinds}
        assert not self.errors
        return rates


async def measure(dut, kinds, size):
    """One measurement on a device fresh out of reset; written to ``<kinds>_<size>.json``."""
    wanted = parameters()
    bench = RateBench(
        dut, memory_base=BASE, max_payload=wanted["max_payload"], max_read=wanted["max_read"],
        latency_cycles=wanted["latency"],
    )  # fmt: skip
    # The library stops its queues at two frames, which is less than the block holds.
    bench.host.device.rq_sink.queue_occupancy_limit_frames = 16
    bench.host.device.rc_source.queue_occupancy_limit_frames = 16
    await bench.start()
    rates = await bench.rate(kinds, size)
    dut._log.warning("%s %s: %s", kinds, size, rates)
    Path(f"{'_'.join(kinds)}_{size}.json").write_text(json.dumps(rates))


@cocotb.test()
async def read_4096(dut):
    await measure(dut, ["read"], 4096)


@cocotb.test()
async def write_4096(dut):
    await measure(dut, ["write"], 4096)


@cocotb.test()
async def read_write_4096(dut):
    await measure(dut, ["read", "write"], 4096)


@cocotb.test()
async def read_256(dut):
    await measure(dut, ["read"], 256)


@cocotb.test()
async def write_256(dut):
    await measure(dut, ["write"], 256)


@cocotb.test()
async def read_write_256(dut):
    await measure(dut, ["read", "write"], 256)
