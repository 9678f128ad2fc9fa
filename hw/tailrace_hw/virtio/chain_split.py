"""One engine's chain port for the transmit path and the control queue."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.lib.arbiter import RoundRobinArbiter
from tailrace_hw.lib.fifo import SyncFifo
from tailrace_hw.lib.stage import ReadyStage
from tailrace_hw.virtio.interfaces import (
    ChainCompletion,
    ChainPort,
    Segment,
    TakeAction,
    TakeRequest,
)

__all__ = ["ChainSplit"]

#: Answers to TAKE that may be under way at once.
_DEPTH = 16

#: A completion as the arbiter wants it: ``last`` ends a group that may not be torn apart.
_Grouped = data.StructLayout({"completion": ChainCompletion, "last": 1})


class ChainSplit(wiring.Component):
    """Lets the transmit path and the control processor share an engine.

    Requests and completions are served in turn and leave 1 cycle after they came, one a cycle;
    completions of a group (``more``) stay together. Segments pass in the same cycle; each goes to
    the client whose TAKE it answers. Up to 16 TAKEs may be unanswered, then requests wait. A client
    that does not take its segments holds up the other one.

    Parameters
    ----------
    queues : :class:`int`
        Transmit queues. The control queue is the engine's queue number ``queues``.

    Members
    -------
    engine : Out(ChainPort(queues + 1))
    transmit : In(ChainPort(queues))
    control : In(ChainPort(1))
        Its queue 0 is the control queue.
    """

    def __init__(self, queues: int):
        self._queues = queues
        super().__init__(
            {
                "engine": Out(ChainPort(queues + 1)),
                "transmit": In(ChainPort(queues)),
                "control": In(ChainPort(1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [
            self.transmit.available.eq(self.engine.available[: self._queues]),
            self.control.available.eq(self.engine.available[self._queues]),
        ]
        self._takes(m)
        self._completions(m)
        return m

    def _takes(self, m):
        """Requests to the engine, answers to whom they belong."""
        m.submodules.takes = takes = RoundRobinArbiter(TakeRequest, 2)
        m.submodules.owners = owners = SyncFifo(1, _DEPTH)
        wiring.connect(m, wiring.flipped(self.transmit.take), takes.i[0])
        self._renumber(m, self.control.take, takes.i[1])
        action = takes.o.payload.action
        answered = Signal()
        goes = Signal()
        m.d.comb += [
            answered.eq((action == TakeAction.TAKE) | (action == TakeAction.TAKE_COMMIT)),
            # Once there is room for the owner it stays: nobody else puts one in.
            goes.eq(~answered | owners.i.ready),
            self.engine.take.payload.eq(takes.o.payload),
            self.engine.take.valid.eq(takes.o.valid & goes),
            takes.o.ready.eq(self.engine.take.ready & goes),
            owners.i.payload.eq(takes.grant),
            owners.i.valid.eq(takes.o.valid & answered & self.engine.take.ready),
        ]
        # The clients' ready would go on through the engine to the fetch.
        m.submodules.segments = stage = ReadyStage(Segment)
        wiring.connect(m, wiring.flipped(self.engine.segments), stage.i)
        segments = stage.o
        owner = owners.o.payload
        m.d.comb += [
            self.transmit.segments.payload.eq(segments.payload),
            self.control.segments.payload.eq(segments.payload),
            self.control.segments.payload.queue.eq(0),
            self.transmit.segments.valid.eq(segments.valid & owners.o.valid & ~owner),
            self.control.segments.valid.eq(segments.valid & owners.o.valid & owner),
            segments.ready.eq(
                owners.o.valid
                & Mux(owner, self.control.segments.ready, self.transmit.segments.ready)
            ),
            owners.o.ready.eq(segments.valid & segments.ready & segments.payload.last),
        ]

    def _completions(self, m):
        m.submodules.completions = completions = RoundRobinArbiter(_Grouped, 2, packets=True)
        grouped = completions.o
        for index, client in enumerate((self.transmit, self.control)):
            i = completions.i[index]
            m.d.comb += [
                i.payload.completion.eq(client.complete.payload),
                i.payload.last.eq(~client.complete.payload.more),
                i.valid.eq(client.complete.valid),
                client.complete.ready.eq(i.ready),
            ]
        m.d.comb += [
            completions.i[1].payload.completion.queue.eq(self._queues),
            self.engine.complete.payload.eq(grouped.payload.completion),
            self.engine.complete.valid.eq(grouped.valid),
            grouped.ready.eq(self.engine.complete.ready),
        ]

    def _renumber(self, m, source, target):
        """Requests of the control side, with the engine's number of its queue."""
        m.d.comb += [
            target.payload.eq(source.payload),
            target.payload.queue.eq(self._queues),
            target.valid.eq(source.valid),
            source.ready.eq(target.ready),
        ]
