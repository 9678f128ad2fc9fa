"""The golden model of the cipher engine at the ports of a component that uses one."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from cocotb.triggers import FallingEdge, ReadOnly

from tailrace_hw.crypto.key_installer import KeyAnswer
from tailrace_hw.crypto.types import JobParameters, KeyCommand, OutputMeta, Result
from tailrace_hw.lib.packet import beat_layout
from tailrace_sim.models import crypto
from tailrace_sim.stream_ports import Codec, Sink, Source

__all__ = ["ModelEngine", "Names", "Tamper", "untouched"]

#: Changes answers on their way back: kind, how many came before it, list of packed words.
Tamper = Callable[[str, int, list[int]], list[int]]


def untouched(kind: str, number: int, words: list[int]) -> list[int]:
    """Right answers."""
    return words


@dataclass(frozen=True)
class Names:
    """What the component calls the engine's ports."""

    packets: str
    output: str
    results: str
    keys: str
    answers: str


class ModelEngine:
    """Works packets and key commands off as they come, and counts its answers.

    Parameters
    ----------
    stall : probability of a stall of each port and cycle
    """

    def __init__(
        self, dut, names: Names, width: int, keys: int, rng: Random, stall: float = 0.0,
        tamper: Tamper = untouched,
    ):  # fmt: skip
        self.dut = dut
        self.model = crypto.Engine(keys, width // 8)
        self.counts = {"output": 0, "results": 0, "answers": 0}
        self._size = width // 8
        self._tamper = tamper
        self._job = Codec(beat_layout(width, JobParameters))
        self._beat = Codec(beat_layout(width, OutputMeta))
        self._result, self._answer = Codec(Result), Codec(KeyAnswer)
        self._command = Codec(KeyCommand)
        self._parts = b""
        self._output = Source(dut, names.output, rng, stall)
        self._results = Source(dut, names.results, rng, stall)
        self._answers = Source(dut, names.answers, rng, stall)
        #: Takes the requests to the key table.
        self.key_port = Sink(dut, names.keys, rng, stall, self._take_command)
        self.ports = [
            self._output, self._results, self._answers,
            Sink(dut, names.packets, rng, stall, self._take_beat),
            self.key_port,
        ]  # fmt: skip

    def _send(self, kind: str, port: Source, words: list[int]) -> None:
        port.items.extend(self._tamper(kind, self.counts[kind], words))
        self.counts[kind] += 1

    def _take_command(self, word: int) -> None:
        command = self._command.unpack(word)
        # The model knows no size that does not exist; the engine has the same answer for both.
        size = crypto.KeySize(min(command.size, 2))
        status = crypto.KeyStatus.SIZE
        if command.size < 3 or command.action != crypto.KeyAction.INSTALL:
            status = self.model.command(crypto.KeyCommand(
                crypto.KeyAction(command.action), command.function, command.key,
                crypto.KeyKind(command.kind), size, bool(command.strict),
                command.material.to_bytes(32, "little")[: size.bytes],
                command.tweak_material.to_bytes(32, "little")[: size.bytes],
            ))  # fmt: skip
        word = self._answer.pack(status=status, function=command.function, key=command.key)
        self._send("answers", self._answers, [word])

    def _take_beat(self, word: int) -> None:
        beat = self._job.unpack(word)
        self._parts += beat.data.to_bytes(self._size, "little")[: self._size - beat.empty]
        if not beat.last:
            return
        meta, payload, self._parts = beat.meta, self._parts, b""
        operation = crypto.Operation(meta.operation)
        short = operation.kind == crypto.KeyKind.GCM and not meta.j0
        outcome = self.model.work(crypto.Job(
            operation, meta.key, payload, meta.function, meta.job,
            meta.iv.to_bytes(16, "little")[: 12 if short else 16], bool(meta.j0),
            meta.aad.to_bytes(crypto.MAX_AAD, "little"), meta.aad_length, meta.length,
            meta.tag.to_bytes(16, "little"), meta.tag_length,
        ))  # fmt: skip
        result = outcome.result
        self._send("results", self._results, [self._result.pack(
            status=result.status, function=result.function, job=result.job, key=result.key,
            tag=int.from_bytes(result.tag, "little"))])  # fmt: skip
        output, size = outcome.output or b"", self._size
        who = Codec(OutputMeta).pack(function=result.function, job=result.job)
        words = [
            self._beat.pack(
                data=int.from_bytes(output[start : start + size], "little"),
                empty=max(0, start + size - len(output)),
                last=int(start + size >= len(output)),
                meta=who,
            )
            for start in range(0, len(output), size)
        ]
        self._send("output", self._output, words)

    async def cycle(self, *others) -> None:
        """One clock cycle of its ports, and of others."""
        ports = [*self.ports, *others]
        for port in ports:
            port.drive()
        await ReadOnly()
        for port in ports:
            port.sample()
        await FallingEdge(self.dut.clk)
