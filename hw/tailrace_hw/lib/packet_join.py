"""Joins pieces of any lengths into packets."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from tailrace_hw.lib.packet import NoMeta, PacketSignature
from tailrace_hw.lib.rotate import rotate_bytes_left

__all__ = ["PacketJoin", "piece_layout"]


def piece_layout(width: int, meta=NoMeta) -> data.StructLayout:
    """Layout of a piece of a packet.

    Members
    -------
    data : ``width`` bits
        Byte 0 in bits 7:0.
    count : bytes that are the packet's; the first piece of a packet has at least 1
    first, last : of the packet
    meta : ``meta``
        That of the last piece is what the packet's last beat has.
    """
    return data.StructLayout(
        {"data": width, "count": range(width // 8 + 1), "first": 1, "last": 1, "meta": meta}
    )


class PacketJoin(wiring.Component):
    """Concatenates pieces to packets whose beats are full but for the last one.

    One piece a cycle, whatever the counts. A piece leaves when the next one does not fit into its
    beat, or the packet has ended: latency 4 cycles, one more for the last beat when no other packet
    follows. Order kept, nothing dropped; ``i.ready`` depends on ``o.ready`` in the same cycle.

    Parameters
    ----------
    width : :class:`int`
        Datapath width in bits.
    meta : shape-like

    Members
    -------
    i : In(stream of piece_layout(width, meta))
    o : Out(PacketSignature(width, meta))
    """

    def __init__(self, width: int, meta=NoMeta):
        self._width = width
        self._octets = width // 8
        self._meta = meta
        super().__init__(
            {
                "i": In(stream.Signature(piece_layout(width, meta))),
                "o": Out(PacketSignature(width, meta)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        octets = self._octets
        index_bits = exact_log2(octets)
        stage = data.StructLayout(
            {
                "data": self._width,
                #: Bytes that are in the accumulator before this piece, and after.
                "fill": range(octets + 1),
                "next_fill": range(octets + 1),
                #: The accumulator overflows.
                "full": 1,
                "first": 1,
                "last": 1,
                "meta": self._meta,
            }
        )
        piece = self.i.payload
        placed, coarse, fine = Signal(stage), Signal(stage), Signal(stage)
        placed_valid, coarse_valid, fine_valid = Signal(), Signal(), Signal()
        taken, advance = Signal(), Signal()
        fill = Signal(range(octets + 1))
        fill_now = Signal.like(fill)
        total = Signal(range(2 * octets + 1))
        m.d.comb += [
            advance.eq(~fine_valid | taken),
            self.i.ready.eq(advance),
            placed_valid.eq(self.i.valid),
            fill_now.eq(Mux(piece.first, 0, fill)),
            total.eq(fill_now + piece.count),
            placed.data.eq(piece.data),
            placed.fill.eq(fill_now),
            placed.full.eq(total > octets),
            placed.next_fill.eq(Mux(placed.full, total - octets, total)),
            placed.first.eq(piece.first),
            placed.last.eq(piece.last),
            placed.meta.eq(piece.meta),
        ]
        with m.If(self.i.valid & advance):
            m.d.sync += fill.eq(placed.next_fill)
        # Rotate in two stages: by multiples of 8 bytes, then by single bytes.
        with m.If(advance):
            m.d.sync += [
                coarse_valid.eq(placed_valid),
                coarse.eq(placed),
                coarse.data.eq(
                    rotate_bytes_left(
                        placed.data, placed.fill[:index_bits], bits=range(3, index_bits)
                    )
                ),
                fine_valid.eq(coarse_valid),
                fine.eq(coarse),
                fine.data.eq(
                    rotate_bytes_left(coarse.data, coarse.fill[:index_bits], bits=range(3))
                ),
            ]
        self._merge(m, fine, fine_valid, taken)
        return m

    def _merge(self, m, piece, valid, taken):
        """Fill the accumulator; it leaves when the next piece overflows it, or the packet ended."""
        octets = self._octets
        held = Signal(self._width)
        #: The accumulator holds the end of a packet, of ``tail`` bytes.
        ended = Signal()
        tail = Signal(range(octets + 1))
        tail_meta = Signal(self._meta)
        merged = Cat(
            Mux(piece.fill > lane, held.word_select(lane, 8), piece.data.word_select(lane, 8))
            for lane in range(octets)
        )
        free = Signal()
        needs_output = Signal()
        m.d.comb += [
            free.eq(~self.o.valid | self.o.ready),
            needs_output.eq(Mux(piece.first, ended, piece.full)),
            taken.eq(valid & (free | ~needs_output)),
        ]
        out = self.o.payload
        with m.If(free):
            m.d.sync += self.o.valid.eq(ended | (valid & piece.full))
            m.d.sync += [
                out.data.eq(Mux(ended, held, merged)),
                out.last.eq(ended),
                out.empty.eq(Mux(ended, octets - tail, 0)),
                out.meta.eq(Mux(ended, tail_meta, piece.meta)),
            ]
            with m.If(ended):
                m.d.sync += ended.eq(0)
        with m.If(taken):
            m.d.sync += held.eq(Mux(piece.full, piece.data, merged))
            with m.If(piece.last):
                m.d.sync += [ended.eq(1), tail.eq(piece.next_fill), tail_meta.eq(piece.meta)]
