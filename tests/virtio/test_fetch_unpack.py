"""The chunk unpacker: widths, stalls, packets of every length and failed reads."""

import random

import pytest
from amaranth.sim import Simulator

from tailrace_hw.pcie.dma import DmaStatus
from tailrace_hw.virtio.fetch_types import BATCH
from tailrace_hw.virtio.fetch_unpack import ChunkUnpacker
from tailrace_sim.run import pick_seed


def beats(width, content, tag, status):
    step = width // 8
    for start in range(0, len(content), step):
        part = content[start : start + step]
        last = start + step >= len(content)
        yield {
            "data": int.from_bytes(part, "little"),
            "empty": step - len(part) if last else 0,
            "last": last,
            "meta": {"tag": tag, "status": status if last else DmaStatus.OK},
        }


def chunk(part, last, fault):
    """What is expected of 16 bytes."""
    raw = int.from_bytes(part, "little")
    address, length = raw & (1 << 64) - 1, raw >> 64 & 0xFFFFFFFF
    return (raw, last, fault, length == 0, address + length > 1 << 64)


@pytest.mark.parametrize("width", [64, 128, 512])
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_unpacks(width, stall):
    seed = pick_seed()
    print(f"seed {seed} (replay: TAILRACE_SEED={seed})")
    rng = random.Random(seed)
    sent, expected = [], []
    for _ in range(25):
        status = rng.choice([DmaStatus.OK] * 4 + [DmaStatus.UR, DmaStatus.POISONED])
        content = rng.randbytes(16 * rng.randint(1, BATCH))
        if rng.random() < 0.3:
            content = bytes(16) if rng.random() < 0.5 else b"\xff" * 16
        sent += beats(width, content, 3, status)
        cuts = [content[start : start + 16] for start in range(0, len(content), 16)]
        fault = status != DmaStatus.OK
        expected += [chunk(cut, cut_at == len(cuts) - 1, fault) for cut_at, cut in enumerate(cuts)]
    # A failed read may bring more than was asked for: only its end matters.
    sent += beats(width, rng.randbytes(64 * BATCH), 3, DmaStatus.CA)
    dut = ChunkUnpacker(width)
    got = []

    async def feed(ctx):
        for beat in sent:
            while rng.random() < stall:
                await ctx.tick()
            ctx.set(dut.i.payload, beat)
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
            ctx.set(dut.i.valid, 0)

    async def drain(ctx):
        while len(got) < len(expected) + 1 or not got[-1][1]:
            ctx.set(dut.o.ready, rng.random() >= stall)
            _, _, valid, ready, out = await ctx.tick().sample(
                dut.o.valid, dut.o.ready, dut.o.payload
            )
            if valid and ready:
                names = ("raw", "last", "fault", "zero_length", "wraps")
                got.append(tuple(int(out[name]) for name in names))

    simulator = Simulator(dut)
    simulator.add_clock(4e-9)
    simulator.add_testbench(feed)
    simulator.add_testbench(drain)
    simulator.run_until(4e-9 * 20000)
    assert got[: len(expected)] == expected
    assert len(expected) < len(got) <= len(expected) + BATCH
    assert all(entry[2] for entry in got[len(expected) :])
