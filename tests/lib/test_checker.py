"""The protocol checker must see every kind of breach, and nothing where there is none."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tailrace_hw.lib.checker import PacketChecker
from tailrace_hw.lib.packet_fifo import PacketFifo
from tailrace_sim.build import build, emit
from tailrace_sim.checker import PacketRules, ProtocolError, watch_packets
from tailrace_sim.run import run
from tailrace_sim.streams import receive_packets, send_packets
from tailrace_sim.unit import seeded, simulate

HERE = Path(__file__).parent


def beat(data=0, last=0, empty=0, meta=0):
    return {"data": data, "last": last, "empty": empty, "meta": meta}


#: name: ((valid, ready, beat) at successive edges, the rule that the last of them breaks)
HISTORIES = {
    "two packets": (
        [(1, 1, beat(1)), (0, 1, beat()), (1, 0, beat(2, 1, 3)), (1, 1, beat(2, 1, 3)),
         (1, 1, beat(3, 1, 7, 2))], None),
    "anything while not valid": ([(0, 1, beat(1, 0, 5, 1)), (0, 0, beat(2, 1, 0, 2))], None),
    "valid fell": ([(1, 0, beat(1, 1)), (0, 0, beat(1, 1))], "valid_fell"),
    "data changed": ([(1, 0, beat(1, 1)), (1, 0, beat(2, 1))], "payload_changed"),
    "last changed": ([(1, 0, beat(1, 0)), (1, 1, beat(1, 1))], "payload_changed"),
    "early empty": ([(1, 1, beat(1, 0, 1))], "early_empty"),
    "meta changed": ([(1, 1, beat(1, 0, 0, 1)), (1, 1, beat(1, 1, 0, 2))], "meta_changed"),
    "meta changed later": (
        [(1, 1, beat(meta=1)), (1, 1, beat(meta=1)), (0, 0, beat()), (1, 0, beat(meta=0))],
        "meta_changed"),
}  # fmt: skip

WORDS = {
    "valid_fell": "valid fell",
    "payload_changed": "payload changed",
    "early_empty": "empty bytes before",
    "meta_changed": "metadata changed",
}


@pytest.mark.parametrize("name", HISTORIES)
def test_gateware(name):
    history, rule = HISTORIES[name]
    dut = PacketChecker(64, 8)

    async def bench(ctx):
        for index, (valid, ready, payload) in enumerate(history):
            ctx.set(dut.valid, valid)
            ctx.set(dut.ready, ready)
            ctx.set(dut.payload, payload)
            expected = {rule} if rule and index == len(history) - 1 else set()
            broken = ctx.get(dut.broken)
            assert {word for word in WORDS if getattr(broken, word)} == expected
            assert ctx.get(dut.error) == bool(expected)
            await ctx.tick()

    simulate(dut, bench)


def test_gateware_may_let_metadata_change():
    dut = PacketChecker(64, 8, constant_meta=False)

    async def bench(ctx):
        for valid, ready, payload in HISTORIES["meta changed"][0]:
            ctx.set(dut.valid, valid)
            ctx.set(dut.ready, ready)
            ctx.set(dut.payload, payload)
            assert not ctx.get(dut.error)
            await ctx.tick()

    simulate(dut, bench)


@pytest.mark.parametrize("name", HISTORIES)
def test_python(name):
    history, rule = HISTORIES[name]
    rules = PacketRules("stream")
    *before, last = [(v, r, SimpleNamespace(**payload)) for v, r, payload in history]
    for edge in before:
        rules.observe(*edge)
    if rule:
        with pytest.raises(ProtocolError, match=f"stream: .*{WORDS[rule]}"):
            rules.observe(*last)
    else:
        rules.observe(*last)


def test_watching_a_simulation():
    rng = seeded()
    packets = [(rng.randbytes(rng.randint(1, 60)), rng.getrandbits(8)) for _ in range(20)]
    dut = PacketFifo(64, 8, 16, stall=True)
    into, out = PacketRules("i"), PacketRules("o")

    async def source(ctx):
        await send_packets(ctx, dut.i, packets, 64, rng, 0.3)

    async def sink(ctx):
        assert await receive_packets(ctx, dut.o, 20, rng, 0.3) == packets

    async def watch_in(ctx):
        await watch_packets(ctx, dut.i, into)

    async def watch_out(ctx):
        await watch_packets(ctx, dut.o, out)

    simulate(dut, source, sink, background=[watch_in, watch_out])
    assert into.packets == out.packets == 20
    assert into.beats == out.beats


def test_under_cocotb():
    """Driver, sink and monitor on a real model: packets come through, a breach is seen."""
    name = "lib_packet_fifo"
    model = build(emit(lambda: PacketFifo(64, 8, 16, stall=True), name, (64, 8, 16)), name)
    tests = ["packets_come_through", "a_breach_is_seen"]
    run(model, "packet_cocotb", name=name, tests=tests, python_path=[HERE])
