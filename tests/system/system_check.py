"""Start and end of a test of the whole device."""

from random import Random

from tailrace.device import ErrorRecord
from tailrace.regs.codes import ErrorCode
from tailrace_sim.system import System, dropped

__all__ = ["alive", "clean", "errors", "forget", "start"]


async def start(dut, rng: Random) -> System:
    """The device in a slot with random properties; it may touch only what the driver allocates."""
    system = await System.start(
        dut,
        memory_size=64 << 20,
        max_payload=rng.choice([128, 256, 512]),
        max_read=rng.choice([128, 512, 2048]),
    )
    system.pcie.memory.fence()
    return system


async def alive(system: System) -> None:
    """The management function answers, whatever the other function does."""
    assert await system.device.management.identity() == system.device.identity


async def errors(system: System) -> dict[ErrorCode, ErrorRecord]:
    """What the error collector has, by code."""
    return {record.code: record for record in await system.device.management.errors()}


async def forget(system: System) -> None:
    """Clear the error collector."""
    for code in await errors(system):
        await system.device.management.clear_error(code)


async def clean(system: System, delivered: int, sent: int) -> None:
    """No frame was dropped, no error reported, nothing forbidden was touched."""
    found = await system.counters()
    assert not dropped(found)
    assert await errors(system) == {}
    assert found["port0.rx_frames"] == found["virtio_net0.rx_frames"] == delivered
    assert found["port0.tx_frames"] == found["virtio_net0.tx_frames"] == sent
    for direction in ("rx", "tx"):
        name = f"{direction}_bytes"
        assert found[f"port0.{name}"] == found[f"virtio_net0.{name}"]
    assert not system.host.refused, system.host.refused
    assert not system.pcie.traffic.refused, system.pcie.traffic.refused
    assert not system.pcie.device.local_errors, system.pcie.device.local_errors
