"""CommitFifo: nothing of a failed packet leaves; nothing else is lost, doubled or reordered.

Two proofs. The first is that of a queue: the solver picks any beat as it enters, and once it may
leave, it is known how many leave before it, and the very next one must be it. A packet that failed
is in none of those counts. Places are counted as well: each comes back, and none twice.

The second shows that a failed packet leaves no trace: its beats are marked, and no mark is ever in
the output register, not even while that is not valid. That is enough, as a beat's contents go to
the memory's data port and nowhere else.
"""

import pytest
from amaranth.hdl import Assert, Assume, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from tailrace_hw.crypto import commit_fifo
from tailrace_sim.formal import holds, mutant, prove

pytestmark = pytest.mark.formal

META = 1
#: Cycles until what may leave is offered.
LATENCY = 2
#: Cycles in which ``room`` may miss a place that has just come back.
PLACE_LATENCY = 1


class _Environment(wiring.Component):
    """Any use of the queue that its contract allows. A tag in the metadata stands for the data."""

    valid: In(1)
    last: In(1)
    meta: In(META)
    stream: In(1)
    keep: In(1)
    reserve: In(1)
    release: In(1)
    ready: In(1)

    def __init__(self, module, depth: int):
        super().__init__()
        self._module = module
        self._depth = depth

    def _drive(self, m, dut, meta):
        m.d.comb += [
            dut.i.valid.eq(self.valid),
            dut.i.payload.beat.last.eq(self.last),
            dut.i.payload.beat.meta.eq(meta),
            dut.i.payload.stream.eq(self.stream),
            dut.i.payload.keep.eq(self.keep),
            dut.reserve.eq(self.reserve),
            dut.release.eq(self.release),
            dut.o.ready.eq(self.ready),
        ]

    def _assume(self, m, dut):
        """Returns the count of places that are reserved and not used yet."""
        promised = Signal(range(self._depth + 2))
        inside = Signal()  # in the middle of a packet
        streams = Signal()
        m.d.sync += promised.eq(promised + self.reserve - self.valid - self.release)
        with m.If(self.valid):
            m.d.sync += [inside.eq(~self.last), streams.eq(self.stream)]
        m.d.comb += [
            Assume(~self.reserve | dut.room),
            Assume(promised + self.reserve >= self.valid + self.release),
            Assume(~self.valid | ~inside | (self.stream == streams)),
        ]
        return promised


