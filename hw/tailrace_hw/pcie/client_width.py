"""DMA clients whose datapath has another width than the PCIe interface."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.lib.width import WidthConverter
from tailrace_hw.pcie.dma import DmaReadMeta, DmaReadPort, DmaWritePort

__all__ = ["ReadClientWidth", "WriteClientWidth"]


class ReadClientWidth(wiring.Component):
    """A read client of ``width`` bits on an engine of ``engine_width``.

    Requests pass; data packets are repacked (1 cycle more, see :class:`WidthConverter`).

    Members
    -------
    client : In(DmaReadPort(width))
    engine : Out(DmaReadPort(engine_width))
    """

    def __init__(self, width: int, engine_width: int):
        super().__init__(
            {"client": In(DmaReadPort(width)), "engine": Out(DmaReadPort(engine_width))}
        )

    def elaborate(self, platform):
        m = Module()
        converter = WidthConverter(
            self.engine.signature.width, self.client.signature.width, DmaReadMeta
        )
        m.submodules.converter = converter
        wiring.connect(m, wiring.flipped(self.client.request), wiring.flipped(self.engine.request))
        wiring.connect(m, wiring.flipped(self.engine.data), converter.i)
        wiring.connect(m, converter.o, wiring.flipped(self.client.data))
        return m


class WriteClientWidth(wiring.Component):
    """A write client of ``width`` bits on an engine of ``engine_width``.

    Requests and responses pass; data packets are repacked (1 cycle more).

    Members
    -------
    client : In(DmaWritePort(width))
    engine : Out(DmaWritePort(engine_width))
    """

    def __init__(self, width: int, engine_width: int):
        super().__init__(
            {"client": In(DmaWritePort(width)), "engine": Out(DmaWritePort(engine_width))}
        )

    def elaborate(self, platform):
        m = Module()
        converter = WidthConverter(self.client.signature.width, self.engine.signature.width)
        m.submodules.converter = converter
        wiring.connect(m, wiring.flipped(self.client.request), wiring.flipped(self.engine.request))
        wiring.connect(m, wiring.flipped(self.client.data), converter.i)
        wiring.connect(m, converter.o, wiring.flipped(self.engine.data))
        wiring.connect(
            m, wiring.flipped(self.engine.response), wiring.flipped(self.client.response)
        )
        return m
