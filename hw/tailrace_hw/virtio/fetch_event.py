"""Writes avail_event of a split ring (virtio 1.2, 2.7.10)."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.pcie.dma import DmaStatus, DmaWritePort
from tailrace_hw.virtio.fetch_types import EventDone, EventWrite

__all__ = ["EventWriter"]


class EventWriter(wiring.Component):
    """One 2-byte write at a time, answered once the write is ordered.

    A read of the available index that is issued after the answer cannot overtake the write, so
    that between the driver's update of the index and ours of avail_event one sees the other.

    Parameters
    ----------
    width : of the DMA port

    Members
    -------
    i : ``In(stream(EventWrite))``
        Ready while nothing is under way.
    o : ``Out(stream(EventDone))``
    dma : ``Out(DmaWritePort(width))``
    function : ``In(8)``
    busy, queue : ``Out(1)``, ``Out(8)``
        A write of this queue has begun and its answer has not been taken.
    """

    def __init__(self, width: int):
        super().__init__(
            {
                "i": In(stream.Signature(EventWrite)),
                "o": Out(stream.Signature(EventDone)),
                "dma": Out(DmaWritePort(width)),
                "function": In(8),
                "busy": Out(1),
                "queue": Out(8),
            }
        )

    def elaborate(self, platform):
        m = Module()
        event = Signal(EventWrite)
        fault = Signal()
        dma = self.dma
        beat = dma.data.payload
        m.d.comb += [
            self.queue.eq(event.queue),
            dma.request.payload.function.eq(self.function),
            dma.request.payload.address.eq(event.address),
            dma.request.payload.length.eq(2),
            beat.data.eq(event.value),
            beat.empty.eq(len(beat.data) // 8 - 2),
            beat.last.eq(1),
            self.o.payload.queue.eq(event.queue),
            self.o.payload.address.eq(event.address),
            self.o.payload.fault.eq(fault),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += event.eq(self.i.payload)
                    m.next = "REQUEST"
            with m.State("REQUEST"):
                m.d.comb += [self.busy.eq(1), dma.request.valid.eq(1)]
                with m.If(dma.request.ready):
                    m.next = "DATA"
            with m.State("DATA"):
                m.d.comb += [self.busy.eq(1), dma.data.valid.eq(1)]
                with m.If(dma.data.ready):
                    m.next = "RESPONSE"
            with m.State("RESPONSE"):
                m.d.comb += [self.busy.eq(1), dma.response.ready.eq(1)]
                with m.If(dma.response.valid):
                    m.d.sync += fault.eq(dma.response.payload.status != DmaStatus.OK)
                    m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += [self.busy.eq(1), self.o.valid.eq(1)]
                with m.If(self.o.ready):
                    m.next = "IDLE"
        return m
