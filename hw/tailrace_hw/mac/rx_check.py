"""Receive side of a port in the core's clock domain: lengths, reasons, counts."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.lib.packet import PacketSignature, beat_layout
from tailrace_hw.lib.stage import RegisterStage
from tailrace_hw.mac.types import LOST_WIDTH, RxCounters, RxReason, RxStatus, captured_layout

__all__ = ["RxCheck"]


class RxCheck(wiring.Component):
    """Says of each received frame whether it is to be dropped, and counts it.

    Latency 1 cycle, one beat a cycle, order kept. A frame that is too long ends with the beat that
    is; what follows of it is taken and dropped. Counts are given in the cycle in which a frame's
    last beat is taken.

    Parameters
    ----------
    width : :class:`int`
        Datapath width in bits.

    Members
    -------
    i : In(stream of captured_layout(width))
    o : Out(PacketSignature(width, RxStatus))
    min_length, max_length : In(16)
    counters : Out(RxCounters)
    length : Out(17)
        Bytes of the frame that is counted in this cycle.
    """

    def __init__(self, width: int):
        self._width = width
        super().__init__(
            {
                "i": In(stream.Signature(captured_layout(width))),
                "o": Out(PacketSignature(width, RxStatus)),
                "min_length": In(16),
                "max_length": In(16),
                "counters": Out(RxCounters),
                "length": Out(17),
            }
        )

    def elaborate(self, platform):
        m = Module()
        size = self._width // 8
        m.submodules.stage = stage = RegisterStage(beat_layout(self._width, RxStatus))
        wiring.connect(m, stage.o, wiring.flipped(self.o))
        beat, out = self.i.payload, stage.i.payload
        before = Signal(17)
        #: The frame was cut off: the rest of it is dropped.
        cut = Signal()
        too_long = Signal()
        ends = Signal()
        reason = Signal(RxReason)
        m.d.comb += [
            self.length.eq(before + (size - beat.empty)),
            too_long.eq(self.length > self.max_length),
            ends.eq(beat.last | too_long),
            stage.i.valid.eq(self.i.valid & ~cut),
            self.i.ready.eq(stage.i.ready | cut),
            out.data.eq(beat.data),
            out.empty.eq(beat.empty),
            out.last.eq(ends),
            out.meta.reason.eq(Mux(ends, reason, RxReason.NONE)),
            out.meta.drop.eq(ends & (reason != RxReason.NONE)),
        ]
        with m.If(beat.last & beat.meta.overflow):
            m.d.comb += reason.eq(RxReason.OVERFLOW)
        with m.Elif(too_long):
            m.d.comb += reason.eq(RxReason.OVERSIZE)
        with m.Elif(beat.meta.error):
            m.d.comb += reason.eq(RxReason.ERROR)
        with m.Elif(self.length < self.min_length):
            m.d.comb += reason.eq(RxReason.RUNT)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += before.eq(Mux(ends, 0, self.length))
            with m.If(beat.last):
                m.d.sync += cut.eq(0)
            with m.Elif(too_long):
                m.d.sync += cut.eq(1)
            self._count(m, beat, reason, ends & ~cut)
        return m

    def _count(self, m, beat, reason, counted):
        """Counts of the beat that is taken; an overflow also tells of frames lost whole."""
        counters = self.counters
        lost = Mux(beat.last & beat.meta.overflow, beat.data[:LOST_WIDTH], 0)
        overflowed = counted & (reason == RxReason.OVERFLOW)
        m.d.comb += counters.rx_drop_overflow.eq(lost + overflowed)
        with m.If(counted):
            with m.Switch(reason):
                with m.Case(RxReason.NONE):
                    m.d.comb += [counters.rx_frames.eq(1), counters.rx_bytes.eq(self.length)]
                with m.Case(RxReason.RUNT):
                    m.d.comb += counters.rx_drop_runt.eq(1)
                with m.Case(RxReason.ERROR):
                    m.d.comb += counters.rx_drop_error.eq(1)
                with m.Case(RxReason.OVERSIZE):
                    m.d.comb += counters.rx_drop_oversize.eq(1)
