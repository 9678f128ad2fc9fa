"""Arbiters: shares in proportion to the weights, packets kept together, nothing lost."""

from collections import Counter
from itertools import chain

import pytest

from tailrace_hw.lib.arbiter import RoundRobinArbiter, WeightedArbiter
from tailrace_hw.lib.packet import beat_layout
from tailrace_sim.streams import from_beats, receive, send, to_beats
from tailrace_sim.unit import STALLS, check_refused, expect_silence, seeded, simulate


def sources(dut, items, rng, stall):
    """One testbench an input, each sending its own items."""

    def source(index):
        async def run(ctx):
            await send(ctx, dut.i[index], items[index], rng, stall)

        run.__name__ = f"source{index}"
        return run

    return [source(index) for index in range(len(items))]


@pytest.mark.parametrize("stalls", STALLS, ids=str)
@pytest.mark.parametrize("width", [64, 512])
@pytest.mark.parametrize("weights", [(1,), (1, 1, 1), (3, 1, 2, 1)])
def test_packets_stay_together_and_in_order(weights, width, stalls):
    rng = seeded()
    packets = [
        [(rng.randbytes(rng.randint(1, width // 3)), k << 4 | rng.getrandbits(4))
         for _ in range(12)]
        for k in range(len(weights))
    ]  # fmt: skip
    items = [
        [beat for contents, meta in of_one for beat in to_beats(contents, width, meta)]
        for of_one in packets
    ]
    total = sum(map(len, items))
    dut = WeightedArbiter(beat_layout(width, 8), weights, packets=True)

    async def sink(ctx):
        beats = await receive(ctx, dut.o, total, rng, stalls[1])
        received = from_beats(beats)
        for k, expected in enumerate(packets):
            assert [packet for packet in received if packet[1] >> 4 == k] == expected
        await expect_silence(ctx, dut.o)

    simulate(dut, sink, *sources(dut, items, rng, stalls[0]))


@pytest.mark.parametrize("weights", [(1, 1), (1, 1, 1, 1, 1), (4, 2, 1), (1, 7)])
def test_shares_under_full_load(weights):
    """One item a cycle; every turn of the circle gives each input exactly its weight."""
    dut = WeightedArbiter(8, weights)
    turn = [k for k, weight in enumerate(weights) for _ in range(weight)]
    items = [[k] * (5 * weight) for k, weight in enumerate(weights)]

    async def sink(ctx):
        ctx.set(dut.o.ready, 1)
        await ctx.tick()
        for index in range(5 * len(turn)):
            _, _, valid, item, grant = await ctx.tick().sample(
                dut.o.valid, dut.o.payload, dut.grant
            )
            assert (valid, item, grant) == (1, *(turn[index % len(turn)],) * 2)

    simulate(dut, sink, *sources(dut, items, None, 0.0))


def test_idle_inputs_cost_nothing():
    """The only input that offers gets every cycle, whatever its weight."""
    dut = RoundRobinArbiter(8, 4)

    async def source2(ctx):
        await send(ctx, dut.i[2], range(50))

    async def sink(ctx):
        ctx.set(dut.o.ready, 1)
        await ctx.tick()
        for expected in range(50):
            _, _, valid, item = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            assert (valid, item) == (1, expected)

    simulate(dut, source2, sink)


@pytest.mark.parametrize("stalls", STALLS, ids=str)
def test_items_arrive_once_each(stalls):
    rng = seeded()
    items = [[k << 6 | n for n in range(40)] for k in range(3)]
    dut = RoundRobinArbiter(8, 3)

    async def sink(ctx):
        taken = await receive(ctx, dut.o, 120, rng, stalls[1])
        assert Counter(taken) == Counter(chain.from_iterable(items))
        for k in range(3):
            assert [item for item in taken if item >> 6 == k] == items[k]
        await expect_silence(ctx, dut.o)

    simulate(dut, sink, *sources(dut, items, rng, stalls[0]))


@pytest.mark.parametrize("weights", [(), (1, 0)])
def test_refuses_weights(weights):
    check_refused(lambda: WeightedArbiter(8, weights), "at least 1")
