"""The rules of a packet stream, as gateware."""

from amaranth.hdl import Module, Shape, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.lib.packet import NoMeta, beat_layout

__all__ = ["BrokenRules", "PacketChecker"]


class BrokenRules(data.Struct):
    """One bit a rule."""

    #: ``valid`` fell before the beat was taken.
    valid_fell: 1
    #: The payload changed before the beat was taken.
    payload_changed: 1
    #: A beat before the last had unused bytes.
    early_empty: 1
    #: The metadata changed within a packet.
    meta_changed: 1


class PacketChecker(wiring.Component):
    """Watches a packet stream and says, in the cycle in which it happens, which rule it breaks.

    A packet without bytes needs no rule: the layout cannot express one. ``valid`` waiting for
    ``ready`` cannot be seen from one run; the proofs in tests/formal show it by never setting
    ``ready``.

    Parameters
    ----------
    width : :class:`int`
        Datapath width in bits.
    meta : shape-like
        Metadata of the stream.
    constant_meta : :class:`bool`
        Check that metadata do not change within a packet; off for a stream whose owner defines a
        member for the last beat only.

    Members
    -------
    payload, valid, ready : In
        The stream's signals; this component drives none of them.
    broken : Out(BrokenRules)
    error : Out(1)
        Any of ``broken``.
    """

    def __init__(self, width: int, meta=NoMeta, *, constant_meta: bool = True):
        self._meta_width = Shape.cast(meta).width
        self._constant_meta = constant_meta
        super().__init__(
            {
                "payload": In(beat_layout(width, meta)),
                "valid": In(1),
                "ready": In(1),
                "broken": Out(BrokenRules),
                "error": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        waiting = Signal()
        inside = Signal()  # a packet has begun and not ended
        now = self.payload.as_value()
        meta = now[len(now) - self._meta_width :]  # the layout's last member
        payload_before = Signal.like(now)
        meta_before = Signal(self._meta_width)
        m.d.sync += [waiting.eq(self.valid & ~self.ready), payload_before.eq(now)]
        with m.If(self.valid & self.ready):
            m.d.sync += [inside.eq(~self.payload.last), meta_before.eq(meta)]
        m.d.comb += [
            self.broken.valid_fell.eq(waiting & ~self.valid),
            self.broken.payload_changed.eq(waiting & self.valid & (now != payload_before)),
            self.broken.early_empty.eq(self.valid & ~self.payload.last & (self.payload.empty != 0)),
            self.error.eq(self.broken.as_value().any()),
        ]
        if self._constant_meta:
            m.d.comb += self.broken.meta_changed.eq(self.valid & inside & (meta != meta_before))
        return m
