"""One stream in, one of several out."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Demux"]


class Demux(wiring.Component):
    """Sends each packet (or item) to the output that ``select`` names.

    No latency and no register: ``i.ready`` depends on the chosen output's ``ready`` in the same
    cycle. Order is kept at each output. An output that does not take its packet holds up the
    packets behind it, whichever output they are for. A packet for an output that does not exist
    (``select`` of ``n`` or more) is taken and dropped, and ``dropped`` pulses.

    Parameters
    ----------
    shape : shape-like
        Payload of all streams.
    n : :class:`int`
        Outputs, at least 1.
    packets : :class:`bool`
        The payload has a member ``last``, and a packet stays together; else each item goes its
        own way.

    Members
    -------
    i : In(stream)
    select : In(range(n))
        Goes with the payload of a packet's first beat and must hold as long as that does; not
        looked at on the others.
    o : Out(stream), array of n
    dropped : Out(1)
        In the cycle in which the last beat of a packet for nobody is taken.
    """

    def __init__(self, shape, n: int, *, packets: bool = True):
        if n < 1:
            raise ValueError(f"a demultiplexer needs an output, not {n}")
        self._n = n
        self._packets = packets
        super().__init__(
            {
                "i": In(stream.Signature(shape)),
                "select": In(range(n)),
                "o": Out(stream.Signature(shape)).array(n),
                "dropped": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        chosen = Signal.like(self.select)
        last = Signal(init=1)
        if self._packets:
            first = Signal(init=1)
            held = Signal.like(self.select)
            m.d.comb += [chosen.eq(Mux(first, self.select, held)), last.eq(self.i.payload.last)]
            with m.If(self.i.valid & first):
                m.d.sync += held.eq(self.select)
            with m.If(self.i.valid & self.i.ready):
                m.d.sync += first.eq(last)
        else:
            m.d.comb += [chosen.eq(self.select), last.eq(1)]

        for o in self.o:
            m.d.comb += o.payload.eq(self.i.payload)
        with m.Switch(chosen):
            for index, o in enumerate(self.o):
                with m.Case(index):
                    m.d.comb += [o.valid.eq(self.i.valid), self.i.ready.eq(o.ready)]
            with m.Default():
                m.d.comb += [self.i.ready.eq(1), self.dropped.eq(self.i.valid & last)]
        return m
