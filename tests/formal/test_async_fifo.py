"""AsyncFifo: nothing lost, duplicated, invented or reordered, whatever the two clocks do.

Both sides run from one clock with an enable each, which the solver switches at will: every
interleaving of the two clocks' edges is covered, edges that coincide included. What is not modelled
is a bit sampled while it changes: in a Gray code only one bit changes at a time, so such a sample
is the old value or the new one.
"""

import pytest
from amaranth.hdl import Assert, DomainRenamer, EnableInserter, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from tailrace_hw.lib import fifo
from tailrace_sim.formal import holds, mutant, prove

pytestmark = pytest.mark.formal

BITS = 1
DEPTH = 4


class AsyncProof(wiring.Component):
    """Any use of an AsyncFifo, by any two clocks, without a reset."""

    i_tick: In(1)
    o_tick: In(1)
    i_valid: In(1)
    i_payload: In(BITS)
    o_ready: In(1)
    pick: In(1)

    def __init__(self, module):
        super().__init__()
        self._dut = module.AsyncFifo(BITS, DEPTH, i_domain="left", o_domain="right")

    def elaborate(self, platform):
        m = Module()
        dut = self._dut
        ticking = EnableInserter({"left": self.i_tick, "right": self.o_tick})(dut)
        m.submodules.dut = DomainRenamer({"left": "sync", "right": "sync"})(ticking)
        put = Signal()
        get = Signal()
        held = Signal(range(DEPTH + 3))
        m.d.comb += [
            dut.i.valid.eq(self.i_valid),
            dut.i.payload.eq(self.i_payload),
            dut.o.ready.eq(self.o_ready),
            put.eq(dut.i.valid & dut.i.ready & self.i_tick),
            get.eq(dut.o.valid & dut.o.ready & self.o_tick),
            Assert(held <= DEPTH + 1),
            Assert(~dut.o.valid | (held != 0)),
        ]
        m.d.sync += held.eq(held + put - get)
        self._watch(m, put, get, held)
        return m

    def _watch(self, m, put, get, held):
        """As in test_queues: the picked item leaves exactly when those before it have left."""
        dut = self._dut
        watching = Signal()
        ahead = Signal.like(held)
        item = Signal(BITS)
        with m.If(put & self.pick & ~watching):
            m.d.sync += [watching.eq(1), ahead.eq(held - get), item.eq(dut.i.payload)]
        with m.Elif(watching & get):
            m.d.sync += [ahead.eq(ahead - 1), watching.eq(ahead != 0)]
        with m.If(watching & dut.o.valid & (ahead == 0)):
            m.d.comb += Assert(dut.o.payload == item)


def test_async_fifo():
    prove(AsyncProof(fifo), "async-fifo")


FAULTS = {
    "full-too-late": ("== 0b11 << (bits - 2)", "== 0b1 << (bits - 1)"),
    "writes-when-full": ("port.en.eq(self.i.valid & self.i.ready)", "port.en.eq(self.i.valid)"),
    "overtaken-output": ("(written_seen != fetched_gray) & (~offered | self.o.ready)",
                         "(written_seen != fetched_gray)"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_proof_finds(fault):
    assert not holds(AsyncProof(mutant(fifo, *FAULTS[fault])), f"async-fifo-{fault}")
