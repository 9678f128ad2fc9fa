"""Transmit side of a port."""

from amaranth.hdl import DomainRenamer, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import PulseSynchronizer
from amaranth.lib.wiring import In, Out

from tailrace_hw.lib.axis import AxisSignature
from tailrace_hw.lib.axis_adapter import AxisMeta, PacketToAxis
from tailrace_hw.lib.fifo import AsyncFifo
from tailrace_hw.lib.packet import PacketSignature, beat_layout
from tailrace_hw.lib.packet_fifo import PacketFifo
from tailrace_hw.mac.types import TxCounters

__all__ = ["TxPath"]

#: Beats between the clock domains.
_CROSSING = 16


class TxPath(wiring.Component):
    """Frames of the core to a MAC: across the clock domains, then stored and forwarded.

    The MAC gets no gap inside a frame: a frame is offered to it only once it is complete on the
    MAC's side. One beat a cycle of the slower clock while frames follow each other. A frame that
    is longer than the store is dropped there and counted.

    Parameters
    ----------
    width : :class:`int`
        Datapath width in bits.
    domain : :class:`str`
        The MAC's clock domain.
    max_length : :class:`int`
        Longest frame in bytes; the store holds at least that.

    Members
    -------
    i : In(PacketSignature(width))
    o : Out(AxisSignature(width, user=1)), in ``domain``
        ``tuser`` is 0.
    counters : Out(TxCounters)
        Frames and bytes in the cycle in which a frame's last beat is taken.
    """

    def __init__(self, width: int, *, domain: str, max_length: int):
        self._width = width
        self._domain = domain
        beats = -(-max_length // (width // 8))
        self._depth = max(1 << (beats - 1).bit_length(), 2)
        super().__init__(
            {
                "i": In(PacketSignature(width)),
                "o": Out(AxisSignature(width, user=1)),
                "counters": Out(TxCounters),
            }
        )

    def elaborate(self, platform):
        m = Module()
        on_mac = DomainRenamer(self._domain)
        m.submodules.crossing = crossing = AsyncFifo(
            beat_layout(self._width), _CROSSING, i_domain="sync", o_domain=self._domain
        )
        store = PacketFifo(self._width, depth=self._depth, stall=True)
        adapter = PacketToAxis(self._width, user=1)
        m.submodules.store = on_mac(store)
        m.submodules.adapter = on_mac(adapter)
        m.submodules.lost = lost = PulseSynchronizer(i_domain=self._domain, o_domain="sync")
        wiring.connect(m, wiring.flipped(self.i), crossing.i)
        wiring.connect(m, crossing.o, store.i)
        wiring.connect(m, adapter.o, wiring.flipped(self.o))
        m.d.comb += [
            adapter.i.valid.eq(store.o.valid),
            adapter.i.payload.data.eq(store.o.payload.data),
            adapter.i.payload.empty.eq(store.o.payload.empty),
            adapter.i.payload.last.eq(store.o.payload.last),
            adapter.i.payload.meta.eq(AxisMeta.const({"error": 0})),
            store.o.ready.eq(adapter.i.ready),
            lost.i.eq(store.overflowed),
            self.counters.tx_drop_oversize.eq(lost.o),
        ]
        self._count(m)
        return m

    def _count(self, m):
        beat = self.i.payload
        before = Signal(17)
        length = Signal(17)
        m.d.comb += length.eq(before + (self._width // 8 - beat.empty))
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += before.eq(Mux(beat.last, 0, length))
            with m.If(beat.last):
                m.d.comb += [self.counters.tx_frames.eq(1), self.counters.tx_bytes.eq(length)]
