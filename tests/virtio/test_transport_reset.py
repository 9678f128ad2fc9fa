"""Reset of the device, of a function and of a queue (virtio 1.2, 2.4, 2.6.1)."""

import pytest

from tailrace_hw.virtio.interfaces import NO_VECTOR, QueueOp
from tailrace_hw.virtio.spec import DeviceStatus, Feature
from tailrace_sim.transport_unit import READY, Bench

S = DeviceStatus
FEATURES = [Feature.MQ, Feature.CTRL_VQ, Feature.RING_RESET, Feature.STATUS]
RUNNING = READY | S.FEATURES_OK | S.DRIVER_OK


async def expect_defaults(b):
    assert await b.read("device_status") == 0
    assert await b.read("driver_feature") == 0
    assert await b.read("config_msix_vector") == NO_VECTOR
    assert await b.read("queue_select") == 0
    assert await b.read("isr_status") == 0
    for index in range(5):
        await b.write("queue_select", index)
        assert await b.read("queue_size") == 256
        assert await b.read("queue_msix_vector") == NO_VECTOR
        assert await b.read("queue_enable") == 0
        for area in ("desc", "driver", "device"):
            assert await b.read(f"queue_{area}_low") == 0
            assert await b.read(f"queue_{area}_high") == 0


async def make_a_mess(b):
    await b.start(FEATURES, queues=range(5))
    assert sorted(b.rx.enabled) == [0, 1]
    assert sorted(b.tx.enabled) == [0, 1, 2]
    await b.write("config_msix_vector", 3)
    b.ctx.set(b.dut.link_up, 1)
    await b.tick(5)


@pytest.mark.parametrize("cause", ["status", "flr"])
def test_reset_waits_for_every_queue(cause):
    async def body(b):
        await make_a_mess(b)
        b.tx.hold = True
        if cause == "flr":
            b.ctx.set(b.dut.flr, 1)
        else:
            await b.write("device_status", 0)
        await b.tick(300)
        assert b.ctx.get(b.dut.resetting)
        assert not b.ctx.get(b.dut.driver_ok)
        assert not b.ctx.get(b.dut.features.as_value())
        assert not b.ctx.get(b.dut.flr_done)
        assert not b.rx.enabled, "the other engine does not wait"
        assert await b.read("device_status") == RUNNING, "reads 0 only once it is complete"
        await b.write("device_status", S.ACKNOWLEDGE)
        await b.write("queue_size", 4)
        b.tx.hold = False
        clears = 0
        for _ in range(400):
            clears += b.ctx.get(b.dut.clear)
            await b.tick()
        assert clears == 1
        assert not b.tx.enabled
        assert b.ctx.get(b.dut.flr_done) == (cause == "flr")
        b.ctx.set(b.dut.flr, 0)
        await b.tick(2)
        assert not b.ctx.get(b.dut.flr_done)
        assert not b.ctx.get(b.dut.resetting)
        await expect_defaults(b)
        await b.start(FEATURES, queues=range(5))
        assert len(b.rx.enabled) + len(b.tx.enabled) == 5

    Bench().run(body)


def test_a_function_reset_joins_a_device_reset():
    async def body(b):
        await make_a_mess(b)
        b.rx.hold = True
        await b.write("device_status", 0)
        b.ctx.set(b.dut.flr, 1)
        await b.tick(20)
        b.rx.hold = False
        for _ in range(400):
            await b.tick()
        assert b.ctx.get(b.dut.flr_done)
        b.ctx.set(b.dut.flr, 0)
        await expect_defaults(b)
        assert [c.op for c in b.rx.commands].count(QueueOp.RESET) == 2

    Bench().run(body)


def test_reset_before_driver_ok_sends_nothing():
    async def body(b):
        assert await b.negotiate([Feature.VERSION_1])
        await b.set_queue(0)
        await b.write("queue_enable", 1)
        await b.reset()
        await expect_defaults(b)
        await b.start([], queues=(1,))
        assert not b.rx.commands
        assert [c.op for c in b.tx.commands] == [QueueOp.ENABLE]

    Bench().run(body)


@pytest.mark.parametrize("wait", range(0, 40, 3))
def test_reset_at_any_time_while_queues_start(wait):
    async def body(b):
        assert await b.negotiate([Feature.VERSION_1, *FEATURES])
        for index in range(5):
            await b.set_queue(index)
            await b.write("queue_enable", 1)
        await b.write("device_status", S.DRIVER_OK)
        await b.tick(wait)
        await b.reset()
        assert not b.rx.enabled
        assert not b.tx.enabled
        await expect_defaults(b)

    Bench().run(body)


def test_queue_reset():
    async def body(b):
        await make_a_mess(b)
        b.rx.hold = True
        await b.write("queue_select", 2)
        await b.write("queue_reset", 1)
        for _ in range(5):
            assert await b.read("queue_reset") == 1
        await b.notify(2)
        await b.notify(0)
        b.rx.hold = False
        await b.tick(20)
        assert await b.read("queue_reset") == 0
        assert await b.read("queue_enable") == 0
        assert sorted(b.rx.enabled) == [0]
        assert b.rx.notified == [0]
        await b.write("queue_reset", 1)
        assert await b.read("queue_reset") == 0, "a queue that is not enabled"
        await b.set_queue(2, 128, 0x100, 0x200, 0x300)
        await b.write("queue_enable", 1)
        await b.tick(30)
        command = b.rx.enabled[1]
        assert (command.size, command.desc, command.device) == (128, 0x100, 0x300)
        await b.notify(2)
        await b.tick(5)
        assert b.rx.notified == [0, 1]
        assert sorted(b.tx.enabled) == [0, 1, 2], "nothing else was touched"

    Bench().run(body)


def test_queue_reset_of_a_queue_that_has_not_started():
    async def body(b):
        assert await b.negotiate([Feature.VERSION_1, Feature.RING_RESET])
        await b.set_queue(0)
        await b.write("queue_enable", 1)
        await b.write("queue_reset", 1)
        assert await b.read("queue_enable") == 0
        await b.write("device_status", S.DRIVER_OK)
        await b.tick(30)
        assert not b.rx.commands

    Bench().run(body)


def test_queue_reset_must_be_negotiated():
    async def body(b):
        await b.start([])
        await b.write("queue_select", 0)
        await b.write("queue_reset", 1)
        await b.tick(30)
        assert await b.read("queue_reset") == 0
        assert await b.read("queue_enable") == 1
        assert sorted(b.rx.enabled) == [0]

    Bench().run(body)
