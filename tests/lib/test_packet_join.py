"""Joining pieces to packets and cutting packets to pieces, byte-exact."""

import pytest

from tailrace_hw.lib.packet_cut import PacketCut
from tailrace_hw.lib.packet_join import PacketJoin
from tailrace_sim.streams import receive_packets, send, send_packets
from tailrace_sim.unit import STALLS, expect_silence, seeded, simulate

WIDTHS = (64, 512)


def random_pieces(rng, octets, count):
    """Lengths of the pieces of each packet; the first is not empty, any other may be."""
    shapes = [[1], [octets], [octets, 0], [1, octets, octets - 1], [octets - 1, 1, 1, 0]]
    shapes += [
        [rng.randint(1, octets), *(rng.choice((0, 1, octets, rng.randint(0, octets)))
                                   for _ in range(rng.randint(0, 6)))]
        for _ in range(count)
    ]  # fmt: skip
    return shapes


@pytest.mark.parametrize("stalls", STALLS, ids=str)
@pytest.mark.parametrize("width", WIDTHS)
def test_join(width, stalls):
    rng = seeded()
    octets = width // 8
    dut = PacketJoin(width, 8)
    packets, pieces = [], []
    for lengths in random_pieces(rng, octets, 30):
        parts = [rng.randbytes(length) for length in lengths]
        meta = rng.getrandbits(8)
        packets.append((b"".join(parts), meta))
        for k, part in enumerate(parts):
            # What is behind a piece's bytes means nothing.
            padded = part + rng.randbytes(octets - len(part))
            pieces.append(
                {
                    "data": int.from_bytes(padded, "little"),
                    "count": len(part),
                    "first": k == 0,
                    "last": k == len(parts) - 1,
                    "meta": meta,
                }
            )
    cycles = 0

    async def count(ctx):
        nonlocal cycles
        while True:
            await ctx.tick()
            cycles += 1

    async def source(ctx):
        await send(ctx, dut.i, pieces, rng, stalls[0])

    async def sink(ctx):
        assert await receive_packets(ctx, dut.o, len(packets), rng, stalls[1]) == packets
        if not any(stalls):
            assert cycles <= len(pieces) + 5
        await expect_silence(ctx, dut.o)

    simulate(dut, source, sink, background=[count])


@pytest.mark.parametrize("stalls", STALLS, ids=str)
@pytest.mark.parametrize("width", WIDTHS)
def test_cut(width, stalls):
    rng = seeded()
    octets = width // 8
    dut = PacketCut(width)
    packets, cuts, expected = [], [], []
    for _ in range(30):
        lengths = [
            rng.choice((1, octets, octets - 1, rng.randint(1, 4 * octets)))
            for _ in range(rng.randint(1, 6))
        ]
        parts = [rng.randbytes(length) for length in lengths]
        packets.append((b"".join(parts), None))
        expected += parts
        cuts += [
            {"length": length, "frame_end": k == len(lengths) - 1}
            for k, length in enumerate(lengths)
        ]
    beats = sum(-(-len(part) // octets) for part in expected)
    cycles = 0

    async def count(ctx):
        nonlocal cycles
        while True:
            await ctx.tick()
            cycles += 1

    async def source(ctx):
        await send_packets(ctx, dut.i, packets, width, rng, stalls[0])

    async def cutter(ctx):
        await send(ctx, dut.cuts, cuts, rng, stalls[0])

    async def sink(ctx):
        received = await receive_packets(ctx, dut.o, len(expected), rng, stalls[1])
        assert [contents for contents, _ in received] == expected
        if not any(stalls):
            assert cycles <= beats + 6
        await expect_silence(ctx, dut.o)

    simulate(dut, source, cutter, sink, background=[count])
