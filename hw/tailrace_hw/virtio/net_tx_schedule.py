"""Which transmit queue is next."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.virtio.interfaces import TakeAction, TakeRequest

__all__ = ["TxSchedule"]


class TxSchedule(wiring.Component):
    """Takes chains from the queues that have some, in turn.

    After a take from queue i the next one goes to the first queue behind i, in circular order, that
    is available; so no queue waits for more than one chain of each other. One take every
    3 cycles: that leaves the engine time to show that the last chain is gone.

    Parameters
    ----------
    queues : :class:`int`
        Transmit queues.

    Members
    -------
    available : In(queues)
    allowed : In(1)
        There is room for one more chain.
    taking : Out(1)
        A take was decided in this cycle (it appears on ``take`` in the next).
    take : Out(stream of TakeRequest)
        TAKE_COMMIT only.
    """

    def __init__(self, queues: int):
        self._queues = queues
        super().__init__(
            {
                "available": In(queues),
                "allowed": In(1),
                "taking": Out(1),
                "take": Out(stream.Signature(TakeRequest)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        #: Queues behind the last one served, up to the highest.
        behind = Signal(self._queues)
        pause = Signal()
        later = Signal(self._queues)
        candidates = Signal(self._queues)
        m.d.comb += [
            later.eq(self.available & behind),
            candidates.eq(Mux(later.any(), later, self.available)),
            self.taking.eq(~self.take.valid & ~pause & self.allowed & self.available.any()),
            self.take.payload.action.eq(TakeAction.TAKE_COMMIT),
        ]
        m.d.sync += pause.eq(self.take.valid & self.take.ready)
        with m.If(self.take.ready):
            m.d.sync += self.take.valid.eq(0)
        with m.If(self.taking):
            m.d.sync += self.take.valid.eq(1)
            for queue in reversed(range(self._queues)):
                # The lowest candidate is assigned last and wins.
                with m.If(candidates[queue]):
                    m.d.sync += [
                        self.take.payload.queue.eq(queue),
                        behind.eq((1 << self._queues) - (2 << queue)),
                    ]
        return m
