"""What goes into the lanes: counter blocks, or data under their tweaks."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.crypto.key_check import big_endian, is_xts
from tailrace_hw.crypto.types import KeySize, Operation
from tailrace_hw.crypto.work import work_layout

__all__ = ["LaneFeed", "feed_layout", "times_alpha"]


def times_alpha(tweak):
    """``tweak`` times alpha in the field of IEEE 1619, 5.2, whose byte 0 is the lowest."""
    top = tweak[127]
    return Cat(top, (tweak[bit - 1] ^ top if bit in (1, 2, 7) else tweak[bit - 1]
                     for bit in range(1, 128)))  # fmt: skip


def feed_layout(lanes: int) -> data.StructLayout:
    """One beat of blocks.

    Members
    -------
    blocks : 128 bits a lane
        Into the lanes.
    operands : 128 bits a lane
        What their results are added to: GCM: the data, XTS: the tweak of the first pass.
    size, decrypt : the key's size, and whether it is the inverse cipher
    steal_tweak : 128 bits
        Tweak of the second pass of ciphertext stealing, with a beat that has ``steal``.
    steal_lane : range(lanes)
        Where the block is that has two passes.
    tail : 128 bits
        The partial block, on the last beat of a packet that is stolen from.
    """
    return data.StructLayout(
        {
            "blocks": data.ArrayLayout(128, lanes),
            "operands": data.ArrayLayout(128, lanes),
            "size": KeySize,
            "decrypt": 1,
            "steal_tweak": 128,
            "steal_lane": range(max(lanes, 2)),
            "tail": 128,
        }
    )


class LaneFeed(wiring.Component):
    """Makes the lanes' blocks. One beat a cycle, latency 1 cycle, never waits.

    GCM: counter blocks inc32(J0), inc32(inc32(J0)) and so on (SP 800-38D, 6.5; the counter is the
    last four bytes, and wraps). XTS: P_j ^ T_j with T_j = E(Key2, i) * alpha^j (IEEE 1619, 5.3.1).
    The last full block before a partial one is deciphered under the tweak of the next block, and
    its second pass has its own; enciphering is the other way round (5.3.2, 5.4.2).

    Parameters
    ----------
    lanes : :class:`int`
        Blocks a beat.
    rows : :class:`int`
        Of the key table.
    xts : :class:`bool`
        Whether there is XTS.

    Members
    -------
    i : In(stream of ``work_layout``), always ready
    j0 : In(128)
        GCM: J0, with a packet's first beat.
    tweak : In(128)
        XTS: E(Key2, i), with a packet's first beat.
    o : Out(stream of :func:`feed_layout`), always ready
    """

    latency = 1

    def __init__(self, lanes: int, rows: int, *, xts: bool):
        self._lanes = lanes
        self._xts = xts
        super().__init__(
            {
                "i": In(stream.Signature(work_layout(lanes, rows), always_ready=True)),
                "j0": In(128),
                "tweak": In(128),
                "o": Out(stream.Signature(feed_layout(lanes), always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        work, out = self.i.payload, self.o.payload
        m.d.sync += [self.o.valid.eq(self.i.valid), out.size.eq(work.size)]
        counters = self._counters(m)
        for lane in range(self._lanes):
            m.d.sync += [
                out.blocks[lane].eq(counters[lane]),
                out.operands[lane].eq(work.data.word_select(lane, 128)),
            ]
        if self._xts:
            self._tweaks(m)
        return m

    def _counters(self, m):
        """The counter block of each lane."""
        work = self.i.payload
        prefix, counter = Signal(96), Signal(32)
        prefix_now, counter_now = Signal(96), Signal(32)
        m.d.comb += [
            prefix_now.eq(Mux(work.first, self.j0[:96], prefix)),
            counter_now.eq(Mux(work.first, big_endian(self.j0[96:]), counter)),
        ]
        with m.If(self.i.valid):
            m.d.sync += [prefix.eq(prefix_now), counter.eq(counter_now + self._lanes)]
        blocks = []
        for lane in range(self._lanes):
            number = Signal(32, name=f"counter{lane}")
            m.d.comb += number.eq(counter_now + 1 + lane)
            blocks.append(Cat(prefix_now, big_endian(number)))
        return blocks

    def _tweaks(self, m):
        """XTS in place of counters where it is asked for."""
        work, out = self.i.payload, self.o.payload
        lanes = self._lanes
        following, base = Signal(128), Signal(128)
        m.d.comb += base.eq(Mux(work.first, self.tweak, following))
        tweaks = [base]
        for lane in range(1, lanes + 1):
            tweak = Signal(128, name=f"tweak{lane}")
            m.d.comb += tweak.eq(times_alpha(tweaks[-1]))
            tweaks.append(tweak)
        with m.If(self.i.valid):
            m.d.sync += following.eq(tweaks[lanes])
        decrypt = work.operation == Operation.XTS_DECRYPT
        steal_lane = Signal(range(max(lanes, 2)))
        m.d.comb += steal_lane.eq(Mux(work.end, work.count - 2, lanes - 1))
        own = Array(tweaks[:lanes])[steal_lane]
        later = Array(tweaks[1:])[steal_lane]
        m.d.sync += [
            out.decrypt.eq(decrypt),
            out.steal_lane.eq(steal_lane),
            out.steal_tweak.eq(Mux(decrypt, own, later)),
            out.tail.eq(
                Array(work.data.word_select(lane, 128) for lane in range(lanes))[
                    (work.count - 1)[: len(steal_lane)]
                ]
            ),
        ]
        with m.If(is_xts(work.operation)):
            for lane in range(lanes):
                swapped = decrypt & work.steal & (steal_lane == lane)
                tweak = Mux(swapped, tweaks[lane + 1], tweaks[lane])
                m.d.sync += [
                    out.blocks[lane].eq(work.data.word_select(lane, 128) ^ tweak),
                    out.operands[lane].eq(tweak),
                ]
