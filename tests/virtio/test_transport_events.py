"""Notifications, interrupts, ISR, configuration changes (virtio 1.2, 4.1.4.4, 4.1.4.5, 4.1.5)."""

import pytest

from tailrace_hw.virtio.interfaces import NO_VECTOR
from tailrace_hw.virtio.spec import DeviceStatus, Feature
from tailrace_sim.transport_unit import MAP, READY, Bench

S = DeviceStatus
FEATURES = [Feature.MQ, Feature.CTRL_VQ, Feature.STATUS]
RUNNING = READY | S.FEATURES_OK | S.DRIVER_OK


@pytest.mark.parametrize("size", [1, 2, 4])
def test_each_notification_reaches_its_queue(size):
    async def body(b):
        await b.start(FEATURES, queues=range(5))
        for index in (0, 1, 2, 3, 4, 1, 4, 0):
            await b.notify(index, size)
        await b.tick(5)
        assert b.rx.notified == [0, 1, 0]
        assert b.tx.notified == [0, 1, 2, 0, 2]

    Bench().run(body)


def test_doorbell_takes_3_cycles():
    async def body(b):
        await b.start(FEATURES, queues=range(5))
        ctx, bus = b.ctx, b.dut.bus
        address = MAP["notify"].addresses[4]
        ctx.set(bus.request.payload, {"address": address, "write": 1, "strobe": 3})
        ctx.set(bus.request.valid, 1)
        assert ctx.get(bus.request.ready)
        cycles = 0
        while not ctx.get(b.dut.tx_notify.valid):
            await b.tick()
            ctx.set(bus.request.valid, 0)
            cycles += 1
            assert cycles <= 4
        assert cycles == 3

    Bench().run(body)


def test_notifications_of_queues_not_enabled_are_dropped():
    async def body(b):
        await b.start(FEATURES, queues=(0, 3))
        for index in range(5):
            await b.notify(index)
        await b.set_queue(1)
        await b.write("queue_enable", 1)
        await b.tick(40)
        assert b.rx.notified == [0]
        assert b.tx.notified == [1]
        (answer,) = await b.access(MAP["notify"].addresses[1], 1, 0, 0)
        assert not answer.error
        await b.tick(10)
        assert b.tx.notified == [1], "no byte was written"
        assert await b.read_at(MAP["notify"].addresses[1], 4) == 0
        assert b.tx.notified == [1], "a read does not notify"

    Bench().run(body)


def test_notification_while_the_queue_starts_is_not_lost():
    async def body(b):
        assert await b.negotiate([Feature.VERSION_1])
        await b.set_queue(1)
        await b.write("queue_enable", 1)
        b.tx.hold = True
        await b.write("device_status", S.DRIVER_OK)
        await b.notify(1)
        await b.notify(1)
        await b.tick(40)
        assert not b.tx.notified
        b.tx.hold = False
        await b.tick(10)
        assert b.tx.notified == [0], "merged into one"

    Bench().run(body)


def test_the_bus_does_not_wait_for_an_engine_that_takes_no_notifications():
    async def body(b):
        await b.start(FEATURES, queues=range(5))
        # The engine of the bench is served in the background: take its ready away for good.
        ready = b.dut.tx_notify.ready
        for index in (4, 1, 3, 1, 4, 3):
            b.ctx.set(ready, 0)
            await b.notify(index)
            b.ctx.set(ready, 0)
        b.ctx.set(ready, 1)
        await b.tick(10)
        assert sorted(set(b.tx.notified)) == [0, 1, 2]

    Bench().run(body)


async def raise_interrupt(b, engine, slot):
    request = b.dut.requests[engine]
    b.ctx.set(request.payload, {"function": 1, "vector": slot})
    b.ctx.set(request.valid, 1)
    await b.ctx.tick().until(request.ready)
    b.ctx.set(request.valid, 0)
    await b.tick(5)


def test_queue_interrupts_get_the_vector_of_the_moment():
    async def body(b):
        await b.start(FEATURES, queues=range(5))
        for slot in (0, 2, 1, 3, 4):
            await raise_interrupt(b, int(slot % 2 or slot == 4), slot)
        assert b.interrupts == [0, 2, 1, 3, 4]
        assert await b.read("isr_status") == 1
        assert await b.read("isr_status") == 0, "reading clears"
        await b.write("queue_select", 3)
        await b.write("queue_msix_vector", 7)
        await raise_interrupt(b, 1, 3)
        assert b.interrupts[5:] == [7]
        await b.write("queue_msix_vector", NO_VECTOR)
        assert await b.read("isr_status") == 1
        await raise_interrupt(b, 1, 3)
        assert b.interrupts[6:] == []
        assert await b.read("isr_status") == 1, "set without a vector, too"

    Bench().run(body)


