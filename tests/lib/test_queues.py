"""Everything with one input and one output that changes nothing: stages and queues."""

import pytest
from amaranth.hdl import ClockDomain

from tailrace_hw.lib.fall_through import FallThroughFifo
from tailrace_hw.lib.fifo import AsyncFifo, SyncFifo
from tailrace_hw.lib.packet import beat_layout
from tailrace_hw.lib.stage import ReadyStage, RegisterStage, SkidStage
from tailrace_sim.streams import receive, send, to_beats
from tailrace_sim.unit import STALLS, check_refused, check_stream, expect_silence, seeded, simulate

#: name: (component from shape, latency in cycles, cycles an item at full rate)
QUEUES = {
    "register": (RegisterStage, 1, 1),
    "skid": (SkidStage, 1, 1),
    "ready": (ReadyStage, 0, 1),
    "fifo of 2": (lambda shape: SyncFifo(shape, 2), 2, 1.5),
    "fifo of 3": (lambda shape: SyncFifo(shape, 3), 2, 1),
    "fifo of 16": (lambda shape: SyncFifo(shape, 16), 2, 1),
    "fall-through": (lambda shape: FallThroughFifo(shape, 4), 0, 1),
}


def beats(rng, width, packets):
    """Beats of random packets, with a random byte of metadata each."""
    return [
        beat
        for _ in range(packets)
        for beat in to_beats(rng.randbytes(rng.randint(1, width // 2)), width, rng.getrandbits(8))
    ]


@pytest.mark.parametrize("stalls", STALLS, ids=str)
@pytest.mark.parametrize("width", [64, 512])
@pytest.mark.parametrize("queue", QUEUES)
def test_passes_every_beat_in_order(queue, width, stalls):
    make, latency, cycles = QUEUES[queue]
    rng = seeded()
    items = beats(rng, width, 30)
    limit = None if any(stalls) else int(cycles * len(items)) + latency + 1
    check_stream(make(beat_layout(width, 8)), items, items, rng, stalls, limit)


def test_fifo_holds_exactly_its_depth():
    dut = SyncFifo(8, 5)

    async def bench(ctx):
        ctx.set(dut.i.valid, 1)
        for count in range(9):
            assert ctx.get(dut.level) == min(count, 5)
            assert ctx.get(dut.i.ready) == (count < 5)
            await ctx.tick()
        ctx.set(dut.i.valid, 0)
        ctx.set(dut.o.ready, 1)
        await ctx.tick().repeat(5)
        assert ctx.get(dut.level) == 0
        assert not ctx.get(dut.o.valid)

    simulate(dut, bench)


@pytest.mark.parametrize(
    "make", [lambda: FallThroughFifo(8, 2), lambda: ReadyStage(8)], ids=["fall-through", "ready"]
)
def test_an_item_passes_an_empty_queue_at_once(make):
    dut = make()

    async def bench(ctx):
        for ready in (1, 0):
            ctx.set(dut.o.ready, ready)
            ctx.set(dut.i.valid, 1)
            ctx.set(dut.i.payload, 0x40 + ready)
            assert ctx.get(dut.i.ready)
            assert ctx.get(dut.o.valid)
            assert ctx.get(dut.o.payload) == 0x40 + ready
            await ctx.tick()
            ctx.set(dut.i.valid, 0)
            ctx.set(dut.i.payload, 0)
            assert ctx.get(dut.o.valid) == (not ready)
        assert ctx.get(dut.o.payload) == 0x40

    simulate(dut, bench)


@pytest.mark.parametrize("depth", [-1, 0, 1])
def test_fifo_refuses_a_depth(depth):
    check_refused(lambda: SyncFifo(8, depth), str(depth))


CLOCKS = {"same": (4e-9, 4e-9), "fast reader": (6.4e-9, 4e-9), "fast writer": (4e-9, 11e-9)}


@pytest.mark.parametrize("stalls", STALLS, ids=str)
@pytest.mark.parametrize("clocks", CLOCKS)
def test_asynchronous_fifo(clocks, stalls):
    periods = CLOCKS[clocks]
    rng = seeded()
    items = beats(rng, 512, 40)
    layout = beat_layout(512, 8)
    dut = AsyncFifo(layout, 16, i_domain="left", o_domain="right")
    spent = 0

    async def count(ctx):
        nonlocal spent
        while True:
            await ctx.tick("right")
            spent += 1

    async def source(ctx):
        await send(ctx, dut.i, items, rng, stalls[0], "left")

    async def sink(ctx):
        taken = await receive(ctx, dut.o, len(items), rng, stalls[1], "right")
        assert taken == [layout.const(item) for item in items]
        if not any(stalls):
            slower = max(periods)
            assert spent * periods[1] <= (len(items) + 12) * slower
        await expect_silence(ctx, dut.o, domain="right")

    domains = dict(zip(("left", "right"), periods, strict=True))
    simulate(dut, source, sink, background=[count], domains=domains)


@pytest.mark.parametrize("clocks", CLOCKS)
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("length", [1, 7])
def test_reset_of_either_side_empties_both(length, side, clocks):
    """After a reset nothing from before comes out, and all that is sent afterwards does."""
    rng = seeded()
    left, right = ClockDomain("left"), ClockDomain("right")
    reset = {"left": left, "right": right}[side].rst
    dut = AsyncFifo(8, 8, i_domain="left", o_domain="right")
    fresh = [0x80 | rng.getrandbits(7) for _ in range(40)]

    taken = []
    wanted = 0  # items that the reader may take

    async def reader(ctx):
        while True:
            ready = len(taken) < wanted
            ctx.set(dut.o.ready, ready)
            _, _, valid, item = await ctx.tick("right").sample(dut.o.valid, dut.o.payload)
            if valid and ready:
                taken.append(item)

    async def writer(ctx):
        nonlocal wanted
        for _ in range(4):
            # Old items have a top bit of 0; some are read, some stay, wherever the pointers are.
            wanted = rng.randrange(7)
            await send(ctx, dut.i, [rng.getrandbits(7) for _ in range(8)], domain="left")
            while len(taken) < wanted:
                await ctx.tick("right")
            ctx.set(reset, 1)
            for _ in range(length):
                await ctx.tick(side)
            taken.clear()
            wanted = len(fresh)
            ctx.set(reset, 0)
            await send(ctx, dut.i, fresh, domain="left")
            while len(taken) < wanted:
                await ctx.tick("right")
            assert taken == fresh
            taken.clear()

    domains = dict(zip((left, right), CLOCKS[clocks], strict=True))
    simulate(dut, writer, background=[reader], domains=domains)
