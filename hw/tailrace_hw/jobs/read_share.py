"""Several readers on one DMA port."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from tailrace_hw.lib.arbiter import RoundRobinArbiter
from tailrace_hw.lib.demux import Demux
from tailrace_hw.lib.packet import beat_layout
from tailrace_hw.pcie.dma import DmaReadMeta, DmaReadPort, DmaReadRequest

__all__ = ["ReadShare"]


class ReadShare(wiring.Component):
    """Puts the requests of several clients on one port, in turn, and sends each its data.

    Data come in the order of all requests: a client that does not take its data holds up the
    others. A request passes in 1 cycle, data in none.

    Parameters
    ----------
    width, clients : :class:`int`

    Members
    -------
    clients : In(DmaReadPort(width)), array
        The top bits of ``tag`` are not theirs: they come back as 0.
    dma : Out(DmaReadPort(width))
    """

    def __init__(self, width: int, clients: int):
        self._width = width
        super().__init__(
            {"clients": In(DmaReadPort(width)).array(clients), "dma": Out(DmaReadPort(width))}
        )

    def elaborate(self, platform):
        m = Module()
        count = len(self.clients)
        bits = max(ceil_log2(count), 1)
        m.submodules.arbiter = arbiter = RoundRobinArbiter(DmaReadRequest, count)
        m.submodules.demux = demux = Demux(beat_layout(self._width, DmaReadMeta), count)
        connect(m, flipped(self.dma.data), demux.i)
        m.d.comb += [
            self.dma.request.valid.eq(arbiter.o.valid),
            arbiter.o.ready.eq(self.dma.request.ready),
            self.dma.request.payload.eq(arbiter.o.payload),
            self.dma.request.payload.tag[-bits:].eq(arbiter.grant),
            demux.select.eq(self.dma.data.payload.meta.tag[-bits:]),
        ]
        for index, client in enumerate(self.clients):
            connect(m, flipped(client.request), arbiter.i[index])
            out = demux.o[index]
            m.d.comb += [
                client.data.valid.eq(out.valid),
                out.ready.eq(client.data.ready),
                client.data.payload.eq(out.payload),
                client.data.payload.meta.tag[-bits:].eq(0),
            ]
        return m
