"""Bad frames from the wire and from the driver, in the simulator; started by test_system.py."""

from random import Random

import cocotb
from system_check import alive, errors, forget, start
from system_traffic import Traffic, random_options, random_stalls, tagged

from tailrace.regs.codes import ErrorCode, ErrorSource
from tailrace.virtio import spec
from tailrace.virtio.net import VirtioNet
from tailrace.virtio.net_types import NetOptions
from tailrace.virtio.queue import Piece
from tailrace_sim.run import seed
from tailrace_sim.system import System

_LONGEST_ON_WIRE = 9238


async def changes(system: System, before: dict[str, int]) -> dict[str, int]:
    """By how much drop counters have moved."""
    after = await system.counters()
    return {
        name: value - before[name]
        for name, value in after.items()
        if "_drop_" in name and value != before[name]
    }


async def reported(system: System) -> dict[ErrorCode, int]:
    """Errors by code, which are forgotten then."""
    found = {code: record.count for code, record in (await errors(system)).items()}
    await forget(system)
    return found


async def goes_on(system: System, net: VirtioNet, rng: Random, frames: int = 6) -> None:
    """Traffic in all queues, and nothing is dropped."""
    before = await system.counters()
    await Traffic(system, net, rng).run(frames * len(net.pairs), frames)
    assert await changes(system, before) == {}
    assert await errors(system) == {}


@cocotb.test()
async def wrong_frames_from_the_wire(dut):
    """Runts, oversize frames and those the MAC marks, among good ones."""
    rng = Random(seed())
    system = await start(dut, rng)
    random_stalls(system, rng)
    pairs = system.config.virtio_net.queue_pairs
    net = await system.device.net(0, random_options(rng, pairs=pairs, mergeable=True))
    traffic = Traffic(system, net, rng)
    sent = {"error": 0, "runt": 0, "oversize": 0}
    task = cocotb.start_soon(traffic.run(60, 2))
    for _ in range(40):
        await system.wait(rng.randrange(1, 400))
        kind = rng.choice(list(sent))
        # The queue must not run over: long frames only into an idle port.
        if kind == "oversize":
            await system.port.drained()
            size = rng.choice([1, 2, 63, 64, 200]) + _LONGEST_ON_WIRE
        else:
            size = rng.randrange(1, 14) if kind == "runt" else rng.randrange(14, 300)
        system.port.send(rng.randbytes(size), error=kind == "error")
        sent[kind] += 1
    await task
    await system.port.drained()
    await system.wait(500)
    found = await system.counters()
    wrong = {name: found[f"port0.rx_drop_{name}"] for name in sent}
    assert wrong == sent
    expected = {
        ErrorCode.MAC_RX_ERROR: sent["error"],
        ErrorCode.MAC_RX_RUNT: sent["runt"],
        ErrorCode.MAC_RX_OVERSIZE: sent["oversize"],
    }
    records = await errors(system)
    assert all(record.source == ErrorSource.MAC for record in records.values()), records
    assert await reported(system) == {code: count for code, count in expected.items() if count}
    assert found["port0.rx_drop_overflow"] == found["virtio_net0.rx_drop_overflow"] == 0
    await goes_on(system, net, rng)


@cocotb.test()
async def no_buffers(dut):
    """More frames than the driver has posted buffers for, and one that is longer than a buffer."""
    rng = Random(seed())
    system = await start(dut, rng)
    count = rng.randrange(1, 9)
    packed = rng.random() < 0.5
    options = NetOptions(packed=packed, mergeable=False, rx_buffer=512, rx_count=count)
    net = await system.device.net(0, options)
    await system.wait(2000)
    frames = [tagged(rng.randbytes(rng.randrange(14, 400))) for _ in range(count + 5)]
    before = await system.counters()
    for frame in frames:
        system.port.send(frame)
    await system.port.drained()
    await system.wait(3000)
    assert await changes(system, before) == {"virtio_net0.rx_drop_no_buffer": 5}
    record = (await errors(system))[ErrorCode.NET_RX_NO_BUFFER]
    assert (record.source, record.function, record.queue) == (ErrorSource.VIRTIO_NET, 1, 0)
    assert record.info == len(frames[count])
    assert await reported(system) == {ErrorCode.NET_RX_NO_BUFFER: 5}
    assert [frame.data for frame in await net.receive()] == frames[:count]

    await system.wait(2000)
    before = await system.counters()
    long, good = tagged(rng.randbytes(512 - 12 + 1)), tagged(rng.randbytes(500))
    for frame in (long, good):
        system.port.send(frame)
    assert [frame.data for frame in await net.receive(timeout=20_000)] == [good]
    assert await changes(system, before) == {"virtio_net0.rx_drop_too_long": 1}
    record = (await errors(system))[ErrorCode.NET_RX_TOO_LONG]
    assert (record.queue, record.info) == (0, len(long))
    assert await reported(system) == {ErrorCode.NET_RX_TOO_LONG: 1}
    await net.stop()
    net = await system.device.net(0, random_options(rng, pairs=2, packed=not packed))
    await goes_on(system, net, rng)


