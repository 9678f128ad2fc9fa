"""Runs in the simulator, see test_cocotb_host.py: the driver's host on the PCIe agent."""

import cocotb
import pytest
from control_bench import Bench
from control_top import IDENTITIES

from tailrace.host import FunctionAddress
from tailrace.pci import scan
from tailrace.virtio.pci_transport import PciTransport
from tailrace_sim.bfm.cocotb_host import CocotbHost


@cocotb.test()
async def enumeration(dut):
    """The driver finds in the gateware what its identities say, and the virtio structures."""
    bench = await Bench(dut).start()
    host = CocotbHost(bench.host)
    functions = await scan(host)
    assert len(functions) == len(IDENTITIES)
    for function, identity in zip(functions, IDENTITIES, strict=True):
        assert (function.vendor_id, function.device_id) == (identity.vendor, identity.device)
        assert function.class_code == identity.class_code
        assert {n: bar.size for n, bar in function.bars.items()} == identity.bar_sizes
        assert function.msix is not None
        assert function.msix.vectors == identity.vectors
    transport = await PciTransport.open(functions[1])
    base = functions[1].bars[0].address
    places = (transport.common, transport.notify, transport.isr, transport.device)
    assert [place.address - base for place in places if place] == [0, 0x3000, 0x1000, 0x2000]
    assert transport.notify_multiplier == 4
    absent = FunctionAddress(*functions[0].address[:2], 7)
    assert await host.config_read(absent, 0, 4) == 0xFFFF_FFFF


@cocotb.test()
async def accesses_and_time(dut):
    bench = await Bench(dut).start()
    host = CocotbHost(bench.host)
    functions = await scan(host)
    await functions[1].enable()
    base = functions[1].bars[0].address
    for size in (1, 2, 4, 8):
        value = bench.rng.getrandbits(8 * size)
        await host.mmio_write(base + 0x40, value, size)
        assert await host.mmio_read(base + 0x40, size) == value
    start = host.cycles()
    await host.delay(1000)
    assert host.cycles() - start == pytest.approx(1000, abs=2)
    buffer = host.alloc(100)
    buffer.view[:] = 7
    assert bench.host.memory.read(buffer.address, 100) == bytes([7]) * 100
    assert buffer.address
    host.free(buffer)


@cocotb.test()
async def interrupts(dut):
    bench = await Bench(dut).start()
    host = CocotbHost(bench.host)
    function = (await scan(host))[1]
    await function.enable()
    msix = function.msix
    events = await msix.setup([0, 5])
    await bench.interrupt(1, 5)
    assert await events[5].wait(2000)
    assert (events[0].count, events[5].count) == (0, 1)
    events[5].clear()
    start = host.cycles()
    assert not await events[5].wait(300)
    assert host.cycles() - start >= 299
    await msix.mask(5)
    assert await msix.pending(5) is False
    await bench.interrupt(1, 5)
    await host.delay(200)
    assert await msix.pending(5)
    assert not events[5].is_set()
    await msix.unmask(5)
    assert await events[5].wait(2000)
    assert host.interrupt(function.address, 5) is events[5]


@cocotb.test()
async def reset(dut):
    """Function level reset by the driver alone: BARs are back, MSI-X is off until set up again."""
    bench = await Bench(dut).start()
    host = CocotbHost(bench.host)
    function = (await scan(host))[1]
    await function.enable()
    await function.msix.setup([1])
    await function.flr(settle=2000)
    assert bench.flr_seen[1] == 1
    await host.mmio_write(function.bars[0].address + 0x40, 0x1234, 4)
    assert await host.mmio_read(function.bars[0].address + 0x40, 4) == 0x1234
    await bench.interrupt(1, 1)
    assert not await host.interrupt(function.address, 1).wait(500)
    events = await function.msix.setup([1])
    await bench.interrupt(1, 1)
    assert await events[1].wait(2000)
