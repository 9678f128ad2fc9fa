"""Inside the simulator, of both backends: a design copies its device memory."""

from random import Random

import cocotb
import pytest
from axi_copy import BEATS, BURST
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, First, RisingEdge, Timer

from tailrace_sim.bfm.axi_memory import CHANNELS
from tailrace_sim.fast.axi_memory import device_memory
from tailrace_sim.run import seed

BASE, SIZE = 1 << 20, 1 << 16
_PATIENCE_US = 400


async def _start(dut):
    dut.start.value = 0
    dut.rst.value = 1
    Clock(dut.clk, 4, unit="ns").start()
    memory = device_memory(dut, 0, dut.clk, dut.rst, size=SIZE, base=BASE, seed=seed())
    await ClockCycles(dut.clk, 4)
    dut.rst.value = 0
    await ClockCycles(dut.clk, 4)
    return memory


async def _copy(dut, source: int, target: int, bursts: int) -> None:
    dut.source.value, dut.target.value, dut.count.value = source, target, bursts
    dut.start.value = 1
    await ClockCycles(dut.clk, 1)
    dut.start.value = 0
    await ClockCycles(dut.clk, 2)
    end = RisingEdge(dut.done)
    assert await First(end, Timer(_PATIENCE_US, "us")) is end, "it hangs"
    await ClockCycles(dut.clk, 2)


@cocotb.test()
async def copies(dut) -> None:
    """Calm, then with stalls on every channel, latency and jitter; every byte and every count."""
    memory = await _start(dut)
    contents = Random(seed()).randbytes(SIZE // 2)
    memory.write(BASE, contents)
    half, bursts = BASE + SIZE // 2, 16
    await _copy(dut, BASE, half, bursts)
    assert memory.read(half, bursts * BURST) == contents[: bursts * BURST]
    for channel in CHANNELS:
        memory.stall(channel, 0.4)
    memory.settings.latency_ns, memory.settings.jitter_ns = 100, 200
    memory.settings.reorder = 4
    before = cocotb.simtime.get_sim_time("ns")
    place = bursts * BURST
    await _copy(dut, BASE + place, half + place, bursts)
    assert memory.read(half + place, place) == contents[place : 2 * place]
    assert cocotb.simtime.get_sim_time("ns") - before > 2 * 100 * bursts
    assert not any(memory.read(half + 2 * place, SIZE // 2 - 2 * place))
    assert memory.read(BASE, SIZE // 2) == contents
    counters = memory.counters
    assert (counters.read_bursts, counters.write_bursts) == (2 * bursts, 2 * bursts)
    assert (counters.read_beats, counters.write_beats) == (2 * bursts * BEATS, 2 * bursts * BEATS)
    assert counters.errors == 0


@cocotb.test()
async def errors(dut) -> None:
    """Faults are answered as such, and only what they are on is not written."""
    memory = await _start(dut)
    memory.write(BASE, b"\xaa" * (4 * BURST))
    target = BASE + 4096
    memory.fault(target + BURST + 16, target + BURST + 17, "DECERR")
    memory.fault(BASE, BASE + 1)
    await _copy(dut, BASE, target, 4)
    assert dut.errors.value == 2
    expected = bytearray(b"\xaa" * (4 * BURST))
    expected[:16] = expected[BURST + 16 : BURST + 32] = bytes(16)
    assert memory.read(target, 4 * BURST) == expected
    memory.clear_faults()
    await _copy(dut, BASE, BASE + SIZE, 1)
    assert dut.errors.value == 3, "beside the memory"
    await _copy(dut, BASE, target, 4)
    assert memory.read(target, 4 * BURST) == b"\xaa" * (4 * BURST)
    assert (dut.errors.value, memory.counters.errors) == (3, 3)


@cocotb.test()
async def what_cannot_be(dut) -> None:
    """Wrong numbers are refused by the agent, with a reason."""
    memory = await _start(dut)
    for wrong in (
        lambda: memory.read(BASE - 1, 2), lambda: memory.write(BASE + SIZE - 1, b"12"),
        lambda: memory.fault(BASE, BASE), lambda: memory.fault(BASE, BASE + 1, "EXOKAY"),
        lambda: memory.stall("q", 0.5), lambda: memory.stall("aw", 1),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"\w"):
            wrong()
    with pytest.raises(ValueError, match="multiples of the bus"):
        device_memory(dut, 0, dut.clk, dut.rst, size=SIZE + 1)