def wrong_chains(rng: Random, longest: int) -> dict[str, tuple[bytes, ErrorCode, str]]:
    """Header and frame of what cannot be sent, the code it is reported under, its counter."""

    def header(flags=0, gso=0, start=0, offset=0):
        return spec.NET_HDR.pack(flags, gso, 0, 0, start, offset, 0)

    size = rng.randrange(60, 500)
    frame = rng.randbytes(size)
    short, long = ErrorCode.NET_TX_TOO_SHORT, ErrorCode.NET_TX_TOO_LONG
    bad, csum = ErrorCode.NET_TX_BAD_HEADER, ErrorCode.NET_TX_BAD_CSUM
    return {
        "less than a header": (header()[: rng.randrange(1, 12)], short, "bad_chain"),
        "no frame": (header(), short, "bad_chain"),
        "a short frame": (header() + rng.randbytes(rng.randrange(1, 14)), short, "bad_chain"),
        "one byte too long": (header() + rng.randbytes(longest + 1), long, "bad_chain"),
        "64 KiB": (header() + rng.randbytes(65536), long, "bad_chain"),
        "segmentation": (header(gso=rng.choice([1, 3, 4, 5, 0x80])) + frame, bad, "bad_header"),
        "sum beyond the end": (header(1, 0, size - 1, 0) + frame, csum, "bad_header"),
        "sum far away": (header(1, 0, 0xFFFF, 0xFFFF) + frame, csum, "bad_header"),
    }


@cocotb.test()
async def wrong_frames_from_the_driver(dut):
    """Too short, too long, impossible headers: dropped and returned, one by one and in a heap."""
    rng = Random(seed())
    system = await start(dut, rng)
    random_stalls(system, rng)
    pairs = system.config.virtio_net.queue_pairs
    packed = rng.random() < 0.5
    net = await system.device.net(0, random_options(rng, pairs=pairs, packed=packed))
    hardware = system.config.virtio_net.max_frame
    assert hardware == net.config.mtu + spec.ETHERNET_HEADER + spec.VLAN_TAGS
    memory = system.host.alloc(1 << 17)
    compared = 0
    for name, (chain, code, counter) in wrong_chains(rng, hardware).items():
        cocotb.log.info("case: %s", name)
        queue = rng.randrange(pairs)
        ring = net.pairs[queue].tx.ring
        before = await system.counters()
        memory.mem[: len(chain)] = chain
        count = rng.choice([1, 3])
        cut = rng.randrange(1, len(chain)) if len(chain) > 1 else 0
        pieces = [Piece(memory.address, cut)] if cut else []
        pieces.append(Piece(memory.address + cut, len(chain) - cut))
        for token in range(count):
            ring.add(pieces, [], token)
        await ring.kick()
        used = []
        for _ in range(200):
            used += ring.collect()
            if len(used) == count:
                break
            await system.wait(100)
        assert [(token, written) for token, written in used] == [(n, 0) for n in range(count)]
        await system.wait(500)
        assert await changes(system, before) == {f"virtio_net0.tx_drop_{counter}": count}
        record = (await errors(system))[code]
        assert (record.function, record.queue) == (1, 2 * queue + 1), record
        assert await reported(system) == {code: count}
        compared += 1
    assert compared == 8
    assert system.port.received.empty()
    await goes_on(system, net, rng)
    await alive(system)
