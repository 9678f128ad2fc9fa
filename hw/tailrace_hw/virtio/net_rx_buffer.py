"""Where frames from the wire wait, with what is known of each."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from tailrace_hw.lib.fall_through import FallThroughFifo
from tailrace_hw.lib.packet import PacketSignature
from tailrace_hw.lib.packet_fifo import PacketFifo
from tailrace_hw.virtio.net_rx_analyse import RxAnalyse
from tailrace_hw.virtio.net_types import RxInfo, RxMeta

__all__ = ["RxBuffer"]


class RxBuffer(wiring.Component):
    """Stores whole frames and analyses them on the way in.

    The input never waits. A frame is lost whole when the port marked it (``drop`` on its last
    beat), when it is longer than 65536 bytes less a beat (counted as marked), or when it finds no
    room. Otherwise its description appears on ``info`` :attr:`RxAnalyse.description_latency` cycles
    after its last beat, by then its data are on ``o``, and the verdict on its checksums follows on
    ``verdict`` :attr:`RxAnalyse.verdict_latency` cycles after its last beat. All outputs are in the
    order of the frames and move independently of each other.

    Parameters
    ----------
    width : :class:`int`
        Datapath width in bits.
    depth : :class:`int`
        Bytes of buffer, a power of two; a frame occupies whole beats.

    Members
    -------
    i : In(PacketSignature(width, RxMeta))
    active_pairs : In(5)
    o : Out(PacketSignature(width))
    info : Out(stream of RxInfo)
    verdict : Out(stream of 1 bit), see :class:`RxAnalyse`
    marked, overflow : Out(1)
        One cycle for each frame lost, by reason.
    """

    def __init__(self, width: int, depth: int):
        self._width = width
        self._beats = depth // (width // 8)
        super().__init__(
            {
                "i": In(PacketSignature(width, RxMeta)),
                "active_pairs": In(5),
                "o": Out(PacketSignature(width)),
                "info": Out(stream.Signature(RxInfo)),
                "verdict": Out(stream.Signature(1)),
                "marked": Out(1),
                "overflow": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.store = store = PacketFifo(self._width, depth=self._beats)
        m.submodules.analyse = analyse = RxAnalyse(self._width)
        # A frame whose description waits is still in the store, so one entry a beat is enough; two
        # more for what the outputs' registers hold.
        m.submodules.waiting = waiting = FallThroughFifo(RxInfo, self._beats + 2)
        m.submodules.judged = judged = FallThroughFifo(1, self._beats + 2)
        beat = self.i.payload
        taken = Signal()
        # Lengths have 16 bits, so a frame that goes on after this many beats is lost.
        most = 65536 // (self._width // 8) - 1
        beats = Signal(range(most + 1))
        endless = beats == most
        with m.If(taken & beat.last):
            m.d.sync += beats.eq(0)
        with m.Elif(taken & ~endless):
            m.d.sync += beats.eq(beats + 1)
        m.d.comb += [
            taken.eq(self.i.valid & self.i.ready),
            self.i.ready.eq(store.i.ready),
            store.i.valid.eq(self.i.valid),
            store.drop.eq(beat.meta.drop | endless),
            analyse.valid.eq(taken),
            analyse.lost.eq(store.dropped | store.overflowed),
            analyse.active_pairs.eq(self.active_pairs),
            self.marked.eq(store.dropped),
            self.overflow.eq(store.overflowed),
        ]
        for name in ("data", "empty", "last"):
            m.d.comb += [
                store.i.payload[name].eq(beat[name]),
                analyse.beat[name].eq(beat[name]),
            ]
        connect(m, analyse.o, waiting.i)
        connect(m, waiting.o, flipped(self.info))
        connect(m, analyse.verdict, judged.i)
        connect(m, judged.o, flipped(self.verdict))
        connect(m, store.o, flipped(self.o))
        return m
