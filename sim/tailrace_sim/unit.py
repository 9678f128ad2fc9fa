"""Unit tests in Amaranth's own simulator: one harness for every small component.

A test is a table of cases, a pure reference function and one of the functions below. Each of them
fails when a testbench hangs, when something is left over, and when nothing was compared.
"""

import gc
import re
import warnings
from collections.abc import Callable, Sequence
from random import Random

from amaranth.hdl import ClockDomain, Module, UnusedElaboratable
from amaranth.sim import Simulator

from tailrace_sim.run import pick_seed
from tailrace_sim.streams import receive, send

__all__ = ["STALLS", "check_refused", "check_stream", "expect_silence", "seeded", "simulate"]

#: (source, sink) probabilities of a stall in a cycle, full rate first.
STALLS = ((0.0, 0.0), (0.6, 0.0), (0.0, 0.6), (0.4, 0.4))

#: Clock period of a domain, unless the test says otherwise.
PERIOD = 4e-9


def seeded() -> Random:
    """Random numbers of this test; the seed is printed, so that a failure can be replayed."""
    seed = pick_seed()
    print(f"seed {seed} (replay: TAILRACE_SEED={seed})")
    return Random(seed)


def check_refused(make: Callable[[], object], message: str) -> None:
    """``make`` must raise a :class:`ValueError` whose text matches ``message``.

    Amaranth warns when a component is never elaborated, as one that was refused never is.
    """
    text = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusedElaboratable)
        try:
            make()
        except ValueError as error:
            text = str(error)
        gc.collect()
    assert text is not None, f"nothing was refused with {message}"
    assert re.search(message, text), f"{text} does not say {message}"


def simulate(
    dut,
    *testbenches,
    background: Sequence = (),
    cycles: int = 20_000,
    domains: dict | None = None,
) -> None:
    """Run until every testbench has returned.

    Parameters
    ----------
    dut : component
    testbenches : coroutine functions that take the simulator's context; at least one
    background : coroutine functions that need not return
    cycles : limit in periods of the first domain
    domains : clock period in seconds of each domain, default ``{"sync": PERIOD}``; a key is a
        name, or a ``ClockDomain`` whose reset the test wants to drive

    Raises
    ------
    AssertionError
        A testbench raised it, or has not returned within ``cycles``.
    """
    assert testbenches, "a simulation without testbenches checks nothing"
    top = Module()
    top.submodules.dut = dut
    periods = {}
    for domain, period in (domains or {"sync": PERIOD}).items():
        domain = ClockDomain(domain) if isinstance(domain, str) else domain
        top.domains += domain
        periods[domain.name] = period
    simulator = Simulator(top)
    for name, period in periods.items():
        simulator.add_clock(period, domain=name)
    running = [bench.__name__ for bench in testbenches]

    def finishing(bench):
        async def run(ctx):
            await bench(ctx)
            running.remove(bench.__name__)

        return run

    async def watchdog(ctx):
        for _ in range(cycles):
            await ctx.tick(next(iter(periods)))
        raise AssertionError(f"after {cycles} cycles still running: {', '.join(running)}")

    for bench in testbenches:
        simulator.add_testbench(finishing(bench))
    for bench in (watchdog, *background):
        simulator.add_testbench(bench, background=True)
    simulator.run()


async def expect_silence(ctx, stream, cycles: int = 16, domain="sync") -> None:
    """Leftovers: nothing more may come out of ``stream``, which is ready all the time."""
    ctx.set(stream.ready, 1)
    for _ in range(cycles):
        _, _, valid, payload = await ctx.tick(domain).sample(stream.valid, stream.payload)
        assert not valid, f"left over: {payload}"
    ctx.set(stream.ready, 0)


def check_stream(
    dut,
    items: Sequence,
    expected: Sequence,
    rng: Random,
    stalls: tuple[float, float] = (0.0, 0.0),
    limit: int | None = None,
) -> None:
    """Feed ``dut.i`` and insist that ``dut.o`` gives ``expected``, in order and nothing else.

    Parameters
    ----------
    items : what is sent, in any form the payload can be set to
    expected : what must come out, as initialisers of the payload
    stalls : probability of a stall at the source and at the sink
    limit : if given, cycles from the first item offered to the last one taken, at most
    """
    assert expected, "nothing to compare"
    cycles = spent = 0
    shape = dut.o.payload.shape()

    async def count(ctx):
        nonlocal cycles
        while True:
            await ctx.tick()
            cycles += 1

    async def source(ctx):
        await send(ctx, dut.i, items, rng, stalls[0])

    async def sink(ctx):
        nonlocal spent
        taken = await receive(ctx, dut.o, len(expected), rng, stalls[1])
        spent = cycles
        wanted = [shape.const(item) if hasattr(shape, "const") else item for item in expected]
        for index, (got, want) in enumerate(zip(taken, wanted, strict=True)):
            assert got == want, f"item {index}: got {got}, expected {want}"
        await expect_silence(ctx, dut.o)

    limit_of_run = 20 * (len(items) + len(expected)) + 1000
    simulate(dut, source, sink, background=[count], cycles=limit_of_run)
    if limit is not None:
        assert spent <= limit, f"{len(expected)} items took {spent} cycles, at most {limit} allowed"
