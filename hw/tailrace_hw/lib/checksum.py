"""The internet checksum (RFC 1071) at full width."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from tailrace_hw.lib.packet import NoMeta, PacketSignature
from tailrace_hw.lib.result_queue import ResultQueue

__all__ = ["InternetChecksum"]

#: Longest packet in bytes; the accumulator does not overflow up to here.
MAX_LENGTH = 1 << 17


class InternetChecksum(wiring.Component):
    """Sums the bytes ``start`` to ``end - 1`` of each packet as RFC 1071, section 1 says.

    Takes a packet stream, gives one result a packet, in order: the one's complement sum of the
    big-endian 16-bit words that begin at ``start``, an odd last byte padded with a zero. It is not
    complemented: ``~sum`` goes into a checksum field, and a packet that includes its checksum sums
    to 0xFFFF. 0 comes out only when all bytes summed are 0 (or none is).

    One beat a cycle whatever the packets' lengths, ``i.ready`` from a register. Latency from the
    last beat: 7 cycles at 64 bits, 8 at 128 and 256, 9 at 512 and 1024. When results are not
    taken, ``i.ready`` falls; nothing is dropped.

    Parameters
    ----------
    width : :class:`int`
        Datapath width in bits.
    meta : shape-like
        Metadata, not looked at.

    Members
    -------
    i : In(PacketSignature(width, meta))
        Packets up to 128 KiB.
    start, end : In(17)
        Go with the payload of a packet's first beat, and hold as it does; not looked at on the
        others. Bytes behind the packet's end count as 0. ``end`` is all ones if not connected:
        sum to the end.
    o : Out(stream of 16 bits)
    """

    def __init__(self, width: int, meta=NoMeta):
        self._width = width
        self._size = width // 8
        super().__init__(
            {
                "i": In(PacketSignature(width, meta)),
                "start": In(17),
                "end": In(17, init=MAX_LENGTH - 1),
                "o": Out(stream.Signature(16)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        levels = -(-ceil_log2(self._size // 2) // 2)
        m.submodules.results = results = ResultQueue(16, levels + 9)
        taken = Signal()
        m.d.comb += [
            taken.eq(self.i.valid & self.i.ready),
            self.i.ready.eq(results.ready),
            results.start.eq(taken & self.i.payload.last),
            self.o.valid.eq(results.o.valid),
            self.o.payload.eq(results.o.payload),
            results.o.ready.eq(self.o.ready),
        ]
        flags = self._window(m, taken)
        words, flags = self._mask(m, *flags)
        total, flags = self._tree(m, words, flags)
        self._fold(m, total, flags, results.i)
        return m

    def _window(self, m, taken):
        """Register a beat with the count of its first byte to sum and of the first one not to."""
        size, beat = self._size, self.i.payload
        first = Signal(init=1)
        start_left = Signal(17)  # start and end, counted from the current beat
        end_left = Signal(17)
        odd_held = Signal()
        start, end = Mux(first, self.start, start_left), Mux(first, self.end, end_left)
        window_valid = Signal()
        window_last = Signal()
        window_odd = Signal()
        window_low = Signal(range(size + 1))
        window_high = Signal(range(size + 1))
        window_empty = Signal.like(beat.empty)
        window_data = Signal(self._width)
        m.d.sync += [
            window_valid.eq(taken),
            window_last.eq(beat.last),
            window_odd.eq(Mux(first, self.start[0], odd_held)),
            window_low.eq(Mux(start >= size, size, start)),
            window_high.eq(Mux(end >= size, size, end)),
            window_empty.eq(beat.empty),
            window_data.eq(beat.data),
        ]
        with m.If(taken):
            m.d.sync += [
                first.eq(beat.last),
                odd_held.eq(Mux(first, self.start[0], odd_held)),
                start_left.eq(Mux(start >= size, start - size, 0)),
                end_left.eq(Mux(end >= size, end - size, 0)),
            ]
        bounds = (window_low, window_high, window_empty)
        return window_data, bounds, (window_valid, window_last, window_odd)

    def _mask(self, m, beat_data, bounds, flags):
        """Make the bytes outside the window 0, and big-endian words of the others."""
        low, high, empty = bounds
        masked = []
        for k in range(self._size):
            byte = Signal(8, name=f"masked_{k}")
            keep = (low <= k) & (high > k) & (empty < self._size - k)
            m.d.sync += byte.eq(Mux(keep, beat_data.word_select(k, 8), 0))
            masked.append(byte)
        words = [Cat(masked[k + 1], masked[k]) for k in range(0, self._size, 2)]
        return words, _delay(m, flags, "masked")

    def _tree(self, m, words, flags):
        """Add four at a time, a register after each level."""
        level = 0
        while len(words) > 1:
            sums = []
            for k in range(0, len(words), 4):
                terms = words[k : k + 4]
                total = Signal(len(terms[0]) + ceil_log2(len(terms)), name=f"sum{level}_{k}")
                pairs = [sum(terms[j : j + 2]) for j in range(0, len(terms), 2)]
                m.d.sync += total.eq(sum(pairs))
                sums.append(total)
            words, flags = sums, _delay(m, flags, f"sum{level}")
            level += 1
        return words[0], flags

    def _fold(self, m, total, flags, result):
        """Accumulate over the beats, then add the carries back in until they are gone."""
        valid, last, odd = flags
        accumulated = Signal(16 + ceil_log2(MAX_LENGTH // 2))
        packet_sum = Signal.like(accumulated)
        summed = Signal()
        summed_odd = Signal()
        m.d.comb += packet_sum.eq(accumulated + total)
        with m.If(valid):
            m.d.sync += accumulated.eq(Mux(last, 0, packet_sum))
        # The sum of the last beat, still unfolded; the next packet may follow at once.
        unfolded = Signal.like(accumulated)
        m.d.sync += [summed.eq(valid & last), summed_odd.eq(odd), unfolded.eq(packet_sum)]

        once = Signal(17)
        once_valid = Signal()
        once_odd = Signal()
        m.d.sync += [
            once.eq(unfolded[:16] + unfolded[16:]),
            once_valid.eq(summed),
            once_odd.eq(summed_odd),
        ]
        twice = Signal(16)
        # The second carry cannot cause a third: once is at most 0xFFFF + 0xFFFF.
        m.d.comb += [
            twice.eq(once[:16] + once[16]),
            result.valid.eq(once_valid),
            # A sum that began at an odd byte has its bytes swapped: RFC 1071, section 2 (B).
            result.payload.eq(Mux(once_odd, Cat(twice[8:], twice[:8]), twice)),
        ]


def _delay(m, flags, stage):
    """The flags of a beat, one register later."""
    delayed = [Signal(name=f"{stage}_{name}") for name in ("valid", "last", "odd")]
    m.d.sync += [late.eq(flag) for late, flag in zip(delayed, flags, strict=True)]
    return delayed
