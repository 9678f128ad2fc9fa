"""Resets in the middle of traffic, link state, masked vectors; started by test_system.py."""

from dataclasses import replace
from random import Random

import cocotb
from system_check import alive, errors, forget, start
from system_traffic import Traffic, random_options, random_stalls, tagged

from tailrace.regs import address_map, port
from tailrace.regs.codes import ErrorCode, ErrorSource
from tailrace.virtio.net import VirtioNet
from tailrace.virtio.net_types import NetOptions, TxFrame
from tailrace.virtio.spec import DeviceStatus, Feature
from tailrace_sim.models.net_offload import receive_queue
from tailrace_sim.run import seed
from tailrace_sim.system import System

#: Why a frame may be lost in a reset.
_LOST = {"virtio_net0.rx_drop_not_ready", "virtio_net0.tx_drop_flushed"}

#: The same when the host cuts the device off.
_CUT_SHORT = {*_LOST, "virtio_net0.rx_drop_fault", "virtio_net0.tx_drop_fault"}
#: What rings and data report when their reads are cut off.
_CUT_OFF = {ErrorCode.QUEUE_FETCH_FAULT, ErrorCode.QUEUE_DATA_FAULT, ErrorCode.QUEUE_USED_FAULT}


async def burst(system: System, traffic: Traffic, rng: Random) -> None:
    """Frames that a reset may lose, into every transmit queue and from the wire."""
    for queue in traffic.queues:
        pair = traffic.net.pairs[queue]
        for _ in range(6):
            if not pair.tx.post(traffic.transmit_frame(queue, optional=True)):
                raise AssertionError("the transmit ring has no room for a burst")
        await pair.tx.ring.kick()
    for _ in range(6):
        frame, queue = traffic.wire_frame(longest=1500)
        traffic.expect_received(frame, queue, optional=True)
        system.port.send(frame)


async def silent(system: System, rng: Random) -> None:
    """A device in reset touches nothing and interrupts nobody, whatever comes from the wire."""
    await system.port.drained()
    await system.wait(600)
    traffic = system.pcie.traffic
    dropped = (await system.counters())["virtio_net0.rx_drop_not_ready"]
    before = traffic.read_tlps, traffic.write_tlps, traffic.interrupts
    for _ in range(5):
        system.port.send(tagged(rng.randbytes(rng.randrange(60, 300))))
    await system.port.drained()
    await system.wait(600)
    assert (traffic.read_tlps, traffic.write_tlps, traffic.interrupts) == before
    assert (await system.counters())["virtio_net0.rx_drop_not_ready"] == dropped + 5


async def settled(system: System, traffic: Traffic, *, reasons: set[str] = _LOST) -> None:
    """Traffic as if nothing had been; nothing was lost that had to come, no queue is wedged."""
    traffic.collect()
    pairs = len(traffic.net.pairs)
    compared = traffic.received.compared
    await traffic.run(3 * pairs, 3)
    assert traffic.received.compared == compared + 3 * pairs
    found = await system.counters()
    lost = {name for name, value in found.items() if "_drop_" in name and value}
    assert lost <= reasons, {name: found[name] for name in lost}
    await alive(system)


@cocotb.test()
async def device_reset(dut):
    """Writing 0 to device_status in the middle of traffic, and a new start."""
    rng = Random(seed())
    system = await start(dut, rng)
    for packed in (False, True):
        random_stalls(system, rng)
        net = await system.device.net(0, random_options(rng, pairs=4, packed=packed))
        traffic = Traffic(system, net, rng)
        for _ in range(2):
            await traffic.run(4, 1)
            await burst(system, traffic, rng)
            await system.wait(rng.choice([1, 100, 500, 1500]))
            await net.stop()
            await silent(system, rng)
            await net.start()
            await settled(system, traffic)
        assert await errors(system) == {}
        await net.stop()
    assert not system.pcie.traffic.refused


@cocotb.test()
async def function_reset(dut):
    """Function level reset in the middle of traffic; the driver starts from nothing."""
    rng = Random(seed())
    system = await start(dut, rng)
    for packed in (False, True):
        random_stalls(system, rng)
        net = await system.device.net(0, random_options(rng, pairs=2, packed=packed))
        traffic = Traffic(system, net, rng)
        await traffic.run(4, 1)
        await burst(system, traffic, rng)
        await system.wait(rng.choice([1, 100, 500, 1500]))
        await system.pcie.function_level_reset(1)
        assert await net.transport.status() == DeviceStatus(0)
        await alive(system)
        await silent(system, rng)
        records = await errors(system)
        for record in records.values():
            cocotb.log.info("case: %s", record)
        # Reads that the reset cut off fail, and their late completions are nobody's.
        late = records.pop(ErrorCode.DMA_UNEXPECTED_COMPLETION, None)
        assert late is None or late.source == ErrorSource.DMA_READ, late
        assert all(r.function == 1 for r in records.values()), records
        wrong = [c for c in records if not c.name.startswith("DMA_") and c not in _CUT_OFF]
        assert not wrong, records
        await forget(system)
        await net.stop()
        await net.start()
        await settled(system, traffic, reasons=_CUT_SHORT)
        assert await errors(system) == {}
        await net.stop()
    assert not system.pcie.traffic.refused