def test_interrupts_of_both_engines_and_the_configuration_share_the_output():
    async def body(b):
        await b.start(FEATURES, queues=range(5))
        await b.write("config_msix_vector", 6)
        for engine, slot in ((0, 2), (1, 4)):
            b.ctx.set(b.dut.requests[engine].payload, {"function": 1, "vector": slot})
            b.ctx.set(b.dut.requests[engine].valid, 1)
        taken = [0, 0]
        for cycle in range(60):
            b.ctx.set(b.dut.link_up, cycle // 20 % 2)
            for engine in range(2):
                taken[engine] += b.ctx.get(b.dut.requests[engine].ready)
            await b.tick()
        for request in b.dut.requests:
            b.ctx.set(request.valid, 0)
        await b.tick(10)
        assert b.interrupts.count(6) == 2, "two link changes"
        assert [b.interrupts.count(2), b.interrupts.count(4)] == taken
        assert min(taken) >= 14, "fair, one request in two cycles"

    Bench().run(body)


def test_link_change():
    async def body(b):
        await b.start(FEATURES)
        await b.write("config_msix_vector", 5)
        for change in range(1, 5):
            b.ctx.set(b.dut.link_up, change % 2)
            await b.tick(5)
            assert await b.read("config_generation") == change
            assert await b.read("net_status") == change % 2
            assert b.interrupts == [5] * change
            assert await b.read("isr_status") == 2
            assert await b.read("isr_status") == 0

    Bench().run(body)


@pytest.mark.parametrize("case", ["before driver_ok", "status not negotiated", "no vector"])
def test_link_change_without_interrupt(case):
    async def body(b):
        if case == "before driver_ok":
            assert await b.negotiate([Feature.VERSION_1, *FEATURES])
        else:
            await b.start([] if case == "status not negotiated" else FEATURES)
        if case != "no vector":
            await b.write("config_msix_vector", 5)
        b.ctx.set(b.dut.link_up, 1)
        await b.tick(10)
        assert b.interrupts == []
        assert await b.read("net_status") == 1
        assert await b.read("isr_status") == (2 if case == "no vector" else 0)

    Bench().run(body)


@pytest.mark.parametrize("wait", range(8))
def test_an_interrupt_while_the_isr_is_read_is_not_lost(wait):
    async def body(b):
        await b.start(FEATURES)
        request = b.dut.requests[1]
        b.ctx.set(request.payload, {"function": 1, "vector": 1})
        seen = []
        # The request is offered ``wait`` cycles after the read is, so that one of the cases meets
        # the very cycle in which the register is cleared.
        bus = b.dut.bus
        address = MAP["isr_status"].address
        b.ctx.set(bus.request.payload, {"address": address, "strobe": 1})
        b.ctx.set(bus.request.valid, 1)
        for cycle in range(20):
            b.ctx.set(request.valid, cycle == wait)
            if b.ctx.get(bus.response.valid):
                seen.append(b.ctx.get(bus.response.payload).data)
            await b.tick()
            b.ctx.set(bus.request.valid, 0)
        seen.append(await b.read("isr_status"))
        assert sorted(seen) == [0, 1], "seen once, in this read or the next"

    Bench().run(body)


def test_isr_reads_only_with_its_byte():
    async def body(b):
        await b.start(FEATURES)
        b.ctx.set(b.dut.link_up, 1)
        await b.tick(5)
        await b.access(MAP["isr_status"].address, 0, 0, 0b1110)
        await b.access(MAP["isr_status"].address, 1, 0, 0b1111)
        assert await b.read("isr_status") == 2

    Bench().run(body)


@pytest.mark.parametrize("running", [False, True])
def test_fault(running):
    async def body(b):
        if running:
            await b.start(FEATURES)
        else:
            assert await b.negotiate([Feature.VERSION_1, *FEATURES])
        await b.write("config_msix_vector", 2)
        generation = await b.read("config_generation")
        for _ in range(2):
            b.ctx.set(b.dut.fault, 1)
            await b.tick()
            b.ctx.set(b.dut.fault, 0)
            await b.tick(10)
        status = RUNNING if running else READY | S.FEATURES_OK
        assert await b.read("device_status") == status | S.NEEDS_RESET
        assert b.interrupts == [2] * running, "told once, and only after DRIVER_OK (2.1.2)"
        assert await b.read("isr_status") == 2 * running
        assert await b.read("config_generation") == generation
        assert b.ctx.get(b.dut.halt)
        await b.reset()
        assert not b.ctx.get(b.dut.halt)
        await b.start(FEATURES)

    Bench().run(body)
