"""Runs in the simulator, see test_control.py: BAR accesses, errors, configuration space."""

import cocotb
import pytest
from cocotbext.pcie.core.tlp import CplStatus, Tlp, TlpAttr, TlpTc, TlpType
from cocotbext.pcie.xilinx.us.interface import UsPcieFrame
from control_bench import Bench
from control_top import IDENTITIES

from tailrace_hw.errors import ErrorCode, ErrorSource
from tailrace_sim.bfm.pcie_host import MmioError

VENDOR_SPECIFIC = 9


async def capabilities(host, function):
    """The capability chain as (address, ID, bytes)."""
    found = []
    address = (await host.config_read(function.id, 0x34, 1))[0]
    while address:
        header = await host.config_read(function.id, address, 4)
        length = header[2] if header[0] == VENDOR_SPECIFIC else 12
        found.append((address, header[0], await host.config_read(function.id, address, length)))
        address = header[1]
        assert len(found) < 20, "the capability chain has a loop"
    return found


def word(data, offset, size=4):
    return int.from_bytes(data[offset : offset + size], "little")


@cocotb.test()
async def enumeration(dut):
    bench = await Bench(dut).start()
    host = bench.host
    assert len(host.functions) == 2
    for function, identity in zip(host.functions, IDENTITIES, strict=True):
        header = await host.config_read(function.id, 0, 64)
        assert (word(header, 0, 2), word(header, 2, 2)) == (identity.vendor, identity.device)
        assert word(header, 8) == identity.class_code << 8 | identity.revision
        assert word(header, 0x2C) == identity.subsystem << 16 | identity.subsystem_vendor
        assert header[0x0E] & 0x80, "a multi-function device says so"
        table = next(cap for cap in await capabilities(host, function) if cap[1] == 0x11)
        assert word(table[2], 2, 2) & 0x7FF == identity.vectors - 1
        assert (word(table[2], 4), word(table[2], 8)) == (2, 0x4002)
        assert function.bars[2] >> 32, "BAR 2 is beyond 4 GiB"
    plain = [cap[1] for cap in await capabilities(host, host.functions[0])]
    assert plain == [0x01, 0x11, 0x10]
    virtio = await capabilities(host, host.functions[1])
    assert [cap[1] for cap in virtio] == [0x01, 0x11, 0x10, 9, 9, 9, 9, 9]
    # cfg_type, bar, offset, length of virtio 1.2, 4.1.4
    structures = [(c[2][3], c[2][4], word(c[2], 8), word(c[2], 12)) for c in virtio[3:]]
    assert structures == [
        (1, 0, 0x0000, 0x1000), (2, 0, 0x3000, 36), (3, 0, 0x1000, 4), (4, 0, 0x2000, 0x1000),
        (5, 0, 0, 0),
    ]  # fmt: skip
    assert word(virtio[4][2], 16) == 4, "notify_off_multiplier"
    assert [len(cap[2]) for cap in virtio[3:]] == [16, 20, 16, 16, 20]
    # What nobody owns reads as 0.
    assert await host.config_read(host.functions[0].id, 0xB0, 0x50) == bytes(0x50)
    assert await host.config_read(host.functions[1].id, 0xF4, 12) == bytes(12)
    state = bench.state(1)
    assert (state.memory_enable, state.bus_master, state.reset) == (1, 1, 0)
    assert (128 << state.max_payload, 128 << state.max_read) == (256, 512)
    assert not bench.errors


@cocotb.test()
async def bar_access(dut):
    bench = await Bench(dut).start()
    host, rng = bench.host, bench.rng
    golden = [bytearray(bar.memory) for bar in bench.bars]
    compared = 0
    for stall in (0.0, 0.4):
        bench.stall(stall)
        for _ in range(150):
            index = rng.randrange(2)
            size = rng.choice([1, 2, 3, 4, 8, rng.randrange(1, 65)])
            offset = rng.randrange(rng.choice([256, len(golden[index])]) - 64)
            base = host.functions[index].bars[0]
            if rng.random() < 0.5:
                data = rng.randbytes(size)
                golden[index][offset : offset + size] = data
                await host.write(base + offset, data)
            else:
                expected = bytes(golden[index][offset : offset + size])
                assert await host.read(base + offset, size) == expected
                compared += size
        await bench.settle()
        await host.read(host.functions[1].bars[0], 1)
        assert [bytes(bar.memory) for bar in bench.bars] == [bytes(image) for image in golden]
    assert compared > 400
    assert all(access.strobe for bar in bench.bars for access in bar.log)
    assert not bench.errors


