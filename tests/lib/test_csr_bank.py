"""The register bank against a description that uses every kind of field."""

import pytest
from amaranth.sim import Simulator

from tailrace_hw import regs
from tailrace_hw.lib.csr_bank import CsrBank

RDL = """
addrmap bank {
  default regwidth = 32; default sw = r; default hw = w;
  reg { field { hw = na; } magic[31:0] = 0x12345678; } id @0x0;
  reg {
    field { sw = rw; hw = r; } enable[0:0] = 1;
    field { sw = w; hw = r; singlepulse; } go[1:1] = 0;
    field { sw = rw; hw = r; } limit[27:20] = 0;
  } control @0x4;
  reg { field { sw = rw; onwrite = woclr; hw = w; } flags[7:0] = 0; } sticky @0x8;
  reg { regwidth = 64; accesswidth = 32;
        field { counter; hw = na; incrwidth = 12; } value[63:0] = 0xFFFFFFF0; } bytes[2] @0x10 += 8;
  reg { field { sw = rw; onwrite = wclr; hw = na; counter; } value[31:0] = 0; } events @0x20;
  reg { field {} now[15:0]; } shown @0x24;
  external reg { regwidth = 8; field {} v[7:0]; } elsewhere @0x30;
};
"""


@pytest.fixture
def bank(tmp_path, monkeypatch):
    (tmp_path / "bank.rdl").write_text(RDL)
    monkeypatch.setattr(regs, "GATEWARE", tmp_path)
    regs.load.cache_clear()
    yield CsrBank(regs.load("bank.rdl"))
    regs.load.cache_clear()


async def access(ctx, bank, address, data=None, strobe=0xF, stall=0):
    bus = bank.bus
    ctx.set(bus.request.payload, {
        "address": address, "write": data is not None, "data": data or 0, "strobe": strobe,
    })  # fmt: skip
    ctx.set(bus.request.valid, 1)
    await ctx.tick().until(bus.request.ready)
    ctx.set(bus.request.valid, 0)
    await ctx.tick().repeat(stall + 1)
    ctx.set(bus.response.ready, 1)
    (payload,) = await ctx.tick().sample(bus.response.payload).until(bus.response.valid)
    ctx.set(bus.response.ready, 0)
    return payload.data, payload.error


def simulate(bank, testbench):
    sim = Simulator(bank)
    sim.add_clock(4e-9)
    sim.add_testbench(testbench)
    sim.run_until(1e-5)


def test_every_kind_of_field(bank):
    done = []

    async def testbench(ctx):
        assert await access(ctx, bank, 0x0) == (0x12345678, 0)
        assert await access(ctx, bank, 0x0, 5) == (0, 0)
        assert await access(ctx, bank, 0x0) == (0x12345678, 0)
        assert await access(ctx, bank, 0x4) == (1, 0)
        # Only the enabled byte changes: limit spans bytes 2 and 3.
        assert await access(ctx, bank, 0x4, 0x0FF0_0000, strobe=0b0100) == (0, 0)
        assert await access(ctx, bank, 0x4, stall=3) == (0x00F0_0001, 0)
        assert ctx.get(bank.control.limit) == 0x0F
        ctx.set(bank.sticky.flags, 0x81)
        await ctx.tick()
        ctx.set(bank.sticky.flags, 0)
        assert await access(ctx, bank, 0x8, 0x01) == (0, 0)
        assert await access(ctx, bank, 0x8) == (0x80, 0)
        ctx.set(bank.shown.now, 0xBEEF)
        assert await access(ctx, bank, 0x24) == (0xBEEF, 0)
        ctx.set(bank.events.value, 1)
        await ctx.tick().repeat(3)
        ctx.set(bank.events.value, 0)
        assert await access(ctx, bank, 0x20) == (3, 0)
        assert await access(ctx, bank, 0x20, 99) == (0, 0)
        assert await access(ctx, bank, 0x20) == (0, 0)
        done.append(1)

    simulate(bank, testbench)
    assert done


def test_a_counter_is_read_atomically_over_its_carry(bank):
    done = []

    async def testbench(ctx):
        assert await access(ctx, bank, 0x18) == (0xFFFFFFF0, 0)
        ctx.set(bank.bytes[1].value, 0x20)
        await ctx.tick()
        ctx.set(bank.bytes[1].value, 0)
        # The high dword is the one captured with the low dword that was read before the carry.
        assert await access(ctx, bank, 0x1C) == (0, 0)
        assert await access(ctx, bank, 0x18) == (0x10, 0)
        assert await access(ctx, bank, 0x1C) == (1, 0)
        assert await access(ctx, bank, 0x10) == (0xFFFFFFF0, 0)
        done.append(1)

    simulate(bank, testbench)
    assert done


def test_a_pulse_lasts_one_cycle(bank):
    seen = []

    async def watch(ctx):
        async for _, _, go in ctx.tick().sample(bank.control.go):
            seen.append(go)

    async def testbench(ctx):
        await access(ctx, bank, 0x4, 0x3)
        assert await access(ctx, bank, 0x4) == (1, 0)

    sim = Simulator(bank)
    sim.add_clock(4e-9)
    sim.add_process(watch)
    sim.add_testbench(testbench)
    sim.run_until(1e-6)
    assert sum(seen) == 1


@pytest.mark.parametrize("address", [0xC, 0x28, 0x30])
def test_unmapped_and_external_addresses_answer_error(bank, address):
    done = []

    async def testbench(ctx):
        assert await access(ctx, bank, address) == (0, 1)
        assert await access(ctx, bank, address, 1) == (0, 1)
        assert await access(ctx, bank, 0x0) == (0x12345678, 0)
        done.append(1)

    simulate(bank, testbench)
    assert done
