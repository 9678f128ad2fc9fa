"""A queue of whole packets that can forget one it has partly taken."""

from amaranth.hdl import Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from tailrace_hw.lib.packet import NoMeta, PacketSignature, beat_layout

__all__ = ["PacketFifo"]


class PacketFifo(wiring.Component):
    """Store-and-forward queue of packets.

    A packet is offered only once it is complete: 2 cycles from its last beat taken to its first
    beat offered when the queue is empty, then one beat a cycle without a gap. Order kept.

    A packet is lost whole, and its room given back with its last beat, when

    * ``drop`` is set with its last beat: ``dropped`` pulses;
    * it finds the queue full (or is longer than ``depth``): ``overflowed`` pulses at its end.

    A lost packet gives exactly one pulse; ``drop`` wins, being the packet's own fault. Without
    ``stall`` the input never waits (``i.ready`` is always 1), which suits a MAC. With it
    ``i.ready`` falls while the queue is full, and only a packet longer than ``depth`` overflows.

    Parameters
    ----------
    width : :class:`int`
        Datapath width in bits.
    meta : shape-like
        Metadata; stored with every beat, so it may differ from beat to beat.
    depth : :class:`int`
        Beats, a power of two. One more is held in the output register.
    stall : :class:`bool`
        Wait for room rather than overflow, when the packet can fit.

    Members
    -------
    i : In(PacketSignature)
    o : Out(PacketSignature)
    drop : In(1)
        Looked at when the last beat is taken: forget this packet.
    dropped, overflowed : Out(1)
        One cycle for each packet lost, the cycle after its last beat was taken.
    """

    def __init__(self, width: int, meta=NoMeta, depth: int = 64, *, stall: bool = False):
        if depth < 2 or depth & (depth - 1):
            raise ValueError(f"depth must be a power of two and at least 2, not {depth}")
        self._layout = beat_layout(width, meta)
        self._depth = depth
        self._stall = stall
        super().__init__(
            {
                "i": In(PacketSignature(width, meta)),
                "o": Out(PacketSignature(width, meta)),
                "drop": In(1),
                "dropped": Out(1),
                "overflowed": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.storage = storage = memory.Memory(
            shape=self._layout, depth=self._depth, init=[]
        )
        # Pointers count modulo 2 * depth, so that full and empty differ.
        pointer = range(2 * self._depth)
        written = Signal(pointer)
        committed = Signal(pointer)
        fetched = Signal(pointer)
        self._write_side(m, storage.write_port(), written, committed, fetched)
        self._read_side(m, storage.read_port(), committed, fetched)
        return m

    def _write_side(self, m, port, written, committed, fetched):
        full = Signal()
        losing = Signal()  # the packet under way has overflowed
        taken = Signal()
        next_written = Signal.like(written)
        index_bits = exact_log2(self._depth)
        m.d.comb += [
            full.eq((written ^ fetched) == self._depth),
            taken.eq(self.i.valid & self.i.ready),
            port.addr.eq(written[:index_bits]),
            port.data.eq(self.i.payload),
            port.en.eq(taken & ~full & ~losing),
            next_written.eq(written + 1),
        ]
        if self._stall:
            m.d.comb += self.i.ready.eq(~full | losing)
            # Nothing complete is left to leave, so this packet fills the queue alone.
            with m.If(full & (committed == fetched) & self.i.valid):
                m.d.sync += losing.eq(1)
        else:
            m.d.comb += self.i.ready.eq(1)

        m.d.sync += [self.dropped.eq(0), self.overflowed.eq(0)]
        with m.If(taken):
            with m.If(self.i.payload.last):
                m.d.sync += losing.eq(0)
                with m.If(self.drop):
                    m.d.sync += [self.dropped.eq(1), written.eq(committed)]
                with m.Elif(losing | full):
                    m.d.sync += [self.overflowed.eq(1), written.eq(committed)]
                with m.Else():
                    m.d.sync += [written.eq(next_written), committed.eq(next_written)]
            with m.Elif(losing | full):
                m.d.sync += losing.eq(1)
            with m.Else():
                m.d.sync += written.eq(next_written)

    def _read_side(self, m, port, committed, fetched):
        fetch = Signal()
        advance = ~self.o.valid | self.o.ready
        m.d.comb += [
            fetch.eq((committed != fetched) & advance),
            port.addr.eq(fetched[: exact_log2(self._depth)]),
            port.en.eq(fetch),
            self.o.payload.eq(port.data),
        ]
        with m.If(fetch):
            m.d.sync += fetched.eq(fetched + 1)
        with m.If(advance):
            m.d.sync += self.o.valid.eq(committed != fetched)
