"""Padding and start-up in front of a 100G MAC."""

import pytest

from tailrace_hw.mac.pad import MINIMUM, MacPad
from tailrace_hw.mac.start import MacStart
from tailrace_sim.unit import STALLS, check_refused, seeded, simulate


@pytest.mark.parametrize("stalls", STALLS, ids=str)
@pytest.mark.parametrize("width", [512, 1024])
def test_short_frames_are_filled_with_zeros(width, stalls):
    rng = seeded()
    size = width // 8
    lengths = [1, 14, 42, 59, 60, 61, size - 1, size, size + 1, 2 * size, *range(55, 65)]
    frames = [(rng.randbytes(length), rng.getrandbits(1)) for length in lengths]
    dut = MacPad(width)

    async def source(ctx):
        for frame, bad in frames:
            for start in range(0, len(frame), size):
                part = frame[start : start + size]
                # Bytes that are not kept are not the frame's: they must not come through.
                rest = rng.randbytes(size - len(part))
                ctx.set(dut.i.tdata, int.from_bytes(part + rest, "little"))
                ctx.set(dut.i.tkeep, (1 << len(part)) - 1)
                last = start + size >= len(frame)
                ctx.set(dut.i.tlast, last)
                ctx.set(dut.i.tuser, bad and last)
                while rng.random() < stalls[0]:
                    await ctx.tick()
                ctx.set(dut.i.tvalid, 1)
                await ctx.tick().until(dut.i.tready)
                ctx.set(dut.i.tvalid, 0)

    async def sink(ctx):
        for frame, bad in frames:
            got, cycles = b"", 0
            while True:
                ctx.set(dut.o.tready, rng.random() >= stalls[1])
                _, _, valid, ready, last, data, keep, user = await ctx.tick().sample(
                    dut.o.tvalid, dut.o.tready, dut.o.tlast, dut.o.tdata, dut.o.tkeep, dut.o.tuser
                )
                cycles += bool(got)
                if not (valid and ready):
                    continue
                kept = keep.bit_length()
                assert keep == (1 << kept) - 1
                got += data.to_bytes(size, "little")[:kept]
                if last:
                    break
            assert got == frame.ljust(MINIMUM, b"\0")
            assert user == bad
            if stalls == (0.0, 0.0):
                assert cycles == -(-len(frame) // size) - 1, "a gap inside a frame"
        ctx.set(dut.o.tready, 1)
        for _ in range(8):
            _, _, valid = await ctx.tick().sample(dut.o.tvalid)
            assert not valid

    simulate(dut, source, sink)


def test_a_beat_must_hold_the_shortest_frame():
    check_refused(lambda: MacPad(256), "must hold 60 bytes")


def test_the_transmitter_waits_for_the_receiver():
    dut = MacStart()
    #: aligned, remote fault -> send_rfi, send_idle, tx_enable
    table = {(0, 0): (1, 0, 0), (0, 1): (1, 0, 0), (1, 1): (0, 1, 0), (1, 0): (0, 0, 1)}
    order = [(0, 0), (1, 1), (1, 0), (0, 1), (1, 0), (0, 0), (1, 0), (1, 1), (0, 1)]

    async def check(ctx):
        assert ctx.get(dut.send_rfi)
        assert not ctx.get(dut.tx_enable)
        for aligned, fault in order:
            ctx.set(dut.aligned, aligned)
            ctx.set(dut.remote_fault, fault)
            await ctx.tick()
            found = tuple(ctx.get(s) for s in (dut.send_rfi, dut.send_idle, dut.tx_enable))
            assert found == table[aligned, fault]
            assert ctx.get(dut.rx_enable)

    assert set(order) == set(table)
    simulate(dut, check)
