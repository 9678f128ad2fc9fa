"""Joins the data of a chain's segments into one packet, and returns the chain."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from tailrace_hw.errors import ErrorCode, ErrorEvent, ErrorSource
from tailrace_hw.lib.packet import PacketSignature
from tailrace_hw.lib.rotate import rotate_bytes_left
from tailrace_hw.pcie.dma import DmaReadMeta, DmaStatus
from tailrace_hw.virtio.interfaces import ChainCompletion
from tailrace_hw.virtio.net_types import HEADER_BYTES, TxEntry, TxGathered

__all__ = ["TxGather"]


class TxGather(wiring.Component):
    """Concatenates the data packets of each chain, of any lengths.

    For each entry, in order, its ``reads`` data packets are taken. They leave as one packet, unless
    the entry has an error: then they are dropped. When the last beat has come the chain is
    completed with nothing written (virtio 1.2, 5.1.6.2), unless it was ``abandoned``. A chain with
    an error, or with a failed read (QUEUE_DATA_FAULT, info: the DMA status), gives an error event;
    in the second case its packet is marked ``bad``.

    One data beat a cycle, whatever the lengths; latency 4 cycles, one more for the last beat when
    no other frame follows.

    Parameters
    ----------
    width : :class:`int`
        Datapath width in bits.

    Members
    -------
    entries : In(stream of TxEntry)
    data : In(PacketSignature(width, DmaReadMeta))
    o : Out(PacketSignature(width, TxGathered))
    complete : Out(stream of ChainCompletion)
    errors : Out(stream of ErrorEvent)
    function : In(8)
    bad_chain, fault : Out(1)
        One cycle for each chain refused or not read.
    """

    def __init__(self, width: int):
        self._width = width
        self._octets = width // 8
        super().__init__(
            {
                "entries": In(stream.Signature(TxEntry)),
                "data": In(PacketSignature(width, DmaReadMeta)),
                "o": Out(PacketSignature(width, TxGathered)),
                "complete": Out(stream.Signature(ChainCompletion)),
                "errors": Out(stream.Signature(ErrorEvent)),
                "function": In(8),
                "bad_chain": Out(1),
                "fault": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        octets = self._octets
        stage = data.StructLayout(
            {
                "data": self._width,
                #: Bytes of the packet that are in the accumulator before this beat, and after.
                "fill": range(octets + 1),
                "next_fill": range(octets + 1),
                #: The accumulator overflows.
                "full": 1,
                "first": 1,
                "last": 1,
                "meta": TxGathered,
            }
        )
        placed = Signal(stage)
        placed_valid = Signal()
        advance = Signal()
        self._place(m, placed, placed_valid, advance)

        # Rotate in two stages: by multiples of 8 bytes, then by single bytes.
        index_bits = exact_log2(octets)
        coarse, fine = Signal(stage), Signal(stage)
        coarse_valid, fine_valid = Signal(), Signal()
        taken = Signal()
        m.d.comb += advance.eq(~fine_valid | taken)
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

    def _place(self, m, placed, placed_valid, advance):
        """Decide where each data beat goes, and finish chains."""
        octets = self._octets
        entry = self.entries.payload
        beat = self.data.payload
        count = Signal(16)
        begun = Signal()
        fill = Signal(range(octets + 1))
        failed = Signal()
        free = Signal()
        # An event is rare: that it leaves in this cycle need not count.
        m.d.comb += free.eq((~self.complete.valid | self.complete.ready) & ~self.errors.valid)
        refused = (entry.error != ErrorCode.NONE) | entry.abandoned
        nothing = entry.reads == 0
        ends = beat.last & (count + 1 == entry.reads)
        step = Signal()
        finish = Signal()
        m.d.comb += [
            self.data.ready.eq(
                self.entries.valid & ~nothing & (refused | advance) & (~ends | free)
            ),
            step.eq(self.data.valid & self.data.ready),
            finish.eq((step & ends) | (self.entries.valid & nothing & free)),
            self.entries.ready.eq(finish),
        ]
        fill_now = Signal.like(fill)
        total = Signal(range(2 * octets + 1))
        status_bad = Signal()
        m.d.comb += [
            fill_now.eq(Mux(begun, fill, 0)),
            total.eq(fill_now + octets - beat.empty),
            placed.data.eq(beat.data),
            placed.fill.eq(fill_now),
            placed.full.eq(total > octets),
            placed.next_fill.eq(Mux(placed.full, total - octets, total)),
            placed.first.eq(~begun),
            placed.last.eq(ends),
            placed.meta.queue.eq(entry.queue),
            placed.meta.length.eq(entry.info - HEADER_BYTES),
            status_bad.eq(beat.last & (beat.meta.status != DmaStatus.OK)),
            placed.meta.bad.eq(failed | status_bad),
            placed_valid.eq(step & ~refused),
        ]
        with m.If(step):
            m.d.sync += [
                begun.eq(~ends),
                fill.eq(placed.next_fill),
                count.eq(Mux(ends, 0, count + beat.last)),
                failed.eq((failed | status_bad) & ~ends),
            ]
        status = Signal(DmaStatus)
        with m.If(step & status_bad & ~failed):
            m.d.sync += status.eq(beat.meta.status)
        first_status = Mux(failed, status, beat.meta.status)
        self._finish(m, finish, refused, ~nothing & (failed | status_bad), first_status)

    def _finish(self, m, finish, refused, failed, status):
        entry = self.entries.payload
        event = self.errors.payload
        m.d.sync += [
            self.bad_chain.eq(finish & refused & ~entry.abandoned),
            self.fault.eq(finish & ~refused & failed),
        ]
        with m.If(self.complete.ready):
            m.d.sync += self.complete.valid.eq(0)
        with m.If(self.errors.ready):
            m.d.sync += self.errors.valid.eq(0)
        with m.If(finish & ~entry.abandoned):
            m.d.sync += [
                self.complete.valid.eq(1),
                self.complete.payload.queue.eq(entry.queue),
                self.complete.payload.id.eq(entry.id),
                self.complete.payload.slots.eq(entry.slots),
                self.errors.valid.eq(refused | failed),
                event.source.eq(ErrorSource.VIRTIO_NET),
                event.code.eq(Mux(refused, entry.error, ErrorCode.QUEUE_DATA_FAULT)),
                event.function.eq(self.function),
                event.queue.eq(entry.queue),
                event.info.eq(Mux(refused, entry.info, status)),
            ]

    def _merge(self, m, beat, beat_valid, taken):
        """Fill the accumulator; it leaves when the next beat overflows it, or the packet ended."""
        octets = self._octets
        held = Signal(self._width)
        #: The accumulator holds the end of a packet, of ``tail`` bytes.
        ended = Signal()
        tail = Signal(range(octets + 1))
        tail_meta = Signal(TxGathered)
        merged = Cat(
            Mux(beat.fill > lane, held.word_select(lane, 8), beat.data.word_select(lane, 8))
            for lane in range(octets)
        )
        free = Signal()
        needs_output = Signal()
        m.d.comb += [
            free.eq(~self.o.valid | self.o.ready),
            needs_output.eq(Mux(beat.first, ended, beat.full)),
            taken.eq(beat_valid & (free | ~needs_output)),
        ]
        out = self.o.payload
        with m.If(free):
            m.d.sync += self.o.valid.eq(ended | (beat_valid & beat.full))
            m.d.sync += [
                out.data.eq(Mux(ended, held, merged)),
                out.last.eq(ended),
                out.empty.eq(Mux(ended, octets - tail, 0)),
                out.meta.eq(Mux(ended, tail_meta, beat.meta)),
            ]
            with m.If(ended):
                m.d.sync += ended.eq(0)
        with m.If(taken):
            m.d.sync += held.eq(Mux(beat.full, beat.data, merged))
            with m.If(beat.last):
                m.d.sync += [ended.eq(1), tail.eq(beat.next_fill), tail_meta.eq(beat.meta)]
