"""Between AXI4-Stream at the device's edge and the packet stream inside.

AMBA AXI-Stream Protocol Specification, ARM IHI 0051.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from tailrace_hw.lib.axis import AxisSignature
from tailrace_hw.lib.packet import PacketSignature, beat_layout
from tailrace_hw.lib.stage import RegisterStage

__all__ = ["AxisMeta", "AxisToPacket", "PacketToAxis"]


class AxisMeta(data.Struct):
    """Metadata of a packet at the device's edge."""

    #: The frame is bad. Meaningful on the last beat only.
    error: 1


class AxisToPacket(wiring.Component):
    """AXI4-Stream in, packet stream out.

    Latency 1 cycle, one beat a cycle, order kept, nothing dropped; ``tready`` depends on
    ``o.ready`` in the same cycle.

    ``meta.error`` of a packet's last beat is set when ``tuser[0]`` was on any of its beats, or
    when its ``tkeep`` cannot be a packet's: bytes missing before the last beat, a hole or nothing
    on the last beat (which then counts as one byte). Such a packet still passes, with as many
    beats as it came with.

    Parameters
    ----------
    width : :class:`int`
        Datapath width in bits.
    user : :class:`int`
        ``tuser`` bits; bit 0 is the error bit, others are not looked at. 0: no ``tuser``.

    Members
    -------
    i : In(AxisSignature(width, user=user))
    o : Out(PacketSignature(width, AxisMeta))
    """

    def __init__(self, width: int, *, user: int = 0):
        self._width = width
        self._user = user
        super().__init__(
            {
                "i": In(AxisSignature(width, user=user)),
                "o": Out(PacketSignature(width, AxisMeta)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.stage = stage = RegisterStage(beat_layout(self._width, AxisMeta))
        beat = stage.i.payload
        keep = self.i.tkeep
        bad_before = Signal()  # an earlier beat of this packet was bad
        bad = Signal()
        #: Bit k: byte k is the last of a run of kept bytes.
        edge = keep & ~(keep >> 1)
        hole = (keep[1:] & ~keep[:-1]).any() | ~keep[0]
        m.d.comb += [
            bad.eq(bad_before | hole | (~self.i.tlast & ~keep.all())),
            stage.i.valid.eq(self.i.tvalid),
            self.i.tready.eq(stage.i.ready),
            beat.data.eq(self.i.tdata),
            beat.last.eq(self.i.tlast),
            beat.empty.eq(Mux(self.i.tlast, ~_one_hot_index(edge, len(keep)), 0)),
            beat.meta.error.eq(self.i.tlast & bad),
            self.o.valid.eq(stage.o.valid),
            self.o.payload.eq(stage.o.payload),
            stage.o.ready.eq(self.o.ready),
        ]
        if self._user:
            m.d.comb += bad.eq(bad_before | self.i.tuser[0] | hole | (~self.i.tlast & ~keep.all()))
        with m.If(self.i.tvalid & self.i.tready):
            m.d.sync += bad_before.eq(bad & ~self.i.tlast)
        return m


def _one_hot_index(one_hot, bits: int):
    """Number of the bit that is set; the OR of all their numbers when several are."""
    return Cat(
        Cat(one_hot[k] for k in range(bits) if k >> b & 1).any() for b in range(exact_log2(bits))
    )


class PacketToAxis(wiring.Component):
    """Packet stream in, AXI4-Stream out.

    Latency 1 cycle, one beat a cycle, order kept, nothing dropped; ``i.ready`` depends on
    ``tready`` in the same cycle. ``tkeep`` is all ones but on a packet's last beat, and never 0.

    Parameters
    ----------
    width : :class:`int`
        Datapath width in bits.
    user : :class:`int`
        ``tuser`` bits; bit 0 is ``meta.error`` on the last beat and 0 before, the others are 0.
        0: no ``tuser``, the error is not passed on.

    Members
    -------
    i : In(PacketSignature(width, AxisMeta))
    o : Out(AxisSignature(width, user=user))
    """

    def __init__(self, width: int, *, user: int = 0):
        self._width = width
        self._user = user
        super().__init__(
            {
                "i": In(PacketSignature(width, AxisMeta)),
                "o": Out(AxisSignature(width, user=user)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        size = self._width // 8
        beat = self.i.payload
        m.d.comb += self.i.ready.eq(~self.o.tvalid | self.o.tready)
        with m.If(self.i.ready):
            m.d.sync += self.o.tvalid.eq(self.i.valid)
            with m.If(self.i.valid):
                m.d.sync += [
                    self.o.tdata.eq(beat.data),
                    self.o.tlast.eq(beat.last),
                    self.o.tkeep.eq(Cat(beat.empty < size - k for k in range(size))),
                ]
                if self._user:
                    m.d.sync += self.o.tuser.eq(beat.last & beat.meta.error)
        return m
