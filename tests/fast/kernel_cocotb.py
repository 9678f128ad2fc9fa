"""cocotb on the kernel: what every simulator promises to a test, on the ports of the device."""

from random import Random

import cocotb
import pytest
from cocotb import simulator
from cocotb.clock import Clock
from cocotb.queue import Queue
from cocotb.triggers import (
    ClockCycles,
    Combine,
    Edge,
    FallingEdge,
    First,
    NextTimeStep,
    ReadOnly,
    ReadWrite,
    RisingEdge,
    Timer,
    with_timeout,
)
from cocotb.utils import get_sim_time

from tailrace.virtio.net_types import NetOptions, TxFrame
from tailrace_sim.fast.process import running
from tailrace_sim.run import seed
from tailrace_sim.system import System


def _now() -> int:
    return round(get_sim_time("ps"))


async def _fire_at(trigger) -> int:
    await trigger
    return _now()


@cocotb.test()
async def timers(dut) -> None:
    """In order of time, and of registration where the time is one."""
    rng = Random(seed())
    start, order = _now(), []

    async def note(number: int, delay: int) -> None:
        await Timer(delay, "ps")
        order.append((_now() - start, number))

    delays = [rng.choice([1, 7, 7, 4000, rng.randrange(1, 20_000)]) for _ in range(100)]
    tasks = [cocotb.start_soon(note(*entry)) for entry in enumerate(delays)]
    cancelled = cocotb.start_soon(note(1000, 1))
    cancelled.cancel()
    await Combine(*tasks)
    assert order == sorted((delay, number) for number, delay in enumerate(delays))
    assert _now() - start == max(delays)


@cocotb.test()
async def edges(dut) -> None:
    """Two clocks of unlike periods; edges of inputs that Python sets and of clocks."""
    Clock(dut.clk, 4, unit="ns").start()
    Clock(dut.port0_clk, 3100, unit="ps").start()
    start = _now()
    assert await _fire_at(ClockCycles(dut.clk, 5)) - start in (16_000, 20_000)
    first = await _fire_at(RisingEdge(dut.clk))
    assert await _fire_at(RisingEdge(dut.clk)) - first == 4000
    first = await _fire_at(RisingEdge(dut.port0_clk))
    assert await _fire_at(RisingEdge(dut.port0_clk)) - first == 3100

    watch = [cocotb.start_soon(_fire_at(kind(dut.rst))) for kind in (RisingEdge, FallingEdge, Edge)]
    dut.rst.value = 0
    await Timer(1, "ns")
    for task in watch:
        task.cancel()
    rising = cocotb.start_soon(_fire_at(RisingEdge(dut.rst)))
    falling = cocotb.start_soon(_fire_at(FallingEdge(dut.rst)))
    await Timer(500, "ps")
    dut.rst.value = 1
    up = _now()
    await Timer(700, "ps")
    assert not falling.done()
    dut.rst.value = 0
    assert await rising == up
    assert await falling == up + 700
    with pytest.raises(NotImplementedError, match="only its rising edge"):
        await FallingEdge(dut.clk)


@cocotb.test()
async def taken_back(dut) -> None:
    """A registration that was taken back is never called."""
    Clock(dut.clk, 4, unit="ns").start()
    called: list[str] = []
    handles = [
        simulator.register_timed_callback(1000, called.append, "time"),
        simulator.register_value_change_callback(
            dut.clk._handle, called.append, simulator.RISING, "edge"
        ),
        simulator.register_rwsynch_callback(called.append, "phase"),
    ]
    for handle in handles:
        handle.deregister()
    await Timer(10, "ns")
    assert called == []


@cocotb.test()
async def phases(dut) -> None:
    """Writes, then the read-only phase of the same time, then a later time."""
    Clock(dut.clk, 4, unit="ns").start()
    await RisingEdge(dut.clk)
    start = _now()
    dut.port0__link.value = 1
    await ReadWrite()
    await ReadOnly()
    assert dut.port0__link.value == 1
    assert _now() == start
    with pytest.raises(RuntimeError, match="ReadOnly"):
        dut.port0__link.value = 0
    await NextTimeStep()
    assert _now() > start
    dut.port0__link.value = 0
    await Timer(1, "ps")
    assert dut.port0__link.value == 0
    value = Random(seed()).getrandbits(8)
    dut.pcie__cfg_flr_in_process.value = value & 15
    await Timer(1, "ps")
    assert dut.pcie__cfg_flr_in_process.value == value & 15


@cocotb.test()
async def tasks(dut) -> None:
    """Queues, time-outs and whoever is first."""
    queue: Queue = Queue()

    async def produce() -> None:
        for number in range(3):
            await Timer(10, "ns")
            queue.put_nowait(number)

    cocotb.start_soon(produce())
    assert [await queue.get() for _ in range(3)] == [0, 1, 2]
    slow, fast = Timer(30, "ns"), Timer(20, "ns")
    assert await First(slow, fast) is fast
    with pytest.raises(TimeoutError):
        await with_timeout(queue.get(), 5, "ns")


@cocotb.test()
async def few_strides(dut) -> None:
    """Who waits for time or for interrupts costs no stride a cycle."""
    kernel = running()
    assert kernel is not None
    system = await System.start(dut)
    await system.device.net(0, NetOptions(queue_pairs=1))
    await system.wait(5000)
    strides = kernel.strides
    await system.wait(20_000)
    assert kernel.strides - strides < 200, kernel.strides - strides


@cocotb.test()
async def handler_fails(dut) -> None:
    """What fails in a callback of the wire fails the test."""
    system = await System.start(dut)
    net = await system.device.net(0, NetOptions(queue_pairs=1))

    def refuse(frame) -> None:
        raise ValueError(f"a frame of {len(frame.data)} bytes is not wanted")

    system.port.monitor.add_callback(refuse)
    await net.transmit([TxFrame(bytes(77))], 0)
    await system.wait(5000)
