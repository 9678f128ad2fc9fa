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
                "empty": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.chains.available.eq(self.available)
        given = self._count_given(m)
        completed = self._count_completed(m)
        m.d.comb += self.empty.eq(given == completed)
        return m

    def _counter(self, m, name):
        """A running 16-bit count a queue: its memory and the one of ``queue``."""
        m.submodules[name] = counts = memory.Memory(shape=16, depth=self._queues, init=[])
        watch = counts.read_port(domain="comb")
        m.d.comb += watch.addr.eq(self.queue)
        return counts, watch.data

    def _count_given(self, m):
        """Chains given out; a ROLLBACK takes the count back to the last commit."""
        # What was asked for and has not had its effect, in order.
        m.submodules.asked = asked = SyncFifo(TakeRequest, self._outstanding)
        given, watched = self._counter(m, "given")
        committed, _ = self._counter(m, "committed")
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

        given_read = given.read_port(domain="comb")
        given_write = given.write_port()
        committed_read = committed.read_port(domain="comb")
        committed_write = committed.write_port()
        now = Signal(16)
        effective = asked.o.valid & asked.o.ready
        m.d.comb += [
            given_read.addr.eq(head.queue),
            given_write.addr.eq(head.queue),
            given_write.data.eq(now),
            given_write.en.eq(effective),
            committed_read.addr.eq(head.queue),
            committed_write.addr.eq(head.queue),
            committed_write.data.eq(now),
            committed_write.en.eq(
                effective
                & ((head.action == TakeAction.TAKE_COMMIT) | (head.action == TakeAction.COMMIT))
            ),
        ]
        with m.If(head.action == TakeAction.ROLLBACK):
            m.d.comb += now.eq(committed_read.data)
        with m.Else():
            got = answered & ~self.segments.payload.none
            m.d.comb += now.eq(given_read.data + got)
        return watched

    def _count_completed(self, m):
        counts, watched = self._counter(m, "completed")
        read = counts.read_port(domain="comb")
        write = counts.write_port()
        completion = self.chains.complete
        swallow = Signal()
        m.d.comb += [
            swallow.eq(self.drop & (completion.payload.queue == self.queue)),
            self.complete.payload.eq(completion.payload),
            self.complete.valid.eq(completion.valid & ~swallow),
            completion.ready.eq(self.complete.ready | swallow),
            read.addr.eq(completion.payload.queue),
            write.addr.eq(completion.payload.queue),
            write.data.eq(read.data + 1),
            write.en.eq(
                completion.valid & completion.ready & (completion.payload.queue < self._queues)
            ),
        ]
        return watched
