"""The virtio-pci transport as a driver sees it (virtio 1.2, 2.1, 2.2, 3.1, 4.1.4)."""

import pytest

from tailrace_hw.errors import ErrorCode
from tailrace_hw.virtio.interfaces import NO_VECTOR, QueueOp
from tailrace_hw.virtio.spec import (
    NET_FEATURES,
    RING_FEATURES,
    DeviceStatus,
    Feature,
    feature_mask,
)
from tailrace_sim.transport_unit import MAP, READY, Bench

S = DeviceStatus
ALL = (*NET_FEATURES, *RING_FEATURES)
V1 = Feature.VERSION_1


def test_registers_after_reset():
    async def body(b):
        assert await b.features() == feature_mask(ALL)
        assert await b.read("num_queues") == 5
        assert await b.read("device_status") == 0
        assert await b.read("config_msix_vector") == NO_VECTOR
        for index in range(5):
            await b.write("queue_select", index)
            assert await b.read("queue_size") == 256
            assert await b.read("queue_msix_vector") == NO_VECTOR
            assert await b.read("queue_enable") == 0
            assert await b.read("queue_notify_off") == index
            assert await b.read("queue_desc_low") == 0
            assert await b.read("queue_notify_data") == 0
            assert await b.read("queue_reset") == 0
        for index in (5, 64, 0xFFFF):
            await b.write("queue_select", index)
            assert await b.read("queue_size") == 0, "there is no such queue"
            assert await b.read("queue_msix_vector") == NO_VECTOR
        mac = [await b.read_at(address, 1) for address in MAP["mac"].addresses]
        assert bytes(mac).hex() == "020406080a0c"
        assert await b.read("max_virtqueue_pairs") == 2
        assert await b.read("mtu") == 1500
        assert await b.read("net_status") == 0

    Bench().run(body)


def test_one_pair_does_not_offer_mq():
    async def body(b):
        assert await b.features() == feature_mask(ALL) & ~feature_mask([Feature.MQ])
        assert await b.read("num_queues") == 3

    Bench(pairs=1).run(body)


def test_impossible_parameters_are_refused():
    with pytest.raises(ValueError, match="pairs"):
        Bench(pairs=17)
    with pytest.raises(ValueError, match="MQ needs CTRL_VQ"):
        Bench(pairs=2, features=[Feature.MQ])
    with pytest.raises(ValueError, match="power of two"):
        Bench(max_size=100)


def test_addresses_without_a_register_are_errors_and_change_nothing():
    async def body(b):
        for address in (0x003C, 0x0100, 0x1004, 0x200C, 0x3014, 0x3FFC):
            for write in (0, 1):
                (answer,) = await b.access(address, write, 0xFFFF_FFFF, 15)
                assert answer.error, hex(address)
                assert answer.data == 0
        assert await b.read("device_status") == 0

    Bench().run(body)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_byte_strobes(size):
    """Each register takes just the bytes that are written."""

    async def body(b):
        await b.set_queue(1, 64, 0, 0, 0)
        for name in ("queue_desc_low", "queue_device_high", "driver_feature_select"):
            address = MAP[name].address
            await b.write(name, 0x44332211)
            for offset in range(0, 4, size):
                await b.write_at(address + offset, size, 0)
                expected = 0x44332211 & ~((1 << 8 * (offset + size)) - 1)
                assert await b.read(name) == expected
        await b.write_at(MAP["queue_size"].address, 1, 0x20)
        assert await b.read("queue_size") == 0x20
        assert await b.read("queue_msix_vector") == NO_VECTOR
        (answer,) = await b.access(MAP["queue_size"].address, 1, 0x0001_0001, 0)
        assert not answer.error
        assert await b.read("queue_size") == 0x20, "nothing was enabled"

    Bench().run(body)


@pytest.mark.parametrize("enabled", [False, True])
@pytest.mark.parametrize("name", ["queue_enable", "queue_reset", "queue_size", "device_status"])
def test_a_register_is_not_written_by_its_neighbour(name, enabled):
    """The bytes of its dword that are another register's, with ones on its own byte lanes."""
    register = MAP[name]
    size, at = register.width // 8, register.address % 4
    own = ((1 << size) - 1) << at

    async def body(b):
        await b.start([Feature.RING_RESET], queues=[0, 1] if enabled else [1])
        await b.write("queue_select", 0)
        before = await b.read(name)
        for strobe in range(16):
            if not strobe & own:
                (answer,) = await b.access(register.address - at, 1, 0xFFFF_FFFF, strobe)
                assert not answer.error
                await b.tick(30)
                assert await b.read(name) == before, f"strobe {strobe:#x}"
        await b.write("queue_select", 0)
        assert await b.read("queue_enable") == enabled
        assert len(b.rx.enabled) == enabled

    Bench().run(body)


