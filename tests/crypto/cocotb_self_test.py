"""The self-test in front of the golden model, which answers wrongly; started by test_self_test."""

from collections.abc import Callable
from random import Random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge, ReadOnly

from tailrace_hw.crypto.key_installer import KeyAnswer
from tailrace_hw.crypto.types import JobParameters, KeyCommand, OutputMeta, Result
from tailrace_hw.lib.packet import beat_layout
from tailrace_sim.models import crypto
from tailrace_sim.run import parameters, seed
from tailrace_sim.stream_ports import Codec, Sink, Source

P = parameters()
WIDTH, KEYS, XTS = P["width"], P["keys"], P["xts"]
SIZE = WIDTH // 8
INSTALLS, PACKETS = (5, 13) if XTS else (3, 9)

#: Changes answers on their way back: kind, how many came before it, list of packed words.
Tamper = Callable[[str, int, list[int]], list[int]]


class FakeEngine:
    """The golden model on the engine's side."""

    def __init__(self, dut, rng: Random, tamper: Tamper, stall: float):
        self.dut = dut
        self._tamper = tamper
        self._model = crypto.Engine(KEYS, SIZE)
        self._job = Codec(beat_layout(WIDTH, JobParameters))
        self._beat = Codec(beat_layout(WIDTH, OutputMeta))
        self._result, self._answer = Codec(Result), Codec(KeyAnswer)
        self._command = Codec(KeyCommand)
        self._parts = b""
        self.counts = {"output": 0, "results": 0, "answers": 0}
        self._output = Source(dut, "from_engine", rng, stall)
        self._results = Source(dut, "engine_results", rng, stall)
        self._answers = Source(dut, "engine_answers", rng, stall)
        self._ports = [
            self._output, self._results, self._answers,
            Sink(dut, "to_engine", rng, stall, self._take_beat),
            Sink(dut, "engine_keys", rng, stall, self._take_command),
        ]  # fmt: skip

    def _send(self, kind: str, port: Source, words: list[int]) -> None:
        port.items.extend(self._tamper(kind, self.counts[kind], words))
        self.counts[kind] += 1

    def _take_command(self, word: int) -> None:
        command = self._command.unpack(word)
        size = crypto.KeySize(command.size)
        status = self._model.command(crypto.KeyCommand(
            crypto.KeyAction(command.action), command.function, command.key,
            crypto.KeyKind(command.kind), size, bool(command.strict),
            command.material.to_bytes(32, "little")[: size.bytes],
            command.tweak_material.to_bytes(32, "little")[: size.bytes],
        ))  # fmt: skip
        word = self._answer.pack(status=status, function=command.function, key=command.key)
        self._send("answers", self._answers, [word])

    def _take_beat(self, word: int) -> None:
        beat = self._job.unpack(word)
        self._parts += beat.data.to_bytes(SIZE, "little")[: SIZE - beat.empty]
        if not beat.last:
            return
        meta, payload, self._parts = beat.meta, self._parts, b""
        operation = crypto.Operation(meta.operation)
        gcm = operation.kind == crypto.KeyKind.GCM
        outcome = self._model.work(crypto.Job(
            operation, meta.key, payload, meta.function, meta.job,
            meta.iv.to_bytes(16, "little")[: 12 if gcm else 16], False,
            meta.aad.to_bytes(crypto.MAX_AAD, "little"), meta.aad_length, meta.length,
            meta.tag.to_bytes(16, "little"), meta.tag_length,
        ))  # fmt: skip
        result = outcome.result
        self._send("results", self._results, [self._result.pack(
            status=result.status, function=result.function, job=result.job, key=result.key,
            tag=int.from_bytes(result.tag, "little"))])  # fmt: skip
        output = outcome.output or b""
        who = {"function": result.function, "job": result.job}
        words = [
            self._beat.pack(
                data=int.from_bytes(output[start : start + SIZE], "little"),
                empty=max(0, start + SIZE - len(output)),
                last=int(start + SIZE >= len(output)),
                meta=Codec(OutputMeta).pack(**who),
            )
            for start in range(0, len(output), SIZE)
        ]
        self._send("output", self._output, words)

    async def cycle(self) -> None:
        for port in self._ports:
            port.drive()
        await ReadOnly()
        for port in self._ports:
            port.sample()
        await FallingEdge(self.dut.clk)


def untouched(kind: str, number: int, words: list[int]) -> list[int]:
    """Right answers."""
    return words


async def once(dut, rng: Random, tamper: Tamper = untouched, stall: float = 0.0) -> FakeEngine:
    """A run after reset, to its end."""
    for name in ("i__valid", "keys__valid", "start", "inject", "engine_ready"):
        getattr(dut, name).value = 0
    for name in ("o", "results", "key_answers"):
        getattr(dut, f"{name}__ready").value = 0
    dut.rst.value = 1
    engine = FakeEngine(dut, rng, tamper, stall)
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
