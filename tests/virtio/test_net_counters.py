"""The registers of a network function: each event counts once, bytes only with their frame."""

from amaranth.sim import Simulator

from tailrace_hw import regs
from tailrace_hw.virtio.net_counters import NetCounters

MAP = regs.load("virtio/net_regs.rdl")


async def access(ctx, dut, address, **fields):
    """A dword."""
    bus = dut.bus
    ctx.set(bus.request.payload, {"address": address, "strobe": 0b1111, **fields})
    ctx.set(bus.request.valid, 1)
    await ctx.tick().until(bus.request.ready)
    ctx.set(bus.request.valid, 0)
    ctx.set(bus.response.ready, 1)
    (payload,) = await ctx.tick().sample(bus.response.payload).until(bus.response.valid)
    assert not payload.error
    return payload.data


async def read(ctx, dut, name):
    """The low dword of a register."""
    return await access(ctx, dut, MAP[name].address)


def test_what_is_withheld_is_as_written():
    dut = NetCounters()
    seen = []

    async def testbench(ctx):
        address = MAP["features_withheld"].address
        for low, high in ((0x89AB_CDEF, 0x0123_4567), (0, 4), (0, 0)):
            await access(ctx, dut, address, write=1, data=low)
            await access(ctx, dut, address + 4, write=1, data=high)
            assert ctx.get(dut.withheld) == high << 32 | low
            assert await access(ctx, dut, address) == low
            assert await access(ctx, dut, address + 4) == high
            seen.append(high)

    sim = Simulator(dut)
    sim.add_clock(4e-9)
    sim.add_testbench(testbench)
    sim.run_until(1e-5)
    assert len(seen) == 3


def test_bytes_count_only_with_their_frame():
    """The blocks hold the length of the last frame until the next one."""
    dut = NetCounters()
    read_back = {}

    async def testbench(ctx):
        for events, whole in ((dut.receive, "delivered"), (dut.transmit, "sent")):
            for size in (1500, 64):
                ctx.set(events.bytes, size)
                ctx.set(getattr(events, whole), 1)
                await ctx.tick()
                ctx.set(getattr(events, whole), 0)
                await ctx.tick().repeat(9)
        for name in ("rx_frames", "rx_bytes", "tx_frames", "tx_bytes"):
            read_back[name] = await read(ctx, dut, name)

    sim = Simulator(dut)
    sim.add_clock(4e-9)
    sim.add_testbench(testbench)
    sim.run_until(1e-5)
    assert read_back == {"rx_frames": 2, "rx_bytes": 1564, "tx_frames": 2, "tx_bytes": 1564}


def test_every_event_has_its_register():
    """Every pulse but that of ``bytes`` moves one register by one, and no other."""
    dut = NetCounters()
    names = [register.name for register in MAP.registers]
    pulses = [
        (events, name)
        for events in (dut.receive, dut.transmit)
        for name in events.signature.members
        if name != "bytes"
    ]
    seen = []

    async def testbench(ctx):
        before = dict.fromkeys(names, 0)
        for events, name in pulses:
            ctx.set(getattr(events, name), 1)
            await ctx.tick()
            ctx.set(getattr(events, name), 0)
            await ctx.tick().repeat(2)
            after = {name: await read(ctx, dut, name) for name in names}
            moved = {name: after[name] - before[name] for name in names}
            seen.append({name: count for name, count in moved.items() if count})
            before = after

    sim = Simulator(dut)
    sim.add_clock(4e-9)
    sim.add_testbench(testbench)
    sim.run_until(1e-4)
    assert len(seen) == len(pulses)
    assert all(list(moved.values()) == [1] for moved in seen), seen
    assert len({name for moved in seen for name in moved}) == len(pulses)
