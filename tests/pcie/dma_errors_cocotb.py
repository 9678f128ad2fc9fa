"""Everything that can go wrong with DMA: each ends in a status, a count, an event, and goes on."""

import cocotb
from cocotbext.pcie.core.tlp import CplStatus, TlpType
from cocotbext.pcie.core.utils import PcieId
from cocotbext.pcie.xilinx.us.tlp import ErrorCode as RcError
from cocotbext.pcie.xilinx.us.tlp import Tlp_us
from dma_agents import MEMORY, Bench
from dma_cocotb import HALF, random_reads, random_writes
from dma_top import TIMEOUT

from tailrace_hw.errors import ErrorCode
from tailrace_hw.pcie.dma import DmaStatus

_CODE = {
    DmaStatus.UR: ErrorCode.DMA_UR,
    DmaStatus.CA: ErrorCode.DMA_CA,
    DmaStatus.POISONED: ErrorCode.DMA_POISONED,
    DmaStatus.TIMEOUT: ErrorCode.DMA_TIMEOUT,
    DmaStatus.BUS_MASTER_OFF: ErrorCode.DMA_BUS_MASTER_OFF,
    DmaStatus.BAD_REQUEST: ErrorCode.DMA_BAD_REQUEST,
}


def tamper(bench, change):
    """Pass each completion through ``change`` on its way out of the block; None removes it."""
    queue = bench.host.device.rc_queue
    put = queue.put_nowait

    def changed(tlp):
        tlp = change(tlp)
        if tlp is not None:
            put(tlp)

    queue.put_nowait = changed
    return put


async def still_works(bench, count=24):
    """Traffic of every client goes through without an error."""
    before = len(bench.errors)
    reads = random_reads(bench, count)
    writes = random_writes(bench, count)
    await bench.finish()
    assert await bench.check(reads) == count
    assert all(one.status == DmaStatus.OK for one in writes)
    assert len(bench.errors) == before


def check_failed(bench, kind, ones, expected):
    """Statuses, counters and events agree on which requests failed, and how."""
    for one, status in zip(ones, expected, strict=True):
        assert one.status == status, f"{one.address:#x}: {one.status}, not {status}"
    failed = {}
    for status in expected:
        if status != DmaStatus.OK:
            failed[status] = failed.get(status, 0) + 1
    assert bench.counts[kind]["failed"] == failed
    codes = sorted(_CODE[s].value for s in expected if s != DmaStatus.OK)
    assert sorted(code.value for code, _, _ in bench.errors) == codes
    assert codes