@cocotb.test()
async def byte_enables(dut):
    """Every pattern a dword or quadword may have, and the fields of the completions."""
    bench = await Bench(dut).start()
    host, rng = bench.host, bench.rng
    bench.stall(0.2)
    base, memory = host.functions[1].bars[0], bench.bars[1].memory
    memory[:64] = rng.randbytes(64)
    for pattern in [*range(16), *(rng.randrange(16, 256) for _ in range(24))]:
        first, last = pattern & 15, pattern >> 4
        length = 2 if last else 1
        address = 8 * rng.randrange(8)
        tlp = Tlp()
        tlp.fmt_type = TlpType.MEM_READ
        tlp.address, tlp.length = base + address, length
        tlp.first_be, tlp.last_be = first, last
        tlp.tc, tlp.attr = TlpTc(rng.randrange(8)), TlpAttr(rng.randrange(8))
        bench.bars[1].log.clear()
        (completion,) = await host.request(tlp)
        enabled = [k for k in range(8) if pattern >> k & 1]
        low, high = (enabled[0], enabled[-1]) if enabled else (0, 0)
        # PCIe 5.0, 2.3.1.1: byte count spans first to last enabled byte.
        if first or not last:
            assert completion.byte_count == high - low + 1
            assert completion.lower_address == (address + low) & 0x7F
        assert completion.status == CplStatus.SC
        assert (completion.tc, completion.attr) == (tlp.tc, tlp.attr)
        assert completion.completer_id == host.functions[1].id
        data = completion.get_data()
        assert all(data[k] == memory[address + k] for k in enabled)
        assert len(bench.bars[1].log) == bool(first) + bool(last)
        # The same pattern written.
        before, new = bytes(memory[address : address + 8]), rng.randbytes(4 * length)
        write = Tlp(tlp)
        write.fmt_type = TlpType.MEM_WRITE
        write.set_data(new)
        await host.request(write)
        await host.read(base + 0x100, 4)
        for k in range(8):
            assert memory[address + k] == (new[k] if k in enabled else before[k])
    assert not bench.errors


def raw_request(kind, *, function=0, bar=0, dwords=1, address=0x40, payload=(), discontinue=False):
    """A completer request the model's host cannot make."""
    frame = UsPcieFrame()
    frame.data = [address, 0, dwords | kind << 11, 0x5A | function << 8 | bar << 16, *payload]
    frame.byte_en = [0] * 4 + [0xF] * len(payload)
    frame.first_be = 0xF
    frame.last_be = 0xF if dwords > 1 else 0
    frame.discontinue = discontinue
    frame.update_parity()
    return frame


@cocotb.test()
async def unsupported(dut):
    bench = await Bench(dut).start()
    host, source = bench.host, bench.host.device.cq_source
    base = host.functions[1].bars[0]
    bench.bars[1].errors.add(0x20)
    bench.bars[1].memory[:] = bench.rng.randbytes(len(bench.bars[1].memory))
    before = bytes(bench.bars[1].memory)
    report = (ErrorSource.COMPLETER, ErrorCode.COMPLETER_UNSUPPORTED)

    async def refused(tlp, address):
        (completion,) = await host.request(tlp)
        assert completion.status == CplStatus.UR
        assert completion.length == 0
        await bench.cycles(30)
        ((*what, _, info),) = bench.take_errors()
        assert (tuple(what), info & 0xFFFFFFFF) == (report, address)

    for kind, length in ((TlpType.MEM_READ, 17), (TlpType.FETCH_ADD, 1), (TlpType.CAS, 2)):
        tlp = Tlp()
        tlp.fmt_type = kind
        tlp.set_addr_be(base + 0x80, 4 * length)
        if kind != TlpType.MEM_READ:
            tlp.set_data(bytes(4 * length))
        await refused(tlp, base + 0x80)
    # A register that is not there fails the whole read, wherever in it it lies.
    for offset, size in ((0x20, 4), (0x10, 32), (0x1C, 8)):
        tlp = Tlp()
        tlp.fmt_type = TlpType.MEM_READ
        tlp.set_addr_be(base + offset, size)
        await refused(tlp, base + offset)
        with pytest.raises(MmioError) as caught:
            await host.read(base + offset, size)
        assert caught.value.status == CplStatus.UR
        await bench.cycles(30)
        assert len(bench.take_errors()) == 1
    # Posted requests of the kinds that are dropped: each reported once, nothing changed.
    drops = [
        raw_request(1, dwords=17, payload=[0] * 17),
        raw_request(1, dwords=40, payload=[0] * 40),
        raw_request(1, bar=5, payload=[0]),
        raw_request(1, function=7, payload=[0]),
        raw_request(12),
        raw_request(13, dwords=4, payload=[0] * 4),
    ]
    for frame in drops:
        await source.send(frame)
        await bench.cycles(40)
        assert [tuple(event[:2]) for event in bench.take_errors()] == [report]
    await host.write(base + 0x20, bytes(4))
    await bench.cycles(60)
    assert [tuple(event[:2]) for event in bench.take_errors()] == [report]
    # Poisoned: by the block (the write never arrives), or discarded on the interface.
    poisoned = (ErrorSource.COMPLETER, ErrorCode.COMPLETER_POISONED)
    tlp = Tlp()
    tlp.fmt_type = TlpType.MEM_WRITE
    tlp.set_addr_be_data(base, bytes(8))
    tlp.ep = True
    await host.request(tlp)
    await source.send(raw_request(1, function=1, payload=[0], discontinue=True))
    await source.send(raw_request(0, function=1, discontinue=True))
    await bench.cycles(80)
    assert [tuple(event[:2]) for event in bench.take_errors()] == [poisoned] * 3
    assert bytes(bench.bars[1].memory) == before
    # And it goes on.
    assert await host.read(base + 0x40, 64) == before[0x40:0x80]
    assert not bench.errors


