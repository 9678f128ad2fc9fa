"""Finds the host buffers for each received frame, or decides that there are none."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from tailrace_hw.errors import ErrorCode, ErrorEvent, ErrorSource
from tailrace_hw.virtio.interfaces import Segment, TakeAction, TakeRequest
from tailrace_hw.virtio.net_speculative import SpeculativeFifo
from tailrace_hw.virtio.net_types import HEADER_BYTES, RxChain, RxFrame, RxInfo, RxWrite

__all__ = ["RxChains", "RxDrop"]


class RxDrop(enum.Enum, shape=3):
    """Why a frame gets no buffers."""

    NONE = 0
    NOT_READY = 1
    NO_BUFFER = 2
    TOO_LONG = 3
    BAD_DIRECTION = 4


class _Waiting(data.Struct):
    """A frame that waits for chains."""

    #: Bytes to place: its header's and its own.
    need: 17
    queue: 8


class _Phase(enum.Enum, shape=2):
    #: Issue takes, look at answers, commit.
    RUN = 0
    #: One more chain for the only frame of the batch.
    MORE = 1
    #: The batch failed: let the outstanding answers pass, then give everything back.
    DRAIN = 2
    #: Its first frame cannot be served.
    DROP = 3


#: Frames for which chains are taken before the first answer is there; a power of two.
_BATCH = 8
_INDEX_BITS = exact_log2(_BATCH)


class RxChains(wiring.Component):
    """Takes descriptor chains for one frame after the other and plans the writes into them.

    For each ``info``, in order, one ``frames`` item. Unless that says ``drop``, the frame also gets
    ``writes`` (one for each segment used, together the 12-byte virtio_net_hdr and the frame) and
    ``chains`` (one for each chain used, ``more`` on all but the last). With VIRTIO_NET_F_MRG_RXBUF
    a frame takes as many chains as it needs (virtio 1.2, 5.1.6.4), else one. A plan leaves only
    after its chains' COMMIT was taken by the engine.

    A frame is dropped, its chains given back, with an error event, when

    * its queue has no chain, or too few (NET_RX_NO_BUFFER, info: frame length);
    * it needs more than ``max_segments`` segments, or chains of more segments than the engine
      keeps (``crowded``), or without mergeable buffers more than one chain (NET_RX_TOO_LONG, info:
      frame length);
    * a segment is device-readable (QUEUE_BAD_DIRECTION, info: its address).

    While ``flush`` is set, frames that have no chains yet are dropped without event.

    Short frames of one queue that wait together are taken for in a batch of up to eight, on the
    guess that one chain is enough for each, so that the engine's latency counts once a batch: at
    up to 20 cycles from take to answer, one frame in 4 cycles. When the guess is wrong (or anything
    else is), the batch is rolled back and its frames are served one by one.

    Parameters
    ----------
    width : :class:`int`
        Datapath width in bits: a frame of up to 4 beats is short.
    max_segments : :class:`int`
        Segments for one frame, a power of two.

    Members
    -------
    info : In(stream of RxInfo)
    take : Out(stream of TakeRequest)
    segments : In(stream of Segment)
    frames : Out(stream of RxFrame)
    writes : Out(stream of RxWrite)
    chains : Out(stream of RxChain)
    errors : Out(stream of ErrorEvent)
        Holds up the next frame until it is taken.
    mrg_rxbuf, flush : In(1)
    function : In(8)
    working : Out(1)
        Frames wait for chains, or have chains that have not left on ``chains``.
    dropped : Out(RxDrop)
        Not NONE for one cycle for each frame dropped.
    """

    info: In(stream.Signature(RxInfo))
    take: Out(stream.Signature(TakeRequest))
    segments: In(stream.Signature(Segment))
    frames: Out(stream.Signature(RxFrame))
    writes: Out(stream.Signature(RxWrite))
    chains: Out(stream.Signature(RxChain))
    errors: Out(stream.Signature(ErrorEvent))
    mrg_rxbuf: In(1)
    flush: In(1)
    function: In(8)
    working: Out(1)
    dropped: Out(RxDrop)

    def __init__(self, width: int, max_segments: int):
        self._short = 4 * width // 8 + HEADER_BYTES
        self._max_segments = max_segments
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        depth = 2 * self._max_segments
        m.submodules.frame_plans = self._frame_plans = SpeculativeFifo(RxFrame, depth)
        m.submodules.write_plans = self._write_plans = SpeculativeFifo(RxWrite, depth)
        m.submodules.chain_plans = self._chain_plans = SpeculativeFifo(RxChain, depth)
        connect(m, self._frame_plans.o, flipped(self.frames))
        connect(m, self._write_plans.o, flipped(self.writes))
        connect(m, self._chain_plans.o, flipped(self.chains))

        self._phase = Signal(_Phase)
        #: Frames waiting, takes made for them, and of those the answered ones.
        self._held = Signal(range(_BATCH + 1))
        self._issued = Signal(range(_BATCH + 1))
        self._answered = Signal(range(_BATCH + 1))
        #: Takes whose last segment has not come.
        self._outstanding = Signal(range(_BATCH + 1))
        #: Frames to serve one by one, after a batch that failed.
        self._careful = Signal(range(_BATCH + 1))
        self._reason = Signal(RxDrop)
        self._info = Signal(64)
        self._window(m)
        self._issue(m)
        self._answer(m)
        self._commit(m)
        self._drain(m)
        self._drop(m)
        return m

    def _window(self, m):
        """The next few frames, in a ring of registers."""
        ring = Array(Signal(_Waiting, name=f"held_{k}") for k in range(_BATCH))
        head = Signal(range(_BATCH))
        #: ``head`` plus ``issued``, ``head`` plus ``answered``: sums would lengthen every path.
        self._next_index = Signal(range(_BATCH))
        self._current_index = Signal(range(_BATCH))
        #: The batch, or one frame without chains, leaves the ring in this cycle.
        self._retire_batch, self._retire_one = Signal(), Signal()
        push = Signal()
        m.d.comb += [
            self.working.eq(self.info.valid | (self._held != 0) | self._chain_plans.busy),
            self.info.ready.eq(self._held != _BATCH),
            push.eq(self.info.valid & self.info.ready),
        ]
        with m.If(push):
            place = ring[(head + self._held)[:_INDEX_BITS]]
            m.d.sync += place.need.eq(self.info.payload.length + HEADER_BYTES)
            m.d.sync += place.queue.eq(self.info.payload.queue)
        m.d.sync += self._held.eq(self._held + push)
        with m.If(self._retire_batch):
            m.d.sync += [self._held.eq(self._held + push - self._issued), head.eq(self._next_index)]
        with m.If(self._retire_one):
            m.d.sync += [self._held.eq(self._held + push - 1), head.eq(head + 1)]
        #: A frame comes while none waits: its chain is asked for at once.
        self._arrives = Signal()
        m.d.comb += self._arrives.eq(push & (self._held == 0))
        self._head = head
        self._first = ring[head]
        self._next = ring[self._next_index]
        self._current = ring[self._current_index]

    def _issue(self, m):
        """Take chains ahead while nothing is answered."""
        #: ``take``, a register, may be loaded.
        self._free = Signal()
        m.d.comb += self._free.eq(~self.take.valid | self.take.ready)
        with m.If(self._free):
            m.d.sync += self.take.valid.eq(0)

        nth, first = self._next, self._first
        joins = (
            (self._careful == 0)
            & (self._outstanding != 0)
            & ~self.segments.valid
            & (nth.queue == first.queue)
            & (nth.need <= self._short)
            & (first.need <= self._short)
        )
        begins = self._issued == 0
        taking = Signal()
        waits = (self._held != self._issued) | self._arrives
        with m.If((self._phase == _Phase.RUN) & waits):
            with m.If(begins & self.flush):
                m.d.sync += [self._phase.eq(_Phase.DROP), self._reason.eq(RxDrop.NOT_READY)]
            with m.Elif(self._free & (begins | joins)):
                m.d.sync += [
                    self._issued.eq(self._issued + 1),
                    self._next_index.eq(self._next_index + 1),
                ]
                m.d.comb += taking.eq(1)
        with m.If((self._phase == _Phase.MORE) & self._free):
            m.d.sync += self._phase.eq(_Phase.RUN)
            m.d.comb += taking.eq(1)
        # All frames of a batch have one queue, so it is always the first one's.
        with m.If(taking):
            self._load(m, TakeAction.TAKE)
        ends = self.segments.valid & self.segments.ready & self.segments.payload.last
        m.d.sync += self._outstanding.eq(self._outstanding + taking - ends)

    def _load(self, m, action):
        m.d.sync += [
            self.take.valid.eq(1),
            self.take.payload.queue.eq(
                Mux(self._arrives, self.info.payload.queue, self._first.queue)
            ),
            self.take.payload.action.eq(action),
        ]

    def _answer(self, m):
        """Fit the frame under way into the segments that come."""
        segment = self.segments.payload
        frame = self._current
        #: No segment of this frame has come.
        self._fresh = Signal(init=1)
        #: Bytes of it that have no place yet.
        left = Signal(17)
        #: Chains it has, the current one included, and bytes placed in the current one.
        num_buffers = Signal(16, init=1)
        written = Signal(17)
        #: A frame of the batch gets its last chain in this cycle.
        self._frame_served = Signal()
        #: Writes planned since the last commit.
        self._pieces = Signal(range(self._max_segments + 1))

        room = Signal()
        m.d.comb += [
            room.eq(
                self._write_plans.i.ready & self._chain_plans.i.ready & self._frame_plans.i.ready
            ),
            self.segments.ready.eq(
                ((self._phase == _Phase.RUN) & room) | (self._phase == _Phase.DRAIN)
            ),
        ]
        length = frame.need - HEADER_BYTES
        to_place = Signal(17)
        placed = Signal(17)
        fits = Signal()
        m.d.comb += [
            to_place.eq(Mux(self._fresh, frame.need, left)),
            fits.eq(segment.length >= to_place),
            placed.eq(Mux(fits, to_place, segment.length)),
            self._write_plans.i.payload.address.eq(segment.address),
            self._write_plans.i.payload.length.eq(placed),
            self._write_plans.i.payload.chain_end.eq(fits | segment.last),
            self._write_plans.i.payload.frame_end.eq(fits),
            self._chain_plans.i.payload.queue.eq(segment.queue),
            self._chain_plans.i.payload.id.eq(segment.id),
            self._chain_plans.i.payload.slots.eq(segment.slots),
            self._chain_plans.i.payload.written.eq(written + placed),
            self._chain_plans.i.payload.more.eq(~fits),
        ]
        with m.If((self._phase == _Phase.RUN) & self.segments.valid & room):
            # Segments behind the one that took the frame's last byte stay empty.
            needed = to_place != 0
            with m.If(segment.none & segment.crowded):
                # All that was taken and not committed is for this frame, or it is served again.
                self._fail(m, RxDrop.TOO_LONG, length)
            with m.Elif(segment.none):
                self._fail(m, RxDrop.NO_BUFFER, length)
            with m.Elif(~segment.writable):
                self._fail(m, RxDrop.BAD_DIRECTION, segment.address)
            with m.Elif(needed & (self._pieces == self._max_segments)):
                self._fail(m, RxDrop.TOO_LONG, length)
            with m.Elif(segment.last & ~fits & (~self.mrg_rxbuf | (self._issued != 1))):
                self._fail(m, RxDrop.TOO_LONG, length)
            with m.Else():
                m.d.comb += [
                    self._write_plans.i.valid.eq(needed),
                    self._chain_plans.i.valid.eq(segment.last),
                ]
                m.d.sync += [
                    self._fresh.eq(0),
                    left.eq(to_place - placed),
                    written.eq(written + placed),
                    self._pieces.eq(self._pieces + needed),
                ]
                with m.If(segment.last):
                    m.d.sync += written.eq(0)
                    with m.If(fits):
                        m.d.comb += [self._frame_plans.i.valid.eq(1), self._frame_served.eq(1)]
                        m.d.sync += [
                            self._answered.eq(self._answered + 1),
                            self._current_index.eq(self._current_index + 1),
                            self._fresh.eq(1),
                            num_buffers.eq(1),
                        ]
                    with m.Else():
                        m.d.sync += [num_buffers.eq(num_buffers + 1), self._phase.eq(_Phase.MORE)]
        with m.If(self._phase == _Phase.DRAIN):
            m.d.sync += [self._fresh.eq(1), num_buffers.eq(1), written.eq(0)]
        m.d.comb += self._frame_plans.i.payload.num_buffers.eq(num_buffers)

    def _fail(self, m, reason, info):
        m.d.sync += [self._phase.eq(_Phase.DRAIN), self._reason.eq(reason), self._info.eq(info)]

    def _commit(self, m):
        """Every frame of the batch has its chains: keep them."""
        served = (self._issued != 0) & Mux(
            self._frame_served, self._answered + 1 == self._issued, self._answered == self._issued
        )
        with m.If((self._phase == _Phase.RUN) & served & self._free):
            self._load(m, TakeAction.COMMIT)
            m.d.comb += self._retire_batch.eq(1)
            self._retire(m)
        # From here on the engine counts the chains as ours, so the plan may become writes.
        committed = Signal()
        m.d.comb += committed.eq(
            self.take.valid & self.take.ready & (self.take.payload.action == TakeAction.COMMIT)
        )
        m.d.comb += [
            self._write_plans.commit.eq(committed),
            self._chain_plans.commit.eq(committed),
            self._frame_plans.commit.eq(committed),
        ]

    def _retire(self, m):
        m.d.sync += [self._issued.eq(0), self._answered.eq(0), self._pieces.eq(0)]
        with m.If(self._careful != 0):
            m.d.sync += self._careful.eq(self._careful - 1)

    def _drain(self, m):
        """Give a failed batch back; serve its frames one by one, or drop the only one."""
        with m.If((self._phase == _Phase.DRAIN) & (self._outstanding == 0) & self._free):
            self._load(m, TakeAction.ROLLBACK)
            m.d.comb += [
                self._write_plans.rollback.eq(1),
                self._chain_plans.rollback.eq(1),
                self._frame_plans.rollback.eq(1),
            ]
            m.d.sync += self._pieces.eq(0)
            with m.If(self._issued == 1):
                m.d.sync += self._phase.eq(_Phase.DROP)
            with m.Else():
                m.d.sync += [
                    self._phase.eq(_Phase.RUN),
                    self._careful.eq(self._issued),
                    self._issued.eq(0),
                    self._answered.eq(0),
                    self._next_index.eq(self._head),
                    self._current_index.eq(self._head),
                ]

    def _drop(self, m):
        """Let the first frame pass without buffers, and say why."""
        plan = self._frame_plans
        # An event is rare: that it leaves in this cycle need not count.
        report_free = ~self.errors.valid
        with m.If(self.errors.ready):
            m.d.sync += self.errors.valid.eq(0)
        # The take register is free: a plan before this one has been committed.
        with m.If((self._phase == _Phase.DROP) & self._free & plan.i.ready & report_free):
            m.d.comb += [
                plan.i.valid.eq(1),
                plan.i.payload.drop.eq(1),
                plan.commit.eq(1),
                self.dropped.eq(self._reason),
            ]
            m.d.comb += self._retire_one.eq(1)
            self._retire(m)
            m.d.sync += [
                self._phase.eq(_Phase.RUN),
                self._next_index.eq(self._head + 1),
                self._current_index.eq(self._head + 1),
            ]
            self._report(m)

    def _report(self, m):
        event = self.errors.payload
        m.d.sync += [
            self.errors.valid.eq(self._reason != RxDrop.NOT_READY),
            event.source.eq(ErrorSource.VIRTIO_NET),
            event.function.eq(self.function),
            event.queue.eq(self._first.queue),
            event.info.eq(self._info),
        ]
        with m.Switch(self._reason):
            with m.Case(RxDrop.NO_BUFFER):
                m.d.sync += event.code.eq(ErrorCode.NET_RX_NO_BUFFER)
            with m.Case(RxDrop.TOO_LONG):
                m.d.sync += event.code.eq(ErrorCode.NET_RX_TOO_LONG)
            with m.Case(RxDrop.BAD_DIRECTION):
                m.d.sync += event.code.eq(ErrorCode.QUEUE_BAD_DIRECTION)
