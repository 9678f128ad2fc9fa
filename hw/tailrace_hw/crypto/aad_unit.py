"""GHASH over the additional authenticated data, and the multiplications of key expansion."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.crypto.aad_hash import AadHash
from tailrace_hw.crypto.key_store import AAD_BLOCKS, PowerStore
from tailrace_hw.crypto.types import MAX_AAD
from tailrace_hw.lib.delay import delayed

__all__ = ["AadUnit"]


class AadUnit(wiring.Component):
    """Hash of a packet's additional data, padded with zeros (SP 800-38D, 7.1, step 5).

    A packet with additional data starts in cycle t; its blocks A_1 to A_a follow each other into
    one multiplier so that the last of them meets H ``AAD_BLOCKS`` - 1 cycles later. ``state``, the
    GHASH state behind them, is there in t + ``latency``. Packets with a blocks must be a cycles
    apart. A multiplication for the key expander takes the place of a packet with one block.

    Members
    -------
    start : In(1)
    aad : In(8 * MAX_AAD)
        With ``start``. What is behind ``aad_length`` is not looked at.
    aad_length : In(7)
        1 to ``MAX_AAD`` bytes.
    side_powers : In(128), array of ``AAD_BLOCKS``
        Element k is H^(k + 1), in the cycles in which ``PowerStore`` gives it for a row named with
        ``start``.
    state : Out(stream of 128 bits), always ready
    factors : In(stream of two times 128 bits), always ready
        Must hold until their product is there.
    product : Out(stream of 128 bits), always ready
    """

    #: Cycles from ``factors`` to their product.
    product_latency = AAD_BLOCKS + 1 + AadHash.latency
    #: Register behind masking and alignment, one behind the choice of the factors.
    latency = AAD_BLOCKS - 1 + 2 + AadHash.latency
    assert PowerStore.side_latency == 1, "the aligned blocks would miss their powers"

    start: In(1)
    aad: In(8 * MAX_AAD)
    aad_length: In(7)
    side_powers: In(data.ArrayLayout(128, AAD_BLOCKS))
    state: Out(stream.Signature(128, always_ready=True))
    factors: In(stream.Signature(data.ArrayLayout(128, 2), always_ready=True))
    product: Out(stream.Signature(128, always_ready=True))

    def elaborate(self, platform):
        m = Module()
        m.submodules.multiplier = multiplier = AadHash()
        aligned, there = self._align(m)

        # The block of each cycle of the wave, and the power that arrives in it. No two packets have
        # one in the same cycle, so they can be or-ed.
        block, power, first, last, valid = Signal(128), Signal(128), Signal(), Signal(), Signal()
        expanding = delayed(m, self.factors.valid, AAD_BLOCKS, "expanding", reset=True)
        blocks = Mux(expanding, self.factors.payload[0], 0)
        powers = Mux(expanding, self.factors.payload[1], 0)
        begins, ends, any_there = expanding, expanding, expanding
        for place in range(AAD_BLOCKS):
            starts = there[place] & ~there[place - 1] if place else there[0]
            here = delayed(m, there[place], place, f"there{place}", reset=True)
            word = delayed(m, aligned[place], place, f"block{place}")
            blocks = blocks | Mux(here, word, 0)
            powers = powers | Mux(here, self.side_powers[AAD_BLOCKS - 1 - place], 0)
            begins = begins | delayed(m, starts, place, f"starts{place}", reset=True)
            ends = ends | here if place == AAD_BLOCKS - 1 else ends
            any_there = any_there | here
        m.d.sync += [
            block.eq(blocks),
            power.eq(powers),
            first.eq(begins),
            last.eq(ends),
            valid.eq(any_there),
        ]
        m.d.comb += [
            multiplier.i.valid.eq(valid),
            multiplier.i.payload.a.eq(block),
            multiplier.i.payload.b.eq(power),
            multiplier.i.payload.first.eq(first),
            multiplier.i.payload.last.eq(last),
        ]
        own = delayed(m, expanding, 1 + AadHash.latency, "own", reset=True)
        m.d.comb += [
            self.state.payload.eq(multiplier.o.payload),
            self.state.valid.eq(multiplier.o.valid & ~own),
            self.product.payload.eq(multiplier.o.payload),
            self.product.valid.eq(multiplier.o.valid & own),
        ]
        return m

    def _align(self, m):
        """Blocks moved to the end, registers; and which of them are there."""
        masked = Cat(
            Mux(index < self.aad_length, self.aad[8 * index : 8 * index + 8], 0)
            for index in range(MAX_AAD)
        )
        count = Signal(range(AAD_BLOCKS + 1))
        m.d.comb += count.eq((self.aad_length + 15)[4:])
        words = [masked[128 * index : 128 * index + 128] for index in range(AAD_BLOCKS)]
        aligned = [
            Signal(128, name=f"aligned{place}", reset_less=True) for place in range(AAD_BLOCKS)
        ]
        there = [Signal(name=f"there{place}") for place in range(AAD_BLOCKS)]
        for place in range(AAD_BLOCKS):
            # Block number count - AAD_BLOCKS + place.
            choices = [words[0]] * (AAD_BLOCKS - place) + words[: place + 1]
            m.d.sync += [
                aligned[place].eq(Array(choices)[count]),
                there[place].eq(self.start & (count >= AAD_BLOCKS - place)),
            ]
        return aligned, there