@pytest.mark.parametrize(
    ("features", "accepted"),
    [
        (ALL, True),
        ([V1], True),
        ([V1, Feature.MQ, Feature.CTRL_VQ], True),
        ([], False),
        ([Feature.MAC], False),
        ([V1, Feature.MQ], False),
    ],
    ids=["all", "version 1", "mq", "nothing", "legacy", "mq without ctrl_vq"],
)
def test_feature_negotiation(features, accepted):
    async def body(b):
        assert await b.negotiate(features) is accepted
        levels = b.ctx.get(b.dut.features)
        for name in ("csum", "guest_csum", "mrg_rxbuf", "ctrl_vq", "mq"):
            assert getattr(levels, name) == (accepted and Feature[name.upper()] in features)
        # Fixed from FEATURES_OK on (3.1.1).
        await b.write("driver_feature_select", 0)
        await b.write("driver_feature", 0)
        assert await b.read("driver_feature") == (feature_mask(features) & 0xFFFFFFFF) * accepted
        await b.write("device_status", S.DRIVER_OK)
        assert bool(await b.read("device_status") & S.DRIVER_OK) == accepted
        assert b.ctx.get(b.dut.driver_ok) == accepted

    Bench().run(body)


@pytest.mark.parametrize("bit", [4, 24, 35, 37, 38, 41, 63])
def test_a_feature_not_offered_is_refused(bit):
    async def body(b):
        await b.negotiate([])
        for word in range(2):
            await b.write("driver_feature_select", word)
            await b.write("driver_feature", (1 << V1 | 1 << bit) >> 32 * word & 0xFFFFFFFF)
        await b.write("device_status", READY | S.FEATURES_OK)
        assert await b.read("device_status") == READY

    Bench().run(body)


@pytest.mark.parametrize(
    ("withheld", "gone"),
    [
        ([Feature.RING_PACKED], [Feature.RING_PACKED]),
        ([Feature.CTRL_VQ], [Feature.CTRL_VQ, Feature.MQ]),
        ([Feature.MQ], [Feature.MQ]),
        ([V1], []),
        (list(Feature), [feature for feature in ALL if feature != V1]),
    ],
    ids=["packed", "ctrl_vq and what needs it", "mq", "version 1", "everything"],
)
def test_withheld_features(withheld, gone):
    """They are neither offered nor accepted from the next reset on, and come back with another."""

    async def body(b):
        await b.write("device_status", S.ACKNOWLEDGE)
        b.ctx.set(b.dut.withheld, feature_mask(withheld))
        await b.tick(20)
        assert await b.features() == feature_mask(ALL), "the driver was in the middle of it"
        await b.reset()
        left = feature_mask(ALL) & ~feature_mask(gone)
        assert await b.features() == left
        for feature in gone:
            assert not await b.negotiate([V1, Feature.CTRL_VQ, feature])
        # A queue that can't be is none, before and after the features are agreed on.
        await b.reset()
        pairs = 1 if Feature.MQ in gone else 2
        queues = 2 * pairs + (Feature.CTRL_VQ not in gone)
        for agreed in (False, True):
            for index in range(6):
                await b.write("queue_select", index)
                assert await b.read("queue_size") == (256 if index < queues else 0), (agreed, index)
            if not agreed:
                assert await b.negotiate([feature for feature in ALL if feature not in gone])
        b.ctx.set(b.dut.withheld, 0)
        await b.tick(20)
        assert b.ctx.get(b.dut.features.mq) == (Feature.MQ not in gone)
        await b.reset()
        assert await b.features() == feature_mask(ALL)

    Bench().run(body)


def test_feature_words_beyond_the_second_are_0():
    async def body(b):
        for select in (2, 3, 0x8000_0000):
            await b.write("device_feature_select", select)
            assert await b.read("device_feature") == 0
            await b.write("driver_feature_select", select)
            await b.write("driver_feature", 0xFFFF_FFFF)
            assert await b.read("driver_feature") == 0
        await b.write("driver_feature_select", 0)
        assert await b.read("driver_feature") == 0

    Bench().run(body)


def test_status_bits_stay_until_reset():
    async def body(b):
        await b.write("device_status", S.ACKNOWLEDGE)
        await b.write("device_status", S.DRIVER)
        assert await b.read("device_status") == READY
        await b.write("device_status", S.NEEDS_RESET | 0x30)
        assert await b.read("device_status") == READY, "not for the driver to set"
        await b.write("device_status", S.FAILED)
        assert await b.read("device_status") == READY | S.FAILED
        assert b.ctx.get(b.dut.halt)
        await b.reset()
        assert not b.ctx.get(b.dut.halt)

    Bench().run(body)


