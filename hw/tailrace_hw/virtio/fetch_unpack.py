"""DMA data packets into 16-byte chunks: the unit of descriptors."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.lib.fifo import SyncFifo
from tailrace_hw.lib.packet import PacketSignature
from tailrace_hw.pcie.dma import DmaReadMeta, DmaStatus
from tailrace_hw.virtio.fetch_types import BATCH, TABLE_TAG, Chunk

__all__ = ["ChunkUnpacker"]

_CutChunk = data.StructLayout({"raw": 128, "last": 1})
#: What is known of a packet once it is whole.
_Packet = data.StructLayout({"fault": 1, "table": 1})


class ChunkUnpacker(wiring.Component):
    """Cuts read data into chunks, and holds a packet back until its status is known.

    A failed read may have put any data before its last beat, so nothing of a packet may be used
    before the packet is whole. Packets are of up to ``BATCH`` chunks; what a failed read brings
    beyond that is dropped.

    Latency: 3 cycles after the packet's last beat. Throughput: one chunk a cycle (at width 64, one
    in two cycles).

    Parameters
    ----------
    width : 64 to 1024

    Members
    -------
    i : ``In(PacketSignature(width, DmaReadMeta))``
    o : ``Out(stream(Chunk))``
        The unused bytes of a packet's last chunk are undefined.
    """

    def __init__(self, width: int):
        self._width = width
        super().__init__(
            {
                "i": In(PacketSignature(width, DmaReadMeta)),
                "o": Out(stream.Signature(Chunk)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        chunks = m.submodules.chunks = SyncFifo(_CutChunk, 4 * BATCH)
        packets = m.submodules.packets = SyncFifo(_Packet, 2 * BATCH)

        cut = Signal(128)
        cut_valid = Signal()
        cut_last = Signal()
        cut_fault = Signal()
        #: Of the packet, so of the beat too.
        cut_table = Signal()
        taken = Signal()
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += cut_table.eq((self.i.payload.meta.tag & TABLE_TAG) != 0)
        if self._width == 64:
            self._join(m, cut, cut_valid, cut_last, cut_fault, taken)
        else:
            self._split(m, cut, cut_valid, cut_last, cut_fault, taken)

        number = Signal(range(BATCH + 1))
        # The last chunk marks the packet's end, so it is stored whatever its number.
        excess = (number >= BATCH - 1) & ~cut_last
        m.d.comb += [
            taken.eq(cut_valid & chunks.i.ready & packets.i.ready),
            chunks.i.payload.raw.eq(cut),
            chunks.i.payload.last.eq(cut_last),
            chunks.i.valid.eq(taken & ~excess),
            packets.i.payload.fault.eq(cut_fault),
            packets.i.payload.table.eq(cut_table),
            packets.i.valid.eq(taken & cut_last),
        ]
        with m.If(taken):
            m.d.sync += number.eq(number + ~excess)
            with m.If(cut_last):
                m.d.sync += number.eq(0)

        self._judge(m, chunks, packets)
        return m

    def _split(self, m, cut, cut_valid, cut_last, cut_fault, taken):
        """Width of a chunk or more: a beat is shifted down 16 bytes at a time."""
        lanes = self._width // 128
        beat = self.i.payload
        bits = Signal(self._width)
        left = Signal(range(lanes + 1))
        last = Signal()
        fault = Signal()
        m.d.comb += [
            cut.eq(bits[:128]),
            cut_valid.eq(left != 0),
            cut_last.eq(last & (left == 1)),
            cut_fault.eq(fault),
            self.i.ready.eq((left == 0) | ((left == 1) & taken)),
        ]
        with m.If(taken):
            m.d.sync += [bits.eq(bits >> 128), left.eq(left - 1)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                bits.eq(beat.data),
                left.eq(lanes - (beat.empty >> 4)),
                last.eq(beat.last),
                fault.eq(beat.last & (beat.meta.status != DmaStatus.OK)),
            ]

    def _join(self, m, cut, cut_valid, cut_last, cut_fault, taken):
        """Width 64: two beats make a chunk."""
        beat = self.i.payload
        half = Signal()
        m.d.comb += self.i.ready.eq(~cut_valid | taken)
        with m.If(taken):
            m.d.sync += cut_valid.eq(0)
        with m.If(self.i.valid & self.i.ready):
            with m.If(half):
                m.d.sync += cut[64:].eq(beat.data)
            with m.Else():
                m.d.sync += cut[:64].eq(beat.data)
            m.d.sync += [
                half.eq(~half & ~beat.last),
                cut_valid.eq(half | beat.last),
                cut_last.eq(beat.last),
                cut_fault.eq(beat.last & (beat.meta.status != DmaStatus.OK)),
            ]

    def _judge(self, m, chunks, packets):
        """What can be said of a descriptor without its chain, a register before it is needed."""
        o = self.o
        chunk, packet = chunks.o.payload, packets.o.payload
        raw = chunk.raw
        end = raw[0:64] + raw[64:96]
        free = Signal()
        m.d.comb += [
            free.eq(~o.valid | o.ready),
            chunks.o.ready.eq(packets.o.valid & free),
            packets.o.ready.eq(chunks.o.valid & chunk.last & free),
        ]
        with m.If(free):
            m.d.sync += [
                o.valid.eq(chunks.o.valid & packets.o.valid),
                o.payload.raw.eq(raw),
                o.payload.last.eq(chunk.last),
                o.payload.fault.eq(packet.fault),
                o.payload.table.eq(packet.table),
                o.payload.zero_length.eq(raw[64:96] == 0),
                o.payload.ragged.eq((raw[64:68] != 0) | (raw[68:96] == 0)),
                o.payload.wraps.eq(end[64] & (end[:64] != 0)),
            ]