class CommitFifoProof(_Environment):
    """What leaves, in what order, and where the places are."""

    pick: In(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self._module.CommitFifo(64, META, self._depth)
        self._drive(m, dut, self.meta)
        promised = self._assume(m, dut)
        get = Signal()
        fails = Signal()  # the held packet under way ends now, and is forgotten
        taken = Signal(range(self._depth + 2))  # beats of the held packet under way
        held = Signal(range(2 * self._depth + 4))  # beats that may leave
        m.d.comb += [
            get.eq(dut.o.valid & self.ready),
            fails.eq(self.valid & self.last & ~self.stream & ~self.keep),
        ]
        with m.If(self.valid & ~self.stream):
            m.d.sync += taken.eq(Mux(self.last, 0, taken + 1))
        more = Mux(self.stream, 1, Mux(self.last & self.keep, taken + 1, 0))
        m.d.sync += held.eq(held + Mux(self.valid, more, 0) - get)
        m.d.comb += Assert(~dut.o.valid | (held != 0))
        self._watch(m, dut, get, taken, held)
        self._places(m, dut, promised + taken + held)
        self._progress(m, dut, promised, taken, held)
        self._hold(m, dut)
        return m

    def _watch(self, m, dut, get, taken, held):
        item = Signal(META)
        is_last = Signal()
        place = Signal.like(taken)  # beats before it in its packet
        ahead = Signal.like(held)
        with m.FSM():
            with m.State("FREE"):
                with m.If(self.valid & self.pick):
                    m.d.sync += [
                        item.eq(self.meta),
                        is_last.eq(self.last),
                        place.eq(taken),
                        ahead.eq(held + taken - get),
                    ]
                    with m.If(self.stream | (self.last & self.keep)):
                        m.next = "QUEUED"
                    with m.Elif(~self.last):
                        m.next = "OPEN"
            with m.State("OPEN"):
                with m.If(self.valid & self.last):
                    m.d.sync += ahead.eq(held + place - get)
                    m.next = "FREE"
                    with m.If(self.keep):
                        m.next = "QUEUED"
            with m.State("QUEUED"):
                with m.If(get):
                    m.d.sync += ahead.eq(ahead - 1)
                with m.If(dut.o.valid & (ahead == 0)):
                    m.d.comb += Assert(dut.o.payload.meta == item)
                    m.d.comb += Assert(dut.o.payload.last == is_last)
                    with m.If(get):
                        m.next = "FREE"

    def _places(self, m, dut, used):
        """Never more in use than there are, with the one in the output register; ``room`` falls
        only while all were in use a moment ago."""
        in_use = used - dut.o.valid
        was_full = Signal()
        m.d.sync += was_full.eq(in_use + self.reserve == self._depth)
        m.d.comb += [
            Assert(in_use <= self._depth),
            Assert(dut.room | was_full | (in_use == self._depth)),
        ]

    def _progress(self, m, dut, promised, taken, held):
        """What may leave is offered. Once all that was reserved has come and left, there is room
        again, unless a packet that is still open has all of it."""
        idle = Signal(range(LATENCY + 1))
        with m.If((held != 0) & ~dut.o.valid):
            m.d.sync += idle.eq(idle + 1)
        with m.Else():
            m.d.sync += idle.eq(0)
        stuck = Signal(range(PLACE_LATENCY + 2))
        with m.If(~dut.room & (promised + held == 0) & (taken != self._depth)):
            m.d.sync += stuck.eq(stuck + 1)
        with m.Else():
            m.d.sync += stuck.eq(0)
        m.d.comb += [Assert(idle < LATENCY), Assert(stuck <= PLACE_LATENCY)]

    def _hold(self, m, dut):
        waiting = Signal()
        before = Signal.like(dut.o.payload)
        m.d.sync += [waiting.eq(dut.o.valid & ~self.ready), before.eq(dut.o.payload)]
        with m.If(waiting):
            m.d.comb += Assert(dut.o.valid & (dut.o.payload == before))


class NoTraceProof(_Environment):
    """Beats of packets that fail carry tag 1, as ``fails`` foretells; all others carry tag 0."""

    fails: In(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self._module.CommitFifo(64, META, self._depth)
        self._drive(m, dut, self.fails)
        self._assume(m, dut)
        inside = Signal()
        foretold = Signal()
        with m.If(self.valid):
            m.d.sync += [inside.eq(~self.last), foretold.eq(self.fails)]
            m.d.comb += Assume(~inside | (self.fails == foretold))
            m.d.comb += Assume(~self.fails | (~self.stream & ~(self.last & self.keep)))
        # The output register starts with anything, and must keep that until something leaves.
        tag = dut.o.payload.meta
        before = Signal(META)
        started = Signal()
        second = Signal()
        m.d.sync += [before.eq(tag), started.eq(started | dut.o.valid), second.eq(1)]
        with m.If(started | dut.o.valid):
            m.d.comb += Assert(tag == 0)
        with m.Elif(second):
            m.d.comb += Assert(tag == before)
        return m


#: name: (proof, depth)
PROOFS = {
    "queue": (CommitFifoProof, 2),
    "no-trace": (NoTraceProof, 2),
    "no-trace-of-4": (NoTraceProof, 4),
}


@pytest.mark.parametrize(
    "name", ["queue", "no-trace", pytest.param("no-trace-of-4", marks=pytest.mark.soak)]
)
def test_commit_fifo(name):
    proof, depth = PROOFS[name]
    prove(proof(commit_fifo, depth), f"commit-fifo-{name}")


#: name: (proof, source text, what the fault makes of it)
FAULTS = {
    "keeps-failed": ("queue", "(item.beat.last & item.keep)", "item.beat.last"),
    "shows-failed": ("no-trace", "(item.beat.last & item.keep)", "item.beat.last"),
    "reads-behind": ("no-trace", "port.en.eq(fetch)", "port.en.eq(advance)"),
    "loses-last": ("queue", "m.If(item.stream |", "m.If((item.stream & ~item.beat.last) |"),
    "forgets-streamed": ("queue", "with m.If(item.stream | (", "with m.If(("),
    "keeps-rows": ("queue", "written.eq(committed),", ""),
    "forgets-too-much": ("queue", "written.eq(committed),", "written.eq(committed - 1),"),
    "keeps-places": ("queue", "(next_written - committed)", "(next_written - committed - 1)"),
    "gives-twice": ("queue", "m.d.sync += forgotten.eq(0)", ""),
    "ignores-release": ("queue", "change = self.release - self.reserve", "change = -self.reserve"),
    "hides-a-place": ("queue", "init=self._depth", "init=self._depth - 1"),
    "place-too-early": ("queue", "Mux(fetch, and_fetched", "Mux(self.i.valid, and_fetched"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_proof_finds(fault):
    name, old, new = FAULTS[fault]
    proof, depth = PROOFS[name]
    assert not holds(proof(mutant(commit_fifo, old, new), depth), f"commit-fifo-{fault}")
