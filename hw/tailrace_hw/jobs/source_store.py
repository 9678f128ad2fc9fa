"""Holds what was read, so that reads can be ahead of the engines, and bad jobs be forgotten."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from tailrace_hw.jobs.gather import SourceMeta
from tailrace_hw.lib.packet import PacketSignature, beat_layout

__all__ = ["SourceStore", "StoredMeta"]


class StoredMeta(data.Struct):
    """Metadata of a job's source on its way to its engine."""

    slot: 8
    engine: 3


class SourceStore(wiring.Component):
    """Queue of packets, some of which wait until they are whole.

    A packet with ``whole`` is offered once its last beat has come, and never if that is ``failed``:
    then its room is given back. Other packets are offered beat by beat. Latency 2 cycles from the
    beat that lets it go; one beat a cycle, order kept. The input waits while it is full.

    Parameters
    ----------
    width : :class:`int`
        Datapath width in bits.
    depth : :class:`int`
        Beats, a power of two; more than a packet with ``whole`` may have.

    Members
    -------
    i : In(PacketSignature(width, SourceMeta))
    o : Out(PacketSignature(width, StoredMeta))
    """

    def __init__(self, width: int, depth: int):
        if depth < 2 or depth & (depth - 1):
            raise ValueError(f"depth must be a power of two and at least 2, not {depth}")
        self._width = width
        self._depth = depth
        super().__init__(
            {
                "i": In(PacketSignature(width, SourceMeta)),
                "o": Out(PacketSignature(width, StoredMeta)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.storage = storage = memory.Memory(
            shape=beat_layout(self._width, StoredMeta), depth=self._depth, init=[]
        )
        write, read = storage.write_port(), storage.read_port()
        index_bits = exact_log2(self._depth)
        # Pointers count modulo 2 * depth, so that full and empty differ.
        written, committed, fetched = (
            Signal(range(2 * self._depth), name=name)
            for name in ("written", "committed", "fetched")
        )
        beat = self.i.payload
        taken, lost, goes = Signal(), Signal(), Signal()
        following = Signal.like(written)
        m.d.comb += [
            self.i.ready.eq((written ^ fetched) != self._depth),
            taken.eq(self.i.valid & self.i.ready),
            lost.eq(beat.meta.whole & beat.last & beat.meta.failed),
            goes.eq(beat.last | ~beat.meta.whole),
            following.eq(written + 1),
            write.addr.eq(written[:index_bits]),
            write.en.eq(taken),
            write.data.data.eq(beat.data),
            write.data.empty.eq(beat.empty),
            write.data.last.eq(beat.last),
            write.data.meta.slot.eq(beat.meta.slot),
            write.data.meta.engine.eq(beat.meta.engine),
        ]
        with m.If(taken):
            m.d.sync += written.eq(Mux(lost, committed, following))
            with m.If(goes & ~lost):
                m.d.sync += committed.eq(following)
        advance = ~self.o.valid | self.o.ready
        fetch = Signal()
        m.d.comb += [
            fetch.eq((committed != fetched) & advance),
            read.addr.eq(fetched[:index_bits]),
            read.en.eq(fetch),
            self.o.payload.eq(read.data),
        ]
        with m.If(fetch):
            m.d.sync += fetched.eq(fetched + 1)
        with m.If(advance):
            m.d.sync += self.o.valid.eq(committed != fetched)
        return m
