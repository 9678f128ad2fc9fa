"""Full reset and ring reset in the middle of traffic, link and configuration changes."""

import pytest

from tailrace.errors import DeviceNeedsReset, PciError, ResponseTimeout, VirtioError
from tailrace.virtio.net import VirtioNet
from tailrace.virtio.net_types import CsumRequest, NetOptions, TxFrame
from tailrace_sim.models.scoreboard import Scoreboard
from tailrace_sim.run import pick_seed
from tailrace_sim.soft_bench import SoftBench


@pytest.fixture
def seed() -> int:
    value = pick_seed()
    print(f"seed {value} (replay: TAILRACE_SEED={value})")
    return value


@pytest.fixture(params=[False, True], ids=["split", "packed"])
def packed(request) -> bool:
    return request.param


async def _send_with_resets(bench: SoftBench, frames: list[bytes], reset, lost: list) -> None:
    """Send in portions; ``reset`` runs after every portion, with frames still on their way."""
    tagged = [TxFrame(data, tag=i) for i, data in enumerate(frames)]
    for at in range(0, len(tagged), 40):
        await bench.net.transmit(tagged[at : at + 40], batch=bench.rng.randint(1, 40))
        await bench.host.delay(bench.rng.randint(0, 400))
        lost += await reset()
    await bench.net.flush()


@pytest.mark.parametrize("ring_only", [False, True], ids=["device", "ring"])
def test_reset_in_the_middle_of_traffic(packed, ring_only, seed):
    """What was sent came out once, in order, or is among the lost; then all works as before."""
    bench = SoftBench(seed=seed)
    net = bench.open(NetOptions(packed=packed, tx_size=64, rx_size=64))
    memory = bench.host.memory_in_use
    frames = bench.frames(240, 14, 200)
    lost: list[int] = []

    async def reset():
        return await (net.reset_pair(0) if ring_only else net.reset())

    async def inject():
        for frame in bench.frames(200, 14, 200):
            bench.device.inject(frame)
            await bench.host.delay(60)

    bench.host.run(
        _send_with_resets(bench, frames, reset, lost), bench.collect(150, timeout=20_000), inject()
    )
    board = Scoreboard("transmit")
    for number, frame in enumerate(frames):
        board.expect(frame, optional=number in lost)
    for _, frame in bench.device.wire:
        board.receive(frame)
    board.finish()
    assert bench.host.memory_in_use == memory
    bench.device.wire.clear()
    bench.device.backlog.clear()
    bench.run(net.receive(timeout=1000))
    again = bench.frames(20)
    bench.run(bench.send([TxFrame(f) for f in again]))
    assert [f for _, f in bench.device.wire] == again
    bench.device.inject(again[0])
    received = bench.run(bench.collect(1))
    assert [f.data for f in received] == again[:1]


@pytest.mark.parametrize("direction", ["receive", "transmit"])
def test_a_sleeper_does_not_touch_a_ring_that_is_gone(packed, direction, seed):
    """Memory that a stop has given back belongs to somebody else when the task wakes up."""
    bench = SoftBench(seed=seed)
    net = bench.open(NetOptions(packed=packed))
    if direction == "transmit":
        bench.device.work = lambda: False  # type: ignore[method-assign]

    async def work():
        if direction == "receive":
            await net.receive(timeout=50_000)
        else:
            await net.transmit([TxFrame(bytes(60))])
            await net.flush(timeout=50_000)

    async def sleep():
        with pytest.raises(VirtioError, match="not in use"):
            await work()
        return True

    async def stop_and_paint():
        await bench.host.delay(2000)
        await net.stop()
        assert bench.host.memory_in_use == 0
        bench.host.memory[:] = 0xAA

    assert bench.host.run(sleep(), stop_and_paint())[0]
    assert (bench.host.memory == 0xAA).all()


