"""A driver that writes nonsense, a host that fails, in the simulator; started by test_system.py."""

from collections.abc import Callable
from random import Random
from struct import unpack_from
from typing import NamedTuple

import cocotb
from raw_rings import INDIRECT, NEXT, WRITE, RawDevice, RawRing
from system_check import alive, errors, forget, start
from system_traffic import Traffic, random_options, tagged

from tailrace.errors import DeviceNeedsReset
from tailrace.regs.codes import ErrorCode
from tailrace.virtio.net_types import TxFrame
from tailrace.virtio.spec import Feature
from tailrace_sim.run import seed
from tailrace_sim.system import System

#: In no host's memory.
_NOWHERE = 1 << 40
#: What a broken queue may be reported as besides its own code: how the DMA engine saw it.
_DMA = {code for code in ErrorCode if code.name.startswith("DMA_")}
#: Within so many cycles a mistake is found.
_SOON = 10_000


class Case(NamedTuple):
    """A mistake that is found when the queue is notified.

    Attributes
    ----------
    formats : letters of the ring formats that can be made wrong so: split, packed
    code : what it is reported as
    build : writes it into a ring
    queues : virtqueues to try it on
    """

    formats: str
    code: ErrorCode
    build: Callable[[RawRing], object]
    queues: str = "01"


def good(ring: RawRing) -> tuple[int, int, int]:
    return ring.data.address, 64, 0


def spare(ring: RawRing) -> int:
    return ring.data.address


CASES = {
    "index jumps": Case("s", ErrorCode.QUEUE_INDEX_JUMP, lambda r: r.avail(0, r.size + 1)),
    "index goes back": Case("s", ErrorCode.QUEUE_INDEX_JUMP, lambda r: r.avail(0, -1)),
    "head out of range": Case("s", ErrorCode.QUEUE_DESCRIPTOR_INDEX, lambda r: r.avail(r.size)),
    "next out of range": Case(
        "s", ErrorCode.QUEUE_DESCRIPTOR_INDEX, lambda r: r.linked((spare(r), 9, NEXT, r.size))
    ),
    "next far out of range": Case(
        "s", ErrorCode.QUEUE_DESCRIPTOR_INDEX, lambda r: r.linked((spare(r), 9, NEXT, 0xFFFF))
    ),
    "loop of one": Case(
        "s", ErrorCode.QUEUE_CHAIN_TOO_LONG, lambda r: r.linked((spare(r), 9, NEXT, 0))
    ),
    "loop of two": Case(
        "s",
        ErrorCode.QUEUE_CHAIN_TOO_LONG,
        lambda r: r.linked((spare(r), 9, NEXT, 1), (spare(r), 9, NEXT, 0)),
    ),
    "loop in a table": Case(
        "s",
        ErrorCode.QUEUE_CHAIN_TOO_LONG,
        lambda r: r.chain((r.table((spare(r), 9, NEXT, 0)), 16, INDIRECT)),
    ),
    "zero length": Case("sp", ErrorCode.QUEUE_ZERO_LENGTH, lambda r: r.chain((spare(r), 0, 0))),
    "zero length later": Case(
        "sp", ErrorCode.QUEUE_ZERO_LENGTH, lambda r: r.chain((spare(r), 9, NEXT), (spare(r), 0, 0))
    ),
    "more than 4 GiB": Case(
        "sp",
        ErrorCode.QUEUE_LENGTH_TOO_BIG,
        lambda r: r.chain((spare(r), 0xFFFFFFFF, NEXT), (spare(r), 2, 0)),
    ),
    "address wraps": Case(
        "sp", ErrorCode.QUEUE_BAD_ADDRESS, lambda r: r.chain(((1 << 64) - 8, 64, 0))
    ),
    "readable behind writable": Case(
        "sp",
        ErrorCode.QUEUE_BAD_DIRECTION,
        lambda r: r.chain((spare(r), 9, NEXT | WRITE), (spare(r), 9, 0)),
    ),
    "writable for transmission": Case(
        "sp", ErrorCode.QUEUE_BAD_DIRECTION, lambda r: r.chain((spare(r), 64, WRITE)), "1"
    ),
    "empty table": Case(
        "sp", ErrorCode.QUEUE_BAD_INDIRECT, lambda r: r.chain((spare(r), 0, INDIRECT))
    ),
    "crooked table": Case(
        "sp", ErrorCode.QUEUE_BAD_INDIRECT, lambda r: r.chain((spare(r), 24, INDIRECT))
    ),
    "table in a table": Case(
        "s",
        ErrorCode.QUEUE_BAD_INDIRECT,
        lambda r: r.chain((r.table((spare(r), 16, INDIRECT, 0)), 16, INDIRECT)),
    ),
    "table longer than the ring": Case(
        "sp", ErrorCode.QUEUE_BAD_INDIRECT, lambda r: r.chain((spare(r), 16 * 9, INDIRECT))
    ),
    "table and next": Case(
        "sp",
        ErrorCode.QUEUE_BAD_INDIRECT,
        lambda r: r.chain((spare(r), 16, INDIRECT | NEXT), good(r)),
    ),
    "table nowhere": Case(
        "sp", ErrorCode.QUEUE_FETCH_FAULT, lambda r: r.chain((_NOWHERE, 32, INDIRECT))
    ),
    "data nowhere": Case(
        "sp", ErrorCode.QUEUE_DATA_FAULT, lambda r: r.chain((_NOWHERE, 100, 0)), "1"
    ),
    "data partly nowhere": Case(
        "sp",
        ErrorCode.QUEUE_DATA_FAULT,
        lambda r: r.chain((spare(r), 100, NEXT), (_NOWHERE, 100, 0)),
        "1",
    ),
}  # fmt: skip


