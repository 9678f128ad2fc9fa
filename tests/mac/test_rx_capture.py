"""What the receive side of a port keeps of a loss without end."""

from tailrace_hw.mac.rx_capture import RxCapture
from tailrace_hw.mac.types import LOST_WIDTH
from tailrace_sim.unit import simulate


def test_the_number_of_lost_frames_stays_at_its_maximum():
    """Frames of one beat against a queue without room, more than the count can hold."""
    dut = RxCapture(64)
    most = (1 << LOST_WIDTH) - 1
    seen = []

    async def mac(ctx):
        ctx.set(dut.i.tkeep, 0xFF)
        ctx.set(dut.i.tlast, 1)
        ctx.set(dut.i.tvalid, 1)
        await ctx.tick().repeat(most + 20)
        ctx.set(dut.i.tvalid, 0)
        ctx.set(dut.room, 1)
        while not seen:
            _, _, write, beat = await ctx.tick().sample(dut.write, dut.beat)
            if write:
                seen.append((beat.meta.overflow, beat.last, int(beat.data)))

    simulate(dut, mac, cycles=most + 100)
    assert seen == [(1, 1, most)]
