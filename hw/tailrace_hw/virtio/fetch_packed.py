"""How much of a packed ring to read (virtio 1.2, 2.8)."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.virtio.fetch_types import BATCH

__all__ = ["FIRST_WINDOW", "LAST_WINDOW", "PackedPlan"]

#: Batches in flight, as powers of two: after the ring was found empty, and at most. Reading
#: ahead of the driver costs bus time, so a queue earns its window with batches that are full.
FIRST_WINDOW = 1
LAST_WINDOW = 4


class PackedPlan(wiring.Component):
    """Size of the next batch: up to a multiple of ``BATCH`` in the ring, never past its end.

    A batch that would be cut short by a lack of room waits for more, unless ``meagre`` says that
    none will come. Latency 2 cycles from the inputs.

    Members
    -------
    size, position, room, meagre, single, reads, window : ``In``
        ``position``: offset, wrap counter on top. ``window``: above FIRST_WINDOW.
    count : ``Out``
        Descriptors to read; 0: wait.
    after : ``Out(16)``
        Position behind the batch.
    """

    def __init__(self, slot_bits: int):
        super().__init__(
            {
                "size": In(16),
                "position": In(16),
                "room": In(slot_bits),
                "meagre": In(1),
                "single": In(1),
                "reads": In(8),
                "window": In(3),
                "count": Out(4),
                "after": Out(16),
            }
        )

    def elaborate(self, platform):
        m = Module()
        offset = self.position[:15]
        wrap = self.position[15]
        to_end = Signal(16)
        whole = Signal(4)
        open_ = Signal()
        end = Signal(16)
        aligned = BATCH - offset[:3]
        m.d.comb += to_end.eq(self.size - offset)
        m.d.sync += whole.eq(Mux(self.single, 1, Mux(to_end < aligned, to_end, aligned)))
        m.d.comb += open_.eq(self.reads < (1 << (self.window + FIRST_WINDOW)))
        with m.If(~open_):
            m.d.sync += self.count.eq(0)
        with m.Elif(self.room >= whole):
            m.d.sync += self.count.eq(whole)
        with m.Else():
            m.d.sync += self.count.eq(Mux(self.meagre, self.room, 0))
        m.d.comb += end.eq(offset + self.count)
        with m.If(end == self.size):
            m.d.comb += self.after.eq(Cat(Const(0, 15), ~wrap))
        with m.Else():
            m.d.comb += self.after.eq(Cat(end[:15], wrap))
        return m