async def needs_reset(system: System, raw: RawDevice, queue: int, code: ErrorCode) -> None:
    """The device asks for a reset, says why, is silent, and the other function is well."""
    assert await raw.needs_reset(_SOON), "the device did not ask for a reset"
    await system.wait(300)
    records = await errors(system)
    assert set(records) - _DMA == {code}, records
    assert (records[code].function, records[code].queue, records[code].count) == (1, queue, 1)
    await alive(system)
    await forget(system)
    before = system.pcie.traffic.read_tlps, system.pcie.traffic.write_tlps
    await raw.transport.host.mmio_write(raw.transport.notify.address + 4 * queue, queue, 2)
    await system.wait(400)
    assert (system.pcie.traffic.read_tlps, system.pcie.traffic.write_tlps) == before
    assert await errors(system) == {}


async def works(system: System, rng: Random) -> None:
    """The driver brings the device up from whatever state it is in, and frames go both ways."""
    packed = rng.random() < 0.5
    net = await system.device.net(0, random_options(rng, pairs=2, packed=packed))
    await Traffic(system, net, rng).run(4, 2)
    await net.stop()
    assert await errors(system) == {}


@cocotb.test()
async def nonsense_in_rings(dut):
    """Every case on both ring formats, in random order."""
    rng = Random(seed())
    system = await start(dut, rng)
    function = system.device.net_functions[0]
    runs = [(name, c) for name, case in CASES.items() for c in case.formats]
    rng.shuffle(runs)
    for number, (name, letter) in enumerate(runs):
        case = CASES[name]
        queue = int(rng.choice(case.queues))
        cocotb.log.info("case: %s, %s, queue %d", name, letter, queue)
        raw = RawDevice(function, packed=letter == "p")
        await raw.begin()
        ring = await raw.ring(queue)
        await raw.transport.driver_ok()
        interrupt = system.host.interrupt(function.address, 0)
        seen = interrupt.count
        case.build(ring)
        await raw.transport.notify_queue(queue)
        await needs_reset(system, raw, queue, case.code)
        assert interrupt.count == seen + 1, "one configuration interrupt tells of it"
        if number % 8 == 7:
            await works(system, rng)
    assert number > 30
    await works(system, rng)
    assert not system.host.refused


BAD_QUEUES = {
    "no entries": ("sp", ErrorCode.QUEUE_BAD_SIZE, {"size": 0}),
    "too many entries": ("sp", ErrorCode.QUEUE_BAD_SIZE, {"size": 2048}),
    "no power of two": ("s", ErrorCode.QUEUE_BAD_SIZE, {"size": 12}),
    "crooked descriptors": ("sp", ErrorCode.QUEUE_BAD_ADDRESS, {"desc": 8}),
    "crooked driver area": ("s", ErrorCode.QUEUE_BAD_ADDRESS, {"driver": 1}),
    "crooked driver event": ("p", ErrorCode.QUEUE_BAD_ADDRESS, {"driver": 2}),
    "crooked device area": ("sp", ErrorCode.QUEUE_BAD_ADDRESS, {"device": 2}),
}


@cocotb.test()
async def queues_that_cannot_be(dut):
    """Sizes and addresses against 2.7 and 2.8: the queue stays off, the device needs a reset."""
    rng = Random(seed())
    system = await start(dut, rng)
    place = system.host.alloc(8192, 4096).address
    compared = 0
    for name, (formats, code, wrong) in BAD_QUEUES.items():
        for letter in formats:
            queue = rng.choice([0, 1])
            cocotb.log.info("case: %s, %s, queue %d", name, letter, queue)
            raw = RawDevice(system.device.net_functions[0], packed=letter == "p")
            await raw.begin()
            areas = {key: place + value for key, value in wrong.items() if key != "size"}
            await raw.ring(queue, wrong.get("size", 8), **areas)
            assert await raw.needs_reset(_SOON)
            assert not await raw.transport.queue_enabled(queue)
            records = await errors(system)
            assert set(records) == {code}, records
            assert (records[code].function, records[code].queue) == (1, queue)
            await alive(system)
            await forget(system)
            compared += 1
    assert compared == 11
    await works(system, rng)


