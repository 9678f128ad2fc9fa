"""virtio-pci transport: discovery, negotiation, configuration, queues."""

import pytest

from tailrace.errors import NegotiationError, VirtioError
from tailrace.virtio.net import VirtioNet
from tailrace.virtio.net_types import NetOptions
from tailrace.virtio.pci_transport import PciTransport, QueueAreas
from tailrace.virtio.spec import DeviceStatus, Feature
from tailrace_sim.models.pci import ModelError
from tailrace_sim.soft_bench import SoftBench


def open_transport(bench: SoftBench) -> PciTransport:
    return bench.run(PciTransport.open(bench.function()))


def test_structures_are_found_where_the_capabilities_say():
    bench = SoftBench()
    transport = open_transport(bench)
    base = transport.function.bars[0].address
    assert transport.common.address == base
    assert (transport.isr.address, transport.notify.address) == (base + 0x1000, base + 0x3000)
    assert transport.device is not None
    assert transport.device.address == base + 0x2000
    assert transport.notify_multiplier == 4
    assert bench.run(transport.num_queues()) == 2
    bench.device.isr = 3
    assert bench.run(transport.isr_status()) == 3
    assert bench.run(transport.isr_status()) == 0


@pytest.mark.parametrize(
    ("offset", "value", "words"),
    [
        (0xB3, 9, "no COMMON_CFG"),
        (0xC3, 9, "no NOTIFY_CFG"),
        (0xD7, 9, "no ISR_CFG"),
        (0xB4, 5, "no COMMON_CFG"),  # in a BAR that does not exist: ignored (4.1.4.1)
        (0xB2, 8, "no COMMON_CFG"),  # shorter than the structure
        (0xB9, 0x40, "outside BAR0"),
        (0xBC, 0x20, "32 bytes"),
    ],
)
def test_bad_virtio_capabilities(offset, value, words):
    bench = SoftBench()
    bench.device.config[offset] = value
    with pytest.raises(VirtioError, match=words):
        open_transport(bench)


def test_another_device_is_not_touched():
    bench = SoftBench()
    bench.device.config[0:2] = b"\x34\x12"
    with pytest.raises(VirtioError, match="not a modern virtio device"):
        open_transport(bench)


def test_only_offered_features_are_accepted_and_mq_needs_the_control_queue():
    bench = SoftBench(pairs=2, features=1 << 22 | 1 << 34)
    transport = open_transport(bench)
    bench.run(transport.begin())
    wanted = Feature.NET_MQ | Feature.NET_CTRL_VQ | Feature.RING_PACKED | Feature.EVENT_IDX
    chosen = bench.run(transport.negotiate(wanted))
    assert chosen == Feature.RING_PACKED | Feature.VERSION_1 == transport.features
    assert bench.device.accepted == chosen
    assert bench.run(transport.driver_features()) == chosen
    assert bench.device.status == 11


def test_ring_reset_needs_the_long_structure():
    bench = SoftBench()
    bench.device.config[0xBC] = 0x38
    transport = open_transport(bench)
    bench.run(transport.begin())
    assert Feature.RING_RESET not in bench.run(transport.negotiate(Feature.RING_RESET))


def test_a_legacy_device_fails():
    bench = SoftBench()
    bench.device.offered &= ~(1 << 32)
    transport = open_transport(bench)
    bench.run(transport.begin())
    with pytest.raises(NegotiationError, match="VERSION_1"):
        bench.run(transport.negotiate(0))
    assert bench.device.status & DeviceStatus.FAILED


def test_refused_features_fail():
    bench = SoftBench()
    transport = open_transport(bench)
    bench.run(transport.begin())
    honest = bench.device._write_status
    bench.device._write_status = lambda value: honest(value & ~8)  # type: ignore[method-assign]
    with pytest.raises(NegotiationError, match="refuses"):
        bench.run(transport.negotiate(0))
    assert bench.device.status & DeviceStatus.FAILED


