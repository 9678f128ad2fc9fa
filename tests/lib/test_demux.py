"""Demultiplexer: each packet whole, at the output it was for."""

import pytest

from tailrace_hw.lib.demux import Demux
from tailrace_hw.lib.packet import beat_layout
from tailrace_sim.streams import receive, receive_packets, send, to_beats
from tailrace_sim.unit import STALLS, check_refused, expect_silence, seeded, simulate


@pytest.mark.parametrize("stalls", STALLS, ids=str)
@pytest.mark.parametrize("width", [64, 512])
def test_packets_go_where_they_should(width, stalls):
    rng = seeded()
    jobs = [
        (rng.randrange(4), rng.randbytes(rng.randint(1, width // 3)), rng.getrandbits(8))
        for _ in range(60)
    ]
    dut = Demux(beat_layout(width, 8), 3)
    dropped = 0

    async def count(ctx):
        nonlocal dropped
        while True:
            _, _, pulse = await ctx.tick().sample(dut.dropped)
            dropped += pulse

    async def source(ctx):
        for select, contents, meta in jobs:
            for beat in to_beats(contents, width, meta):
                ctx.set(dut.select, select)
                await send(ctx, dut.i, [beat], rng, stalls[0])
                select = rng.randrange(4)  # not looked at after the first beat

    def sink(index):
        expected = [job[1:] for job in jobs if job[0] == index]

        async def run(ctx):
            got = await receive_packets(ctx, dut.o[index], len(expected), rng, stalls[1])
            assert got == expected
            await expect_silence(ctx, dut.o[index])

        run.__name__ = f"sink{index}"
        return run

    simulate(dut, source, *(sink(index) for index in range(3)), background=[count])
    assert dropped == sum(job[0] == 3 for job in jobs)


def test_items_go_one_by_one():
    dut = Demux(8, 2, packets=False)

    async def source(ctx):
        for item in range(32):
            ctx.set(dut.select, item & 1)
            await send(ctx, dut.i, [item])

    async def even(ctx):
        assert await receive(ctx, dut.o[0], 16) == list(range(0, 32, 2))

    async def odd(ctx):
        assert await receive(ctx, dut.o[1], 16) == list(range(1, 32, 2))

    simulate(dut, source, even, odd, cycles=40)


def test_needs_an_output():
    check_refused(lambda: Demux(8, 0), "needs an output")
