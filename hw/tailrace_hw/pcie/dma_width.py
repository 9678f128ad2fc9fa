"""DMA ports of one width on an engine of another."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.lib.packet import NoMeta
from tailrace_hw.lib.width import WidthConverter
from tailrace_hw.pcie.dma import DmaReadMeta, DmaReadPort, DmaWritePort

__all__ = ["DmaReadWidth", "DmaWriteWidth"]


class DmaReadWidth(wiring.Component):
    """A read port of ``client_width`` on a read engine of ``engine_width``.

    Requests pass through; data packets are repacked by a :class:`WidthConverter`, one cycle.

    Members
    -------
    client : In(DmaReadPort(client_width))
    engine : Out(DmaReadPort(engine_width))
    """

    def __init__(self, client_width: int, engine_width: int):
        super().__init__(
            {"client": In(DmaReadPort(client_width)), "engine": Out(DmaReadPort(engine_width))}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.data = data = WidthConverter(
            self.engine.signature.width, self.client.signature.flip().width, DmaReadMeta
        )
        wiring.connect(m, wiring.flipped(self.client.request), wiring.flipped(self.engine.request))
        wiring.connect(m, wiring.flipped(self.engine.data), data.i)
        wiring.connect(m, data.o, wiring.flipped(self.client.data))
        return m


class DmaWriteWidth(wiring.Component):
    """A write port of ``client_width`` on a write engine of ``engine_width``.

    Requests and responses pass through; data packets are repacked by a :class:`WidthConverter`,
    one cycle.

    Members
    -------
    client : In(DmaWritePort(client_width))
    engine : Out(DmaWritePort(engine_width))
    """

    def __init__(self, client_width: int, engine_width: int):
        super().__init__(
            {"client": In(DmaWritePort(client_width)), "engine": Out(DmaWritePort(engine_width))}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.data = data = WidthConverter(
            self.client.signature.flip().width, self.engine.signature.width, NoMeta
        )
        client, engine = self.client, self.engine
        wiring.connect(m, wiring.flipped(client.request), wiring.flipped(engine.request))
        wiring.connect(m, wiring.flipped(client.data), data.i)
        wiring.connect(m, data.o, wiring.flipped(engine.data))
        wiring.connect(m, wiring.flipped(engine.response), wiring.flipped(client.response))
        return m