def test_the_steps_come_in_the_order_of_the_specification():
    """3.1.1: the device sees reset, ACKNOWLEDGE, DRIVER, FEATURES_OK, queues, DRIVER_OK."""
    bench = SoftBench()
    seen: list[object] = []
    honest_status, honest_queue = bench.device._write_status, bench.device._queue_write

    def status(value: int) -> None:
        seen.append(value)
        honest_status(value)

    def queue(state, offset: int, value: int) -> None:
        if offset == 0x1C:
            seen.append("enable")
        honest_queue(state, offset, value)

    bench.device._write_status = status  # type: ignore[method-assign]
    bench.device._queue_write = queue  # type: ignore[method-assign]
    bench.open()
    assert seen == [0, 1, 3, 11, "enable", "enable", 15]


def test_configuration_that_changes_is_read_again():
    bench = SoftBench(mtu=1500)
    net = bench.open()
    honest = bench.device.device_config
    reads = 0

    def changing(offset: int, size: int) -> int:
        nonlocal reads
        reads += 1
        if reads == 2:  # in the middle of the first copy
            bench.device.mtu = 9000
            bench.device.generation += 1
        return honest(offset, size)

    bench.device.device_config = changing  # type: ignore[method-assign]
    values = bench.run(net.transport.config_fields([(10, 2), (8, 2), (10, 2)]))
    assert values == [9000, 1, 9000]
    assert reads == 6
    bench.device.device_config = lambda offset, size: (
        setattr(  # type: ignore[method-assign]
            bench.device, "generation", bench.device.generation + 1 & 0xFF
        )
        or honest(offset, size)
    )
    with pytest.raises(VirtioError, match="changes all the time"):
        bench.run(net.transport.config_fields([(10, 2)]))
    with pytest.raises(VirtioError, match="0x40"):
        bench.run(net.transport.config_read(64, 4))


def test_a_vector_the_device_does_not_take():
    bench = SoftBench()
    transport = open_transport(bench)
    bench.run(transport.begin())
    with pytest.raises(VirtioError, match="vector 99"):
        bench.run(transport.set_config_vector(99))


def test_queues_that_cannot_be():
    bench = SoftBench()
    transport = open_transport(bench)
    bench.run(transport.begin())
    bench.run(transport.negotiate(Feature.RING_RESET))
    assert bench.run(transport.queue_max_size(0)) == 256
    assert bench.run(transport.queue_max_size(7)) == 0
    area = bench.host.alloc(8192, 4096).address
    areas = QueueAreas(area, area + 4096, area + 6144)
    bench.run(transport.queue_enable(0, 16, areas, 0))
    with pytest.raises(VirtioError, match="enabled already"):
        bench.run(transport.queue_enable(0, 16, areas, 0))
    bench.run(transport.queue_reset(0))
    assert not bench.run(transport.queue_enabled(0))
    bench.run(transport.queue_enable(0, 16, areas, 0))
    bench.run(transport.queue_enable(1, 24, areas, 0))
    assert bench.device.faults == [("QUEUE_BAD_SIZE", 1, 24)]
    assert DeviceStatus.DEVICE_NEEDS_RESET in bench.run(transport.status())


def test_a_misaligned_ring_is_a_fault():
    bench = SoftBench()
    transport = open_transport(bench)
    bench.run(transport.begin())
    bench.run(transport.negotiate(0))
    bench.run(transport.queue_enable(0, 16, QueueAreas(0x1008, 0x2000, 0x3000), 0))
    assert bench.device.faults == [("QUEUE_BAD_ADDRESS", 0, 0x1008)]


def test_a_failed_start_sets_failed():
    bench = SoftBench()
    with pytest.raises(VirtioError):
        bench.run(VirtioNet.open(bench.function(), NetOptions(queue_pairs=3)))
    assert bench.device.status & DeviceStatus.FAILED


def test_the_model_refuses_a_driver_that_breaks_rules():
    bench = SoftBench()
    transport = open_transport(bench)
    bench.run(transport.begin())
    base = transport.common.address
    for task in (
        bench.host.mmio_read(base + 0x14, 4),
        bench.host.mmio_write(base + 0x14, 1, 1),
        bench.host.mmio_write(transport.notify.address, 0, 2),
        bench.host.mmio_write(base + 0x12, 1, 2),
    ):
        with pytest.raises(ModelError):
            bench.run(task)
