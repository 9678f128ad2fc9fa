"""Runs in the simulator, see test_control.py: MSI-X (PCIe 5.0, 6.1.4) and function level reset."""

import cocotb
import pytest
from cocotbext.pcie.core.tlp import CplStatus
from control_bench import Bench
from control_top import IDENTITIES

from tailrace_hw.errors import ErrorCode, ErrorSource
from tailrace_sim.bfm.pcie_host import MmioError

PBA = 0x4000
MSIX_CAPABILITY = 0x11


class Vectors:
    """What a driver does to the MSI-X structures of one function."""

    def __init__(self, bench, index):
        self.host = bench.host
        self.index = index
        self.count = IDENTITIES[index].vectors
        self.function = bench.host.functions[index]
        self.base = self.function.bars[2]

    def number(self, vector):
        """Interrupt number that the vector is given."""
        return 0x1000 * (self.index + 1) + vector

    async def control(self, enable, mask):
        """MSI-X Enable and Function Mask."""
        pointer = 0x60
        header = await self.host.config_read(self.function.id, pointer, 4)
        assert header[0] == MSIX_CAPABILITY
        value = (header[3] & 0x3F) | enable << 7 | mask << 6
        await self.host.config_write(self.function.id, pointer + 3, bytes([value]))

    async def program(self, vector, masked=False, chunk=16):
        address, data = self.host.message(self.number(vector))
        entry = address.to_bytes(8, "little") + data.to_bytes(4, "little")
        entry += int(masked).to_bytes(4, "little")
        for offset in range(0, 16, chunk):
            await self.host.write(
                self.base + 16 * vector + offset, entry[offset : offset + chunk]
            )
        return entry

    async def mask(self, vector, masked):
        await self.host.write(self.base + 16 * vector + 12, bytes([masked]))

    async def pending(self):
        words = -(-self.count // 64) * 8
        return int.from_bytes(await self.host.read(self.base + PBA, words), "little")

    def arrived(self):
        return [self.host.interrupt_count(self.number(vector)) for vector in range(self.count)]


@cocotb.test()
async def table_access(dut):
    bench = await Bench(dut).start()
    bench.stall(0.2)
    for index in range(2):
        vectors = Vectors(bench, index)
        # All vectors are masked at first (7.7.2.9).
        for vector in range(vectors.count):
            control = await bench.host.read(vectors.base + 16 * vector + 12, 4)
            assert control == b"\1\0\0\0"
        entries = {}
        for vector in range(vectors.count):
            chunk = bench.rng.choice([1, 2, 4, 8, 16])
            entries[vector] = await vectors.program(vector, bench.rng.random() < 0.5, chunk)
        for vector in bench.rng.sample(range(vectors.count), 5):
            assert await bench.host.read(vectors.base + 16 * vector, 16) == entries[vector]
            offset = bench.rng.randrange(15)
            part = await bench.host.read(vectors.base + 16 * vector + offset, 1)
            assert part == entries[vector][offset : offset + 1]
        # The PBA is read-only; its unused bits are 0.
        await bench.host.write(vectors.base + PBA, b"\xff" * 8)
        assert await vectors.pending() == 0
        for vector, entry in entries.items():
            assert await bench.host.read(vectors.base + 16 * vector, 16) == entry
        for outside in (16 * vectors.count, PBA - 4, PBA + 8, PBA + 0x100):
            with pytest.raises(MmioError) as caught:
                await bench.host.read(vectors.base + outside, 4)
            assert caught.value.status == CplStatus.UR
        await bench.cycles(50)
        assert len(bench.take_errors()) == 4


@cocotb.test()
async def messages(dut):
    bench = await Bench(dut).start()
    both = [Vectors(bench, index) for index in range(2)]
    for vectors in both:
        await vectors.control(enable=True, mask=False)
        for vector in range(vectors.count):
            await vectors.program(vector)
    await bench.settle()
    expected = [[0] * vectors.count for vectors in both]
    for stall, count in ((0.0, 100), (0.5, 100)):
        bench.stall(stall)
        for _ in range(count):
            index = bench.rng.randrange(2)
            vector = bench.rng.randrange(both[index].count)
            expected[index][vector] += 1
            await bench.interrupt(index, vector)
        await bench.cycles(300)
        assert [vectors.arrived() for vectors in both] == expected
    assert sum(map(sum, expected)) == 200
    assert bench.host.traffic.interrupts == 200
    assert not bench.errors
    # Unstalled, a message leaves within a few cycles of its request.
    bench.stall(0.0)
    await bench.cycles(20)
    bench.host.reset_traffic()
    await bench.interrupt(1, 3)
    asked = bench.host.cycle()
    await bench.cycles(30)
    latency = bench.host.traffic.last_interrupt - asked
    dut._log.info("interrupt request to message on RQ: %d cycles", latency)
    # With the write engine in the way 7 cycles more, and one to see what shares the beat.
    assert 0 < latency <= (14 if hasattr(dut, "reads__0__request__valid") else 6)


@cocotb.test()
async def masks_and_pending(dut):
    """Random masking and interrupts against a model of 6.1.4.5."""
    bench = await Bench(dut).start()
    bench.stall(0.2)
    rng = bench.rng
    vectors = Vectors(bench, 1)
    count = vectors.count
    for vector in range(count):
        await vectors.program(vector, masked=True)
    masked, pending, arrived = [True] * count, [False] * count, [0] * count
    enable = function_mask = False

    def deliver():
        for vector in range(count):
            if pending[vector] and enable and not function_mask and not masked[vector]:
                pending[vector] = False
                arrived[vector] += 1

    seen_pending = 0
    for _ in range(160):
        action = rng.random()
        vector = rng.randrange(count)
        if action < 0.5:
            await bench.interrupt(1, vector)
            if enable:
                pending[vector] = True
        elif action < 0.85:
            masked[vector] = rng.random() < 0.5
            await vectors.mask(vector, masked[vector])
        else:
            enable, function_mask = rng.random() < 0.9, rng.random() < 0.4
            await vectors.control(enable, function_mask)
        deliver()
        await bench.settle()
        await bench.cycles(count + 20)
        bits = await vectors.pending()
        assert [bool(bits >> k & 1) for k in range(count)] == pending
        assert vectors.arrived() == arrived
        seen_pending += sum(pending)
    await vectors.control(enable=True, mask=False)
    for vector in range(count):
        await vectors.mask(vector, False)
        masked[vector] = False
    enable, function_mask = True, False
    deliver()
    await bench.settle()
    await bench.cycles(8 * count)
    assert vectors.arrived() == arrived
    assert await vectors.pending() == 0
    assert min(seen_pending, sum(arrived)) > 20
    assert not bench.errors


@cocotb.test()
async def bad_vectors(dut):
    bench = await Bench(dut).start()
    both = [Vectors(bench, index) for index in range(2)]
    for vectors in both:
        await vectors.control(enable=True, mask=False)
        await vectors.program(0)
    await bench.settle()
    for function, vector in ((0, 5), (1, 37), (1, 0x1234), (2, 0), (200, 3)):
        await bench.interrupt(function, vector)
        await bench.cycles(30)
        (event,) = bench.take_errors()
        assert event[:2] == (ErrorSource.MSIX, ErrorCode.MSIX_BAD_VECTOR)
    for function in (0, 1, 9):
        await bench.interrupt(function, 0xFFFF)
    await bench.interrupt(0, 0)
    await bench.interrupt(1, 0)
    await bench.cycles(60)
    assert bench.host.traffic.interrupts == 2
    assert [vectors.arrived()[0] for vectors in both] == [1, 1]
    assert not bench.errors


@cocotb.test()
async def function_level_reset(dut):
    bench = await Bench(dut).start()
    host = bench.host
    both = [Vectors(bench, index) for index in range(2)]
    for vectors in both:
        await vectors.control(enable=True, mask=False)
        for vector in range(vectors.count):
            await vectors.program(vector)
        await vectors.mask(2, True)
    await bench.settle()
    window = 0x48
    await host.config_write(host.functions[1].id, window + 8, b"\x10\x20\0\0")
    await bench.interrupt(1, 2)
    await bench.interrupt(0, 2)
    await bench.settle()
    assert [await vectors.pending() for vectors in both] == [4, 4]
    for delay in (1, 40):
        bench.flr_delay = delay
        resets = bench.flr_seen[1]
        running = cocotb.start_soon(host.function_level_reset(1))
        held = []
        while not running.done():
            if bench.state(1).reset:
                held.append(host.cycle())
            assert not bench.state(0).reset
            assert not (bench.state(1).reset and bench.state(1).bus_master)
            # Interrupts that meet the reset are lost or come through, but harm nothing.
            await bench.interrupt(1, 1)
            await bench.cycles(1)
        await running
        assert held[-1] - held[0] >= delay
        assert bench.flr_seen[1] == resets + 1
        assert not bench.state(1).msix_enable
        assert await host.read(both[1].base + 12, 4) == b"\1\0\0\0"
        assert await both[1].pending() == 0
        assert await host.config_read(host.functions[1].id, window + 8, 4) == bytes(4)
        # The function comes back.
        await both[1].control(enable=True, mask=False)
        await both[1].program(1)
        await bench.settle()
        before = both[1].arrived()[1]
        await bench.interrupt(1, 1)
        await bench.cycles(50)
        assert both[1].arrived()[1] == before + 1
        assert await host.read(host.functions[1].bars[0], 4) == bytes(4)
    # The other one never noticed.
    assert await both[0].pending() == 4
    await both[0].mask(2, False)
    await bench.settle()
    await bench.cycles(50)
    assert both[0].arrived()[2] == 1
    assert bench.flr_seen[0] == 0
    for source, code, function, _ in bench.take_errors():
        assert (source, code, function) == (
            ErrorSource.DMA_WRITE, ErrorCode.DMA_BUS_MASTER_OFF, 1,
        )  # fmt: skip
