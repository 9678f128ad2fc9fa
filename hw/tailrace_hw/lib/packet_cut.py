"""Cuts packets into smaller ones."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from tailrace_hw.lib.packet import PacketSignature
from tailrace_hw.lib.rotate import rotate_bytes_right

__all__ = ["Cut", "PacketCut"]


class Cut(data.Struct):
    """The next ``length`` bytes of a packet make a packet of their own."""

    length: 17
    #: The last of its packet: the lengths of a packet's cuts add up to its length.
    frame_end: 1


class PacketCut(wiring.Component):
    """Cuts each packet of ``i`` into the pieces that ``cuts`` names, byte-exact.

    A window over two beats of the packet feeds a byte rotator in two register stages. Latency 4
    cycles; one output beat a cycle, whatever the lengths (a piece of n bytes takes
    ceil(n / beat) cycles). Order kept, nothing dropped; waits for ``o.ready``.

    Parameters
    ----------
    width : :class:`int`
        Datapath width in bits.

    Members
    -------
    cuts : In(stream of Cut)
    i : In(PacketSignature(width))
    o : Out(PacketSignature(width))
    """

    def __init__(self, width: int):
        self._width = width
        self._octets = width // 8
        super().__init__(
            {
                "cuts": In(stream.Signature(Cut)),
                "i": In(PacketSignature(width)),
                "o": Out(PacketSignature(width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        octets = self._octets
        index_bits = exact_log2(octets)
        stage = data.StructLayout(
            {"data": self._width, "shift": index_bits, "empty": index_bits, "last": 1}
        )
        merged = Signal(stage)
        merged_valid = Signal()
        advance = Signal()
        self._window(m, merged, merged_valid, advance)

        # Coarse steps of eight bytes in one stage, single bytes in the next.
        coarse = Signal(stage)
        coarse_valid = Signal()
        m.d.comb += advance.eq(~self.o.valid | self.o.ready)
        with m.If(advance):
            m.d.sync += [
                coarse_valid.eq(merged_valid),
                coarse.eq(merged),
                coarse.data.eq(
                    rotate_bytes_right(merged.data, merged.shift, bits=range(3, index_bits))
                ),
                self.o.valid.eq(coarse_valid),
                self.o.payload.data.eq(
                    rotate_bytes_right(coarse.data, coarse.shift, bits=range(3))
                ),
                self.o.payload.empty.eq(coarse.empty),
                self.o.payload.last.eq(coarse.last),
            ]
        return m

    def _window(self, m, merged, merged_valid, advance):
        """Hold the beat in which the next byte is, and the one behind it."""
        octets = self._octets
        beat = self.i.payload
        low, high = Signal(self._width), Signal(self._width)
        low_valid, high_valid = Signal(), Signal()
        #: Offset in ``low`` of the next byte; bytes left of the piece, once begun.
        at = Signal(range(octets))
        left = Signal(17)
        begun = Signal()
        cut = self.cuts.payload

        length = Signal(17)
        piece_end = Signal()
        frame_end = Signal()
        #: Where the piece ends, if it does, seen from ``low``.
        end = Signal(range(2 * octets))
        crosses = Signal()
        step = Signal()
        m.d.comb += [
            length.eq(Mux(begun, left, cut.length)),
            piece_end.eq(length <= octets),
            frame_end.eq(piece_end & cut.frame_end),
            end.eq(at + length[: len(at) + 1]),
            # Side by side with the comparison, not behind it: all this is in the path of ready.
            crosses.eq(Mux(piece_end, end > octets, at != 0)),
            step.eq(self.cuts.valid & low_valid & (high_valid | ~crosses) & advance),
            self.cuts.ready.eq(step & piece_end),
        ]
        with m.If(advance):
            m.d.sync += [
                merged_valid.eq(step),
                merged.data.eq(
                    Cat(
                        Mux(at > lane, high.word_select(lane, 8), low.word_select(lane, 8))
                        for lane in range(octets)
                    )
                ),
                merged.shift.eq(at),
                merged.last.eq(piece_end),
                merged.empty.eq(Mux(piece_end, octets - length, 0)),
            ]
        drop_low = Signal()
        drop_high = Signal()
        with m.If(step):
            m.d.comb += [
                # The byte behind the packet's last one is in the next packet, in its own beat.
                drop_low.eq(~piece_end | cut.frame_end | (end >= octets)),
                drop_high.eq(frame_end & crosses),
            ]
            m.d.sync += [
                # A piece that goes on takes a whole beat: the offset stays.
                at.eq(Mux(piece_end, Mux(cut.frame_end, 0, end), at)),
                begun.eq(~piece_end),
                left.eq(length - octets),
            ]
        self._refill(m, low, low_valid, high, high_valid, drop_low, drop_high, beat)

    def _refill(self, m, low, low_valid, high, high_valid, drop_low, drop_high, beat):
        """Move the window on by up to two beats, taking one in."""
        take = Signal()
        low_stays = Signal()
        high_moves = Signal()
        high_stays = Signal()
        m.d.comb += [
            low_stays.eq(low_valid & ~drop_low),
            high_moves.eq(high_valid & ~drop_high & ~low_stays),
            high_stays.eq(high_valid & ~drop_high & low_stays),
            self.i.ready.eq(~high_stays),
            take.eq(self.i.valid & self.i.ready),
        ]
        to_low = ~low_stays & ~high_moves
        m.d.sync += [
            low_valid.eq(low_stays | high_moves | take),
            high_valid.eq(high_stays | (take & ~to_low)),
        ]
        with m.If(high_moves):
            m.d.sync += low.eq(high)
        with m.Elif(to_low & take):
            m.d.sync += low.eq(beat.data)
        with m.If(take & ~to_low):
            m.d.sync += high.eq(beat.data)
