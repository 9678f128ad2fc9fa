"""Whose turn it is among queues that want something."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["QueuePick"]


class QueuePick(wiring.Component):
    """Round robin over request bits, with a registered result.

    ``queue`` is the first queue after the last one taken, in circular order, whose bit was set in
    the previous cycle. Between two turns of a queue every other queue that asks gets one.

    Because the result is a cycle old, its user must look whether the queue still wants its turn.

    Parameters
    ----------
    queues : :class:`int`

    Members
    -------
    wants : In(queues)
    take : In(1)
        The turn of ``queue`` is used up.
    valid : Out(1)
    queue : Out(range(queues))
    """

    def __init__(self, queues: int):
        self._queues = queues
        super().__init__(
            {
                "wants": In(queues),
                "take": In(1),
                "valid": Out(1),
                "queue": Out(range(queues)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        #: Queues after the last one taken, up to the highest number.
        after = Signal(self._queues)
        later = Signal(self._queues)
        candidates = Signal(self._queues)
        first = Signal(self._queues)
        m.d.comb += [
            later.eq(self.wants & after),
            candidates.eq(self.wants),
            first.eq(candidates & ~(candidates - 1)),
        ]
        with m.If(later.any()):
            m.d.comb += candidates.eq(later)
        m.d.sync += self.valid.eq(self.wants.any())
        for queue in range(self._queues):
            with m.If(first[queue]):
                m.d.sync += self.queue.eq(queue)
            with m.If(self.take & (self.queue == queue)):
                m.d.sync += after.eq(((1 << self._queues) - 1) & ~((2 << queue) - 1))
        return m
