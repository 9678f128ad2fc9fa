"""Simple dual-port RAM: every access against a list, at one read and one write a cycle."""

import pytest

from tailrace_hw.lib.ram import SimpleDualPortRam
from tailrace_sim.unit import seeded, simulate


@pytest.mark.parametrize("transparent", [False, True])
@pytest.mark.parametrize("granularity", [None, 8])
def test_reads_what_was_written(granularity, transparent):
    rng = seeded()
    rows = [rng.getrandbits(32) for _ in range(10)]
    dut = SimpleDualPortRam(32, 10, granularity=granularity, transparent=transparent, init=rows)
    enables = 1 if granularity is None else 4

    async def bench(ctx):
        expected = 0
        for _ in range(500):
            write, read = rng.randrange(10), rng.randrange(10)
            data, enable, reading = (
                rng.getrandbits(32),
                rng.getrandbits(enables),
                rng.getrandbits(1),
            )
            ctx.set(dut.write_address, write)
            ctx.set(dut.write_data, data)
            ctx.set(dut.write_enable, enable)
            ctx.set(dut.read_address, read)
            ctx.set(dut.read_enable, reading)
            before = rows[read]
            bits = 32 // enables
            mask = sum(((1 << bits) - 1) << k * bits for k in range(enables) if enable >> k & 1)
            rows[write] = rows[write] & ~mask | data & mask
            if reading:
                expected = rows[read] if transparent else before
            await ctx.tick()
            assert ctx.get(dut.read_data) == expected

    simulate(dut, bench)