@cocotb.test()
async def completion_status(dut):
    """Unsupported Request, Completer Abort and poisoned data, among reads that go well."""
    bench = await Bench(dut, latency_cycles=50).start()
    bench.host.completions.settings.split = "rcb"
    bench.stall(0.2)
    kinds = [("ur", DmaStatus.UR), ("ca", DmaStatus.CA), ("poison", DmaStatus.POISONED)]
    reads, expected = [], []
    for index in range(24):
        address = 0x4000 * index
        kind, status = kinds[index // 2 % 3]
        fails = index % 2
        if fails:
            # In the second piece, after a completion that is good.
            bench.host.inject(kind, address + 700, address + 800, after=1)
        reads.append(bench.readers[index % 3].read(address + 7, 1500, function=index % 2))
        expected.append(status if fails else DmaStatus.OK)
    await bench.finish()
    assert await bench.check(reads) == 12
    check_failed(bench, "read", reads, expected)
    for code, function, info in bench.errors:
        index = info // 0x4000
        assert info == 0x4000 * index + 512
        assert function == index % 2
        assert code == _CODE[expected[index]]
    await still_works(bench)


@cocotb.test()
async def malformed_completions(dut):
    """Wrong byte count, wrong address, no data, too much, reserved status, block's own errors."""
    bench = await Bench(dut, latency_cycles=30).start()
    changes = [
        lambda tlp: setattr(tlp, "byte_count", tlp.byte_count + 4),
        lambda tlp: setattr(tlp, "byte_count", tlp.byte_count - 4),
        lambda tlp: setattr(tlp, "lower_address", tlp.lower_address ^ 4),
        lambda tlp: tlp.set_data(bytes(tlp.data) + bytes(8)),
        lambda tlp: tlp.set_data(bytes(tlp.data)[:-4]),
        lambda tlp: tlp.set_data(b""),
        lambda tlp: setattr(tlp, "status", CplStatus.CRS),
        lambda tlp: setattr(tlp, "error_code", RcError.MISMATCH),
    ]
    hit = []

    def change(tlp):
        if tlp.request_completed and len(hit) < len(changes) and tlp.tag % 2:
            changes[len(hit)](tlp)
            hit.append(tlp.tag)
        return tlp

    put = tamper(bench, change)
    reads = [bench.readers[k % 3].read(0x1000 * k + k, 150 + k) for k in range(60)]
    await bench.finish()
    assert len(hit) == len(changes)
    bench.host.device.rc_queue.put_nowait = put
    assert await bench.check(reads) == 60 - len(changes)
    failed = [one for one in reads if one.status != DmaStatus.OK]
    check_failed(bench, "read", failed, [DmaStatus.CA] * len(changes))
    await still_works(bench)


@cocotb.test()
async def discontinued_completions(dut):
    """The block could not read its own memory (tuser discontinue): the read fails, whichever of
    its completions it was, and the next one with the tag does not."""
    bench = await Bench(dut, latency_cycles=30).start()
    bench.host.completions.settings.split = "rcb"
    seen = victim = 0

    def change(tlp):
        nonlocal seen
        tlp.discontinue = seen == victim
        seen += 1
        return tlp

    put = tamper(bench, change)
    reads, lengths = [], set()
    # One at a time, for in a beat that two completions share the bit spoils both.
    for k in range(12):
        seen, victim = 0, k // 2
        reads.append(bench.readers[k % 3].read(0x1000 * k + k, 340))
        await bench.finish()
        lengths.add(seen)
        assert seen > victim, "no completion was hit"
    assert min(lengths) > 3, "completions were not split"
    check_failed(bench, "read", reads, [DmaStatus.CA] * 12)
    bench.errors.clear()
    victim = -1
    reads = [bench.readers[k % 3].read(0x100 * k, 256) for k in range(300)]
    await bench.finish()
    assert await bench.check(reads) == 300
    bench.host.device.rc_queue.put_nowait = put
    await still_works(bench)


@cocotb.test()
async def block_gives_up(dut):
    """The block's own time-out and function reset codes."""
    bench = await Bench(dut, latency_cycles=30).start()
    codes = [(RcError.TIMEOUT, DmaStatus.TIMEOUT), (RcError.FLR, DmaStatus.BUS_MASTER_OFF)]
    hit = []

    def change(tlp):
        if tlp.request_completed and len(hit) < len(codes):
            tlp.set_data(b"")
            tlp.error_code = codes[len(hit)][0]
            hit.append(tlp)
        return tlp

    put = tamper(bench, change)
    reads = [bench.readers[0].read(0x100 * k, 64) for k in range(4)]
    await bench.finish()
    bench.host.device.rc_queue.put_nowait = put
    check_failed(bench, "read", reads, [codes[0][1], codes[1][1], DmaStatus.OK, DmaStatus.OK])
    await still_works(bench)


def stray(tag, code=RcError.NORMAL_TERMINATION):
    """A completion with data that nobody asked for."""
    tlp = Tlp_us()
    tlp.fmt_type = TlpType.CPL_DATA
    tlp.requester_id = PcieId(1, 0, 0)
    tlp.tag = tag
    tlp.byte_count = 64
    tlp.set_data(bytes(64))
    tlp.error_code = code
    return tlp


@cocotb.test()
async def unexpected_completions(dut):
    """For tags that are not in use, above the highest, or that the block marks."""
    bench = await Bench(dut).start()
    strays = [(5, RcError.NORMAL_TERMINATION), (200, RcError.NORMAL_TERMINATION),
              (9, RcError.INVALID_TAG)]  # fmt: skip
    for tag, code in strays:
        bench.host.device.rc_queue.put_nowait(stray(tag, code))
        await bench.cycles(30)
    assert bench.counts["read"]["unexpected"] == 3
    assert bench.errors == [
        (ErrorCode.DMA_UNEXPECTED_COMPLETION, 0, tag) for tag, _ in strays
    ]
    bench.errors.clear()
    await still_works(bench)


@cocotb.test()
async def completion_timeout(dut):
    """No completion, or not all: TIMEOUT, and the tag rests until a late one can do no harm."""
    bench = await Bench(dut, latency_cycles=30).start()
    bench.host.completions.settings.split = "rcb"
    bench.host.inject("drop", 0x1000, 0x1100)
    bench.host.inject("drop", 0x3000, 0x3100, after=1)
    tags = []
    bench.host.device.on_request = lambda tlp, cycle: tags.append(tlp.tag)
    reads = [bench.readers[k % 2].read(0x1000 * k, 256) for k in range(6)]
    start = bench.host.cycle()
    await bench.finish()
    took = bench.host.cycle() - start
    assert TIMEOUT < took < TIMEOUT * 1.2, took
    bad = [tags[k] for k in (1, 3)]
    expected = [DmaStatus.TIMEOUT if k in (1, 3) else DmaStatus.OK for k in range(6)]
    check_failed(bench, "read", reads, expected)
    assert [info for _, _, info in bench.errors] == [0x1000, 0x3000]
    bench.errors.clear()
    tags.clear()
    for tag in bad:
        bench.host.device.active_request[tag] = None
        bench.host.device.rc_queue.put_nowait(stray(tag))
    # Tags are visited one a cycle while nothing is taken: one that rests too short is free by now.
    await bench.cycles(300)
    others = [bench.readers[k % 3].read(0x40 * k, 64) for k in range(300)]
    await bench.finish()
    assert not set(bad) & set(tags), "a tag that timed out was used again at once"
    assert await bench.check(others) == 300
    assert bench.counts["read"]["unexpected"] == 2
    assert len(bench.errors) == 2
    bench.errors.clear()
    await bench.cycles(3 * TIMEOUT)
    tags.clear()
    others = [bench.readers[k % 3].read(0x40 * k, 64) for k in range(300)]
    await bench.finish()
    assert set(bad) <= set(tags), "a tag was lost"
    await still_works(bench)


@cocotb.test()
async def bus_master_off(dut):
    """A function that may not master the bus gets nothing out; the other is not touched."""
    bench = await Bench(dut, latency_cycles=60).start()
    await bench.host.set_bus_master(1, False)
    await bench.cycles(20)
    reads = [bench.readers[k % 3].read(0x100 * k, 300, function=k % 2) for k in range(10)]
    reads.append(bench.readers[0].read(0, 64, function=77))
    await bench.finish()
    off = [DmaStatus.BUS_MASTER_OFF if k % 2 or k == 10 else DmaStatus.OK for k in range(11)]
    check_failed(bench, "read", reads, off)
    bench.errors.clear()
    writes = []
    for k in range(10):
        data = bench.rng.randbytes(1000)
        if k % 2 == 0:
            bench.note(HALF + 0x1000 * k, data)
        writes.append(bench.writers[k % 3].write(HALF + 0x1000 * k, data, function=k % 2))
    await bench.finish()
    check_failed(bench, "write", writes, off[:10])
    bench.errors.clear()
    await bench.host.set_bus_master(1, True)
    await bench.cycles(20)
    await still_works(bench)


@cocotb.test()
async def switched_off_in_flight(dut):
    """Bus Master Enable falls, and a function is reset, in the middle of traffic."""
    bench = await Bench(dut, latency_cycles=100).start()
    bench.stall(0.1)
    for way in ("bus master", "reset"):
        reads = [bench.readers[k % 3].read(0x700 * k, 2000, function=k % 2) for k in range(30)]
        writes = []
        for k in range(30):
            data = bench.rng.randbytes(2000)
            address = HALF + 0x800 * k
            if k % 2 == 0:
                bench.note(address, data)
            writes.append(bench.writers[k % 3].write(address, data, function=k % 2))
        await bench.cycles(200)
        if way == "bus master":
            await bench.host.set_bus_master(1, False)
            await bench.finish()
            await bench.host.set_bus_master(1, True)
        else:
            await bench.host.function_level_reset(1)
            await bench.finish()
        await bench.cycles(100)
        for k, one in enumerate([*reads, *writes]):
            allowed = {DmaStatus.OK, DmaStatus.BUS_MASTER_OFF} if k % 2 else {DmaStatus.OK}
            assert one.status in allowed, (k, one.address, one.status)
        assert any(one.status != DmaStatus.OK for one in reads), f"{way} hit no read"
        assert any(one.status != DmaStatus.OK for one in writes), f"{way} hit no write"
        # What the switched-off function wrote before counts for nothing.
        for k in range(1, 30, 2):
            address = HALF + 0x800 * k
            bench.expected[address : address + 2000] = bench.host.memory.read(address, 2000)
        compared = await bench.check(reads)
        assert compared >= 15
        bench.errors.clear()
    # Completions of reads that were given up may still come; then all is quiet.
    await bench.cycles(3 * TIMEOUT)
    bench.errors.clear()
    await still_works(bench)


@cocotb.test()
async def bad_requests(dut):
    """Lengths and addresses that no request may have; data that disagrees with the length."""
    bench = await Bench(dut, latency_cycles=20).start()
    bench.stall(0.3)
    wrong = [(0x100, 0), (0x100, 65537), (0x100, 0x1FFFF), ((1 << 64) - 100, 101),
             ((1 << 64) - 1, 65536)]  # fmt: skip
    reads, expected = [], []
    for k, (address, length) in enumerate(wrong):
        reads.append(bench.readers[k % 3].read(address, length))
        reads.append(bench.readers[k % 3].read(0x1000 * k + 3, 777))
        expected += [DmaStatus.BAD_REQUEST, DmaStatus.OK]
    await bench.finish()
    check_failed(bench, "read", reads, expected)
    assert [e[2] for e in bench.errors] == [a for a, _ in wrong] or len(bench.errors) == len(wrong)
    bench.errors.clear()

    writes, expected = [], []
    for k, (address, length) in enumerate(wrong):
        writes.append(bench.writers[k % 3].write(address, bytes(200 * k + 1), length=length))
        expected.append(DmaStatus.BAD_REQUEST)
    scratch = []
    said_and_sent = [(100, 99), (100, 101), (64, 65), (65, 64), (1, 2000), (2000, 1), (5000, 4999),
                     (5000, 5001), (1000, 200), (200, 1000), (255, 192), (256, 512)]  # fmt: skip
    for k, (said, sent) in enumerate(said_and_sent):
        address = HALF + 0x2000 * k + bench.rng.choice([0, 1, 30, 63, 100])
        scratch.append((address, said))
        writes.append(
            bench.writers[k % 3].write(address, bench.rng.randbytes(sent), length=said)
        )
        good = bench.rng.randbytes(bench.rng.randint(1, 900))
        bench.note(MEMORY - 0x1000 * (k + 1), good)
        writes.append(bench.writers[k % 3].write(MEMORY - 0x1000 * (k + 1), good))
        expected += [DmaStatus.BAD_REQUEST, DmaStatus.OK]
    await bench.finish()
    for address, said in scratch:
        bench.expected[address : address + said] = bench.host.memory.read(address, said)
    await bench.check(reads[1::2])
    check_failed(bench, "write", writes, expected)
    bench.errors.clear()
    await still_works(bench)


@cocotb.test()
async def one_client_stands_still(dut):
    """A client that takes nothing, or announces data that never comes, delays nobody else."""
    bench = await Bench(dut, latency_cycles=40).start()
    lazy, silent = bench.readers[0], bench.writers[0]
    lazy.sink.stall = 1.0
    stuck = [lazy.read(0x400 * k, 1000) for k in range(60)]
    silent.sink.stall = 1.0
    for k in range(50):
        data = bench.rng.randbytes(100)
        bench.note(HALF + 256 * k, data)
        silent.write(HALF + 256 * k, data)
    late = bench.rng.randbytes(3000)
    bench.note(HALF + 0x10000, late)
    silent.data.stall = 0.999
    silent.write(HALF + 0x10000, late)
    await bench.cycles(200)
    others = [bench.readers[1 + k % 2].read(0x300 * k + k, 2000) for k in range(30)]
    writes = []
    for k in range(30):
        data = bench.rng.randbytes(1500)
        bench.note(HALF + 0x20000 + 1500 * k, data)
        writes.append(bench.writers[1 + k % 2].write(HALF + 0x20000 + 1500 * k, data))
    await bench.finish(*others, *writes, timeout_us=60)
    assert not any(one.done.is_set() for one in stuck)
    lazy.sink.stall = silent.sink.stall = silent.data.stall = 0.0
    await bench.finish()
    assert await bench.check([*stuck, *others]) == 90
    assert not bench.errors
