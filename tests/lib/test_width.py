"""Width converter: every pair of widths, the narrow side never waits."""

import pytest

from tailrace_hw.lib.packet import WIDTHS
from tailrace_hw.lib.width import WidthConverter
from tailrace_sim.streams import receive_packets, send_packets
from tailrace_sim.unit import STALLS, expect_silence, seeded, simulate

PAIRS = [(i, o) for i in WIDTHS for o in WIDTHS]
#: Every pair at full rate, those that matter most with every stall pattern.
CASES = [(pair, STALLS[0]) for pair in PAIRS] + [
    (pair, stalls)
    for pair in [(64, 512), (512, 64), (256, 512), (512, 256), (1024, 64), (64, 1024), (512, 512)]
    for stalls in STALLS[1:]
]


def beats(packets, width):
    return sum(-(-8 * len(contents) // width) for contents, _ in packets)


@pytest.mark.parametrize(("pair", "stalls"), CASES)
def test_every_packet_arrives(pair, stalls):
    i_width, o_width = pair
    rng = seeded()
    wide = max(pair) // 8
    lengths = [1, wide - 1, wide, wide + 1, 3 * wide, 2 * wide - 1, 1, 1]
    lengths += [rng.randint(1, 3 * wide) for _ in range(10)]
    packets = [(rng.randbytes(length), rng.getrandbits(8)) for length in lengths]
    dut = WidthConverter(i_width, o_width, 8)
    cycles = 0

    async def count(ctx):
        nonlocal cycles
        while True:
            await ctx.tick()
            cycles += 1

    async def source(ctx):
        await send_packets(ctx, dut.i, packets, i_width, rng, stalls[0])

    async def sink(ctx):
        assert await receive_packets(ctx, dut.o, len(packets), rng, stalls[1]) == packets
        if not any(stalls):
            assert cycles <= beats(packets, min(pair)) + 2
        await expect_silence(ctx, dut.o)

    simulate(dut, source, sink, background=[count])
