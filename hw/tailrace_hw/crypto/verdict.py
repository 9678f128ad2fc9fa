"""The tag of each packet, and whether it is the one that came with it."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.lib.delay import delayed

__all__ = ["Tag", "Verdict"]


class Tag(data.Struct):
    """A packet's tag."""

    #: Bytes behind the tag's length are 0.
    tag: 128
    #: It is the expected one.
    match: 1


class Verdict(wiring.Component):
    """MSB_t(GCTR(J0, S)) and its comparison (SP 800-38D, 7.1, step 6 and 7.2, step 8).

    All bytes are compared at once, whatever they are: the time says nothing. One packet a cycle,
    latency 3 cycles, never waits.

    Members
    -------
    i : In(stream of 128 bits), always ready
        S, GHASH over the packet.
    mask : In(128)
        E(K, J0).
    expected : In(128)
    tag_length : In(5)
        Bytes. Both as they came with the packet, all three with ``i``.
    o : Out(stream of Tag), always ready
    """

    latency = 3

    i: In(stream.Signature(128, always_ready=True))
    mask: In(128)
    expected: In(128)
    tag_length: In(5)
    o: Out(stream.Signature(Tag, always_ready=True))

    def elaborate(self, platform):
        m = Module()
        tag = Signal(128, reset_less=True)
        counts = Signal(16, reset_less=True)
        expected = delayed(m, self.expected, 1, "expected")
        m.d.sync += [
            tag.eq(self.i.payload ^ self.mask),
            counts.eq(Cat(index < self.tag_length for index in range(16))),
        ]
        kept = Signal(128, reset_less=True)
        differs = Signal(16, reset_less=True)
        for index in range(16):
            byte, other = tag.word_select(index, 8), expected.word_select(index, 8)
            m.d.sync += [
                kept.word_select(index, 8).eq(Mux(counts[index], byte, 0)),
                differs[index].eq(counts[index] & (byte != other)),
            ]
        m.d.sync += [
            self.o.payload.tag.eq(kept),
            self.o.payload.match.eq(~differs.any()),
            self.o.valid.eq(delayed(m, self.i.valid, 2, "valid", reset=True)),
        ]
        return m
