"""The comparison that decides about a used buffer notification."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.virtio.used_types import SLOT_COUNT_BITS

__all__ = ["NeedCheck", "RingEvent"]


class RingEvent(enum.Enum, shape=2):
    """RING_EVENT_FLAGS of a packed ring's event suppression structure (virtio 1.2, 2.8.10)."""

    ENABLE = 0
    DISABLE = 1
    DESC = 2


class NeedCheck(wiring.Component):
    """Whether the driver asked for a notification about what became visible.

    - Split without EVENT_IDX (2.7.7.2): unless bit 0 of ``area`` (NO_INTERRUPT) is set.
    - Split with EVENT_IDX (2.7.10): when the entry ``area`` is among the last ``since`` ones.
    - Packed (2.8.10): ENABLE always, DISABLE never, DESC (only with EVENT_IDX) when the entry and
      wrap counter in the lower half of ``area`` are among the last ``since`` ones. What the
      standard reserves, or does not allow, counts as ENABLE: an interrupt too many does no harm.

    Positions of a packed ring are compared modulo twice its size, as entry plus size if the wrap
    counter is set. ``needed`` is valid 2 cycles after the inputs.

    Members
    -------
    area : In(32)
        What the driver wrote.
    packed_ring, event_idx, size : In
        The queue's.
    position, wrap : In
        Next position after what became visible.
    since : In
        Descriptors (split: chains) that became visible since the last decision.
    needed : Out(1)
    """

    area: In(32)
    packed_ring: In(1)
    event_idx: In(1)
    size: In(16)
    position: In(16)
    wrap: In(1)
    since: In(SLOT_COUNT_BITS)
    needed: Out(1)

    def elaborate(self, platform):
        m = Module()
        entry = Mux(self.packed_ring, self.area[:15], self.area[:16])
        flags = self.area[16:18]
        reached = Signal(17)
        wanted = Signal(17)
        always = Signal()
        never = Signal()
        with m.If(self.packed_ring):
            m.d.sync += [
                reached.eq(self.position + Mux(self.wrap, self.size, 0)),
                wanted.eq(entry + Mux(self.area[15], self.size, 0)),
                never.eq(flags == RingEvent.DISABLE),
                always.eq(
                    (flags != RingEvent.DISABLE)
                    & ((flags != RingEvent.DESC) | ~self.event_idx | (entry >= self.size))
                ),
            ]
        with m.Else():
            m.d.sync += [
                reached.eq(self.position),
                wanted.eq(entry),
                never.eq(~self.event_idx & self.area[0]),
                always.eq(~self.event_idx & ~self.area[0]),
            ]

        #: How many entries before the last one the wanted one lies.
        distance = Signal(18)
        modulus = Mux(self.packed_ring, self.size << 1, 1 << 16)
        plain = reached - wanted - 1
        m.d.comb += distance.eq(Mux(plain < 0, plain + modulus, plain))
        m.d.sync += self.needed.eq(~never & (always | (distance < self.since)))
        return m
