"""The self-test in front of the golden model, which answers wrongly; started by test_self_test."""

from random import Random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge
from model_engine import ModelEngine, Names, Tamper, untouched

from tailrace_hw.crypto.key_installer import KeyAnswer
from tailrace_hw.crypto.types import OutputMeta, Result
from tailrace_hw.lib.packet import beat_layout
from tailrace_sim.run import parameters, seed

P = parameters()
WIDTH, KEYS, XTS = P["width"], P["keys"], P["xts"]
SIZE = WIDTH // 8
INSTALLS, PACKETS = (5, 13) if XTS else (3, 9)

NAMES = Names("to_engine", "from_engine", "engine_results", "engine_keys", "engine_answers")


async def once(dut, rng: Random, tamper: Tamper = untouched, stall: float = 0.0) -> ModelEngine:
    """A run after reset, to its end."""
    for name in ("i__valid", "keys__valid", "start", "inject", "engine_ready"):
        getattr(dut, name).value = 0
    for name in ("o", "results", "key_answers"):
        getattr(dut, f"{name}__ready").value = 0
    dut.rst.value = 1
    engine = ModelEngine(dut, NAMES, WIDTH, KEYS, rng, stall, tamper)
    await ClockCycles(dut.clk, 2)
    await FallingEdge(dut.clk)
    dut.rst.value = 0
    for _ in range(rng.randrange(4)):
        await engine.cycle()
        assert dut.busy.value == 1
    dut.engine_ready.value = 1
    for _ in range(64 * KEYS + 4096 + 2000):
        await engine.cycle()
        if not dut.busy.value:
            assert dut.passed.value != dut.failed.value
            assert dut.refuse.value == dut.failed.value
            return engine
    raise AssertionError("the run does not end")


@cocotb.test()
async def right_answers(dut):
    """It passes, having asked everything."""
    cocotb.start_soon(Clock(dut.clk, 4, unit="ns").start())
    rng = Random(seed())
    for stall in (0.0, 0.3, 0.8):
        engine = await once(dut, rng, stall=stall)
        assert dut.passed.value == 1
        assert engine.counts == {"output": PACKETS, "results": PACKETS, "answers": INSTALLS}


@cocotb.test()
async def a_wrong_bit(dut):
    """Of any answer, wherever it is."""
    cocotb.start_soon(Clock(dut.clk, 4, unit="ns").start())
    rng = Random(seed())
    data = 8 * SIZE
    kinds = {
        "answers": [bit for bit in range(KeyAnswer.as_shape().size) if not 3 <= bit < 11],
        "results": [bit for bit in range(Result.as_shape().size) if not 4 <= bit < 12],
        # Data, empty, last, the job's number; a function of its own is a user's.
        "output": [*range(data + (SIZE - 1).bit_length() + 1),
                   *range(data + (SIZE - 1).bit_length() + 9, beat_layout(WIDTH, OutputMeta).size)],
    }  # fmt: skip
    for kind, bits in kinds.items():
        count = INSTALLS if kind == "answers" else PACKETS
        for turn in range(40):
            where, bit = turn % count, rng.choice(bits)
            hit: list[int] = []

            def tamper(what, number, words, kind=kind, where=where, bit=bit, hit=hit):
                if what == kind and number == where and words:
                    changed = rng.randrange(len(words))
                    words[changed] ^= 1 << bit
                    hit.append(bit)
                return words

            await once(dut, rng, tamper, rng.choice((0.0, 0.3)))
            assert dut.failed.value == bool(hit), f"{kind} {where}, bit {bit}: not noticed"


@cocotb.test()
async def too_much_or_too_little(dut):
    """A beat, result or answer that is missing, and one more of each; a packet that leaks."""
    cocotb.start_soon(Clock(dut.clk, 4, unit="ns").start())
    rng = Random(seed())
    for kind in ("answers", "results", "output"):
        count = INSTALLS if kind == "answers" else PACKETS
        for turn in range(6):
            where = rng.randrange(count)
            hit: list[int] = []

            def tamper(what, number, words, kind=kind, where=where, turn=turn, hit=hit):
                if what != kind or number != where:
                    return words
                hit.append(len(words))
                return words[1:] if turn % 2 else words + words[-1:]

            await once(dut, rng, tamper)
            last_twice = where == count - 1 and not turn % 2
            assert dut.failed.value == bool(hit and hit[0]) or last_twice, f"{kind} {where} {turn}"

    kept: list[int] = []

    def leak(what, number, words):
        if what == "output" and words:
            kept[:] = words
        return words or list(kept) if what == "output" else words

    await once(dut, rng, leak)
    assert dut.failed.value == 1, "the packet of a wrong tag has left, and nobody noticed"
