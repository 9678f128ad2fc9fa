"""How much of a split ring's available ring to read (virtio 1.2, 2.7.6)."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ENTRIES", "SplitPlan"]

#: Available entries read at once: a 64-byte line.
ENTRIES = 32
#: With room for this many of one segment, a batch is worth its read even if it could be longer.
#: Of longer chains less is enough, for the cache does not hold many.
ENOUGH = 8


class SplitPlan(wiring.Component):
    """Size of the next batch of entries: up to a line's end, never past the ring's end.

    Latency 2 cycles from the inputs.

    Members
    -------
    size, position, room, meagre, single, left, weight : ``In``
        ``left``: entries known to be available. ``weight``: segments of one, as a power of two.
    count : ``Out``
        Entries to read; 0: wait.
    """

    def __init__(self, slot_bits: int):
        self._slot_bits = slot_bits
        super().__init__(
            {
                "size": In(16),
                "position": In(16),
                "room": In(slot_bits),
                "meagre": In(1),
                "single": In(1),
                "left": In(16),
                "weight": In(3),
                "count": Out(6),
            }
        )

    def elaborate(self, platform):
        m = Module()
        index = Signal(16)
        to_line = Signal(6)
        to_end = Signal(16)
        limit = Signal(6)
        wanted = Signal(6)
        enough = Signal(4)
        m.d.comb += [
            index.eq(self.position & (self.size - 1)[:16]),
            # Entries begin 4 bytes behind the line that the driver area begins.
            to_line.eq(ENTRIES - (index + 2)[:5]),
            to_end.eq(self.size - index),
            limit.eq(Mux(to_end < to_line, to_end, to_line)),
        ]
        m.d.comb += enough.eq(ENOUGH >> self.weight[1:])
        m.d.sync += wanted.eq(Mux(self.single, 1, Mux(self.left < limit, self.left, limit)))
        with m.If(self.room >= wanted):
            m.d.sync += self.count.eq(wanted)
        with m.Else():
            m.d.sync += self.count.eq(Mux((self.room >= enough) | self.meagre, self.room, 0))
        return m
