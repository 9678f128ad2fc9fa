"""Several initiators of register accesses, one target."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.lib.csr import CsrSignature

__all__ = ["CsrArbiter"]


class CsrArbiter(wiring.Component):
    """Lets several initiators share a CSR port, one access at a time.

    The lowest-numbered initiator that asks goes first; the others go on as soon as it leaves a
    gap, which every initiator does, since it has at most one access open. No latency: an access
    passes in the cycle in which it is offered, unless another is open.

    Parameters
    ----------
    address_width : :class:`int`
    initiators : :class:`int`

    Members
    -------
    i : In(CsrSignature(address_width)), array
    o : Out(CsrSignature(address_width))
    """

    def __init__(self, address_width: int, initiators: int):
        super().__init__(
            {
                "i": In(CsrSignature(address_width)).array(initiators),
                "o": Out(CsrSignature(address_width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        owner = Signal(range(len(self.i)))
        #: The owner's request is offered and not taken yet, or taken and not answered yet.
        held = Signal()
        open_ = Signal()
        chosen = Signal.like(owner)
        m.d.comb += chosen.eq(owner)
        with m.If(~held & ~open_):
            for index in reversed(range(len(self.i))):
                with m.If(self.i[index].request.valid):
                    m.d.comb += chosen.eq(index)
        for index, port in enumerate(self.i):
            m.d.comb += port.response.payload.eq(self.o.response.payload)
            with m.If(chosen == index):
                m.d.comb += [
                    self.o.request.valid.eq(port.request.valid & ~open_),
                    self.o.request.payload.eq(port.request.payload),
                    port.request.ready.eq(self.o.request.ready & ~open_),
                ]
            with m.If(owner == index):
                m.d.comb += [
                    port.response.valid.eq(self.o.response.valid & open_),
                    self.o.response.ready.eq(port.response.ready & open_),
                ]
        with m.If(self.o.request.valid):
            m.d.sync += [
                owner.eq(chosen),
                held.eq(~self.o.request.ready),
                open_.eq(self.o.request.ready),
            ]
        with m.If(self.o.response.valid & self.o.response.ready):
            m.d.sync += open_.eq(0)
        return m