def test_a_ring_reset_leaves_the_other_pair_alone(packed, seed):
    bench = SoftBench(seed=seed, pairs=2)
    net = bench.open(NetOptions(packed=packed, queue_pairs=2))
    frames = bench.frames(200)

    async def resets():
        for _ in range(4):
            await net.reset_pair(0)

    bench.host.run(bench.send([TxFrame(f) for f in frames], 1), resets())
    assert [f for q, f in bench.device.wire if q == 1] == frames


def test_ring_reset_needs_the_feature(packed):
    bench = SoftBench()
    net = bench.open(NetOptions(packed=packed, ring_reset=False))
    with pytest.raises(VirtioError, match="RING_RESET"):
        bench.run(net.reset_pair(0))


def test_device_needs_reset_is_told_with_its_cause_and_cured(packed, seed):
    bench = SoftBench(seed=seed)

    async def cause() -> str:
        return ", ".join(code for code, _, _ in bench.device.faults)

    net = bench.run(VirtioNet.open(bench.function(), NetOptions(packed=packed), cause))
    bench.net = net
    ring = net.pairs[0].tx.ring

    async def poison():
        """A descriptor that points nowhere, behind the driver's back."""
        net.pairs[0].tx.post(TxFrame(bytes(60)))
        table = ring.areas.desc - bench.host.memory_base
        bench.host.memory[table : table + 8] = 0xFF
        await ring.kick()
        await net.flush()

    with pytest.raises(DeviceNeedsReset, match="QUEUE_DATA_FAULT"):
        bench.run(poison())
    with pytest.raises(DeviceNeedsReset):
        bench.run(net.receive())
    with pytest.raises(DeviceNeedsReset):
        bench.run(net.transmit([TxFrame(bytes(60))]))
    bench.run(net.reset())
    frames = bench.frames(10)
    bench.run(bench.send([TxFrame(f) for f in frames]))
    assert [f for _, f in bench.device.wire] == frames


def test_link_and_configuration_changes(packed):
    bench = SoftBench(mac=bytes(range(6)), mtu=1400)
    net = bench.open(NetOptions(packed=packed))
    assert (net.config.mac, net.config.mtu, net.config.link_up) == (bytes(range(6)), 1400, True)

    async def unplug():
        await bench.host.delay(3000)
        bench.device.set_link(False)

    changed, _ = bench.host.run(net.wait_config_change(50_000), unplug())
    assert changed
    assert not net.config.link_up
    assert not bench.run(net.wait_config_change(1000))
    # A receiver that sleeps notices as well.
    bench.device.set_link(True)
    assert bench.run(net.receive(timeout=10_000)) == []
    assert net.config.link_up


def test_flr_brings_everything_back(packed):
    bench = SoftBench()
    function = bench.function()
    net = bench.run(VirtioNet.open(function, NetOptions(packed=packed)))
    bench.net = net
    bench.run(function.flr(settle=100))
    assert bench.device.status == 0
    bench.run(net.reset())
    bench.run(bench.send([TxFrame(bytes(60))]))
    assert len(bench.device.wire) == 1


def test_a_device_that_stands_still_is_noticed():
    bench = SoftBench()
    net = bench.open(NetOptions(tx_size=4))
    bench.device.work = lambda: False  # type: ignore[method-assign]
    with pytest.raises(ResponseTimeout, match="stays full"):
        bench.run(net.transmit([TxFrame(bytes(60))] * 10, timeout=20_000))
    with pytest.raises(ResponseTimeout, match="4 frames not returned"):
        bench.run(net.flush(timeout=20_000))


def test_a_reset_that_never_ends_is_noticed():
    bench = SoftBench()
    net = bench.open(NetOptions(timeout=5000))
    bench.device.step = lambda: False  # type: ignore[method-assign]
    with pytest.raises(ResponseTimeout, match="reset"):
        bench.run(net.reset())


