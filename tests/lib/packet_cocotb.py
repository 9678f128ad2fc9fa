"""Runs in the simulator on a PacketFifo of 64 bits with a byte of metadata; see test_checker."""

import random

import cocotb
import pytest
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, with_timeout

from tailrace_hw.lib.packet import beat_layout
from tailrace_sim.bfm.packet_stream import PacketMonitor, PacketSink, PacketSource
from tailrace_sim.checker import ProtocolError
from tailrace_sim.run import seed

WIDTH, META = 64, 8


def coin(rng, probability):
    while True:
        yield rng.random() < probability


async def start(dut):
    cocotb.start_soon(Clock(dut.clk, 4, "ns").start())
    dut.drop.value = 0
    dut.o__ready.value = 0
    dut.rst.value = 1
    for _ in range(2):
        await RisingEdge(dut.clk)
    dut.rst.value = 0


@cocotb.test()
async def packets_come_through(dut):
    rng = random.Random(seed())
    source = PacketSource(dut, "i", dut.clk, WIDTH, META, coin(rng, 0.3))
    await start(dut)
    received = []
    into = PacketMonitor(dut, "i", dut.clk, WIDTH, META)
    out = PacketMonitor(dut, "o", dut.clk, WIDTH, META, callback=received.append)
    cocotb.start_soon(PacketSink(dut, "o", dut.clk, coin(rng, 0.3)).run())
    packets = [(rng.randbytes(rng.randint(1, 100)), rng.getrandbits(META)) for _ in range(40)]
    for packet in packets:
        source.append(packet)
    for _ in range(5000):
        await RisingEdge(dut.clk)
        if len(received) == len(packets):
            break
    assert received == packets
    assert into.rules.beats == out.rules.beats > len(packets)


@cocotb.test()
async def a_breach_is_seen(dut):
    dut.i__valid.value = 0
    await start(dut)
    monitor = PacketMonitor(dut, "i", dut.clk, WIDTH, META)
    beat = {"data": 1, "last": 0, "empty": 3, "meta": 0}
    dut.i__payload.value = beat_layout(WIDTH, META).const(beat).as_value().value
    dut.i__valid.value = 1
    with pytest.raises(ProtocolError, match="empty bytes"):
        await with_timeout(monitor._thread, 100, "ns")
