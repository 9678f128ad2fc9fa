"""Results of a pipeline that cannot stop."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.lib.fifo import SyncFifo

__all__ = ["ResultQueue"]


class ResultQueue(wiring.Component):
    """Queue behind a free-running pipeline: jobs start only while their results have a place.

    A wide pipeline is better not stopped: the enable would have to reach every register of it.
    Instead its owner starts a job only when ``ready``, and every job ends, any number of cycles
    later, with one result on ``i``, which is then sure to be taken. Order kept, nothing dropped;
    latency 2 cycles from ``i`` to ``o``. A job a cycle if ``depth`` covers the cycles from a job's
    start to the cycle after its result is taken from ``o``: the pipeline's length and 3 more.

    Parameters
    ----------
    shape : shape-like
        One result.
    depth : :class:`int`
        Jobs under way, results waiting included.

    Members
    -------
    ready : Out(1)
        A job may start in this cycle. From a register.
    start : In(1)
        A job starts in this cycle; only while ``ready``.
    i : In(stream), always ready
    o : Out(stream)
    """

    def __init__(self, shape, depth: int):
        self._shape = shape
        self._depth = depth
        super().__init__(
            {
                "ready": Out(1),
                "start": In(1),
                "i": In(stream.Signature(shape, always_ready=True)),
                "o": Out(stream.Signature(shape)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = SyncFifo(self._shape, self._depth)
        under_way = Signal(range(self._depth + 1))
        m.d.comb += [
            self.ready.eq(under_way != self._depth),
            queue.i.valid.eq(self.i.valid),
            queue.i.payload.eq(self.i.payload),
            self.o.valid.eq(queue.o.valid),
            self.o.payload.eq(queue.o.payload),
            queue.o.ready.eq(self.o.ready),
        ]
        m.d.sync += under_way.eq(under_way + self.start - (self.o.valid & self.o.ready))
        return m