def test_use_against_the_rules_is_refused():
    bench = SoftBench()
    net = bench.open(NetOptions(csum=False, tx_size=16))
    for frame, words in {
        TxFrame(b""): "0 bytes",
        TxFrame(bytes(1523)): "1523 bytes",
        TxFrame(bytes(60), shift=64): "shift",
        TxFrame(bytes(60), cuts=(5, 5)): "ascend",
        TxFrame(bytes(60), cuts=tuple(range(1, 17))): "do not fit",
        TxFrame(bytes(60), CsumRequest(14, 6)): "VIRTIO_NET_F_CSUM",
    }.items():
        with pytest.raises(VirtioError, match=words):
            net.pairs[0].tx.post(frame)
    assert net.pairs[0].tx.outstanding == 0
    csum = SoftBench().open().pairs[0].tx
    with pytest.raises(VirtioError, match="16-bit"):
        csum.post(TxFrame(bytes(60), CsumRequest(70000, 0)))
    with pytest.raises(VirtioError, match="is a TxFrame, not bytes"):
        bench.run(net.transmit([bytes(60)]))
    for number in (1, -1):
        with pytest.raises(VirtioError, match=f"queue pair {number} is not in use; there are 1"):
            bench.run(net.receive(queue=number))
        with pytest.raises(VirtioError, match=f"queue pair {number} is not in use"):
            bench.run(net.transmit([TxFrame(bytes(60))], queue=number))
        with pytest.raises(VirtioError, match=f"queue pair {number} is not in use"):
            bench.run(net.reset_pair(number))
    for name in ("rx_size", "tx_size", "chain_limit", "timeout"):
        with pytest.raises(VirtioError, match=f"{name} must be at least 1, not 0"):
            NetOptions(**{name: 0})
    with pytest.raises(VirtioError, match="rx_count must not be negative"):
        NetOptions(rx_count=-1)
    with pytest.raises(VirtioError, match="VIRTIO_NET_F_MQ"):
        bench.run(net.set_pairs(1))
    with pytest.raises(VirtioError, match="2 queue pairs"):
        SoftBench(pairs=1).open(NetOptions(queue_pairs=2))
    with pytest.raises(VirtioError, match="room"):
        SoftBench().open(NetOptions(rx_buffer=100, rx_size=4))


def test_a_refused_control_command_is_an_error():
    bench = SoftBench(pairs=2)
    net = bench.open(NetOptions(queue_pairs=2))
    with pytest.raises(VirtioError, match="refused"):
        bench.run(net.set_pairs(9))
    with pytest.raises(VirtioError, match="refused"):
        bench.run(net.control(77, 0, b"abc"))
    bench.run(net.set_pairs(1))
    assert bench.device.active_pairs == 1


@pytest.mark.parametrize("vectors", [1, 2, 3, 16])
def test_few_vectors_are_shared(vectors, seed):
    bench = SoftBench(seed=seed, pairs=2, vectors=vectors)
    bench.open(NetOptions(queue_pairs=2))
    bench.device._loop_back = True
    for queue in range(2):
        bench.echo([TxFrame(f) for f in bench.frames(30)], queue)


def test_no_bus_master_means_a_fault(packed):
    bench = SoftBench()
    function = bench.function()
    net = bench.run(VirtioNet.open(function, NetOptions(packed=packed)))
    bench.run(function.enable(bus_master=False))
    with pytest.raises(DeviceNeedsReset):
        bench.run(net.transmit([TxFrame(bytes(60))]), net.receive(timeout=10_000))
    assert bench.device.faults[0][0] in ("QUEUE_FETCH_FAULT", "QUEUE_USED_FAULT")


def test_no_msix_is_refused():
    bench = SoftBench()
    function = bench.function()
    function.msix = None
    with pytest.raises(VirtioError, match="MSI-X"):
        bench.run(VirtioNet.open(function))
    with pytest.raises(PciError, match="does not exist"):
        bench.run(bench.function().msix.mask(99))
