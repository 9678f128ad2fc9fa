"""Which chains of each queue a device holds."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.lib.fifo import SyncFifo
from tailrace_hw.virtio.interfaces import (
    ChainCompletion,
    ChainPort,
    Segment,
    TakeAction,
    TakeRequest,
)

__all__ = ["ChainsInFlight"]


class ChainsInFlight(wiring.Component):
    """Stands between a device and the two halves of the engine, and counts.

    A chain is in flight from the last segment of its answer until it is rolled back or completed,
    whether or not it has been committed: until then the device may touch its buffers. A chain
    whose answer ends with ``none`` was not given.

    Completions of the queue ``dropped`` are counted and go no further.

    Adds no cycle to segments and completions, one cycle between a request and its effect. A
    request is taken when there is room for it among ``outstanding`` ones that are not answered.

    Parameters
    ----------
    queues : :class:`int`
    outstanding : :class:`int`

    Members
    -------
    chains : In(ChainPort)
        The device's side.
    take, segments, available : to the fetching half
    complete : Out(stream of ChainCompletion)
        To the writing half.
    queue : In(8)
    drop : In(1)
        Drop completions of ``queue``.
    clear : In(1)
        Forget the counts of ``queue``, which is about to be enabled: a reset of the clock domain
        does not reach them. Held until ``cleared``.
    cleared : Out(1)
        Done in this cycle, in which no other count changes.
    empty : Out(1)
        No chain of ``queue`` is in flight.
    """

    def __init__(self, queues: int, *, outstanding: int = 32):
        self._queues = queues
        self._outstanding = outstanding
        super().__init__(
            {
                "chains": In(ChainPort(queues)),
                "take": Out(stream.Signature(TakeRequest)),
                "segments": In(stream.Signature(Segment)),
                "available": In(queues),
                "complete": Out(stream.Signature(ChainCompletion)),
                "queue": In(8),
                "drop": In(1),
                "clear": In(1),
                "cleared": Out(1),
                "empty": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.chains.available.eq(self.available)
        given, giving = self._count_given(m)
        completed, completing = self._count_completed(m)
        m.d.comb += [
            self.empty.eq(given == completed),
            self.cleared.eq(self.clear & ~giving & ~completing),
        ]
        return m

    def _counter(self, m, name):
        """A running 16-bit count a queue: read and write port, and the count of ``queue``."""
        m.submodules[name] = counts = memory.Memory(shape=16, depth=self._queues, init=[])
        watch = counts.read_port(domain="comb")
        m.d.comb += watch.addr.eq(self.queue)
        return counts.read_port(domain="comb"), counts.write_port(), watch.data

    def _update(self, m, write, queue, count, enable):
        """Store a count of ``queue``, or clear the one that is to be cleared."""
        m.d.comb += [
            write.addr.eq(Mux(self.cleared, self.queue, queue)),
            write.data.eq(Mux(self.cleared, 0, count)),
            write.en.eq(self.cleared | enable),
        ]

    def _count_given(self, m):
        """Chains given out; a ROLLBACK takes the count back to the last commit."""
        # What was asked for and has not had its effect, in order.
        m.submodules.asked = asked = SyncFifo(TakeRequest, self._outstanding)
        given, given_write, watched = self._counter(m, "given")
        committed, committed_write, _ = self._counter(m, "committed")
        request = self.chains.take
        m.d.comb += [
            self.take.payload.eq(request.payload),
            self.take.valid.eq(request.valid & asked.i.ready),
            asked.i.payload.eq(request.payload),
            asked.i.valid.eq(request.valid & self.take.ready),
            request.ready.eq(self.take.ready & asked.i.ready),
        ]

        head = asked.o.payload
        answered = Signal()
        m.d.comb += answered.eq(
            (head.action == TakeAction.TAKE) | (head.action == TakeAction.TAKE_COMMIT)
        )
        segment = self.chains.segments
        passing = asked.o.valid & answered
        ends = Signal()
        m.d.comb += [
            segment.payload.eq(self.segments.payload),
            segment.valid.eq(self.segments.valid & passing),
            self.segments.ready.eq(segment.ready & passing),
            ends.eq(self.segments.valid & self.segments.ready & self.segments.payload.last),
            asked.o.ready.eq(Mux(answered, ends, 1)),
        ]

        now = Signal(16)
        effective = asked.o.valid & asked.o.ready
        got = answered & ~self.segments.payload.none
        # A TAKE_COMMIT that gets no chain commits nothing, what was taken before included.
        commits = (head.action == TakeAction.COMMIT) | (
            (head.action == TakeAction.TAKE_COMMIT) & got
        )
        m.d.comb += [given.addr.eq(head.queue), committed.addr.eq(head.queue)]
        with m.If(head.action == TakeAction.ROLLBACK):
            m.d.comb += now.eq(committed.data)
        with m.Else():
            m.d.comb += now.eq(given.data + got)
        known = head.queue < self._queues
        self._update(m, given_write, head.queue, now, effective & known)
        self._update(m, committed_write, head.queue, now, effective & known & commits)
        return watched, effective

    def _count_completed(self, m):
        count, write, watched = self._counter(m, "completed")
        completion = self.chains.complete
        queue = completion.payload.queue
        swallow = Signal()
        m.d.comb += [
            swallow.eq(self.drop & (queue == self.queue)),
            self.complete.payload.eq(completion.payload),
            self.complete.valid.eq(completion.valid & ~swallow),
            completion.ready.eq(self.complete.ready | swallow),
            count.addr.eq(queue),
        ]
        taken = completion.valid & completion.ready & (queue < self._queues)
        self._update(m, write, queue, count.data + 1, taken)
        return watched, taken
