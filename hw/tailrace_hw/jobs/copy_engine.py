"""The engine of COPY and CRC32C."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, connect, flipped

from tailrace_hw.jobs.types import EnginePort, JobStatus, OperationMeta, OutputMeta
from tailrace_hw.lib.crc32 import CRC32C, Crc32
from tailrace_hw.lib.fifo import SyncFifo
from tailrace_hw.lib.packet import beat_layout
from tailrace_hw.lib.stage import RegisterStage

__all__ = ["CopyEngine"]


class CopyEngine(wiring.Component):
    """Gives each packet back as it is, and its CRC-32C (RFC 3720, B.4) as the result.

    One beat a cycle, latency 1 cycle; the result 8 + log2(width / 8) cycles after the last beat.
    Nothing fails. A packet waits while as many results do as the CRC takes cycles.

    Parameters
    ----------
    width : :class:`int`
        Datapath width in bits.

    Members
    -------
    port : In(EnginePort(width))
    """

    _RESULTS = 32

    def __init__(self, width: int):
        self._width = width
        super().__init__({"port": In(EnginePort(width))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = crc = Crc32(self._width, OperationMeta, CRC32C)
        m.submodules.output = output = RegisterStage(beat_layout(self._width, OutputMeta))
        m.submodules.slots = slots = SyncFifo(8, self._RESULTS)
        connect(m, output.o, flipped(self.port.o))
        i, result = self.port.i, self.port.result
        beat = i.payload
        goes = Signal()
        m.d.comb += [
            goes.eq(crc.i.ready & output.i.ready & slots.i.ready),
            i.ready.eq(goes),
            crc.i.valid.eq(i.valid & output.i.ready & slots.i.ready),
            crc.i.payload.eq(beat),
            output.i.valid.eq(i.valid & crc.i.ready & slots.i.ready),
            output.i.payload.data.eq(beat.data),
            output.i.payload.empty.eq(beat.empty),
            output.i.payload.last.eq(beat.last),
            output.i.payload.meta.slot.eq(beat.meta.slot),
            slots.i.valid.eq(i.valid & goes & beat.last),
            slots.i.payload.eq(beat.meta.slot),
            result.valid.eq(crc.o.valid & slots.o.valid),
            result.payload.slot.eq(slots.o.payload),
            result.payload.status.eq(JobStatus.OK),
            result.payload.crc.eq(crc.o.payload),
            crc.o.ready.eq(result.ready & slots.o.valid),
            slots.o.ready.eq(result.ready & crc.o.valid),
        ]
        return m
