"""A queue that costs no time while it is empty."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.lib.fifo import SyncFifo

__all__ = ["FallThroughFifo"]


class FallThroughFifo(wiring.Component):
    """Queue in one clock domain that an item passes in the same cycle if none is before it.

    Latency 0 when empty, else up to 2 cycles in which it offers nothing although it holds items
    (see :class:`SyncFifo`, which is behind it). One item a cycle from a depth of 3 on, order kept,
    nothing dropped. ``o.valid`` and ``o.payload`` depend on ``i`` in the same cycle, through two
    multiplexers a payload bit: for narrow payloads, from a register, where cycles count.
    ``i.ready`` comes from a register.

    Parameters
    ----------
    shape : shape-like
        Payload of both streams.
    depth : :class:`int`
        Items that are sure to find room, at least 2; one more is held at times.

    Members
    -------
    i : In(stream)
    o : Out(stream)
    """

    def __init__(self, shape, depth: int):
        self._shape = shape
        self._queue = SyncFifo(shape, depth)
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = self._queue
        #: An item that could pass and was not taken; it is before all in the queue.
        held = Signal(self._shape)
        held_valid = Signal()
        empty = Signal()
        passes = Signal()
        m.d.comb += [
            empty.eq(queue.level == 0),
            passes.eq(self.i.valid & empty & ~held_valid),
            self.i.ready.eq(queue.i.ready),
            queue.i.valid.eq(self.i.valid & ~(empty & ~held_valid)),
            queue.i.payload.eq(self.i.payload),
            queue.o.ready.eq(self.o.ready & ~held_valid),
            self.o.valid.eq(held_valid | queue.o.valid | passes),
            self.o.payload.eq(
                Mux(held_valid, held, Mux(queue.o.valid, queue.o.payload, self.i.payload))
            ),
        ]
        with m.If(passes & ~self.o.ready):
            m.d.sync += [held.eq(self.i.payload), held_valid.eq(1)]
        with m.Elif(self.o.ready):
            m.d.sync += held_valid.eq(0)
        return m
