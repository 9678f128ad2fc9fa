"""KeyReset: queues first, then keys, then done; each function for itself, again and again."""

import pytest

from tailrace_hw.crypto.key_reset import KeyReset
from tailrace_sim.unit import STALLS, seeded, simulate

ROUNDS = 12


@pytest.mark.parametrize("stalls", STALLS, ids=str)
@pytest.mark.parametrize("functions", [1, 2, 4])
def test_order_of_a_reset(functions, stalls):
    """All functions reset again and again, with queues that take their time and slow keys."""
    rng = seeded()
    dut = KeyReset(functions)
    finished = [False] * functions
    together = resets_seen = 0

    def resets(function):
        port, queues = dut.flr[function], dut.queues[function]

        async def reset(ctx):
            for _ in range(ROUNDS):
                ctx.set(port.request, 1)
                await ctx.tick().until(port.done)
                await ctx.tick().repeat(rng.randint(1, 5))
                ctx.set(port.request, 0)
                await ctx.tick().repeat(rng.randint(1, 5))
            finished[function] = True

        async def queue(ctx):
            while True:
                while not ctx.get(queues.request):
                    await ctx.tick()
                for _ in range(rng.choice([0, 0, 3, 20]) if stalls[0] else 0):
                    await ctx.tick()
                ctx.set(queues.done, 1)
                while ctx.get(queues.request):
                    await ctx.tick()
                ctx.set(queues.done, 0)
                await ctx.tick()

        reset.__name__ = f"reset{function}"
        return reset, queue

    async def keys(ctx):
        while True:
            ctx.set(dut.forget.ready, 0)
            if rng.random() < stalls[1]:
                await ctx.tick().repeat(rng.randint(1, 30))
            ctx.set(dut.forget.ready, 1)
            await ctx.tick()

    async def watch(ctx):
        """What each function has come to, as it was before each edge."""
        nonlocal together, resets_seen
        ports = [signal for flr in dut.flr for signal in (flr.request, flr.done)]
        ports += [signal for flr in dut.queues for signal in (flr.request, flr.done)]
        forget = dut.forget
        forgotten, was_done, was_asked = ([0] * functions for _ in range(3))
        while True:
            _, _, valid, ready, who, *levels = await ctx.tick().sample(
                forget.valid, forget.ready, forget.payload, *ports
            )
            outer, inner = levels[: 2 * functions], levels[2 * functions :]
            together += sum(outer[::2]) > 1
            for function in range(functions):
                request, done = outer[2 * function : 2 * function + 2]
                queue_request, queue_done = inner[2 * function : 2 * function + 2]
                assert queue_request == request
                if not was_asked[function]:
                    assert not done, "done without a request"
                    forgotten[function] = 0
                if done:
                    assert forgotten[function] == 1, "done before the keys are forgotten, once"
                    assert queue_done or not request, "done before the queues are idle"
                if was_done[function] and was_asked[function]:
                    assert done, "done did not stay"
                resets_seen += done and not was_done[function]
                if valid and ready and who == function:
                    assert request, "nobody's reset asked for it"
                    assert queue_done, "keys are forgotten while a queue may install one"
                    forgotten[function] += 1
                was_done[function], was_asked[function] = done, request

    pairs = [resets(function) for function in range(functions)]
    simulate(
        dut,
        *(reset for reset, _ in pairs),
        background=[watch, keys, *(queue for _, queue in pairs)],
    )
    assert all(finished)
    assert resets_seen == functions * ROUNDS
    assert functions == 1 or together > 0, "never two at once"
