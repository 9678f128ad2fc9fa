"""The device object: management function, error collector, causes of a reset."""

import pytest

from tailrace.device import Tailrace
from tailrace.errors import DeviceNeedsReset, TailraceError
from tailrace.regs import address_map, codes, identity, port, virtio, virtio_net
from tailrace.virtio import spec
from tailrace.virtio.net_types import TxFrame
from tailrace_sim.soft_device import IDENTITY, DeviceBench


def test_identity_counters_and_cycles():
    bench = DeviceBench()
    bench.management.words[address_map.PORT0 + port.RX_BYTES] = 5
    bench.management.words[address_map.PORT0 + port.RX_BYTES + 4] = 1
    bench.management.words[address_map.VIRTIO_NET0 + virtio_net.RX_DROP_NO_BUFFER] = 9
    device = bench.run(Tailrace.find(bench.host))
    who = device.identity
    assert who.version == (1, 2, 3)
    assert (who.width, who.ports, who.functions, who.queue_pairs) == (512, 1, 2, 4)
    assert (who.configuration, who.clock) == (0xC0FFEE, 250_000_000)
    assert bench.run(device.management.cycles()) == 0xFFFF_FFFF
    assert bench.run(device.management.cycles()) == 0x1_0000_0000
    counters = bench.run(device.management.counters())
    assert counters["port0"]["rx_bytes"] == (1 << 32) + 5
    assert counters["virtio_net0"]["rx_drop_no_buffer"] == 9
    assert counters["pcie"]


def test_errors_are_read_and_cleared():
    bench = DeviceBench()
    device = bench.run(Tailrace.find(bench.host))
    assert bench.run(device.management.errors()) == []
    for _ in range(3):
        bench.management.report(0x24, 8, 1, 2, 1 << 40)
    bench.management.report(0x01, 1, 0, 0xFFFF, 0)
    first, second = bench.run(device.management.errors())
    assert (first.code, first.queue) == (codes.ErrorCode.DMA_UR, None)
    assert (second.code, second.count, second.function) == (codes.ErrorCode.NET_RX_NO_BUFFER, 3, 1)
    assert str(second) == (
        "NET_RX_NO_BUFFER from VIRTIO_NET, function 1 queue 2, info 0x10000000000,"
        " first at cycle 77, 3 times"
    )
    assert bench.run(device.management.total_errors()) == 4
    bench.run(device.management.clear_error(second.code))
    assert [e.code for e in bench.run(device.management.errors())] == [codes.ErrorCode.DMA_UR]


def test_the_collector_explains_a_device_that_needs_a_reset():
    bench = DeviceBench()
    device = bench.run(Tailrace.find(bench.host))
    net = bench.run(device.net())
    honest = bench.device.fault

    def fault(error, queue: int) -> None:
        code = codes.ErrorCode[error.code]
        bench.management.report(code, codes.ErrorSource.VIRTIO_FETCH, 1, queue, error.info)
        honest(error, queue)

    bench.device.fault = fault  # type: ignore[method-assign]

    async def poison() -> None:
        net.pairs[0].tx.post(TxFrame(bytes(60)))
        start = net.pairs[0].tx.ring.areas.desc - bench.host.memory_base
        bench.host.memory[start + 8 : start + 12] = 0
        await net.pairs[0].tx.ring.kick()
        await net.flush()

    with pytest.raises(DeviceNeedsReset, match="needs a reset: QUEUE_ZERO_LENGTH from") as e:
        bench.run(poison())
    assert "queue 1" in e.value.cause
    bench.run(net.reset())
    bench.net = net
    bench.run(bench.send([TxFrame(bytes(60))]))


def test_what_is_no_tailrace():
    bench = DeviceBench()
    bench.management.words[IDENTITY + identity.MAGIC] = 1
    with pytest.raises(TailraceError, match="magic is 0x00000001"):
        bench.run(Tailrace.find(bench.host))
    bench = DeviceBench()
    device = bench.run(Tailrace.find(bench.host))
    for number in (1, -1):
        with pytest.raises(TailraceError, match=f"network function {number} does not exist"):
            bench.run(device.net(number))
    bench.host.functions.clear()
    with pytest.raises(TailraceError, match="no Tailrace"):
        bench.run(Tailrace.find(bench.host))


def test_the_generated_registers_are_those_of_the_specification():
    """The driver's transport is written from virtio 1.2, the gateware's registers from its RDL."""
    names = {
        "QUEUE_DESC": "QUEUE_DESC_LOW",
        "QUEUE_DRIVER": "QUEUE_DRIVER_LOW",
        "QUEUE_DEVICE": "QUEUE_DEVICE_LOW",
    }
    for field in spec.CommonCfg:
        assert getattr(virtio, names.get(field.name, field.name)) == field, field.name
    assert virtio.NET_STATUS - virtio.MAC == 6
    assert virtio.MTU - virtio.MAC == 10
