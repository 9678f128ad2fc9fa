"""Registers in a stream: what a long path is cut with."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ReadyStage", "RegisterStage", "SkidStage"]


class RegisterStage(wiring.Component):
    """One register for valid and payload; ready passes through.

    Latency 1 cycle, one item a cycle, order kept, nothing dropped. Cuts the forward path only:
    ``i.ready`` depends on ``o.ready`` in the same cycle, so that the stage costs one register a
    payload bit. Where the ready path is long too, use :class:`SkidStage`.

    Parameters
    ----------
    shape : shape-like
        Payload of both streams.

    Members
    -------
    i : In(stream)
    o : Out(stream)
    """

    def __init__(self, shape):
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.i.ready):
            m.d.sync += self.o.valid.eq(self.i.valid)
            with m.If(self.i.valid):
                m.d.sync += self.o.payload.eq(self.i.payload)
        return m


class ReadyStage(wiring.Component):
    """One register that cuts ready; valid and payload pass through.

    Latency 0, one item a cycle, order kept, nothing dropped. ``i.ready`` comes straight from a
    register; an item that the output does not take in the cycle in which it enters is kept and
    leaves before all others. ``o.valid`` and ``o.payload`` depend on ``i`` in the same cycle: one
    register and a 2:1 multiplexer a payload bit. Where each cycle counts and the ready path is the
    long one; where the forward path is long too, use :class:`SkidStage`.

    Parameters
    ----------
    shape : shape-like
        Payload of both streams.

    Members
    -------
    i : In(stream)
    o : Out(stream)
    """

    def __init__(self, shape):
        self._shape = shape
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        kept_valid = Signal()
        kept = Signal(self._shape)
        m.d.comb += [
            self.i.ready.eq(~kept_valid),
            self.o.valid.eq(self.i.valid | kept_valid),
            self.o.payload.eq(Mux(kept_valid, kept, self.i.payload)),
        ]
        m.d.sync += kept_valid.eq(self.o.valid & ~self.o.ready)
        with m.If(~kept_valid):
            m.d.sync += kept.eq(self.i.payload)
        return m


class SkidStage(wiring.Component):
    """Two registers that cut valid, payload and ready: no path runs through.

    Latency 1 cycle, one item a cycle, order kept, nothing dropped. ``i.ready`` comes straight from
    a register; the item that arrives in the cycle in which the output stalls goes to the second
    register. Two registers and a 2:1 multiplexer a payload bit.

    Parameters
    ----------
    shape : shape-like
        Payload of both streams.

    Members
    -------
    i : In(stream)
    o : Out(stream)
    """

    def __init__(self, shape):
        self._shape = shape
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        skid_valid = Signal()
        skid_payload = Signal(self._shape)
        m.d.comb += self.i.ready.eq(~skid_valid)
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += [self.o.valid.eq(self.i.valid | skid_valid), skid_valid.eq(0)]
            with m.If(skid_valid):
                m.d.sync += self.o.payload.eq(skid_payload)
            with m.Else():
                m.d.sync += self.o.payload.eq(self.i.payload)
        with m.Elif(self.i.valid & self.i.ready):
            m.d.sync += [skid_valid.eq(1), skid_payload.eq(self.i.payload)]
        return m
