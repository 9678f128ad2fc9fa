"""First-in first-out queues of stream items, in one clock domain and between two."""

from amaranth.hdl import Module, Mux, Shape, Signal
from amaranth.lib import fifo, memory, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["AsyncFifo", "SyncFifo"]


class SyncFifo(wiring.Component):
    """Queue in one clock domain, in block RAM when it is deep.

    Holds exactly ``depth`` items, the one on the output included. Latency 2 cycles from an item
    taken to the same item offered, one item a cycle from a depth of 3 on (two in three cycles at a
    depth of 2), order kept, nothing dropped: ``i.ready`` falls when it is full. ``i.ready`` and
    ``o.valid`` come from registers, ``o.payload`` from the memory's output register.

    Parameters
    ----------
    shape : shape-like
        Payload of both streams.
    depth : :class:`int`
        Items, at least 2.

    Members
    -------
    i : In(stream)
    o : Out(stream)
    level : Out(range(depth + 1))
        Items held; ``depth - level`` more are sure to be taken.
    """

    def __init__(self, shape, depth: int):
        if depth < 2:
            raise ValueError(f"depth must be at least 2, not {depth}")
        self._shape = shape
        self._depth = depth
        super().__init__(
            {
                "i": In(stream.Signature(shape)),
                "o": Out(stream.Signature(shape)),
                "level": Out(range(depth + 1)),
            }
        )

    @property
    def depth(self) -> int:
        """Items it holds."""
        return self._depth

    def elaborate(self, platform):
        m = Module()
        depth = self._depth
        m.submodules.storage = storage = memory.Memory(shape=self._shape, depth=depth, init=[])
        write = storage.write_port()
        read = storage.read_port()
        write_index = Signal(range(depth))
        read_index = Signal(range(depth))
        #: Items in memory, without the one in the output register.
        stored = Signal(range(depth + 1))

        do_write = Signal()
        do_read = Signal()
        do_fetch = Signal()
        m.d.comb += [
            self.i.ready.eq(self.level != depth),
            do_write.eq(self.i.valid & self.i.ready),
            do_read.eq(self.o.valid & self.o.ready),
            do_fetch.eq((stored != 0) & (~self.o.valid | self.o.ready)),
            write.addr.eq(write_index),
            write.data.eq(self.i.payload),
            write.en.eq(do_write),
            read.addr.eq(read_index),
            read.en.eq(do_fetch),
            self.o.payload.eq(read.data),
        ]
        m.d.sync += [
            self.level.eq(self.level + do_write - do_read),
            stored.eq(stored + do_write - do_fetch),
        ]
        with m.If(do_write):
            m.d.sync += write_index.eq(Mux(write_index == depth - 1, 0, write_index + 1))
        with m.If(do_fetch):
            m.d.sync += read_index.eq(Mux(read_index == depth - 1, 0, read_index + 1))
        with m.If(do_fetch):
            m.d.sync += self.o.valid.eq(1)
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        return m


class AsyncFifo(wiring.Component):
    """Queue between two clock domains, with Gray-coded pointers.

    One item a cycle of the slower side once ``depth`` covers the crossing (16 is enough for any
    ratio of clocks); latency about 2 cycles of ``i_domain`` and 4 of ``o_domain``. Order kept,
    nothing dropped: ``i.ready`` falls when it is full. The payload crosses in a memory that maps
    to block RAM.

    Reset: the reset of ``i_domain`` empties the queue on both sides, whatever the state of
    ``o_domain``. A reset of ``o_domain`` loses the item on the output.

    Parameters
    ----------
    shape : shape-like
        Payload of both streams.
    depth : :class:`int`
        Items, rounded up to a power of two plus one.
    i_domain, o_domain : :class:`str`
        Clock domains of the two sides.

    Members
    -------
    i : In(stream), in ``i_domain``
    o : Out(stream), in ``o_domain``
    """

    def __init__(self, shape, depth: int, *, i_domain: str, o_domain: str):
        if depth < 2:
            raise ValueError(f"depth must be at least 2, not {depth}")
        self._shape = shape
        self._depth = depth
        self._i_domain = i_domain
        self._o_domain = o_domain
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = fifo.AsyncFIFOBuffered(
            width=Shape.cast(self._shape).width,
            depth=self._depth,
            w_domain=self._i_domain,
            r_domain=self._o_domain,
        )
        m.d.comb += [
            queue.w_data.eq(self.i.payload),
            queue.w_en.eq(self.i.valid),
            self.i.ready.eq(queue.w_rdy),
            self.o.payload.eq(queue.r_data),
            self.o.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.o.ready),
        ]
        return m
