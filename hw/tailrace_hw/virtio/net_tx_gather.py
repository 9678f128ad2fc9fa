"""Joins the data of a chain's segments into one packet, and returns the chain."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from tailrace_hw.errors import ErrorCode, ErrorEvent, ErrorSource
from tailrace_hw.lib.packet import PacketSignature
from tailrace_hw.lib.packet_join import PacketJoin
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
        self._octets = width // 8
        self._join = PacketJoin(width, TxGathered)
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
        m.submodules.join = join = self._join
        connect(m, join.o, flipped(self.o))
        self._place(m, join.i)
        return m

    def _place(self, m, pieces):
        """Decide which data beats are joined, and finish chains."""
        entry = self.entries.payload
        beat, piece = self.data.payload, pieces.payload
        count = Signal(16)
        begun = Signal()
        failed = Signal()
        free = Signal()
        # An event is rare: that it leaves in this cycle need not count.
        m.d.comb += free.eq((~self.complete.valid | self.complete.ready) & ~self.errors.valid)
        refused = (entry.error != ErrorCode.NONE) | entry.abandoned
        nothing = entry.reads == 0
        ends = beat.last & (count + 1 == entry.reads)
        goes = Signal()
        step = Signal()
        finish = Signal()
        status_bad = Signal()
        m.d.comb += [
            goes.eq(self.entries.valid & ~nothing & (~ends | free)),
            self.data.ready.eq(goes & (refused | pieces.ready)),
            pieces.valid.eq(goes & self.data.valid & ~refused),
            step.eq(self.data.valid & self.data.ready),
            finish.eq((step & ends) | (self.entries.valid & nothing & free)),
            self.entries.ready.eq(finish),
            piece.data.eq(beat.data),
            piece.count.eq(self._octets - beat.empty),
            piece.first.eq(~begun),
            piece.last.eq(ends),
            piece.meta.queue.eq(entry.queue),
            piece.meta.length.eq(entry.info - HEADER_BYTES),
            status_bad.eq(beat.last & (beat.meta.status != DmaStatus.OK)),
            piece.meta.bad.eq(failed | status_bad),
        ]
        with m.If(step):
            m.d.sync += [
                begun.eq(~ends),
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
