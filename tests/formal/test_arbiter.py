"""Arbiters: nothing lost or mixed up, packets whole, nobody starves.

The output is one register. So every item taken must be on the output in the next cycle, with the
number of the input it came from, and stay until it is taken: that is all there is to lose. No
starvation is a count: of the items (packets) others get while one input waits, proven never to
exceed the sum of their weights; and work is never refused while the output is free.
"""

import pytest
from amaranth.hdl import Assert, Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from tailrace_hw.lib import arbiter
from tailrace_sim.formal import holds, mutant, prove

pytestmark = pytest.mark.formal

ITEM = data.StructLayout({"tag": 1, "last": 1})


class ArbiterProof(wiring.Component):
    """Any use of an arbiter whose payload is ITEM."""

    def __init__(self, module, weights, packets: bool):
        self._weights = weights
        self._packets = packets
        self._dut = module.WeightedArbiter(ITEM, weights, packets=packets)
        n = len(weights)
        super().__init__({"valid": In(n), "payload": In(2 * n), "o_ready": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self._dut
        m.d.comb += dut.o.ready.eq(self.o_ready)
        for index, i in enumerate(dut.i):
            m.d.comb += [
                i.valid.eq(self.valid[index]),
                i.payload.eq(self.payload.word_select(index, 2)),
            ]
        taken = Signal(len(self._weights))
        m.d.comb += taken.eq(Cat(i.valid & i.ready for i in dut.i))
        self._output_is_what_was_taken(m, taken)
        inside, owner = self._packets_are_whole(m, taken)
        self._no_starvation(m, taken)
        # Work is taken whenever the output is free and somebody may go.
        may_go = Signal()
        m.d.comb += may_go.eq(self.valid.any())
        with m.If(inside):
            m.d.comb += may_go.eq((self.valid & owner).any())
        free = ~dut.o.valid | dut.o.ready
        m.d.comb += Assert(taken.any() == (may_go & free))
        return m

    def _output_is_what_was_taken(self, m, taken):
        dut = self._dut
        m.d.comb += Assert((taken & (taken - 1)) == 0)
        full = Signal()
        expected = Signal(2)
        source = Signal(range(len(self._weights)))
        with m.If(taken.any()):
            m.d.comb += Assert(~full | dut.o.ready)
            m.d.sync += full.eq(1)
        with m.Elif(dut.o.ready):
            m.d.sync += full.eq(0)
        for index in range(len(self._weights)):
            with m.If(taken[index]):
                m.d.sync += [expected.eq(self.payload.word_select(index, 2)), source.eq(index)]
        m.d.comb += Assert(dut.o.valid == full)
        with m.If(full):
            m.d.comb += Assert((dut.o.payload.as_value() == expected) & (dut.grant == source))

    def _packets_are_whole(self, m, taken):
        """Returns whether a packet is under way and, one-hot, whose."""
        inside = Signal()
        owner = Signal.like(taken)
        if self._packets:
            with m.If(taken.any()):
                lasts = Cat(i.payload.last for i in self._dut.i)
                m.d.sync += [inside.eq(~(taken & lasts).any()), owner.eq(taken)]
                with m.If(inside):
                    m.d.comb += Assert(taken == owner)
        return inside, owner

    def _no_starvation(self, m, taken):
        for index, own in enumerate(self._weights):
            others = sum(self._weights) - own
            passed = Signal(range(others + 2), name=f"passed{index}")
            waits = self.valid[index] & ~taken[index]
            overtakes = taken.any()
            if self._packets:
                lasts = Cat(i.payload.last for i in self._dut.i)
                overtakes = (taken & lasts).any()
            with m.If(~waits):
                m.d.sync += passed.eq(0)
            with m.Elif(overtakes):
                m.d.sync += passed.eq(passed + 1)
            m.d.comb += Assert(passed <= others)


CASES = {
    "round-robin-3": ((1, 1, 1), False),
    "round-robin-3-packets": ((1, 1, 1), True),
    "weighted-3-1-2": ((3, 1, 2), False),
    "weighted-1-2-packets": ((1, 2), True),
}


@pytest.mark.parametrize("case", CASES)
def test_arbiter(case):
    prove(ArbiterProof(arbiter, *CASES[case]), case)


#: name: (case, source text, what the fault makes of it)
FAULTS = {
    "lowest-always-first": ("round-robin-3", "(1 << n) - (2 << index)", "0"),
    "turn-never-ends": ("weighted-3-1-2", "with m.If(left_now == 0):", "with m.If(0):"),
    "packets-torn": ("round-robin-3-packets", "self._locked.eq(~ends)", "self._locked.eq(0)"),
    "output-overwritten": ("round-robin-3", "free.eq(~self.o.valid | self.o.ready)", "free.eq(1)"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_proof_finds(fault):
    case, old, new = FAULTS[fault]
    assert not holds(ArbiterProof(mutant(arbiter, old, new), *CASES[case]), fault)
