"""A driver that does anything at any time: the bus always answers, and a reset always helps."""

import pytest

from tailrace_hw.virtio.spec import DeviceStatus, Feature
from tailrace_sim.transport_unit import MAP, READY, Bench
from tailrace_sim.unit import seeded

S = DeviceStatus
FEATURES = [Feature.MQ, Feature.CTRL_VQ, Feature.RING_RESET, Feature.STATUS]
#: Cycles that an access may take at most, whatever the engines do.
SLOWEST = 20

#: Registers to write, and values that do something.
WRITES = {
    "device_status": [0, 1, 2, 4, 8, 15, 15, 128],
    "driver_feature_select": [0, 1, 2],
    "driver_feature": [0, 1, 0xFFFF_FFFF, 0x0042_0000],
    "queue_select": [0, 1, 2, 3, 4, 5, 0xFFFF],
    "queue_size": [0, 3, 64, 256, 512],
    "queue_msix_vector": [0, 7, 9, 0xFFFF],
    "queue_enable": [0, 1, 1],
    "queue_reset": [0, 1, 1],
    "queue_desc_low": [0, 8, 0x100],
    "queue_device_low": [0, 2, 0x100],
    "config_msix_vector": [0, 100],
    "isr_status": [3],
    "mtu": [9000],
}


async def anything(b, rng):
    kind = rng.random()
    if kind < 0.2:
        await b.notify(rng.randrange(5), rng.choice([1, 2, 4]))
    elif kind < 0.4:
        await b.read(rng.choice([r.name for r in MAP.registers if r.count is None]))
    elif kind < 0.45:
        await b.access(rng.getrandbits(12) << 2, rng.getrandbits(1), rng.getrandbits(32),
                       rng.getrandbits(4))  # fmt: skip
    elif kind < 0.55:
        b.ctx.set(b.dut.link_up, rng.getrandbits(1))
        for engine in (b.rx, b.tx):
            engine.hold = rng.random() < 0.2
            engine.delay = rng.choice([0, 1, 5, 40])
        b.ctx.set(b.dut.fault, rng.random() < 0.05)
        await b.tick(rng.choice([1, 1, 30]))
        b.ctx.set(b.dut.fault, 0)
    else:
        name = rng.choice(list(WRITES))
        await b.write(name, rng.choice(WRITES[name]))


@pytest.mark.parametrize("run", range(3))
def test_random_accesses(run):
    rng = seeded()

    async def body(b):
        slowest = 0
        plain = b.access

        async def timed(*arguments):
            nonlocal slowest
            before = b.cycles
            answer = await plain(*arguments)
            slowest = max(slowest, b.cycles - before)
            return answer

        b.access = timed
        commands = 0
        for round_ in range(6):
            if round_ % 2 == 0:
                await b.reset()
                await b.start(FEATURES, queues=range(5))
                assert len(b.rx.enabled) + len(b.tx.enabled) == 5
            for _ in range(80):
                await anything(b, rng)
            commands += len(b.rx.commands) + len(b.tx.commands)
            b.rx.hold = b.tx.hold = False
            b.rx.delay = b.tx.delay = 2
            b.ctx.set(b.dut.flr, round_ == 3)
            await b.reset()
            b.ctx.set(b.dut.flr, 0)
            assert not b.rx.enabled
            assert not b.tx.enabled
        await b.start(FEATURES, queues=range(5))
        for index in range(5):
            b.rx.notified.clear()
            b.tx.notified.clear()
            await b.notify(index)
            await b.tick(5)
            assert len(b.rx.notified) + len(b.tx.notified) == 1
        assert await b.read("device_status") == READY | S.FEATURES_OK | S.DRIVER_OK
        assert commands > 30, "the driver did nothing that matters"
        assert slowest <= SLOWEST, f"an access took {slowest} cycles"

    Bench().run(body)
