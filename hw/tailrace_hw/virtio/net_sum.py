"""Internet checksum over chosen bytes of each frame of a stream that is only watched."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RangeSum", "byte_range", "place_in_beat", "sum_latency"]

#: Words that one register stage adds up.
_FAN_IN = 4


def place_in_beat(m, position, base, count: int):
    """Where byte ``position`` of a frame is in the beat of ``count`` bytes that starts with byte
    ``base``: 0 when it is before that beat, ``count`` when behind it."""
    distance = Signal(20)
    m.d.comb += distance.eq(position - base)
    before = distance[-1]
    return Mux(before, 0, Mux(distance >= count, count, distance))


def byte_range(start, end, count: int):
    """Byte enables of [``start``, ``end``) within a beat of ``count`` bytes.

    ``start`` and ``end`` are values of 0 to ``count``.
    """
    return Cat((start <= lane) & (end > lane) for lane in range(count))


def sum_latency(width: int) -> int:
    """Cycles from a frame's last beat to its sum."""
    return len(_levels(width // 16)) + 2


def _levels(lanes: int) -> list[int]:
    """Number of partial sums after each register stage of the tree."""
    levels: list[int] = []
    while lanes > 1 or not levels:
        lanes = -(-lanes // _FAN_IN)
        levels.append(lanes)
    return levels


class RangeSum(wiring.Component):
    """Adds up the enabled bytes of a frame as 16-bit big-endian words, in ones' complement
    (RFC 1071). Word boundaries are those of the frame: its first byte is the high half of a word.

    Watches a stream rather than being part of one: takes a beat whenever ``valid`` is set, up to
    one a cycle without end, and never waits. The result comes :func:`sum_latency` cycles after the
    frame's last beat.

    Parameters
    ----------
    width : :class:`int`
        Datapath width in bits.

    Members
    -------
    valid, last : In(1)
    data : In(width)
    enable : In(width // 8)
        Bytes to add; the others count as 0.
    extra : In(18)
        Added too, once a frame, with its last beat (a pseudo header).
    done : Out(1)
        One cycle a frame.
    sum : Out(16)
        Valid with ``done``. 0 only if everything added was 0.
    """

    def __init__(self, width: int):
        self._lanes = width // 16
        super().__init__(
            {
                "valid": In(1),
                "last": In(1),
                "data": In(width),
                "enable": In(width // 8),
                "extra": In(18),
                "done": Out(1),
                "sum": Out(16),
            }
        )

    def elaborate(self, platform):
        m = Module()
        terms = [self._word(lane) for lane in range(self._lanes)]
        valid, last, extra = self.valid, self.last, Mux(self.last, self.extra, 0)
        for level in range(len(_levels(self._lanes))):
            terms = [
                self._register(m, sum(terms[k : k + _FAN_IN]), f"sum_{level}_{k}")
                for k in range(0, len(terms), _FAN_IN)
            ]
            valid, last, extra = (
                self._register(m, value, f"{name}_{level}")
                for name, value in (("valid", valid), ("last", last), ("extra", extra))
            )
        self._accumulate(m, valid, last, terms[0], extra)
        return m

    def _word(self, lane: int):
        high, low = (
            Mux(self.enable[byte], self.data.word_select(byte, 8), 0)
            for byte in (2 * lane, 2 * lane + 1)
        )
        return Cat(low, high)

    @staticmethod
    def _register(m, value, name: str):
        register = Signal(len(value), name=name)
        m.d.sync += register.eq(value)
        return register

    def _accumulate(self, m, valid, last, term, extra):
        """Add the beats of a frame, then fold the carries back in."""
        total = Signal(32)  # 65536 bytes of 0xFFFF words need 31 bits
        fresh = Signal(init=1)
        ends = Signal()
        m.d.sync += ends.eq(valid & last)
        with m.If(valid):
            m.d.sync += [total.eq(Mux(fresh, 0, total) + term + extra), fresh.eq(last)]
        folded = Signal(17)
        m.d.comb += folded.eq(total[:16] + total[16:])
        m.d.sync += [self.sum.eq(folded[:16] + folded[16]), self.done.eq(ends)]
