"""Packet streams of different widths, joined."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from tailrace_hw.lib.packet import NoMeta, PacketSignature, beat_layout

__all__ = ["WidthConverter"]


class WidthConverter(wiring.Component):
    """Repacks a packet stream from ``i_width`` to ``o_width`` bits, in either direction.

    The narrow side moves one beat a cycle without a gap, across packets too. Every packet starts
    on a beat of its own; all beats but its last are full, as on every packet stream. Order kept,
    nothing dropped. What lies in the unused bytes of a last beat is not defined.

    * Wider: latency 1 cycle from the narrow beat that completes a wide one. The metadata are those
      of the packet's latest narrow beat. ``i.ready`` depends on ``o.ready`` in the same cycle.
    * Narrower: latency 1 cycle. The metadata are those of the wide beat. ``i.ready`` depends on
      ``o.ready`` in the same cycle.
    * Same width: one register, latency 1 cycle.

    Parameters
    ----------
    i_width, o_width : :class:`int`
        Datapath widths in bits.
    meta : shape-like
        Metadata of both streams.

    Members
    -------
    i : In(PacketSignature(i_width, meta))
    o : Out(PacketSignature(o_width, meta))
    """

    def __init__(self, i_width: int, o_width: int, meta=NoMeta):
        self._i_width = i_width
        self._o_width = o_width
        self._meta = meta
        super().__init__(
            {"i": In(PacketSignature(i_width, meta)), "o": Out(PacketSignature(o_width, meta))}
        )

    def elaborate(self, platform):
        m = Module()
        if self._o_width > self._i_width:
            self._widen(m)
        else:
            self._narrow(m)
        return m

    def _widen(self, m):
        """Gather all narrow words but the completing one, which goes straight to the output."""
        ratio = self._o_width // self._i_width
        i, o = self.i.payload, self.o.payload
        gathered = Signal(data.ArrayLayout(self._i_width, ratio - 1))
        lane = Signal(range(ratio))
        completes = Signal()
        m.d.comb += [
            completes.eq(i.last | (lane == ratio - 1)),
            self.i.ready.eq(~completes | ~self.o.valid | self.o.ready),
        ]
        words = [Mux(lane == k, i.data, gathered[k]) for k in range(ratio - 1)] + [i.data]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.i.valid & self.i.ready):
            with m.If(completes):
                m.d.sync += [
                    self.o.valid.eq(1),
                    o.data.eq(Cat(words)),
                    o.last.eq(i.last),
                    # ratio - 1 - lane words are missing; lane has just the bits of ratio - 1.
                    o.empty.eq(Mux(i.last, Cat(i.empty, ~lane), 0)),
                    o.meta.eq(i.meta),
                    lane.eq(0),
                ]
            with m.Else():
                m.d.sync += lane.eq(lane + 1)
        for k in range(ratio - 1):
            with m.If(self.i.valid & (lane == k)):
                m.d.sync += gathered[k].eq(i.data)

    def _narrow(self, m):
        """Hold a wide beat and shift it out; with a ratio of 1 this is a plain register."""
        ratio = self._i_width // self._o_width
        held = Signal(beat_layout(self._i_width, self._meta))
        held_valid = Signal()
        left = Signal(range(ratio))  # narrow beats to come after the one on the output
        empty_bits = exact_log2(self._o_width // 8)
        ends = Signal()
        m.d.comb += [
            ends.eq(left == 0),
            self.i.ready.eq(~held_valid | (self.o.ready & ends)),
            self.o.valid.eq(held_valid),
            self.o.payload.data.eq(held.data),
            self.o.payload.last.eq(held.last & ends),
            self.o.payload.empty.eq(Mux(ends, held.empty[:empty_bits], 0)),
            self.o.payload.meta.eq(held.meta),
        ]
        with m.If(self.i.ready):
            m.d.sync += held_valid.eq(self.i.valid)
            with m.If(self.i.valid):
                m.d.sync += [
                    held.eq(self.i.payload),
                    left.eq(~self.i.payload.empty[empty_bits:]),
                ]
        with m.Elif(self.o.ready):
            m.d.sync += [held.data.eq(held.data >> self._o_width), left.eq(left - 1)]
