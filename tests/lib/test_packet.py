"""The packet stream's signature: equality, and joining it to Amaranth's own streams."""

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.lib.packet import PacketSignature, beat_layout
from tailrace_hw.lib.stage import RegisterStage
from tailrace_sim.unit import check_stream, seeded


def test_equal_when_width_and_metadata_are():
    assert PacketSignature(64, 8) == PacketSignature(64, 8)
    assert PacketSignature(64, 8) != PacketSignature(64, 7)
    assert PacketSignature(64) != PacketSignature(128)


@pytest.mark.parametrize("width", [0, 32, 100, 2048])
def test_refuses_a_width(width):
    with pytest.raises(ValueError, match=f"not {width}"):
        PacketSignature(width)


class Between(wiring.Component):
    """Packet stream to Amaranth stream to packet stream, through ``wiring.connect``."""

    i: In(PacketSignature(64, 8))
    o: Out(PacketSignature(64, 8))

    def elaborate(self, platform):
        m = Module()
        m.submodules.stage = stage = RegisterStage(beat_layout(64, 8))
        wiring.connect(m, wiring.flipped(self.i), stage.i)
        wiring.connect(m, stage.o, wiring.flipped(self.o))
        return m


def test_connects_to_an_amaranth_stream():
    rng = seeded()
    beats = [
        {"data": rng.getrandbits(64), "last": 1, "empty": rng.randrange(8), "meta": 5}
        for _ in range(20)
    ]
    dut = Between()
    assert dut.o.p is dut.o.payload
    check_stream(dut, beats, beats, rng, (0.3, 0.3))
