"""Commands and faults of the used-ring writer's queues."""

from tailrace_hw.virtio.interfaces import QueueOp
from tailrace_hw.virtio.used_control import UsedControl
from tailrace_sim.streams import send
from tailrace_sim.unit import simulate


async def command(ctx, dut, queue, op):
    await send(ctx, dut.command, [{"queue": queue, "op": op}])
    ctx.set(dut.ack.ready, 1)
    (acknowledged,) = await ctx.tick().sample(dut.ack.payload).until(dut.ack.valid)
    assert acknowledged == queue
    ctx.set(dut.ack.ready, 0)


async def fault(ctx, dut, queue):
    await send(ctx, dut.faults[0], [{"queue": queue}])


def test_fault_from_before_a_reset_does_not_stop_the_new_queue():
    dut = UsedControl(2, sources=1)

    async def bench(ctx):
        for queue in range(2):
            await command(ctx, dut, queue, QueueOp.ENABLE)
        # Nobody takes the first one's report, so the second one waits behind it.
        await fault(ctx, dut, 0)
        await fault(ctx, dut, 1)
        await ctx.tick().repeat(4)
        assert ctx.get(dut.active) == 0b10
        await command(ctx, dut, 1, QueueOp.RESET)
        await command(ctx, dut, 1, QueueOp.ENABLE)
        ctx.set(dut.errors.ready, 1)
        for _ in range(20):
            _, _, valid, reported = await ctx.tick().sample(
                dut.errors.valid, dut.errors.payload.queue
            )
            assert not valid or reported == 0
        assert ctx.get(dut.active) == 0b10

    simulate(dut, bench)
