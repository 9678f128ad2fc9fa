"""How much of a queue is in flight, and how much more fits into its part of the cache."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.virtio.fetch_cache import filled_layout, taken_layout
from tailrace_hw.virtio.fetch_types import ChainState, misfit_layout

__all__ = ["QueueCounts"]


class QueueCounts(wiring.Component):
    """Counts of one queue. Latency 1 cycle from the tables, ``room`` and ``grain`` 2.

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
        Ring descriptors or entries that may be asked for.
    grain : ``Out(3)``
        Cache slots to hold for each of them, as a power of two: segments it is likely to become.
        Only when that makes no room for one while ``meagre``, one is tried with a slot.
    weight : ``Out(3)``
        Segments that one is likely to become, as a power of two.
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
                "weight": Out(3),
                "grain": Out(3),
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
        weight = self.weight
        nothing_to_give = Signal()
        free = self._depth - used
        share = Signal(self._slot_bits)
        m.d.comb += [
            share.eq((free - self.reserved)[: self._slot_bits] >> weight),
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
            self.grain.eq(Mux(share == 0, 0, weight)),
        ]
        return m
