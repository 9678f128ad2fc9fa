"""DmaSplitter against a reference that cuts byte by byte."""

import pytest

from tailrace_hw.pcie.dma import MAX_DMA_LENGTH, DmaStatus
from tailrace_hw.pcie.dma_splitter import MAX_PIECE, DmaSplitter
from tailrace_sim.streams import receive, send
from tailrace_sim.unit import STALLS, seeded, simulate

WIDTH = 512
#: Codes of the limits of the functions; the last is above what pieces make use of.
CODES = (0, 1, 2, 5)


def request(function, address, length, tag):
    return {"function": function, "address": address, "length": length, "tag": tag}


def pieces(one):
    """What a request of a function that may master the bus is cut into."""
    bad = not 1 <= one["length"] <= MAX_DMA_LENGTH or one["address"] + one["length"] > 1 << 64
    limit = min(128 << CODES[one["function"]], MAX_PIECE)
    address, left = one["address"], one["length"]
    cut = []
    while left or not cut:
        length = left if bad else min(left, limit - address % limit)
        cut.append(
            {
                "function": one["function"],
                "tag": one["tag"],
                "address": address,
                "length": length,
                "offset": (address - one["address"]) % (WIDTH // 8),
                "last": int(length == left),
                "status": DmaStatus.BAD_REQUEST if bad else DmaStatus.OK,
            }
        )
        address, left = address + length, left - length
    return cut


def requests(rng, count):
    """Short and long, aligned or not, now and then one that no one may make."""
    for tag in range(count):
        function = rng.randrange(len(CODES))
        length = rng.choice((rng.randint(1, 80), rng.randint(1, 2000), 64, 512, 4096))
        address = rng.choice((rng.getrandbits(64), rng.getrandbits(40) << 6, (1 << 64) - length))
        if rng.random() < 0.1:
            length = rng.choice((0, MAX_DMA_LENGTH + 1))
        yield request(function, address, length, tag)


def splitter():
    return DmaSplitter(WIDTH, "max_payload", len(CODES))


def enable(ctx, dut):
    for state, code in zip(dut.functions, CODES, strict=True):
        ctx.set(state.bus_master, 1)
        ctx.set(state.max_payload, code)


def check(dut, items, expected, rng, stalls):
    """Returns the cycles from the first request offered to the last piece taken."""
    cycles = 0

    async def source(ctx):
        enable(ctx, dut)
        await send(ctx, dut.i, items, rng, stalls[0])

    async def sink(ctx):
        nonlocal cycles
        got = await receive(ctx, dut.o, len(expected), rng, stalls[1])
        for number, (piece, wanted) in enumerate(zip(got, expected, strict=True)):
            for name, value in wanted.items():
                assert getattr(piece, name) == value, (number, name)
        cycles = spent
        ctx.set(dut.o.ready, 1)
        _, _, valid = await ctx.tick().sample(dut.o.valid)
        assert not valid, "left over"

    spent = 0

    async def count(ctx):
        nonlocal spent
        while True:
            await ctx.tick()
            spent += 1

    simulate(dut, source, sink, background=[count])
    return cycles


@pytest.mark.parametrize("stalls", STALLS, ids=str)
def test_cuts_as_the_reference(stalls):
    rng = seeded()
    items = list(requests(rng, 120))
    check(splitter(), items, [piece for one in items for piece in pieces(one)], rng, stalls)


def test_a_piece_each_cycle_also_across_requests():
    rng = seeded()
    items = [request(0, 64 * k, rng.choice((64, 200)), k) for k in range(100)]
    expected = [piece for one in items for piece in pieces(one)]
    assert check(splitter(), items, expected, rng, (0.0, 0.0)) <= len(expected) + 1


def test_a_limit_that_changes_leaves_what_waits_alone():
    dut = splitter()

    async def bench(ctx):
        enable(ctx, dut)
        items = [request(2, 0, 1024, 1), request(2, 0, 1024, 2)]
        ctx.set(dut.i.payload, items[0])
        ctx.set(dut.i.valid, 1)
        await ctx.tick()
        ctx.set(dut.i.valid, 0)
        ctx.set(dut.functions[2].max_payload, 0)
        ctx.set(dut.o.ready, 1)
        for offset in (0, 512):
            assert ctx.get(dut.o.valid)
            assert ctx.get(dut.o.payload.address) == offset
            assert ctx.get(dut.o.payload.length) == 512
            await ctx.tick()
        ctx.set(dut.i.payload, items[1])
        ctx.set(dut.i.valid, 1)
        await ctx.tick()
        assert ctx.get(dut.o.payload.length) == 128

    simulate(dut, bench)


def test_a_function_switched_off_ends_its_requests():
    dut = splitter()

    async def bench(ctx):
        enable(ctx, dut)
        for tag in range(2):  # one becomes pieces, one is kept
            ctx.set(dut.i.payload, request(0, 0, 1000, tag))
            ctx.set(dut.i.valid, 1)
            assert ctx.get(dut.i.ready)
            await ctx.tick()
        assert not ctx.get(dut.i.ready)
        ctx.set(dut.i.valid, 0)
        ctx.set(dut.o.ready, 1)
        await ctx.tick()
        ctx.set(dut.functions[0].bus_master, 0)
        for tag, left in ((0, 1000 - 128), (1, 1000)):
            assert ctx.get(dut.o.valid)
            assert ctx.get(dut.o.payload.tag) == tag
            assert ctx.get(dut.o.payload.length) == left
            assert ctx.get(dut.o.payload.last)
            assert ctx.get(dut.o.payload.status) == DmaStatus.BUS_MASTER_OFF
            await ctx.tick()
        assert not ctx.get(dut.o.valid)

    simulate(dut, bench)
