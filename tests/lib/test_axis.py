"""AXI4-Stream adapters: there and back, and what a broken tkeep becomes."""

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.lib.axis_adapter import AxisMeta, AxisToPacket, PacketToAxis
from tailrace_hw.lib.packet import PacketSignature
from tailrace_sim.streams import receive, receive_packets, send_packets
from tailrace_sim.unit import STALLS, expect_silence, seeded, simulate


class Both(wiring.Component):
    """Packet to AXI4-Stream to packet."""

    def __init__(self, width, user):
        self._width = width
        self._user = user
        signature = PacketSignature(width, AxisMeta)
        super().__init__({"i": In(signature), "o": Out(signature)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.out = out = PacketToAxis(self._width, user=self._user)
        m.submodules.into = into = AxisToPacket(self._width, user=self._user)
        wiring.connect(m, out.o, into.i)
        wiring.connect(m, wiring.flipped(self.i), out.i)
        wiring.connect(m, into.o, wiring.flipped(self.o))
        return m


@pytest.mark.parametrize("stalls", STALLS, ids=str)
@pytest.mark.parametrize(("width", "user"), [(64, 1), (512, 1), (512, 0), (1024, 3)])
def test_there_and_back(width, user, stalls):
    rng = seeded()
    size = width // 8
    lengths = [*range(1, size + 2), 3 * size]
    packets = [(rng.randbytes(length), {"error": rng.getrandbits(1)}) for length in lengths]
    dut = Both(width, user)

    async def source(ctx):
        await send_packets(ctx, dut.i, packets, width, rng, stalls[0])

    async def sink(ctx):
        got = await receive_packets(ctx, dut.o, len(packets), rng, stalls[1])
        assert [contents for contents, _ in got] == [contents for contents, _ in packets]
        errors = [meta["error"] if user else 0 for _, meta in packets]
        assert [meta.error for _, meta in got] == errors
        await expect_silence(ctx, dut.o)

    simulate(dut, source, sink)


#: AXI4-Stream beats (tkeep, tuser, tlast) of one packet, and (bytes, error) it becomes.
KEEPS = {
    "good": ([(0xFF, 0, 0), (0x07, 0, 1)], (11, 0)),
    "error on the last beat": ([(0xFF, 0, 0), (0x01, 1, 1)], (9, 1)),
    "error before the last beat": ([(0xFF, 1, 0), (0xFF, 0, 1)], (16, 1)),
    "bytes missing before the last beat": ([(0x7F, 0, 0), (0xFF, 0, 1)], (16, 1)),
    "hole": ([(0xF7, 0, 1)], (8, 1)),
    "not from byte 0": ([(0x06, 0, 1)], (3, 1)),
    "nothing": ([(0xFF, 0, 0), (0x00, 0, 1)], (9, 1)),
    "several pieces": ([(0x05, 0, 1)], (3, 1)),
}


@pytest.mark.parametrize("case", KEEPS)
def test_keep(case):
    """Each case is followed by a good packet, which its fault must not touch."""
    beats, (length, error) = KEEPS[case]
    dut = AxisToPacket(64, user=1)

    async def source(ctx):
        for keep, user, last in [*beats, (0xFF, 0, 1)]:
            ctx.set(dut.i.tvalid, 1)
            ctx.set(dut.i.tkeep, keep)
            ctx.set(dut.i.tuser, user)
            ctx.set(dut.i.tlast, last)
            ready = False
            while not ready:
                _, _, ready = await ctx.tick().sample(dut.i.tready)
        ctx.set(dut.i.tvalid, 0)

    async def sink(ctx):
        got = await receive(ctx, dut.o, len(beats) + 1)
        assert [beat.last for beat in got] == [0] * (len(beats) - 1) + [1, 1]
        assert 8 * len(beats) - got[-2].empty == length or case == "several pieces"
        assert got[-2].meta.error == error
        assert (got[-1].empty, got[-1].meta.error) == (0, 0)

    simulate(dut, source, sink)