async def disturb(system: System, net: VirtioNet, rng: Random, victim: int, times: int) -> int:
    """Reset one pair again and again while it has work; how many of its frames were lost."""
    lost = 0
    for _ in range(times):
        pair = net.pairs[victim]
        for number in range(8):
            data = bytes(6) + b"\x06victi" + rng.randbytes(rng.choice([60, 800, 3000]))
            pair.tx.post(TxFrame(data, tag=number))
        await pair.tx.ring.kick()
        await system.wait(rng.choice([1, 50, 300, 1000]))
        lost += len(await net.reset_pair(victim))
        assert pair.tx.outstanding == 0
    return lost


@cocotb.test()
async def ring_reset(dut):
    """RING_RESET of one pair; not one frame of the others is late for ever or out of order."""
    rng = Random(seed())
    system = await start(dut, rng)
    for packed in (False, True):
        random_stalls(system, rng)
        net = await system.device.net(0, random_options(rng, pairs=4, packed=packed))
        await system.wait(2000)
        victim = rng.randrange(4)
        others = [queue for queue in range(4) if queue != victim]
        traffic = Traffic(system, net, rng, others)
        sink = cocotb.start_soon(sort_out(system, traffic))
        task = cocotb.start_soon(traffic.run(30, 10))
        lost = await disturb(system, net, rng, victim, 4)
        cocotb.log.info("case: pair %d lost %d frames", victim, lost)
        await task
        sink.cancel()
        assert traffic.received.compared == 30
        assert traffic.sent.compared == 30
        assert await errors(system) == {}
        await system.wait(3000)
        while not system.port.received.empty():
            system.port.received.get_nowait()
        await settled(system, Traffic(system, net, rng))
        await net.stop()


async def sort_out(system: System, traffic: Traffic) -> None:
    """Takes the victim's frames away from the scoreboard."""
    collect, frames = traffic.collect, system.port.received

    def without_victim() -> None:
        kept = []
        while not frames.empty():
            frame = frames.get_nowait()
            if frame.data[6:12] != b"\x06victi":
                kept.append(frame)
        for frame in kept:
            frames.put_nowait(frame)
        collect()

    traffic.collect = without_victim
    await system.wait(1 << 40)


@cocotb.test()
async def link_and_configuration(dut):
    """The link goes down and up: a configuration interrupt each time, and the registers know."""
    rng = Random(seed())
    system = await start(dut, rng)
    packed = rng.random() < 0.5
    net = await system.device.net(0, random_options(rng, pairs=2, packed=packed))
    assert net.config.link_up
    for up in (False, True, False, True):
        dut.port0__link.value = int(up)
        assert await net.wait_config_change(5000), "no configuration interrupt came"
        assert net.config.link_up == up
        status = await system.device.management.read(address_map.PORT0 + port.STATUS)
        assert status & 1 == up
    assert net.config_changes == 4
    await settled(system, Traffic(system, net, rng))
    assert await errors(system) == {}


@cocotb.test()
async def withheld_features(dut):
    """Packed rings are withheld and come back: each time with the driver's next reset, and a driver
    at work notices nothing."""
    rng = Random(seed())
    system = await start(dut, rng)

    def wanted(pairs: int) -> NetOptions:
        """Packed rings, of sizes that split ones can have as well (2.7)."""
        return replace(random_options(rng, pairs=pairs, packed=False), packed=True)

    net = await system.device.net(0, wanted(2))
    packed = True
    for withheld in (Feature.RING_PACKED, Feature.RING_PACKED | Feature.NET_CTRL_VQ, Feature(0)):
        await system.device.management.withhold(withheld)
        assert (Feature.RING_PACKED in net.features) == packed
        await settled(system, Traffic(system, net, rng))
        net.options = wanted(1 if Feature.NET_CTRL_VQ in withheld else 2)
        await net.reset()
        packed = Feature.RING_PACKED not in withheld
        assert (Feature.RING_PACKED in net.features) == packed
        assert (Feature.NET_MQ in net.features) == (Feature.NET_CTRL_VQ not in withheld)
        await settled(system, Traffic(system, net, rng))
    assert await errors(system) == {}


@cocotb.test()
async def masked_vectors(dut):
    """A masked vector holds its message in the pending bit array and sends it when unmasked."""
    rng = Random(seed())
    system = await start(dut, rng)
    packed = rng.random() < 0.5
    net = await system.device.net(0, random_options(rng, pairs=1, packed=packed))
    await system.wait(3000)
    pair, msix = net.pairs[0], net.transport.function.msix
    vector = next(v for v, i in net.transport.interrupts.items() if i is pair.rx_interrupt)
    for _ in range(3):
        await msix.mask(vector)
        pair.rx_interrupt.clear()
        seen = pair.rx_interrupt.count
        assert not pair.rx.ring.enable_interrupt()
        frame = tagged(rng.randbytes(rng.randrange(60, 1500)))
        assert receive_queue(frame, 1) == 0
        system.port.send(frame)
        await system.port.drained()
        await system.wait(1500)
        assert pair.rx.ring.used_pending()
        assert pair.rx_interrupt.count == seen, "a masked vector sent a message"
        assert await msix.pending(vector)
        await msix.unmask(vector)
        assert await pair.rx_interrupt.wait(2000)
        assert not await msix.pending(vector)
        assert pair.rx_interrupt.count == seen + 1
        assert [got.data for got in await net.receive()] == [frame]
    await settled(system, Traffic(system, net, rng))
    assert ErrorCode.MSIX_BAD_VECTOR not in await errors(system)
