"""Doorbells: from notification writes to the engine's notify stream."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.virtio.interfaces import QueueNotify

__all__ = ["Doorbells"]


class Doorbells(wiring.Component):
    """Remembers which queues of one engine were notified and tells the engine, in turn.

    A notification that comes while an earlier one of the same queue waits is merged with it, so
    that nothing is ever stalled. Latency 2 cycles from ``ring`` to ``notify.valid``, one
    notification a cycle, queues in circular order.

    Parameters
    ----------
    queues : :class:`int`
        Queues of the engine.

    Members
    -------
    ring : In(queues)
        Queues that are notified in this cycle.
    enabled : In(queues)
        Notifications of other queues are dropped, also those that wait.
    active : In(queues)
        Notifications of other queues wait: the engine doesn't know them yet.
    notify : Out(stream of QueueNotify)
    """

    def __init__(self, queues: int):
        self._queues = queues
        super().__init__(
            {
                "ring": In(queues),
                "enabled": In(queues),
                "active": In(queues),
                "notify": Out(stream.Signature(QueueNotify)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        waiting = Signal(self._queues)
        ready = Signal(self._queues)
        taken = Signal(self._queues)
        #: Queues after the one that was told last.
        after = Signal(self._queues)
        candidates = Signal(self._queues)
        m.d.comb += [
            ready.eq(waiting & self.active & self.enabled),
            candidates.eq(Mux((ready & after).any(), ready & after, ready)),
        ]
        m.d.sync += waiting.eq((waiting & ~taken | self.ring) & self.enabled)
        with m.If(~self.notify.valid | self.notify.ready):
            m.d.sync += self.notify.valid.eq(ready.any())
            m.d.comb += taken.eq(candidates & ~(candidates - 1))
            for queue in range(self._queues):
                with m.If(taken[queue]):
                    m.d.sync += [
                        self.notify.payload.queue.eq(queue),
                        after.eq((1 << self._queues) - (2 << queue)),
                    ]
        return m