@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_queues_are_enabled_with_driver_ok(packed):
    features = [Feature.MQ, Feature.CTRL_VQ, Feature.EVENT_IDX]
    features += [Feature.RING_PACKED] * packed

    async def body(b):
        assert await b.negotiate([V1, *features])
        for index in range(5):
            await b.set_queue(
                index, 16 << index, 0x1234_5678_0000 + index * 16, 0xA0_0000_0004, 0xFF00_0000_0008
            )
            await b.write("queue_enable", 1)
            assert await b.read("queue_enable") == 1
            await b.write("queue_desc_low", 0)
            await b.write("queue_size", 2)
            assert await b.read("queue_size") == 16 << index, "fixed while enabled"
            await b.write("queue_enable", 0)
            assert await b.read("queue_enable") == 1, "the driver may not write 0"
        await b.tick(100)
        assert not b.rx.commands, "a command before DRIVER_OK"
        assert not b.tx.commands, "a command before DRIVER_OK"
        await b.write("device_status", S.DRIVER_OK)
        await b.tick(150)
        for engine, queues in ((b.rx, {0: 0, 1: 2}), (b.tx, {0: 1, 1: 3, 2: 4})):
            assert sorted(engine.enabled) == sorted(queues)
            for queue, command in engine.enabled.items():
                index = queues[queue]
                assert command.op == QueueOp.ENABLE
                assert command.size == 16 << index
                assert command.desc == 0x1234_5678_0000 + index * 16
                assert command.driver == 0xA0_0000_0004
                assert command.device == 0xFF00_0000_0008
                assert (command.packed_ring, command.event_idx, command.indirect) == (packed, 1, 0)
                assert command.vector == index

    Bench().run(body)


def test_control_queue_without_mq_is_queue_2():
    async def body(b):
        await b.start([Feature.CTRL_VQ], queues=(0, 1, 2))
        assert sorted(b.tx.enabled) == [0, 4]
        assert sorted(b.rx.enabled) == [0]
        await b.notify(2)
        await b.notify(3)
        await b.notify(8)
        await b.tick(10)
        assert b.tx.notified == [4]
        await b.write("queue_select", 3)
        assert await b.read("queue_size") == 0

    Bench(pairs=4).run(body)


def test_without_ctrl_vq_there_is_no_control_queue():
    async def body(b):
        await b.start([])
        await b.write("queue_select", 2)
        assert await b.read("queue_size") == 0
        await b.write("queue_enable", 1)
        assert await b.read("queue_enable") == 0

    Bench().run(body)


BASE = 0x9_0000_0000


@pytest.mark.parametrize(
    ("packed", "values", "code", "info"),
    [
        (False, {"size": 0}, ErrorCode.QUEUE_BAD_SIZE, 0),
        (True, {"size": 0}, ErrorCode.QUEUE_BAD_SIZE, 0),
        (False, {"size": 512}, ErrorCode.QUEUE_BAD_SIZE, 512),
        (True, {"size": 257}, ErrorCode.QUEUE_BAD_SIZE, 257),
        (False, {"size": 48}, ErrorCode.QUEUE_BAD_SIZE, 48),
        (True, {"size": 48}, None, 0),
        (False, {"size": 1}, None, 0),
        (False, {"desc": BASE + 8}, ErrorCode.QUEUE_BAD_ADDRESS, BASE + 8),
        (True, {"desc": BASE + 8}, ErrorCode.QUEUE_BAD_ADDRESS, BASE + 8),
        (False, {"driver": BASE + 1}, ErrorCode.QUEUE_BAD_ADDRESS, BASE + 1),
        (False, {"driver": BASE + 2}, None, 0),
        (True, {"driver": BASE + 2}, ErrorCode.QUEUE_BAD_ADDRESS, BASE + 2),
        (False, {"device": BASE + 2}, ErrorCode.QUEUE_BAD_ADDRESS, BASE + 2),
        (True, {"device": BASE + 2}, ErrorCode.QUEUE_BAD_ADDRESS, BASE + 2),
        (True, {"device": BASE + 4}, None, 0),
    ],
)
def test_queue_that_can_not_be(packed, values, code, info):
    async def body(b):
        assert await b.negotiate([V1] + [Feature.RING_PACKED] * packed)
        await b.set_queue(1, **{"desc": BASE, "driver": BASE, "device": BASE} | values)
        await b.write("queue_enable", 1)
        assert await b.read("queue_enable") == (code is None)
        status = READY | S.FEATURES_OK
        if code is None:
            assert not b.errors
            assert await b.read("device_status") == status
        else:
            assert b.errors == [(code, 1, info)]
            assert await b.read("device_status") == status | S.NEEDS_RESET
            assert b.ctx.get(b.dut.halt)
            await b.reset()
            await b.start([])
            assert sorted(b.tx.enabled) == [0], "works after the reset"

    Bench().run(body)


def test_enable_before_features_ok_is_ignored():
    async def body(b):
        await b.reset()
        await b.set_queue(0, 64, BASE, BASE, BASE)
        await b.write("queue_enable", 1)
        assert await b.read("queue_enable") == 0
        assert not b.errors

    Bench().run(body)


def test_vectors_outside_the_table_read_back_as_none():
    async def body(b):
        await b.write("queue_select", 3)
        for name in ("config_msix_vector", "queue_msix_vector"):
            for vector in (0, 7, 8, 3, 0x100, NO_VECTOR, 5, 0xFFFE):
                await b.write(name, vector)
                assert await b.read(name) == (vector if vector < 8 else NO_VECTOR)
        await b.write("queue_msix_vector", 6)
        await b.write("queue_select", 2)
        assert await b.read("queue_msix_vector") == NO_VECTOR
        await b.write("queue_select", 3)
        assert await b.read("queue_msix_vector") == 6
        assert await b.read("queue_size") == 256

    Bench(vectors=8).run(body)
