"""Nothing of a key stays in the expander: its end state is the same for all keys."""

from random import Random

import pytest
from amaranth.sim import Simulator

from tailrace_hw.crypto.key_expander import KeyExpander
from tailrace_hw.crypto.types import STAGES, KeyKind, KeySize
from tailrace_sim.states import States

POWERS = 6
CASES = [(KeyKind.GCM, size) for size in KeySize] + [
    (KeyKind.XTS, KeySize.AES_128),
    (KeyKind.XTS, KeySize.AES_256),
]


def expand(path, kind, size, seed: int) -> tuple[States, int, int]:
    """Expand a key; what the signals were, when it was done, when the next one could have come."""
    rng = Random(seed)
    dut = KeyExpander(POWERS)
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    times: dict[str, int] = {}

    async def bench(ctx):
        ctx.set(dut.i.payload.kind, kind)
        ctx.set(dut.i.payload.size, size)
        ctx.set(dut.i.payload.material, rng.getrandbits(256))
        ctx.set(dut.i.payload.tweak_material, rng.getrandbits(256))
        ctx.set(dut.i.valid, 1)
        await ctx.tick()
        ctx.set(dut.i.valid, 0)
        ctx.set(dut.i.payload.material, 0)
        ctx.set(dut.i.payload.tweak_material, 0)
        hash_in = product_in = -1
        for cycle in range(400):
            ctx.set(dut.granted, ctx.get(dut.claim))
            side, factors = ctx.get(dut.side), ctx.get(dut.factors.valid)
            hash_in = 20 if side.hash else hash_in - 1
            product_in = 8 if factors else product_in - 1
            ctx.set(dut.hash_key.valid, hash_in == 0)
            ctx.set(dut.hash_key.payload, rng.getrandbits(128) if hash_in == 0 else 0)
            ctx.set(dut.product.valid, product_in == 0)
            ctx.set(dut.product.payload, rng.getrandbits(128) if product_in == 0 else 0)
            if ctx.get(dut.done):
                times["done"] = cycle + 1
            elif "done" in times and ctx.get(dut.i.ready):
                times["ready"] = cycle + 1
                break
            await ctx.tick()
        # What it gives is a register too.
        await ctx.tick().repeat(4)

    simulator.add_testbench(bench)
    file = path / f"{kind.name}-{size.name}-{seed}.vcd"
    with simulator.write_vcd(str(file)):
        simulator.run()
    assert {"done", "ready"} <= set(times), f"it has not ended: {times}"
    return States(file), times["done"], times["ready"]


@pytest.mark.parametrize(("kind", "size"), CASES)
def test_its_end_state_tells_nothing(kind, size, tmp_path):
    runs = [expand(tmp_path, kind, size, seed) for seed in (1, 2)]
    (first, done, ready), (second, *times) = runs
    assert [done, ready] == times, "the time tells something of the key"
    period = 10**9  # the file counts femtoseconds

    def different(cycle: int) -> set[str]:
        here, there = (states.at(cycle * period) for states in (first, second))
        return {name for name in here if here[name] != there[name]}

    before = different(done)
    assert any(name.startswith("bench.top.schedule") for name in before), "compares nothing"
    left = different(ready + 3)
    assert not left, f"something of the key is in {sorted(left)}"


@pytest.mark.parametrize("wait", [0, 1, 5, 20])
def test_a_key_behind_an_erasure_does_not_write_its_row(wait):
    """Each RAM takes the erased row from ``write_key`` in its own cycle: 0 for ``STAGES`` cycles.

    Once the key's rows came in them: parts of it stood in an erased row until that was used again.
    """
    dut = KeyExpander(POWERS)
    seen = {"erased": 0, "keys": 0}

    async def bench(ctx):
        ctx.set(dut.i.payload.erase, 1)
        ctx.set(dut.i.valid, 1)
        await ctx.tick().until(dut.i.ready)
        ctx.set(dut.i.payload.erase, 0)
        ctx.set(dut.i.payload.row, 1)
        ctx.set(dut.i.payload.material, (1 << 256) - 1)
        ctx.set(dut.i.valid, wait == 0)
        wave = 0
        for cycle in range(80):
            ctx.set(dut.granted, ctx.get(dut.claim))
            if cycle == wait:
                ctx.set(dut.i.valid, 1)
            side = ctx.get(dut.side)
            if ctx.get(dut.done) and side.row == 0:
                wave = STAGES
            if wave:
                assert ctx.get(dut.write_key) == 0, f"{wave} stages before the end of the wave"
                seen["erased"] += 1
                wave -= 1
            seen["keys"] += ctx.get(dut.write_key) != 0
            taken = ctx.get(dut.i.valid) and ctx.get(dut.i.ready)
            await ctx.tick()
            if taken:
                ctx.set(dut.i.valid, 0)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen["erased"] == STAGES
    assert seen["keys"] >= STAGES - 4
