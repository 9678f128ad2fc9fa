"""Cuts the pieces of jobs to what one DMA request asks for."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.jobs.types import Entry

__all__ = ["CHUNK", "Chunk", "ChunkSplitter"]

#: Longest chunk in bytes. Requests of up to 64 KiB are possible; short ones keep small what is
#: still to come of a job that has failed or whose queue is reset.
CHUNK = 4096


class Chunk(data.Struct):
    """What a DMA request is made for."""

    address: 64
    #: 1 to CHUNK, or 0 where a list breaks off.
    length: range(CHUNK + 1)
    #: The job's last one.
    last: 1


class ChunkSplitter(wiring.Component):
    """Cuts entries at multiples of 4 KiB, where the DMA engines cut as well, so that it costs no
    TLP. A chunk a cycle, also across entries; latency 1 cycle.

    Members
    -------
    i : In(stream of Entry)
    o : Out(stream of Chunk)
    """

    i: In(stream.Signature(Entry))
    o: Out(stream.Signature(Chunk))

    def elaborate(self, platform):
        m = Module()
        entry = Signal(Entry)
        chunk = self.o.payload
        room = CHUNK - entry.address[:12]
        final = Signal()
        m.d.comb += [
            final.eq(entry.length <= room),
            chunk.address.eq(entry.address),
            chunk.length.eq(Mux(final, entry.length, room)),
            chunk.last.eq(final & entry.last),
            self.i.ready.eq(~self.o.valid | (self.o.ready & final)),
        ]
        with m.If(self.i.ready):
            m.d.sync += self.o.valid.eq(self.i.valid)
            with m.If(self.i.valid):
                m.d.sync += entry.eq(self.i.payload)
        with m.Elif(self.o.ready):
            m.d.sync += [
                entry.address.eq(entry.address + room),
                entry.length.eq(entry.length - room),
            ]
        return m
