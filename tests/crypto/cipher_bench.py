"""The cipher engine's ports under cocotb, and what must come out of them."""

from collections import deque
from dataclasses import dataclass, field
from random import Random
from types import SimpleNamespace

from cocotb.triggers import FallingEdge, ReadOnly

from tailrace_hw.crypto.key_installer import KeyAnswer
from tailrace_hw.crypto.types import (
    JobParameters,
    KeyCommand,
    OutputMeta,
    Result,
    Status,
)
from tailrace_hw.lib.packet import beat_layout
from tailrace_sim.stream_ports import Codec, Sink, Source

__all__ = ["CipherBench", "Outcome"]


@dataclass
class Outcome:
    """What the engine said and gave of one packet; cycles count from reset."""

    result: SimpleNamespace
    output: bytes | None = None
    #: First beat in, last beat in, first beat out, last beat out, result.
    cycles: dict[str, int] = field(default_factory=dict)


class CipherBench:
    """Sends packets and key commands, and gathers what comes back in order.

    Parameters
    ----------
    stall : probability of a stall of each port and cycle
    """

    def __init__(self, dut, rng: Random, width: int, stall: float = 0.0):
        self.dut = dut
        self.width = width
        self.rng = rng
        self.now = 0
        self._stall = stall
        self._in = Codec(beat_layout(width, JobParameters))
        self._out = Codec(beat_layout(width, OutputMeta))
        self._result = Codec(Result)
        self._command = Codec(KeyCommand)
        self._answer = Codec(KeyAnswer)
        dut.start.value = 0
        dut.inject.value = 0
        self.restart()

    def restart(self) -> None:
        """Forget everything: the engine was reset."""
        dut, rng, stall = self.dut, self.rng, self._stall
        self.i = Source(dut, "i", rng, stall)
        self.keys = Source(dut, "keys", rng, stall)
        self.o = Sink(dut, "o", rng, stall, self._beat)
        self.results = Sink(dut, "results", rng, stall, self._ended)
        self.answers = Sink(dut, "key_answers", rng, stall, self._answered)
        #: Of each beat to come on ``i``: packet's number, first, last.
        self._marks: deque[tuple[int, bool, bool]] = deque()
        self._taken: dict[int, dict[str, int]] = {}
        self.sent = 0
        self.outcomes: list[Outcome] = []
        self._matched = 0
        self.packets: list[tuple[SimpleNamespace, bytes, int, int]] = []
        self.key_answers: list[SimpleNamespace] = []
        self._parts = b""
        self._first_out: int | None = None

    def send(self, payload: bytes, *, claimed: int | None = None, **job) -> None:
        """Queue a packet; ``claimed`` is the length it says it has, if not its own."""
        job["length"] = len(payload) if claimed is None else claimed
        data = payload or b"\xa5"
        size = self.width // 8
        meta = self._pack_job(job)
        for start in range(0, len(data), size):
            chunk = data[start : start + size]
            last = start + size >= len(data)
            self.i.items.append(
                self._in.pack(
                    data=int.from_bytes(chunk, "little"),
                    empty=size - len(chunk),
                    last=int(last),
                    meta=meta,
                )
            )
            self._marks.append((self.sent, start == 0, last))
        self.sent += 1

    def _pack_job(self, job: dict) -> int:
        values = {
            name: int.from_bytes(value, "little") if isinstance(value, bytes) else int(value)
            for name, value in job.items()
        }
        return Codec(JobParameters).pack(**values)

    def command(self, action, function: int, key: int = 0, **values) -> None:
        """Queue a request to the key table."""
        words = {
            name: int.from_bytes(value, "little") if isinstance(value, bytes) else int(value)
            for name, value in values.items()
        }
        self.keys.items.append(
            self._command.pack(action=int(action), function=function, key=key, **words)
        )

    async def cycle(self) -> None:
        """One clock cycle of all ports."""
        ports = (self.i, self.keys, self.o, self.results, self.answers)
        for port in ports:
            port.drive()
        await ReadOnly()
        taken = self.i.taken
        for port in ports:
            port.sample()
        if self.i.taken > taken:
            number, first, last = self._marks.popleft()
            cycles = self._taken.setdefault(number, {})
            if first:
                cycles["first in"] = self.now
            if last:
                cycles["last in"] = self.now
        self.now += 1
        await FallingEdge(self.dut.clk)

    async def until(self, condition, limit: int = 40_000) -> None:
        """Cycles until ``condition()``; a test that waits longer has failed."""
        for _ in range(limit):
            if condition():
                return
            await self.cycle()
        raise AssertionError(f"nothing for {limit} cycles")

    async def drain(self, idle: int = 80) -> list[Outcome]:
        """Wait for every packet's end; nothing may come after that. The outcomes in order."""
        await self.until(lambda: len(self.outcomes) == self.sent and not self.keys.items)
        # A result may be ahead of its packet.
        quiet = 0
        while quiet < idle:
            await self.cycle()
            quiet = 0 if self.dut.o__valid.value else quiet + 1
        assert len(self.outcomes) == self.sent
        assert not self._parts, "a packet has begun and not ended"
        self._match()
        return self.outcomes

    def _beat(self, word: int) -> None:
        beat = self._out.unpack(word)
        size = self.width // 8
        assert beat.last or not beat.empty
        if not self._parts:
            self._first_out = self.now
        self._parts += beat.data.to_bytes(size, "little")[: size - beat.empty]
        assert not beat.data >> 8 * (size - beat.empty), "something lies behind the packet's end"
        if beat.last:
            assert self._first_out is not None
            self.packets.append((beat.meta, self._parts, self._first_out, self.now))
            self._parts = b""

    def _ended(self, word: int) -> None:
        number = len(self.outcomes)
        cycles = self._taken.pop(number, {}) | {"result": self.now}
        self.outcomes.append(Outcome(self._result.unpack(word), None, cycles))

    def _answered(self, word: int) -> None:
        self.key_answers.append(self._answer.unpack(word))

    def _match(self) -> None:
        """Give each output packet to the outcome of its job, in order; none may be left.

        Outcomes of an earlier time have what they will have: numbers of jobs may come again.
        """
        waiting = deque(self.packets)
        for outcome in self.outcomes[self._matched :]:
            leaves = outcome.result.status in (Status.OK.value, Status.LENGTH.value)
            if leaves and waiting and waiting[0][0].job == outcome.result.job:
                meta, outcome.output, first, last = waiting.popleft()
                assert meta.function == outcome.result.function
                outcome.cycles |= {"first out": first, "last out": last}
        assert not waiting, f"{len(waiting)} packets nobody asked for"
        self.packets.clear()
        self._matched = len(self.outcomes)
