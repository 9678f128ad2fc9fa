"""Holds frames to send until they are whole, and fills in their checksums."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from tailrace_hw.lib.fifo import SyncFifo
from tailrace_hw.lib.packet import NoMeta, PacketSignature, beat_layout
from tailrace_hw.lib.packet_fifo import PacketFifo
from tailrace_hw.lib.stage import RegisterStage
from tailrace_hw.virtio.net_sum import RangeSum, byte_range, place_in_beat, sum_latency
from tailrace_hw.virtio.net_types import TxFrame, TxPatch

__all__ = ["UDP_CSUM_OFFSET", "TxStore"]

#: Where UDP has its checksum (RFC 768); also UDP-Lite, whose rule for 0 is the same (RFC 3828).
UDP_CSUM_OFFSET = 6


class TxStore(wiring.Component):
    """Store-and-forward with checksum offload (virtio 1.2, 5.1.6.2).

    While a frame comes in, its bytes from csum_start on are summed up (the driver has put the
    pseudo header's sum into the field already); the complement is written over the field when the
    frame goes out. A field may be at any byte, csum_start odd or even.

    Zero: RFC 768 sends a computed 0 as 0xFFFF, for 0 means "no checksum". The device is not told
    the protocol, so it takes csum_offset 6 for UDP; every other checksum is stored as computed
    (TCP's is at offset 16, where 0 is an ordinary value).

    A frame marked ``drop`` on its last beat, or ending while ``flush`` is set, does not leave. A
    frame starts to leave :func:`sum_latency` + 5 cycles after its last beat; frames follow each
    other without a gap. The input waits only when the store is full.

    Parameters
    ----------
    width : :class:`int`
        Datapath width in bits.
    depth : :class:`int`
        Bytes, a power of two; at least the longest frame.

    Members
    -------
    i : In(PacketSignature(width, TxFrame))
    o : Out(PacketSignature(width))
    flush : In(1)
    level : Out(range(depth in beats + 1))
        Beats held.
    sent, flushed : Out(1)
        One cycle for each frame that left, or was dropped because of ``flush``.
    bytes : Out(17)
        With ``sent``: the frame's length.
    """

    def __init__(self, width: int, depth: int):
        self._width = width
        self._octets = width // 8
        self._beats = depth // self._octets
        super().__init__(
            {
                "i": In(PacketSignature(width, TxFrame)),
                "o": Out(PacketSignature(width)),
                "flush": In(1),
                "level": Out(range(self._beats + 1)),
                "sent": Out(1),
                "flushed": Out(1),
                "bytes": Out(17),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.store = store = PacketFifo(self._width, depth=self._beats, stall=True)
        # A frame whose patch waits is still in the store, so one a beat is enough.
        m.submodules.patches = patches = SyncFifo(TxPatch, self._beats + 2)
        m.submodules.output = output = RegisterStage(beat_layout(self._width, NoMeta))
        beat = self.i.payload
        drop = Signal()
        taken = Signal()
        m.d.comb += [
            drop.eq(beat.meta.drop | self.flush),
            taken.eq(self.i.valid & self.i.ready),
            self.i.ready.eq(store.i.ready),
            store.i.valid.eq(self.i.valid),
            store.drop.eq(drop),
            self.flushed.eq(taken & beat.last & self.flush & ~beat.meta.drop),
        ]
        m.d.comb += [store.i.payload[name].eq(beat[name]) for name in ("data", "empty", "last")]
        self._sum(m, taken, drop, patches)
        self._leave(m, store, patches, output)
        connect(m, output.o, flipped(self.o))
        self._measure(m, taken, drop, store)
        return m

    def _sum(self, m, taken, drop, patches):
        """Sum up the frame as it comes in; the result follows it into ``patches``."""
        beat = self.i.payload
        octets = self._octets
        m.submodules.adder = adder = RangeSum(self._width)
        base = Signal(17)
        known = data.StructLayout({"kept": 1, "length": 17, "enable": 1, "start": 16, "offset": 16})
        facts = Signal(known)
        with m.If(taken):
            m.d.sync += base.eq(Mux(beat.last, 0, base + octets))
        start = Signal(range(octets + 1))
        end = Signal(range(octets + 1))
        m.d.sync += [
            adder.valid.eq(taken),
            adder.last.eq(beat.last),
            adder.data.eq(beat.data),
            start.eq(place_in_beat(m, beat.meta.csum_start, base, octets)),
            end.eq(octets - beat.empty),
            facts.kept.eq(~drop),
            facts.length.eq(beat.meta.length),
            facts.enable.eq(beat.meta.needs_csum),
            facts.start.eq(beat.meta.csum_start),
            facts.offset.eq(beat.meta.csum_offset),
        ]
        m.d.comb += adder.enable.eq(byte_range(start, end, octets))
        for stage in range(sum_latency(self._width)):
            later = Signal(known, name=f"facts_{stage}")
            m.d.sync += later.eq(facts)
            facts = later
        # An odd csum_start swaps high and low bytes of all words, so of the sum (RFC 1071, 2).
        total = Mux(facts.start[0], Cat(adder.sum[8:], adder.sum[:8]), adder.sum)
        value = ~total & 0xFFFF
        is_zero = (total == 0xFFFF) & (facts.offset == UDP_CSUM_OFFSET)
        m.d.sync += [
            patches.i.valid.eq(adder.done & facts.kept),
            patches.i.payload.length.eq(facts.length),
            patches.i.payload.enable.eq(facts.enable),
            patches.i.payload.position.eq(facts.start + facts.offset),
            patches.i.payload.value.eq(Mux(is_zero, 0xFFFF, value)),
        ]

    def _leave(self, m, store, patches, output):
        """Let a frame go when its patch is known, with the patch in its place."""
        octets = self._octets
        beat = store.o.payload
        patch = patches.o.payload
        base = Signal(18)
        moved = Signal()
        distance = Signal(19)
        m.d.comb += [
            output.i.valid.eq(store.o.valid & patches.o.valid),
            store.o.ready.eq(output.i.ready & patches.o.valid),
            moved.eq(output.i.valid & output.i.ready),
            patches.o.ready.eq(moved & beat.last),
            distance.eq(patch.position - base),
            output.i.payload.empty.eq(beat.empty),
            output.i.payload.last.eq(beat.last),
            self.sent.eq(patches.o.ready),
            self.bytes.eq(patch.length),
        ]
        before = distance == (1 << len(distance)) - 1  # the field began with the last beat's end
        for lane in range(octets):
            high = patch.enable & (distance == lane)
            low = patch.enable & (before if lane == 0 else distance == lane - 1)
            m.d.comb += output.i.payload.data.word_select(lane, 8).eq(
                Mux(
                    high,
                    patch.value[8:],
                    Mux(low, patch.value[:8], beat.data.word_select(lane, 8)),
                )
            )
        with m.If(moved):
            m.d.sync += base.eq(Mux(beat.last, 0, base + octets))

    def _measure(self, m, taken, drop, store):
        """Count the beats in the store; those of a dropped frame leave all at once."""
        own = Signal.like(self.level)
        left = store.o.valid & store.o.ready
        with m.If(taken):
            m.d.sync += own.eq(Mux(self.i.payload.last, 0, own + 1))
        with m.If(taken & self.i.payload.last & drop):
            m.d.sync += self.level.eq(self.level - own - left)
        with m.Else():
            m.d.sync += self.level.eq(self.level + taken - left)
