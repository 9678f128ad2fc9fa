"""Takes virtio_net_hdr off each frame to send, and reads it."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.errors import ErrorCode, ErrorEvent, ErrorSource
from tailrace_hw.lib.packet import PacketSignature
from tailrace_hw.virtio.net_types import (
    HEADER_BYTES,
    GsoType,
    HeaderFlag,
    NetHeader,
    TxFrame,
    TxGathered,
)

__all__ = ["TxStrip"]


class TxStrip(wiring.Component):
    """Splits each packet into its 12-byte virtio_net_hdr and its frame, and checks the header.

    A frame is marked ``drop`` when its packet is ``bad``, and, with an error event (info: the
    header's first 8 bytes), when

    * gso_type is not VIRTIO_NET_HDR_GSO_NONE: NET_TX_BAD_HEADER; no segmentation is offered, so
      the driver must not ask for it (virtio 1.2, 5.1.6.2.1);
    * VIRTIO_NET_HDR_F_NEEDS_CSUM is set and the 16-bit field at csum_start + csum_offset does not
      lie within the frame: NET_TX_BAD_CSUM.

    Without ``csum`` (VIRTIO_NET_F_CSUM was not negotiated) NEEDS_CSUM is ignored, as every other
    flag is (5.1.6.2.2).

    One beat a cycle; latency 2 cycles, one more for a frame's last beat.

    Parameters
    ----------
    width : :class:`int`
        Datapath width in bits.

    Members
    -------
    i : In(PacketSignature(width, TxGathered))
        Packets that are not ``bad`` have at least one byte of frame.
    o : Out(PacketSignature(width, TxFrame))
    errors : Out(stream of ErrorEvent)
    csum : In(1)
    function : In(8)
    bad_header : Out(1)
        One cycle for each frame with an impossible header.
    """

    def __init__(self, width: int):
        self._width = width
        self._octets = width // 8
        super().__init__(
            {
                "i": In(PacketSignature(width, TxGathered)),
                "o": Out(PacketSignature(width, TxFrame)),
                "errors": Out(stream.Signature(ErrorEvent)),
                "csum": In(1),
                "function": In(8),
                "bad_header": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        octets = self._octets
        # Beats that hold nothing but header, and its bytes in the beat behind them.
        whole, shift = divmod(HEADER_BYTES, octets)
        beat = self.i.payload
        index = Signal(range(whole + 2))
        held = Signal(8 * (octets - shift))
        held_meta = Signal(TxGathered)
        header_beats = [Signal(self._width, name=f"header_{k}") for k in range(whole)]
        header = Signal(NetHeader)
        #: ``held`` is the end of a frame, of ``tail`` bytes.
        ended = Signal()
        tail = Signal(range(octets + 1))

        used = Signal(range(octets + 1))
        free = Signal()
        starting = Signal()
        taken = Signal()
        ends_here = Signal()
        m.d.comb += [
            used.eq(octets - beat.empty),
            starting.eq(index <= whole),
            # The frame's last bytes fit behind the ones held.
            ends_here.eq(beat.last & ~starting & (used <= shift)),
            # An event is rare: that it leaves in this cycle need not count.
            free.eq((~self.o.valid | self.o.ready) & ~self.errors.valid),
            self.i.ready.eq(Mux(ended | ~starting, free, 1)),
            taken.eq(self.i.valid & self.i.ready),
        ]
        with m.If(taken):
            m.d.sync += [
                index.eq(Mux(beat.last, 0, Mux(starting, index + 1, index))),
                held.eq(beat.data[8 * shift :]),
                held_meta.eq(beat.meta),
                # A packet that is bad may end within its header.
                tail.eq(Mux(used > shift, used - shift, 1)),
                ended.eq(beat.last & ~ends_here),
            ]
            for position, register in enumerate(header_beats):
                with m.If(index == position):
                    m.d.sync += register.eq(beat.data)
            with m.If(index == whole):
                m.d.sync += header.as_value().eq(Cat(*header_beats, beat.data[: 8 * shift]))
        with m.Elif(free):
            m.d.sync += ended.eq(0)

        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.errors.ready):
            m.d.sync += self.errors.valid.eq(0)
        with m.If(free):
            emits = Signal()
            last = Signal()
            m.d.comb += [
                emits.eq(ended | (taken & ~starting)),
                last.eq(ended | ends_here),
            ]
            out = self.o.payload
            m.d.sync += [
                self.o.valid.eq(emits),
                out.data.eq(Cat(held, beat.data[: 8 * shift])),
                out.last.eq(last),
                out.empty.eq(Mux(ended, octets - tail, Mux(ends_here, shift - used, 0))),
            ]
            bad = Mux(ended, held_meta.bad, beat.meta.bad)
            self._check(m, header, held_meta, bad, emits & last)
        return m

    def _check(self, m, header, meta, bad, leaving):
        """Judge the header; report when the frame's last beat leaves."""
        needs_csum = Signal()
        csum_outside = Signal()
        wrong = Signal(ErrorCode)
        m.d.comb += [
            needs_csum.eq(self.csum & (header.flags & HeaderFlag.NEEDS_CSUM.value).any()),
            csum_outside.eq(header.csum_start + header.csum_offset + 2 > meta.length),
        ]
        with m.If(header.gso_type != GsoType.NONE.value):
            m.d.comb += wrong.eq(ErrorCode.NET_TX_BAD_HEADER)
        with m.Elif(needs_csum & csum_outside):
            m.d.comb += wrong.eq(ErrorCode.NET_TX_BAD_CSUM)
        out = self.o.payload.meta
        event = self.errors.payload
        report = Signal()
        m.d.comb += report.eq(leaving & ~bad & (wrong != ErrorCode.NONE))
        m.d.sync += [
            out.length.eq(meta.length),
            out.needs_csum.eq(needs_csum),
            out.csum_start.eq(header.csum_start),
            out.csum_offset.eq(header.csum_offset),
            out.drop.eq(bad | (wrong != ErrorCode.NONE)),
            self.errors.valid.eq(report),
            event.source.eq(ErrorSource.VIRTIO_NET),
            event.code.eq(wrong),
            event.function.eq(self.function),
            event.queue.eq(meta.queue),
            event.info.eq(header.as_value()[:64]),
        ]
        m.d.comb += self.bad_header.eq(report)
