"""PacketFifo: every packet whole or not at all, in order, each loss counted and with a reason.

A model counts the beats of complete packets. The solver picks any beat as it enters; when its
packet is complete the model knows how many beats leave before it, and the very next one must be
it. A packet that is lost must have its pulse, and the pulse its reason.
"""

import pytest
from amaranth.hdl import Assert, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from tailrace_hw.lib import packet_fifo
from tailrace_sim.formal import holds, mutant, prove

pytestmark = pytest.mark.formal

META = 1
#: Cycles from a packet's last beat to its first beat offered, when nothing is ahead.
LATENCY = 2


class PacketFifoProof(wiring.Component):
    """Any use of a PacketFifo. A tag in the metadata stands for the data, which are 0."""

    i_valid: In(1)
    i_last: In(1)
    i_meta: In(META)
    drop: In(1)
    o_ready: In(1)
    pick: In(1)

    def __init__(self, module, depth: int, stall: bool):
        super().__init__()
        self._dut = module.PacketFifo(64, META, depth, stall=stall)
        self._depth = depth
        self._stall = stall

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self._dut
        m.d.comb += [
            dut.i.valid.eq(self.i_valid),
            dut.i.payload.last.eq(self.i_last),
            dut.i.payload.meta.eq(self.i_meta),
            dut.drop.eq(self.drop),
            dut.o.ready.eq(self.o_ready),
        ]
        put = Signal()
        get = Signal()
        m.d.comb += [put.eq(dut.i.valid & dut.i.ready), get.eq(dut.o.valid & dut.o.ready)]
        # Beats of the packet under way (counted up to one more than fits); a packet that has just
        # ended, whose fate shows in this cycle; beats of complete packets before it.
        taken = Signal(range(self._depth + 2))
        ended = Signal()
        length = Signal.like(taken)
        held = Signal(range(2 * self._depth + 4))
        lost = dut.dropped | dut.overflowed
        complete = Signal.like(held)
        count = Mux(taken > self._depth, taken, taken + 1)
        m.d.comb += complete.eq(held + Mux(ended & ~lost, length, 0))
        m.d.sync += [ended.eq(put & self.i_last), held.eq(complete - get)]
        with m.If(put):
            m.d.sync += [taken.eq(Mux(self.i_last, 0, count)), length.eq(count)]
        m.d.comb += [Assert(~dut.o.valid | (held != 0)), Assert(complete <= self._depth + 1)]
        self._watch(m, put, get, taken, lost, held)
        self._losses(m, put, taken, ended, complete)
        self._progress(m, held)
        self._hold(m)
        return m

    def _watch(self, m, put, get, taken, lost, held):
        dut = self._dut
        item = Signal(META)
        is_last = Signal()
        place = Signal.like(taken)  # beats before it in its packet
        ahead = Signal.like(held)
        with m.FSM():
            with m.State("FREE"):
                with m.If(put & self.pick & (taken <= self._depth)):
                    m.d.sync += [item.eq(self.i_meta), is_last.eq(self.i_last), place.eq(taken)]
                    with m.If(self.i_last):
                        m.next = "ENDED"
                    with m.Else():
                        m.next = "OPEN"
            with m.State("OPEN"):
                with m.If(put & self.i_last):
                    m.next = "ENDED"
            with m.State("ENDED"):
                m.d.sync += ahead.eq(held + place - get)
                m.next = "QUEUED"
                with m.If(lost):
                    m.next = "FREE"
            with m.State("QUEUED"):
                with m.If(get):
                    m.d.sync += ahead.eq(ahead - 1)
                with m.If(dut.o.valid & (ahead == 0)):
                    m.d.comb += Assert(dut.o.payload.meta == item)
                    m.d.comb += Assert(dut.o.payload.last == is_last)
                    with m.If(get):
                        m.next = "FREE"

    def _losses(self, m, put, taken, ended, complete):
        """Each pulse has its reason, and each reason its pulse."""
        dut = self._dut
        drop_asked = Signal()
        lacked = Signal()  # a beat of the packet found no room
        lacked_before = Signal()
        stored = complete - dut.o.valid
        m.d.sync += drop_asked.eq(put & self.i_last & self.drop)
        if self._stall:
            lacks = taken >= self._depth
        else:
            lacks = stored + taken >= self._depth
        with m.If(put):
            m.d.sync += [
                lacked_before.eq(~self.i_last & (lacked_before | lacks)),
                lacked.eq(lacked_before | lacks),
            ]
        m.d.comb += [
            Assert(dut.dropped == drop_asked),
            Assert(dut.overflowed == (ended & ~drop_asked & lacked)),
        ]

    def _progress(self, m, held):
        """What is complete is offered; the input waits only while it may, and not for ever."""
        dut = self._dut
        idle = Signal(range(LATENCY + 1))
        with m.If((held != 0) & ~dut.o.valid):
            m.d.sync += idle.eq(idle + 1)
        with m.Else():
            m.d.sync += idle.eq(0)
        m.d.comb += Assert(idle < LATENCY)
        if not self._stall:
            m.d.comb += Assert(dut.i.ready)
            return
        # A reader that is always ready empties the queue, so the input moves again.
        limit = self._depth + LATENCY
        stuck = Signal(range(limit + 2))
        with m.If(dut.i.valid & ~dut.i.ready & self.o_ready):
            m.d.sync += stuck.eq(stuck + 1)
        with m.Else():
            m.d.sync += stuck.eq(0)
        m.d.comb += Assert(stuck <= limit)

    def _hold(self, m):
        dut = self._dut
        waiting = Signal()
        now = dut.o.payload.meta ^ (dut.o.payload.last << META)
        before = Signal(META + 1)
        m.d.sync += [waiting.eq(dut.o.valid & ~dut.o.ready), before.eq(now)]
        with m.If(waiting):
            m.d.comb += Assert(dut.o.valid & (now == before))


CASES = {"never-waits": (2, False), "waits": (2, True)}


@pytest.mark.parametrize("case", CASES)
def test_packet_fifo(case):
    prove(PacketFifoProof(packet_fifo, *CASES[case]), f"packet-fifo-{case}")


#: name: (case, source text, what the fault makes of it)
FAULTS = {
    "commits-overflow": ("never-waits", "with m.Elif(losing | full):\n                    m.d",
                         "with m.Elif(losing):\n                    m.d"),
    "keeps-dropped": ("never-waits", "[self.dropped.eq(1), written.eq(committed)]",
                      "[self.dropped.eq(1), written.eq(next_written)]"),
    "offers-early": ("waits", "fetch.eq((committed != fetched)",
                     "fetch.eq((committed[0] != fetched)"),
    "wedges": ("waits", "full & (committed == fetched) & self.i.valid", "0"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_proof_finds(fault):
    case, old, new = FAULTS[fault]
    assert not holds(
        PacketFifoProof(mutant(packet_fifo, old, new), *CASES[case]), f"packet-fifo-{fault}"
    )
