"""The unit tests' harness must be able to fail: a component that is wrong in one way each."""

from random import Random

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.lib.fifo import SyncFifo
from tailrace_sim.unit import check_stream, expect_silence, seeded, simulate

ITEMS = [3, 1, 4, 1, 5, 9, 2, 6]


class Wrong(wiring.Component):
    """A queue with a fault: the item number ``at`` is lost, doubled or changed on its way."""

    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))

    def __init__(self, fault, at):
        super().__init__()
        self._fault = fault
        self._at = at

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = SyncFifo(8, 4)
        count = Signal(8)
        again = Signal()
        hit = (count == self._at) & ~again
        moved = self.i.valid & queue.i.ready
        m.d.comb += [
            queue.i.payload.eq(self.i.payload),
            queue.i.valid.eq(self.i.valid),
            self.i.ready.eq(queue.i.ready),
        ]
        with m.If(hit):
            match self._fault:
                case "lost":
                    m.d.comb += queue.i.valid.eq(0)
                case "doubled":
                    m.d.comb += self.i.ready.eq(0)
                    with m.If(moved):
                        m.d.sync += again.eq(1)
                case "changed":
                    m.d.comb += queue.i.payload.eq(self.i.payload ^ 0x80)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [count.eq(count + 1), again.eq(0)]
        wiring.connect(m, queue.o, wiring.flipped(self.o))
        return m


@pytest.mark.parametrize("at", [0, 3, len(ITEMS) - 1])
@pytest.mark.parametrize("fault", ["lost", "doubled", "changed"])
def test_a_faulty_stream_is_found(fault, at):
    with pytest.raises(AssertionError):
        check_stream(Wrong(fault, at), ITEMS, ITEMS, Random(1), (0.2, 0.2))


def test_a_faultless_stream_passes():
    check_stream(Wrong("none", 0), ITEMS, ITEMS, Random(1), (0.2, 0.2))


def test_a_rate_that_is_missed_is_found():
    with pytest.raises(AssertionError):
        check_stream(Wrong("doubled", 3), ITEMS, [*ITEMS[:4], *ITEMS[3:]], Random(1), limit=8)
    with pytest.raises(AssertionError, match="nothing to compare"):
        check_stream(Wrong("none", 0), [], [], Random(1))


def test_leftovers_are_found():
    dut = SyncFifo(8, 4)

    async def bench(ctx):
        ctx.set(dut.i.valid, 1)
        await ctx.tick()
        ctx.set(dut.i.valid, 0)
        await expect_silence(ctx, dut.o)

    with pytest.raises(AssertionError, match="left over"):
        simulate(dut, bench)


def test_a_bench_that_does_not_end_is_found():
    dut = SyncFifo(8, 4)

    async def waits_for_nothing(ctx):
        await ctx.tick().until(dut.o.valid)

    with pytest.raises(AssertionError, match="still running: waits_for_nothing"):
        simulate(dut, waits_for_nothing, cycles=50)
    with pytest.raises(AssertionError, match="checks nothing"):
        simulate(SyncFifo(8, 4))


def test_a_seed_is_replayed(monkeypatch, capsys):
    monkeypatch.setenv("TAILRACE_SEED", "17")
    assert seeded().random() == Random(17).random()
    assert "TAILRACE_SEED=17" in capsys.readouterr().out
