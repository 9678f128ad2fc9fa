"""DMA traffic against the hard block's model: data, order, splitting, rate, latency."""

from collections import Counter

import cocotb
from cocotb.triggers import RisingEdge
from dma_agents import MEMORY, Bench

from tailrace_hw.pcie.dma import DmaStatus

#: Reads take the lower half of memory, writes the upper half.
HALF = MEMORY // 2


def pick_length(rng):
    """Small, medium and large lengths, with the edges of lines, TLPs and pages among them."""
    kind = rng.random()
    if kind < 0.4:
        return rng.randint(1, 130)
    if kind < 0.6:
        return max(1, rng.choice([64, 128, 256, 512, 1024, 4096]) + rng.randint(-2, 2))
    if kind < 0.97:
        return rng.randint(100, 3000)
    return rng.choice([rng.randint(3000, 20000), 65536])


def random_reads(bench, count):
    reads = []
    for _ in range(count):
        length = pick_length(bench.rng)
        address = bench.rng.randrange(HALF - length)
        if bench.rng.random() < 0.5:
            address &= ~63
        reads.append(
            bench.rng.choice(bench.readers).read(address, length, bench.rng.randrange(2))
        )
    return reads


def random_writes(bench, count, limit=HALF):
    """Writes that do not overlap, with gaps that must stay as they were."""
    address = HALF
    writes = []
    while len(writes) < count:
        length = pick_length(bench.rng)
        address += bench.rng.choice([0, 1, 2, 5, 60, 64, 4000]) if writes else 0
        if bench.rng.random() < 0.3:
            address = (address + 63) & ~63
        if address + length > MEMORY:
            break
        data = bench.rng.randbytes(length)
        bench.note(address, data)
        writes.append(
            bench.rng.choice(bench.writers).write(address, data, bench.rng.randrange(2))
        )
        address += length
    assert len(writes) > count // 2
    return writes


async def traffic(dut, *, count, stall=0.0, reorder=8, split="random", **host):
    bench = await Bench(dut, latency_cycles=60, **host).start()
    settings = bench.host.completions.settings
    settings.reorder, settings.split, settings.jitter_ns = reorder, split, 300
    bench.stall(stall)
    reads = random_reads(bench, count)
    writes = random_writes(bench, count)
    await bench.finish()
    compared = await bench.check(reads)
    codes = Counter(code.name for code, _, _ in bench.errors)
    assert not codes, codes
    assert compared == count
    assert all(one.status == DmaStatus.OK for one in writes)
    for kind, ones in (("read", reads), ("write", writes)):
        assert bench.counts[kind]["requests"] == len(ones)
        assert bench.counts[kind]["bytes"] == sum(one.length for one in ones)
        assert not bench.counts[kind]["failed"]


@cocotb.test()
async def one_of_each(dut):
    """A read and a write, and how long they take to get on the link."""
    bench = await Bench(dut).start()
    cycles = {}
    for kind in ("read", "write"):
        if kind == "read":
            one = bench.readers[0].read(0x123, 200)
            handshake = dut.reads__0__request__valid
        else:
            data = bench.rng.randbytes(200)
            bench.note(HALF + 0x321, data)
            one = bench.writers[0].write(HALF + 0x321, data)
            handshake = dut.writes__0__request__valid
        await RisingEdge(handshake)
        start = bench.host.cycle()
        await RisingEdge(dut.pcie__rq__tvalid)
        cycles[kind] = bench.host.cycle() - start
        await bench.finish(one)
        assert one.status == DmaStatus.OK
    dut._log.warning("request to TLP: %s cycles", cycles)
    assert max(cycles.values()) <= 24
    await bench.check(list(bench.readers[0].ended))
    assert len(bench.readers[0].ended) == 1


@cocotb.test()
async def random_small_payload(dut):
    await traffic(dut, count=60, max_payload=128, max_read=128, stall=0.2)


@cocotb.test()
async def random_large_payload(dut):
    await traffic(dut, count=60, max_payload=512, max_read=4096, stall=0.0)


@cocotb.test()
async def random_stalls(dut):
    await traffic(dut, count=60, max_payload=256, max_read=512, stall=0.6, split="rcb")
