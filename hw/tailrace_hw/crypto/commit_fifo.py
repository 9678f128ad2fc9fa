"""The queue at the engine's end, which forgets packets that are not authentic."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from tailrace_hw.lib.packet import NoMeta, PacketSignature, beat_layout

__all__ = ["CommitFifo", "commit_layout"]


def commit_layout(width: int, meta=NoMeta) -> data.StructLayout:
    """What enters a :class:`CommitFifo` in one cycle.

    Members
    -------
    beat : ``beat_layout(width, meta)``
    stream : 1 bit
        The beat may leave at once. The same on every beat of a packet.
    keep : 1 bit
        Looked at on the last beat of a packet without ``stream``: whether the packet may leave.
    """
    return data.StructLayout({"beat": beat_layout(width, meta), "stream": 1, "keep": 1})


class CommitFifo(wiring.Component):
    """Queue of packets behind a pipeline that cannot stop. A held one leaves whole or not at all.

    A packet with ``stream`` passes beat by beat: 2 cycles from a beat on ``i`` to the same beat on
    ``o`` when nothing is ahead of it. ``keep`` is not looked at. A packet without it is held: its
    first beat is on ``o`` 2 cycles after its last beat was on ``i`` with ``keep``. Without ``keep``
    all of it is forgotten in the cycle of its last beat: none of its bits ever gets into the
    output register, be ``o.valid`` set or not, since only rows of the memory that have been given
    free are read, and its rows are written anew before they are. Order kept, one beat a cycle in
    and out, no gap between packets of either kind.

    Room is given out ahead, so that ``i`` never waits: the owner reserves a place for each beat,
    in the cycle in which the beat comes to ``i`` or any number of cycles earlier, in the order of
    the beats. Each place reserved ends in one beat on ``i`` or one ``release``. A place comes back
    in the cycle after its ``release``, and after its beat's way from the memory to the output
    register; those of a forgotten packet come back all at once, in the second cycle after its last
    beat.

    It cannot lock up as long as a held packet has at most ``depth`` beats: while places of the
    oldest unfinished packet are still to be reserved, nothing behind it has one, so all that it
    lacks are with packets before it, which leave. Held packets of n beats, one behind the other,
    run at full rate if ``depth`` is at least n, and the cycles from reservation to beat, and 3
    more. One more beat than ``depth`` is in the output register.

    Parameters
    ----------
    width : :class:`int`
        Datapath width in bits.
    meta : shape-like
        Metadata; stored with every beat.
    depth : :class:`int`
        Beats, a power of two and at least 2.

    Members
    -------
    room : Out(1)
        A place may be reserved in this cycle. From a register.
    reserve : In(1)
        A place is reserved; only while ``room``.
    release : In(1)
        A place that was reserved will not be needed. May come together with a beat and with
        ``reserve``.
    i : In(stream of commit_layout), always ready
    o : Out(PacketSignature)
    """

    def __init__(self, width: int, meta=NoMeta, depth: int = 512):
        if depth < 2 or depth & (depth - 1):
            raise ValueError(f"depth must be a power of two and at least 2, not {depth}")
        self._layout = beat_layout(width, meta)
        self._depth = depth
        super().__init__(
            {
                "room": Out(1),
                "reserve": In(1),
                "release": In(1),
                "i": In(stream.Signature(commit_layout(width, meta), always_ready=True)),
                "o": Out(PacketSignature(width, meta)),
            }
        )

    @property
    def depth(self) -> int:
        """Beats for which it has places."""
        return self._depth

    def elaborate(self, platform):
        m = Module()
        m.submodules.storage = storage = memory.Memory(
            shape=self._layout, depth=self._depth, init=[]
        )
        # Pointers count modulo 2 * depth, so that full and empty differ.
        pointer = range(2 * self._depth)
        committed = Signal(pointer)  # behind the last beat that may leave
        fetched = Signal(pointer)
        fetch = Signal()
        forgotten = Signal(range(self._depth + 1))  # beats of a packet that has just failed
        self._write_side(m, storage.write_port(), committed, forgotten)
        self._read_side(m, storage.read_port(), committed, fetched, fetch)

        free = Signal(range(self._depth + 1), init=self._depth)
        m.d.comb += self.room.eq(free != 0)
        # Whether a row is read depends on ``o.ready``, the last thing known: both sums are ready.
        given, and_fetched = Signal.like(free), Signal.like(free)
        change = self.release - self.reserve
        m.d.comb += [
            given.eq(free + forgotten + change),
            and_fetched.eq(free + forgotten + (change + 1)),
        ]
        m.d.sync += free.eq(Mux(fetch, and_fetched, given))
        return m

    def _write_side(self, m, port, committed, forgotten):
        written = Signal.like(committed)
        next_written = Signal.like(committed)
        item = self.i.payload
        m.d.comb += [
            port.addr.eq(written[: exact_log2(self._depth)]),
            port.data.eq(item.beat),
            port.en.eq(self.i.valid),
            next_written.eq(written + 1),
        ]
        m.d.sync += forgotten.eq(0)
        with m.If(self.i.valid):
            m.d.sync += written.eq(next_written)
            with m.If(item.stream | (item.beat.last & item.keep)):
                m.d.sync += committed.eq(next_written)
            with m.Elif(item.beat.last):
                # A register before the sum: the places are a cycle late, the path is short.
                m.d.sync += [
                    written.eq(committed),
                    forgotten.eq((next_written - committed)[: len(committed)]),
                ]

    def _read_side(self, m, port, committed, fetched, fetch):
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
