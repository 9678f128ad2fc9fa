"""One client's share of the DMA write engine: its data, checked, and its requests in pieces."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from tailrace_hw.errors import ErrorEvent, ErrorSource
from tailrace_hw.lib.fall_through import FallThroughFifo
from tailrace_hw.lib.fifo import SyncFifo
from tailrace_hw.lib.stage import ReadyStage, SkidStage
from tailrace_hw.pcie.dma import DmaStatus, DmaWritePort
from tailrace_hw.pcie.dma_events import DmaCounts, error_code
from tailrace_hw.pcie.dma_splitter import MAX_PIECE, DmaSplitter, is_bad_request, piece_layout
from tailrace_hw.pcie.function import FunctionState

__all__ = ["WriteClient", "write_job_layout"]

_NO_QUEUE = 0xFFFF
#: Requests that may wait for their response.
_RESPONSES = 32


def write_job_layout(width: int) -> data.StructLayout:
    """Layout of a TLP to be sent, all of whose data waits in the client's queue.

    Members
    -------
    function, address, length : of the TLP
    beats : to be taken from the queue, each as the next chunk is formed
    chunks : of payload, as many as ``beats`` or one more
    turn : byte of the last beat taken before a chunk at which the chunk starts, modulo a beat; 0
        means that it starts with the next beat
    last : ends its request
    """
    beats = MAX_PIECE * 8 // width + 1
    return data.StructLayout(
        {
            "function": 8,
            "address": 64,
            "length": range(MAX_PIECE + 1),
            "beats": range(beats + 1),
            "chunks": range(beats + 1),
            "turn": range(width // 8),
            "last": 1,
        }
    )


class _Ending(data.Struct):
    """A request whose last TLP has been sent, or that has been given up."""

    tag: 16
    function: 8
    address: 64
    status: DmaStatus
    #: The response waits for the link's ordering point.
    sent: 1


class WriteClient(wiring.Component):
    """Queues a client's data until a TLP's worth is there, offers the TLP, answers the request.

    A TLP is offered when all its data is in the queue, so that a slow client delays nobody else.
    Data that disagrees with its request's length, or whose request is refused, is taken up to the
    packet's ``last`` and thrown away; TLPs that were sent before it showed stay sent.

    Parameters
    ----------
    width, functions : as in :class:`DmaWriteEngine`

    Members
    -------
    client : In(DmaWritePort(width))
    functions : In(FunctionState) of each function
    job : Out(stream of write_job_layout(width))
    beats : Out(stream of width bits)
        Data of the jobs that were taken.
    ordered_valid, ordered_status : In
        The last TLP of the oldest sent request has passed the ordering point, or is lost.
    event : Out(stream of ErrorEvent)
        One that fails while another waits is lost.
    counts : Out(DmaCounts)
    """

    def __init__(self, width: int, functions: int):
        self._width = width
        super().__init__(
            {
                "client": In(DmaWritePort(width)),
                "functions": In(FunctionState).array(functions),
                "job": Out(stream.Signature(write_job_layout(width))),
                "beats": Out(stream.Signature(width)),
                "ordered_valid": In(1),
                "ordered_status": In(DmaStatus),
                "event": Out(stream.Signature(ErrorEvent)),
                "counts": Out(DmaCounts),
            }
        )

    def elaborate(self, platform):
        m = Module()
        beat_bytes = self._width // 8
        self._depth = 2 * (MAX_PIECE // beat_bytes) + 16
        m.submodules.queue = self._queue = SyncFifo(self._width, self._depth)
        m.submodules.endings = self._endings = SyncFifo(_Ending, _RESPONSES)
        #: Beats in the queue that no job has claimed.
        self._unclaimed = Signal(range(self._depth + 1))
        #: The last packet in the queue disagrees with its request; no other is let in behind it.
        self._bad = Signal()
        self._bad_set = Signal()
        self._bad_clear = Signal()
        self._claim = Signal(range(self._depth + 1))
        pushed = self._queue.i.valid & self._queue.i.ready
        m.d.sync += [
            self._unclaimed.eq(self._unclaimed + pushed - self._claim),
            self._bad.eq((self._bad & ~self._bad_clear) | self._bad_set),
        ]
        m.submodules.splitter = splitter = DmaSplitter(
            self._width, "max_payload", len(self.functions)
        )
        for mine, theirs in zip(splitter.functions, self.functions, strict=True):
            m.d.comb += mine.eq(theirs)
        self._take(m, splitter)
        self._schedule(m, *self._measure(m, splitter))
        self._respond(m)
        return m

    def _take(self, m, splitter):
        """Requests to the splitter; their lengths to the check of the data."""
        shape = data.StructLayout({"length": 17, "refused": 1})
        m.submodules.expected = expected = SkidStage(shape)
        request = self.client.request
        m.d.comb += [
            request.ready.eq(splitter.i.ready & expected.i.ready),
            splitter.i.valid.eq(request.valid & expected.i.ready),
            splitter.i.payload.eq(request.payload),
            expected.i.valid.eq(request.valid & splitter.i.ready),
            expected.i.payload.length.eq(request.payload.length),
            expected.i.payload.refused.eq(is_bad_request(request.payload)),
        ]
        self._check(m, expected.o)

    def _check(self, m, expected):
        """Let exactly the expected beats into the queue, and see whether they are the packet.

        Of a refused request, whose length means nothing, one beat is let in for the packet.
        """
        beat_bytes = self._width // 8
        beat = self.client.data.payload
        middle, surplus = Signal(), Signal()
        left_held, left = Signal(17), Signal(17)
        final, fits, push, taken = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            left.eq(Mux(middle, left_held, expected.payload.length)),
            final.eq(left <= beat_bytes),
            fits.eq(beat.last & final & (left + beat.empty == beat_bytes)),
            push.eq(Mux(expected.payload.refused, beat.last, ~surplus)),
            self.client.data.ready.eq(
                expected.valid & (~push | (self._queue.i.ready & ~self._bad))
            ),
            taken.eq(self.client.data.valid & self.client.data.ready),
            self._queue.i.valid.eq(
                self.client.data.valid & expected.valid & push & ~self._bad
            ),
            self._queue.i.payload.eq(beat.data),
            expected.ready.eq(taken & beat.last),
            self._bad_set.eq(
                taken & push & ~expected.payload.refused & (beat.last | final) & ~fits
            ),
        ]
        with m.If(taken):
            m.d.sync += [
                middle.eq(~beat.last),
                left_held.eq(left - beat_bytes),
                surplus.eq(~beat.last & (surplus | (final & ~expected.payload.refused))),
            ]

    def _measure(self, m, splitter):
        """Register a piece with the beats and chunks it takes."""
        beat_bits = exact_log2(self._width // 8)
        piece = Signal(piece_layout(self._width))
        valid, ready = Signal(), Signal()
        #: A request may come to be refused with 64 KiB left.
        beats = Signal(range((65536 >> beat_bits) + 2))
        chunks = Signal(write_job_layout(self._width)["chunks"].shape)
        turn = Signal(beat_bits)
        new = splitter.o.payload
        # Beats that no earlier piece has taken: those up to the piece's end, rounded up, less the
        # one it starts in unless it starts with it. Adding offset - 1 modulo a beat does both.
        end = new.length + (new.offset - 1)[:beat_bits]
        shift = new.address[:2]
        m.d.comb += splitter.o.ready.eq(~valid | ready)
        with m.If(splitter.o.ready):
            m.d.sync += [
                valid.eq(splitter.o.valid),
                piece.eq(new),
                beats.eq(end >> beat_bits),
                chunks.eq((shift + new.length + (1 << beat_bits) - 1) >> beat_bits),
                turn.eq(new.offset - shift),
            ]
            with m.If(new.status == DmaStatus.BAD_REQUEST):
                m.d.sync += beats.eq(1)
        return piece, valid, ready, beats, chunks, turn

    def _schedule(self, m, piece, valid, ready, beats, chunks, turn):
        """Offer the piece when its data is there, or throw its data away."""
        wrong, send = Signal(), Signal()
        status = Signal(DmaStatus)
        to_drop = Signal.like(beats)
        ending = self._endings.i
        payload = ending.payload
        # Whether the arbiter takes the job comes late, and goes far: back to the client's request.
        m.submodules.job_stage = job_stage = ReadyStage(write_job_layout(self._width))
        wiring.connect(m, job_stage.o, wiring.flipped(self.job))
        offer = job_stage.i
        job = offer.payload
        m.d.comb += [
            wrong.eq(
                self._bad
                & ((self._unclaimed < beats) | ((self._unclaimed == beats) & piece.last))
            ),
            payload.tag.eq(piece.tag),
            payload.function.eq(piece.function),
            payload.address.eq(piece.address),
            self.beats.valid.eq(self._queue.o.valid),
            self.beats.payload.eq(self._queue.o.payload),
            self._queue.o.ready.eq(self.beats.ready),
            job.function.eq(piece.function),
            job.address.eq(piece.address),
            job.length.eq(piece.length),
            job.beats.eq(beats),
            job.chunks.eq(chunks),
            job.turn.eq(turn),
            job.last.eq(piece.last),
        ]
        with m.FSM():
            with m.State("SEND"):
                with m.If(valid & ((piece.status != DmaStatus.OK) | wrong)):
                    m.d.sync += to_drop.eq(beats)
                    m.d.sync += status.eq(
                        Mux(piece.status == DmaStatus.OK, DmaStatus.BAD_REQUEST, piece.status)
                    )
                    m.next = "DROP"
                with m.Else():
                    m.d.comb += offer.valid.eq(
                        valid & (self._unclaimed >= beats) & ending.ready
                    )
                m.d.comb += [
                    send.eq(offer.valid & offer.ready),
                    ready.eq(send),
                    payload.sent.eq(1),
                    ending.valid.eq(send & piece.last),
                ]
                with m.If(send):
                    m.d.comb += self._claim.eq(beats)
            with m.State("DROP"):
                self._drop(m, status, to_drop, payload, ending)
                with m.If(ending.valid & ending.ready):
                    m.d.comb += ready.eq(1)
                    with m.If(piece.last):
                        m.next = "SEND"
                    with m.Else():
                        m.next = "SKIP"
            with m.State("SKIP"):
                # The rest of a request that has been answered.
                m.d.comb += ready.eq(1)
                with m.If(valid & piece.last):
                    m.next = "SEND"

    def _drop(self, m, status, to_drop, payload, ending):
        """Take beats out of the queue once all earlier jobs have taken theirs."""
        exhausted = self._bad & (self._unclaimed == 0)
        m.d.comb += [payload.status.eq(status), payload.sent.eq(0)]
        with m.If(self._queue.level == self._unclaimed):
            with m.If((to_drop == 0) | exhausted):
                m.d.comb += ending.valid.eq(1)
                m.d.comb += self._bad_clear.eq(exhausted & ending.ready)
            with m.Elif(self._queue.o.valid):
                m.d.comb += [self._queue.o.ready.eq(1), self._claim.eq(1)]
                m.d.sync += to_drop.eq(to_drop - 1)

    def _respond(self, m):
        """Answer in order; a request that was sent waits for the link's word."""
        m.submodules.ordered = ordered = FallThroughFifo(DmaStatus, _RESPONSES + 2)
        ending = self._endings.o
        response = self.client.response
        status = response.payload.status
        done = Signal()
        m.d.comb += [
            ordered.i.valid.eq(self.ordered_valid),
            ordered.i.payload.eq(self.ordered_status),
            response.valid.eq(ending.valid & (~ending.payload.sent | ordered.o.valid)),
            response.payload.tag.eq(ending.payload.tag),
            status.eq(Mux(ending.payload.sent, ordered.o.payload, ending.payload.status)),
            done.eq(response.valid & response.ready),
            ending.ready.eq(done),
            ordered.o.ready.eq(done & ending.payload.sent),
        ]
        failed = done & (status != DmaStatus.OK)
        m.d.sync += self.counts.requests.eq(done)
        m.d.sync += [
            self.counts.failed[value.value].eq(failed & (status == value)) for value in DmaStatus
        ]
        with m.If(~self.event.valid | self.event.ready):
            m.d.sync += [
                self.event.valid.eq(failed),
                self.event.payload.source.eq(ErrorSource.DMA_WRITE),
                self.event.payload.code.eq(error_code(status)),
                self.event.payload.function.eq(ending.payload.function),
                self.event.payload.queue.eq(_NO_QUEUE),
                self.event.payload.info.eq(ending.payload.address),
            ]
