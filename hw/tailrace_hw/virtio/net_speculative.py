"""A queue whose writer may change its mind."""

from amaranth.hdl import Module, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

__all__ = ["SpeculativeFifo"]


class SpeculativeFifo(wiring.Component):
    """Queue in which items become visible only when they are committed, all at once.

    Two cycles from the commit to the first item offered when the queue is empty, then one item a
    cycle. Order kept. ``i.ready`` falls when it is full, so a writer must never leave more than
    ``depth`` items uncommitted.

    Parameters
    ----------
    shape : shape-like
        Payload of both streams.
    depth : :class:`int`
        Items, a power of two.

    Members
    -------
    i : In(stream)
    o : Out(stream)
    commit : In(1)
        Makes all written items visible, that of this cycle included.
    busy : Out(1)
        It holds an item, committed or not.
    rollback : In(1)
        Forgets all items since the last commit, that of this cycle included. Not together with
        ``commit``.
    """

    def __init__(self, shape, depth: int):
        self._shape = shape
        self._depth = depth
        self._index_bits = exact_log2(depth)
        super().__init__(
            {
                "i": In(stream.Signature(shape)),
                "o": Out(stream.Signature(shape)),
                "busy": Out(1),
                "commit": In(1),
                "rollback": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.storage = storage = memory.Memory(
            shape=self._shape, depth=self._depth, init=[]
        )
        write = storage.write_port()
        read = storage.read_port()
        # Pointers count modulo 2 * depth, so that full and empty differ.
        written = Signal(range(2 * self._depth))
        committed = Signal.like(written)
        fetched = Signal.like(written)
        after_write = Signal.like(written)
        m.d.comb += [
            self.i.ready.eq((written ^ fetched) != self._depth),
            write.addr.eq(written[: self._index_bits]),
            write.data.eq(self.i.payload),
            write.en.eq(self.i.valid & self.i.ready),
            after_write.eq(written + write.en),
            self.busy.eq((written != fetched) | self.o.valid),
            read.addr.eq(fetched[: self._index_bits]),
            read.en.eq((committed != fetched) & (~self.o.valid | self.o.ready)),
            self.o.payload.eq(read.data),
        ]
        m.d.sync += written.eq(after_write)
        with m.If(self.commit):
            m.d.sync += committed.eq(after_write)
        with m.If(self.rollback):
            m.d.sync += written.eq(committed)
        with m.If(read.en):
            m.d.sync += [fetched.eq(fetched + 1), self.o.valid.eq(1)]
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        return m