@cocotb.test()
async def memory_that_is_not_there(dut):
    """Rings in memory that the function may not touch; a buffer there loses its frame only."""
    rng = Random(seed())
    system = await start(dut, rng)
    function = system.device.net_functions[0]
    for packed in (False, True):
        for queue in (0, 1):
            raw = RawDevice(function, packed=packed)
            await raw.begin()
            ring = await raw.ring(queue)
            await raw.transport.driver_ok()
            ring.chain(good(ring))
            area = ring.desc if packed or rng.random() < 0.5 else ring.driver
            system.pcie.memory.unmap(area.address, 4096)
            await raw.transport.notify_queue(queue)
            await needs_reset(system, raw, queue, ErrorCode.QUEUE_FETCH_FAULT)
            assert system.pcie.traffic.refused
            assert all(who == 1 for _, who, _ in system.pcie.traffic.refused)
            system.pcie.reset_traffic()

    # A posted write has no answer: the device cannot know, and goes on.
    raw = RawDevice(function, packed=False, features=Feature(0))
    await raw.begin()
    ring = await raw.ring(0)
    await raw.transport.driver_ok()
    system.pcie.memory.unmap(ring.data.address, 4096)
    ring.chain((ring.data.address, 2048, WRITE))
    await raw.transport.notify_queue(0)
    await system.wait(1000)
    system.port.send(tagged(rng.randbytes(100)))
    await system.wait(2000)
    assert (True, 1, ring.data.address) in system.pcie.traffic.refused
    assert unpack_from("<H", ring.device.mem, 2) == (1,)
    assert await errors(system) == {}
    await works(system, rng)


async def burst(system: System, net, rng: Random) -> None:
    """Frames into all transmit queues and from the wire; nobody takes what is received."""
    for queue, pair in enumerate(net.pairs):
        for _ in range(8):
            size = rng.choice([60, 300, 1500, 4000])
            if not pair.tx.post(TxFrame(tagged(rng.randbytes(size)))):
                break
        await pair.tx.ring.kick()
        system.port.send(tagged(rng.randbytes(60 + queue)))


async def breaks(system: System, net) -> DeviceNeedsReset:
    """The driver finds out that the device needs a reset."""
    for _ in range(100):
        try:
            await net.check()
        except DeviceNeedsReset as error:
            return error
        await system.wait(200)
    raise AssertionError("the device did not ask for a reset")


async def recovers(system: System, net, rng: Random) -> None:
    """After a reset by the driver everything works as before."""
    await forget(system)
    await net.reset()
    await system.port.drained()
    await system.wait(2000)
    while not system.port.received.empty():
        system.port.received.get_nowait()
    await Traffic(system, net, rng).run(3 * len(net.pairs), 3)
    assert await errors(system) == {}


@cocotb.test()
async def host_faults(dut):
    """Reads that the host refuses, aborts or poisons in the middle of traffic."""
    rng = Random(seed())
    system = await start(dut, rng)
    reported = {
        "ur": ErrorCode.DMA_UR, "ca": ErrorCode.DMA_CA, "poison": ErrorCode.DMA_POISONED,
    }  # fmt: skip
    for kind, code in reported.items():
        packed = rng.random() < 0.5
        net = await system.device.net(0, random_options(rng, pairs=2, packed=packed))
        await system.wait(3000)
        # One read alone may be one whose data nobody needs any more.
        fault = system.pcie.inject(kind, function=1, count=1000, skip=rng.randrange(6))
        cocotb.log.info("case: %r", fault)
        await burst(system, net, rng)
        error = await breaks(system, net)
        cocotb.log.info("case: %s", error)
        assert fault.hits
        system.pcie.completions.faults.clear()
        records = await errors(system)
        assert code in records, records
        assert records[code].function == 1
        assert any(name.name.startswith("QUEUE_") for name in records), records
        assert code.name in error.cause
        await alive(system)
        await recovers(system, net, rng)
        await net.stop()


@cocotb.test()
async def bus_master_off(dut):
    """Bus Master Enable goes off in the middle of traffic, and on again before the reset."""
    rng = Random(seed())
    system = await start(dut, rng)
    for packed in (False, True):
        net = await system.device.net(0, random_options(rng, pairs=2, packed=packed))
        await system.wait(3000)
        await burst(system, net, rng)
        await system.wait(rng.randrange(1, 600))
        await system.pcie.set_bus_master(1, False)
        await burst(system, net, rng)
        error = await breaks(system, net)
        cocotb.log.info("case: %s", error)
        records = await errors(system)
        assert ErrorCode.DMA_BUS_MASTER_OFF in records, records
        await alive(system)
        await system.pcie.set_bus_master(1, True)
        await recovers(system, net, rng)
        await net.stop()
