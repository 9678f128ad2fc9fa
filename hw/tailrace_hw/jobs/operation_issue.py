"""Gives jobs to their engines."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from tailrace_hw.jobs.source_store import StoredMeta
from tailrace_hw.jobs.types import OperationMeta
from tailrace_hw.lib.demux import Demux
from tailrace_hw.lib.packet import PacketSignature, beat_layout
from tailrace_hw.lib.ram import SimpleDualPortRam

__all__ = ["OperationIssue"]


class OperationIssue(wiring.Component):
    """Puts the parameters of its operation on each packet, and sends it to its engine.

    One beat a cycle, latency 1; an engine that does not take its packet holds up those behind it.

    Parameters
    ----------
    width : :class:`int`
    jobs, engines : :class:`int`

    Members
    -------
    parameters : In(stream of OperationMeta), always ready
        Of each job, well before its packet.
    i : In(PacketSignature(width, StoredMeta))
    o : Out(PacketSignature(width, OperationMeta)), array by engine
    """

    def __init__(self, width: int, jobs: int, engines: int):
        self._width = width
        self._jobs = jobs
        super().__init__(
            {
                "parameters": In(stream.Signature(OperationMeta, always_ready=True)),
                "i": In(PacketSignature(width, StoredMeta)),
                "o": Out(PacketSignature(width, OperationMeta)).array(engines),
            }
        )

    def elaborate(self, platform):
        m = Module()
        engines = len(self.o)
        m.submodules.table = table = SimpleDualPortRam(OperationMeta, self._jobs)
        m.submodules.demux = demux = Demux(beat_layout(self._width, OperationMeta), engines)
        beat, valid = Signal(beat_layout(self._width, StoredMeta)), Signal()
        advance = Signal()
        first = Signal(init=1)
        m.d.comb += [
            table.write_enable.eq(self.parameters.valid),
            table.write_address.eq(self.parameters.payload.slot),
            table.write_data.eq(self.parameters.payload),
            advance.eq(~valid | demux.i.ready),
            self.i.ready.eq(advance),
            # The row stays on the output for the whole packet.
            table.read_enable.eq(self.i.valid & advance & first),
            table.read_address.eq(self.i.payload.meta.slot),
            demux.i.valid.eq(valid),
            demux.i.payload.data.eq(beat.data),
            demux.i.payload.empty.eq(beat.empty),
            demux.i.payload.last.eq(beat.last),
            demux.i.payload.meta.eq(table.read_data),
            demux.select.eq(beat.meta.engine),
        ]
        with m.If(advance):
            m.d.sync += valid.eq(self.i.valid)
            with m.If(self.i.valid):
                m.d.sync += [beat.eq(self.i.payload), first.eq(self.i.payload.last)]
        for index, o in enumerate(self.o):
            connect(m, demux.o[index], flipped(o))
        return m
