"""First-in first-out queues of stream items, in one clock domain and between two."""

from amaranth.hdl import Module, Mux, ResetSignal, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.cdc import AsyncFFSynchronizer, FFSynchronizer
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

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
        do_write = Signal()
        do_read = Signal()
        do_fetch = Signal()
        #: Items in memory, beside the one in the output register.
        stored = self.level[1:].any() | (self.level[0] & ~self.o.valid)
        advance = ~self.o.valid | self.o.ready
        m.d.comb += [
            self.i.ready.eq(self.level != depth),
            do_write.eq(self.i.valid & self.i.ready),
            do_read.eq(self.o.valid & self.o.ready),
            do_fetch.eq(stored & advance),
            write.addr.eq(write_index),
            write.data.eq(self.i.payload),
            write.en.eq(do_write),
            read.addr.eq(read_index),
            read.en.eq(do_fetch),
            self.o.payload.eq(read.data),
        ]
        # Both ready and valid may come late: they only enable registers, no sum waits for both.
        with m.If(do_write != do_read):
            m.d.sync += self.level.eq(self.level + Mux(do_write, 1, -1))
        with m.If(do_write):
            m.d.sync += write_index.eq(Mux(write_index == depth - 1, 0, write_index + 1))
        with m.If(do_fetch):
            m.d.sync += read_index.eq(Mux(read_index == depth - 1, 0, read_index + 1))
        with m.If(advance):
            m.d.sync += self.o.valid.eq(stored)
        return m


class AsyncFifo(wiring.Component):
    """Queue between two clock domains, with Gray-coded pointers.

    One item a cycle of the slower side from a depth of 16 on, whatever the ratio of the clocks.
    Latency: 2 cycles of ``i_domain``, then 3 to 4 of ``o_domain``. Order kept, nothing dropped:
    ``i.ready`` falls when it is full. The payload crosses in a memory that maps to block RAM.

    Reset: a reset of either domain empties the queue on both sides; what it held is lost, in the
    middle of a packet too, so whoever resets one side restarts the framing of the other.
    ``i.ready`` and ``o.valid`` are 0 from the reset on until both sides have seen it, in whatever
    order the domains leave it, and as long as one of the two clocks stands still.

    Parameters
    ----------
    shape : shape-like
        Payload of both streams.
    depth : :class:`int`
        Items, a power of two, at least 4. One more is held in the output register.
    i_domain, o_domain : :class:`str`
        Clock domains of the two sides.

    Members
    -------
    i : In(stream), in ``i_domain``
    o : Out(stream), in ``o_domain``
    """

    def __init__(self, shape, depth: int, *, i_domain: str, o_domain: str):
        if depth < 4 or depth & (depth - 1):
            raise ValueError(f"depth must be a power of two and at least 4, not {depth}")
        self._shape = shape
        self._depth = depth
        self._i_domain = i_domain
        self._o_domain = o_domain
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.storage = storage = memory.Memory(
            shape=self._shape, depth=self._depth, init=[]
        )
        # Pointers count modulo 2 * depth, so that full and empty differ. The registers that cross
        # are Gray-coded: one bit changes at a time, so a sample is the old or the new value.
        bits = exact_log2(self._depth) + 1
        written_gray = Signal(bits)
        fetched_gray = Signal(bits)
        i_clear, o_clear = self._clears(m)
        self._write_side(m, storage, written_gray, fetched_gray, i_clear)
        self._read_side(m, storage, written_gray, fetched_gray, o_clear)
        return m

    def _clears(self, m):
        """A reset of either domain as a level in each, such that neither side can see a pointer of
        the other that has not been cleared yet.

        Both levels rise at once. The read side's falls after the write side's; the write side does
        not start before it has seen the read side's fall.
        """
        any_reset = Signal()
        i_clear = Signal()
        o_clear = Signal()
        o_clear_seen = Signal()
        m.d.comb += any_reset.eq(
            ResetSignal(self._i_domain, allow_reset_less=True)
            | ResetSignal(self._o_domain, allow_reset_less=True)
        )
        # Four stages: i_clear must last until o_clear has come through its synchroniser.
        m.submodules.i_clear = AsyncFFSynchronizer(
            any_reset, i_clear, o_domain=self._i_domain, stages=4
        )
        m.submodules.o_clear = AsyncFFSynchronizer(
            any_reset | i_clear, o_clear, o_domain=self._o_domain
        )
        m.submodules.o_clear_seen = FFSynchronizer(
            o_clear, o_clear_seen, o_domain=self._i_domain, init=1
        )
        return i_clear | o_clear_seen, o_clear

    def _write_side(self, m, storage, written_gray, fetched_gray, clear):
        bits = len(written_gray)
        port = storage.write_port(domain=self._i_domain)
        written = Signal(bits)
        next_written = Signal(bits)
        fetched_seen = Signal(bits)
        full = Signal()
        m.submodules.fetched_seen = FFSynchronizer(
            fetched_gray, fetched_seen, o_domain=self._i_domain
        )
        m.d.comb += [
            # Gray codes half the circle apart differ in just their two top bits.
            full.eq((written_gray ^ fetched_seen) == 0b11 << (bits - 2)),
            self.i.ready.eq(~full & ~clear),
            port.addr.eq(written[:-1]),
            port.data.eq(self.i.payload),
            port.en.eq(self.i.valid & self.i.ready),
            next_written.eq(Mux(clear, 0, written + port.en)),
        ]
        m.d[self._i_domain] += [
            written.eq(next_written),
            written_gray.eq(next_written ^ (next_written >> 1)),
        ]

    def _read_side(self, m, storage, written_gray, fetched_gray, clear):
        bits = len(written_gray)
        port = storage.read_port(domain=self._o_domain)
        fetched = Signal(bits)
        next_fetched = Signal(bits)
        written_seen = Signal(bits)
        offered = Signal()
        m.submodules.written_seen = FFSynchronizer(
            written_gray, written_seen, o_domain=self._o_domain
        )
        m.d.comb += [
            port.addr.eq(fetched[:-1]),
            port.en.eq((written_seen != fetched_gray) & (~offered | self.o.ready) & ~clear),
            next_fetched.eq(Mux(clear, 0, fetched + port.en)),
            self.o.valid.eq(offered & ~clear),
            self.o.payload.eq(port.data),
        ]
        m.d[self._o_domain] += [
            fetched.eq(next_fetched),
            fetched_gray.eq(next_fetched ^ (next_fetched >> 1)),
        ]
        with m.If(port.en):
            m.d[self._o_domain] += offered.eq(1)
        with m.Elif(self.o.ready | clear):
            m.d[self._o_domain] += offered.eq(0)