@cocotb.test()
async def doorbells(dut):
    """A doorbell write reaches its register in time, and a burst of them is not slow."""
    bench = await Bench(dut).start()
    host, target = bench.host, bench.bars[1]
    address = host.functions[1].bars[0] + 0x3004
    taken = []

    async def watch():
        while True:
            await cocotb.triggers.RisingEdge(dut.clk)
            if dut.pcie__cq__tvalid.value and dut.pcie__cq__tready.value:
                taken.append(target._cycle)

    cocotb.start_soon(watch())
    for _ in range(20):
        await host.write(address, b"\x01\x00\x00\x00")
    await bench.cycles(200)
    arrived = [access.cycle for access in target.log]
    assert len(arrived) == len(taken) == 20
    latency = max(b - a for a, b in zip(taken, arrived, strict=True))
    period = (arrived[-1] - arrived[0]) / (len(arrived) - 1)
    dut._log.info("doorbell: %d cycles to its register, one every %.1f cycles", latency, period)
    assert latency <= 6


@cocotb.test()
async def config_window(dut):
    """The PCI configuration access capability (virtio 1.2, 4.1.4.9)."""
    bench = await Bench(dut).start()
    host, rng = bench.host, bench.rng
    bench.stall(0.3)
    function, memory = host.functions[1].id, bench.bars[1].memory
    memory[:] = rng.randbytes(len(memory))
    window = (await capabilities(host, host.functions[1]))[-1][0]
    other = cocotb.start_soon(bar_traffic(bench))
    for _ in range(40):
        size = rng.choice([1, 2, 4])
        offset = rng.randrange(0x1000, 0x2000) & -size
        await host.config_write(function, window + 4, b"\0")
        await host.config_write(function, window + 8, offset.to_bytes(4, "little"))
        await host.config_write(function, window + 12, size.to_bytes(4, "little"))
        if rng.random() < 0.5:
            data = rng.randbytes(size)
            around = bytes(memory[offset - 4 : offset]), bytes(memory[offset + size : offset + 8])
            await host.config_write(function, window + 16, data)
            assert await host.config_read(function, window + 16, size) == data
            assert bytes(memory[offset : offset + size]) == data
            after = bytes(memory[offset - 4 : offset]), bytes(memory[offset + size : offset + 8])
            assert around == after
        else:
            expected = bytes(memory[offset : offset + size])
            assert await host.config_read(function, window + 16, size) == expected
    # What a driver must not do does nothing: misaligned, odd length, a BAR with no structure.
    before = bytes(memory[0x1000:0x2000])
    for bar, offset, length in ((0, 0x1001, 2), (0, 0x1002, 4), (0, 0x1000, 3), (2, 0x1000, 4)):
        await host.config_write(function, window + 4, bytes([bar]))
        await host.config_write(function, window + 8, offset.to_bytes(4, "little"))
        await host.config_write(function, window + 12, length.to_bytes(4, "little"))
        await host.config_write(function, window + 16, b"\xff\xff\xff\xff")
        assert await host.config_read(function, window + 16, 4) == bytes(4)
    assert bytes(memory[0x1000:0x2000]) == before
    # Byte writes to the window's registers.
    await host.config_write(function, window + 8, bytes(4))
    await host.config_write(function, window + 9, b"\x34\x12")
    assert await host.config_read(function, window + 8, 4) == b"\x00\x34\x12\x00"
    assert await other > 20


async def bar_traffic(bench):
    """Reads of the same BAR by the usual way, meanwhile."""
    address = bench.host.functions[1].bars[0]
    reads = 0
    while reads < 40:
        offset = 4 * bench.rng.randrange(256)
        expected = bytes(bench.bars[1].memory[offset : offset + 4])
        assert await bench.host.read(address + offset, 4) == expected
        await bench.cycles(20)
        reads += 1
    return reads
