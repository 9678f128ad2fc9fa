"""How much of a queue is in flight, and how much more fits into its part of the cache."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.virtio.fetch_cache import filled_layout, taken_layout
from tailrace_hw.virtio.fetch_types import ChainState, misfit_layout

__all__ = ["QueueCounts"]


class QueueCounts(wiring.Component):
    """Counts of one queue. Latency 1 cycle from the tables, ``room`` 2.

    Parameters
    ----------
    depth : segments a queue

    Members
    -------
    filled, taken, issued, done, chain, misfit : ``In``
        Rows of the tables.
    reads, reserved : ``Out``
        Reads in flight, and cache slots held for what is on its way.
    busy : ``Out(1)``
        Either is not 0.
    room : ``Out``
        Ring descriptors or entries that may be asked for: as each may become several segments,
        there is sure to be room for one only.
    meagre : ``Out(1)``
        Nothing will make more room by itself.
    full, no_whole_chain : ``Out(1)``
        Of the cache.
    no_fit : ``Out(1)``
        A starved queue's chain would not fit if it were read again.
    """

    def __init__(self, depth: int, progress, slot_bits: int):
        self._depth = depth
        self._slot_bits = slot_bits
        super().__init__(
            {
                "filled": In(filled_layout(slot_bits)),
                "taken": In(taken_layout(slot_bits)),
                "issued": In(progress),
                "done": In(progress),
                "chain": In(ChainState),
                "misfit": In(misfit_layout(slot_bits)),
                "reads": Out(8),
                "reserved": Out(slot_bits),
                "busy": Out(1),
                "room": Out(slot_bits),
                "meagre": Out(1),
                "full": Out(1),
                "no_whole_chain": Out(1),
                "no_fit": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        filled, taken, misfit = self.filled, self.taken, self.misfit
        used = Signal(self._slot_bits)
        weight = Signal(3)
        nothing_to_give = Signal()
        free = self._depth - used
        # Descriptors in flight, and those to be read, may become several segments.
        expected = self.reserved << weight
        share = Signal(self._slot_bits)
        m.d.comb += [
            share.eq(Mux(free > expected, free - expected, 0) >> weight),
            self.meagre.eq(nothing_to_give & (self.reserved == 0)),
            self.busy.eq((self.reads != 0) | (self.reserved != 0)),
            self.full.eq(free == 0),
        ]
        m.d.sync += [
            used.eq(filled.written - taken.freed),
            self.reserved.eq(self.issued.slots - self.done.slots),
            self.reads.eq(self.issued.reads - self.done.reads),
            weight.eq(self.chain.weight),
            nothing_to_give.eq(filled.whole == taken.given),
            self.no_whole_chain.eq(filled.whole == taken.freed),
            self.no_fit.eq(
                misfit.cached & ((filled.whole != taken.given) | (taken.freed == misfit.freed))
            ),
            self.room.eq(Mux(self.meagre & (share == 0), free != 0, share)),
        ]
        return m
