"""The error collector: counts, first captures, clearing, interrupt, and no lost event."""

import random

from amaranth.sim import Simulator

from tailrace_hw.errors import ErrorCode, ErrorSource
from tailrace_hw.mgmt.error_collector import ErrorCollector
from tailrace_sim.run import pick_seed

PENDING, SELECT, CLEAR, COUNT, WHO, INFO, WHEN, TOTAL = 0x0, 0x8, 0xC, 0x10, 0x14, 0x18, 0x20, 0x28


async def access(ctx, bus, address, data=None):
    ctx.set(bus.request.payload, {
        "address": address, "write": data is not None, "data": data or 0, "strobe": 0xF,
    })  # fmt: skip
    ctx.set(bus.request.valid, 1)
    await ctx.tick().until(bus.request.ready)
    ctx.set(bus.request.valid, 0)
    ctx.set(bus.response.ready, 1)
    (payload,) = await ctx.tick().sample(bus.response.payload).until(bus.response.valid)
    ctx.set(bus.response.ready, 0)
    assert not payload.error
    return payload.data


async def report(ctx, stream, code, *, function=1, queue=3, info=0, source=ErrorSource.DMA_READ):
    ctx.set(stream.payload, {
        "source": source, "code": code, "function": function, "queue": queue, "info": info,
    })  # fmt: skip
    ctx.set(stream.valid, 1)
    await ctx.tick().until(stream.ready)
    ctx.set(stream.valid, 0)


def simulate(dut, *testbenches):
    sim = Simulator(dut)
    sim.add_clock(4e-9)
    for testbench in testbenches:
        sim.add_testbench(testbench)
    sim.run()


def test_the_first_of_a_code_is_kept_and_all_are_counted():
    dut = ErrorCollector(3)
    done = []

    async def testbench(ctx):
        ctx.set(dut.cycle, 1 << 40)
        await report(ctx, dut.events[1], ErrorCode.DMA_UR, queue=9, info=0x1122334455667788)
        await ctx.tick().repeat(4)
        ctx.set(dut.cycle, 7)
        await report(ctx, dut.events[2], ErrorCode.DMA_UR, queue=8, info=1)
        await report(ctx, dut.events[0], ErrorCode.MAC_RX_RUNT, info=5)
        await ctx.tick().repeat(4)
        codes = await access(ctx, dut.bus, PENDING) | await access(ctx, dut.bus, PENDING + 4) << 32
        assert codes == 1 << ErrorCode.DMA_UR.value | 1 << ErrorCode.MAC_RX_RUNT.value
        await access(ctx, dut.bus, SELECT, ErrorCode.DMA_UR.value)
        assert await access(ctx, dut.bus, COUNT) == 2
        assert await access(ctx, dut.bus, WHO) == 9 << 16 | 1 << 8 | ErrorSource.DMA_READ.value
        assert await access(ctx, dut.bus, INFO) == 0x55667788
        assert await access(ctx, dut.bus, INFO + 4) == 0x11223344
        assert await access(ctx, dut.bus, WHEN) == 0
        assert await access(ctx, dut.bus, WHEN + 4) == 1 << 8
        await access(ctx, dut.bus, CLEAR, 1)
        assert await access(ctx, dut.bus, COUNT) == 0
        assert await access(ctx, dut.bus, WHO) == 0
        # The other code is untouched.
        codes = await access(ctx, dut.bus, PENDING) | await access(ctx, dut.bus, PENDING + 4) << 32
        assert codes == 1 << ErrorCode.MAC_RX_RUNT.value
        await access(ctx, dut.bus, SELECT, ErrorCode.MAC_RX_RUNT.value)
        assert await access(ctx, dut.bus, COUNT) == 1
        assert await access(ctx, dut.bus, INFO) == 5
        await access(ctx, dut.bus, SELECT, ErrorCode.DMA_UR.value)
        await report(ctx, dut.events[0], ErrorCode.DMA_UR, info=77)
        await ctx.tick().repeat(4)
        assert await access(ctx, dut.bus, COUNT) == 1
        assert await access(ctx, dut.bus, INFO) == 77
        assert await access(ctx, dut.bus, TOTAL) == 4
        done.append(1)

    simulate(dut, testbench)
    assert done


def test_a_count_stays_at_its_maximum():
    dut = ErrorCollector(1)
    counted = []

    async def testbench(ctx):
        code = ErrorCode.DMA_UR
        await access(ctx, dut.bus, SELECT, code.value)
        await report(ctx, dut.events[0], code)
        await ctx.tick().repeat(4)
        # As after four thousand million of them.
        ctx.set(dut.counts.data[code.value], 0xFFFF_FFFD)
        for _ in range(4):
            await report(ctx, dut.events[0], code)
            await ctx.tick().repeat(4)
            counted.append(await access(ctx, dut.bus, COUNT))

    simulate(dut, testbench)
    assert counted == [0xFFFF_FFFE, 0xFFFF_FFFF, 0xFFFF_FFFF, 0xFFFF_FFFF]


def test_an_interrupt_for_each_code_that_becomes_pending():
    dut = ErrorCollector(1)
    interrupts = []

    async def watch(ctx):
        ctx.set(dut.interrupt.ready, 1)
        async for _, _, valid in ctx.tick().sample(dut.interrupt.valid):
            interrupts.extend([1] * valid)

    async def testbench(ctx):
        for code in (ErrorCode.DMA_CA, ErrorCode.DMA_CA, ErrorCode.DMA_TIMEOUT):
            await report(ctx, dut.events[0], code)
            await ctx.tick().repeat(5)
        assert len(interrupts) == 2

    sim = Simulator(dut)
    sim.add_clock(4e-9)
    sim.add_process(watch)
    sim.add_testbench(testbench)
    sim.run()
    assert len(interrupts) == 2


def test_no_event_is_lost_when_all_report_at_once():
    sources = 5
    dut = ErrorCollector(sources)
    seed = pick_seed()
    print(f"TAILRACE_SEED={seed}")
    rng = random.Random(seed)
    plans = [[rng.choice(list(ErrorCode)) for _ in range(20)] for _ in range(sources)]
    finished = []

    def reporter(index):
        async def run(ctx):
            for code in plans[index]:
                await ctx.tick().repeat(rng.randrange(3) + 1)
                await report(ctx, dut.events[index], code)
            finished.append(index)
        return run

    async def check(ctx):
        while len(finished) < sources:
            await ctx.tick()
        await ctx.tick().repeat(30)
        assert await access(ctx, dut.bus, TOTAL) == 20 * sources
        for code in ErrorCode:
            await access(ctx, dut.bus, SELECT, code.value)
            expected = sum(plan.count(code) for plan in plans)
            assert await access(ctx, dut.bus, COUNT) == expected, code
        finished.append("checked")

    simulate(dut, *(reporter(index) for index in range(sources)), check)
    assert finished[-1] == "checked"
