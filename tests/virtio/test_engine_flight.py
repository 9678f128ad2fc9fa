"""Counting of chains in flight: what a reset of a queue waits for."""

import pytest

from tailrace_hw.virtio.engine_flight import ChainsInFlight
from tailrace_hw.virtio.interfaces import TakeAction
from tailrace_sim.unit import simulate

TAKE, TAKE_COMMIT = TakeAction.TAKE, TakeAction.TAKE_COMMIT
COMMIT, ROLLBACK = TakeAction.COMMIT, TakeAction.ROLLBACK

#: (what happens, chains in flight at the end): an action, "none" after it when it gets no chain,
#: or "complete".
CASES = [
    ([TAKE], 1),
    ([TAKE, "none"], 0),
    ([TAKE, ROLLBACK], 0),
    ([TAKE, TAKE, COMMIT, TAKE, ROLLBACK], 2),
    ([TAKE_COMMIT, ROLLBACK], 1),
    ([TAKE, TAKE_COMMIT, ROLLBACK], 2),
    ([TAKE, TAKE_COMMIT, "none", ROLLBACK], 0),
    ([TAKE_COMMIT, TAKE_COMMIT, "complete"], 1),
    ([TAKE_COMMIT, "complete", TAKE, COMMIT, "complete"], 0),
]


@pytest.mark.parametrize(("steps", "left"), CASES)
def test_count(steps, left):
    dut = ChainsInFlight(3)

    async def device(ctx):
        ctx.set(dut.queue, 1)
        ctx.set(dut.take.ready, 1)
        ctx.set(dut.chains.segments.ready, 1)
        ctx.set(dut.complete.ready, 1)
        for step, after in zip(steps, [*steps[1:], None], strict=True):
            if step == "none":
                continue
            if step == "complete":
                await complete(ctx)
            else:
                await act(ctx, step, none=after == "none")
        await ctx.tick().repeat(4)
        assert ctx.get(dut.empty) == (left == 0)
        for _ in range(left):
            assert not ctx.get(dut.empty)
            await complete(ctx)
        assert ctx.get(dut.empty)

    async def complete(ctx):
        ctx.set(dut.chains.complete.payload, {"queue": 1})
        ctx.set(dut.chains.complete.valid, 1)
        await ctx.tick().until(dut.chains.complete.ready)
        ctx.set(dut.chains.complete.valid, 0)

    async def act(ctx, action, none):
        ctx.set(dut.chains.take.payload, {"queue": 1, "action": action})
        ctx.set(dut.chains.take.valid, 1)
        await ctx.tick().until(dut.chains.take.ready)
        ctx.set(dut.chains.take.valid, 0)
        if action in (TAKE, TAKE_COMMIT):
            ctx.set(dut.segments.payload, {"queue": 1, "last": 1, "none": none})
            ctx.set(dut.segments.valid, 1)
            await ctx.tick().until(dut.segments.ready)
            ctx.set(dut.segments.valid, 0)

    simulate(dut, device, cycles=300)


def test_completions_of_a_queue_under_reset_are_dropped_and_counted():
    dut = ChainsInFlight(3)

    async def device(ctx):
        ctx.set(dut.queue, 1)
        ctx.set(dut.drop, 1)
        ctx.set(dut.chains.complete.valid, 1)
        for queue, passes in ((1, 0), (2, 1)):
            ctx.set(dut.chains.complete.payload, {"queue": queue})
            assert ctx.get(dut.complete.valid) == passes
            assert ctx.get(dut.chains.complete.ready) == (not passes)
            await ctx.tick()
        ctx.set(dut.chains.complete.valid, 0)
        assert not ctx.get(dut.empty)
        ctx.set(dut.clear, 1)
        assert ctx.get(dut.cleared)
        await ctx.tick()
        assert ctx.get(dut.empty)

    simulate(dut, device, cycles=50)
