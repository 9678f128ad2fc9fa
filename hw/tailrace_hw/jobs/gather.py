"""Makes a packet of a job's source."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.jobs.chunk_splitter import CHUNK
from tailrace_hw.jobs.slot_flags import SlotPulse
from tailrace_hw.jobs.source_reader import SourceToken
from tailrace_hw.jobs.types import LENGTH_BITS
from tailrace_hw.lib.packet import PacketSignature
from tailrace_hw.lib.packet_join import PacketJoin
from tailrace_hw.pcie.dma import DmaReadMeta, DmaStatus

__all__ = ["Gather", "SourceMeta"]


class SourceMeta(data.Struct):
    """Metadata of a job's source."""

    slot: 8
    engine: 3
    whole: 1
    #: Meaningful on the last beat only: not all of it is what the host has.
    failed: 1


class Gather(wiring.Component):
    """Joins the data of a job's reads to one packet, which always has the job's length.

    From the first read that fails (or is not made any more) on zeros take the place of the data, up
    to the job's length, and the last beat has ``failed``; what a failed read gave before its last
    beat is in the packet. A job of which no read is made gives no packet. One without length gives
    one beat that means nothing.

    One beat of data a cycle, whatever the lengths; 1 cycle more for a job that needs zeros. Latency
    5 cycles, one more for a last beat when no other packet follows.

    Parameters
    ----------
    width : :class:`int`
        Datapath width in bits.

    Members
    -------
    tokens : In(stream of SourceToken)
    data : In(PacketSignature(width, DmaReadMeta))
    o : Out(PacketSignature(width, SourceMeta))
    fault : Out(SlotPulse)
        A job's source has failed; a cycle after that is known, and before anything that takes the
        place of its data is on ``o``.
    dropped : Out(SlotPulse)
        The same, and there is no packet of it, or one with ``whole`` and ``failed``.
    """

    def __init__(self, width: int):
        self._width = width
        self._octets = width // 8
        super().__init__(
            {
                "tokens": In(stream.Signature(SourceToken)),
                "data": In(PacketSignature(width, DmaReadMeta)),
                "o": Out(PacketSignature(width, SourceMeta)),
                "fault": Out(SlotPulse),
                "dropped": Out(SlotPulse),
            }
        )

    def elaborate(self, platform):
        m = Module()
        octets = self._octets
        m.submodules.join = join = PacketJoin(self._width, SourceMeta)
        wiring.connect(m, join.o, wiring.flipped(self.o))
        token, beat, piece = self.tokens.payload, self.data.payload, join.i.payload
        #: A packet has been begun; a chunk has; zeros fill the packet up.
        begun, in_chunk, filling = Signal(), Signal(), Signal()
        failed = Signal()
        left, chunk_left = Signal(LENGTH_BITS), Signal(range(CHUNK + 1))
        #: The job's members, kept while zeros are made, when its token is gone.
        kept = Signal(SourceToken)

        left_now, left_after = Signal(LENGTH_BITS), Signal(LENGTH_BITS)
        chunk_now = Signal(range(CHUNK + 1))
        got, use = Signal(range(octets + 1)), Signal(range(octets + 1))
        #: A read has failed; there are no more; and there were none at all.
        bad, broken, nothing = Signal(), Signal(), Signal()
        step = Signal()
        meta = piece.meta
        m.d.comb += [
            left_now.eq(Mux(begun | filling, left, token.length)),
            chunk_now.eq(Mux(in_chunk, chunk_left, token.chunk)),
            got.eq(octets - beat.empty),
            piece.first.eq(~begun),
            piece.data.eq(Mux(filling, 0, beat.data)),
            left_after.eq(left_now - use),
            meta.slot.eq(Mux(filling, kept.slot, token.slot)),
            meta.engine.eq(Mux(filling, kept.engine, token.engine)),
            meta.whole.eq(Mux(filling, kept.whole, token.whole)),
            meta.failed.eq(failed | bad),
            piece.count.eq(use),
            step.eq(join.i.valid & join.i.ready),
        ]
        with m.If(filling):
            m.d.comb += [
                use.eq(Mux(left < octets, left, octets)),
                piece.last.eq(left <= octets),
                join.i.valid.eq(1),
            ]
        with m.Elif(~token.read):
            # No length, or broken off.
            m.d.comb += [
                broken.eq(self.tokens.valid & (token.length != 0)),
                piece.count.eq(1),
                piece.last.eq(1),
                join.i.valid.eq(self.tokens.valid & (token.length == 0)),
                nothing.eq(broken & ~begun),
                self.tokens.ready.eq(broken | step),
            ]
        with m.Else():
            m.d.comb += [
                use.eq(Mux(failed, 0, Mux(got < chunk_now, got, chunk_now))),
                bad.eq(beat.last & (beat.meta.status != DmaStatus.OK)),
                piece.last.eq(beat.last & token.last & (left_after == 0)),
                join.i.valid.eq(self.tokens.valid & self.data.valid),
                self.data.ready.eq(self.tokens.valid & join.i.ready),
                self.tokens.ready.eq(step & beat.last),
            ]
        with m.If(step):
            m.d.sync += [
                begun.eq(~piece.last),
                left.eq(left_after),
                filling.eq(filling & ~piece.last),
                failed.eq((failed | bad) & ~piece.last),
                in_chunk.eq(~filling & token.read & ~beat.last),
                chunk_left.eq(chunk_now - use),
            ]
        ends_short = step & ~filling & token.read & beat.last & token.last & (left_after != 0)
        with m.If(ends_short | (broken & ~nothing)):
            m.d.sync += [filling.eq(1), failed.eq(1), kept.eq(token), left.eq(left_after)]
        # A job is told of as soon as a read of it fails, one that is lost when its packet ends.
        # A cycle later than that: the lengths have come a long way. The packet takes more.
        m.d.sync += [
            self.fault.valid.eq((step & bad) | broken | ends_short),
            self.fault.slot.eq(meta.slot),
            self.dropped.valid.eq(nothing | (step & piece.last & meta.failed & meta.whole)),
            self.dropped.slot.eq(meta.slot),
        ]
        return m
