"""Job queues of a soft device: registers, rings, interrupts; from docs/jobs.md.

What comes of a job is what :func:`tailrace_sim.models.jobs.carry_out` says.
"""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from tailrace_sim.models.jobs import (
    COMPLETION,
    DESCRIPTOR,
    INTERRUPT,
    Descriptor,
    Outcome,
    carry_out,
    copy_operations,
)
from tailrace_sim.models.pci import ModelError, SoftFunction
from tailrace_sim.models.soft_cipher import SoftCipher

__all__ = ["SoftJobs"]

#: Arrays of registers.
_RING, _COMPLETIONS, _SETUP, _OWNER, _CONTROL, _STATE, _TAIL, _HEAD, _POSITION = (
    0x00, 0x20, 0x40, 0x50, 0x60, 0x70, 0x80, 0x90, 0xA0,
)  # fmt: skip
_FAILED, _DONE, _BYTES, _DROPPED = 0xB0, 0xC0, 0xE0, 0x100
#: Error codes.
_INDEX_JUMP, _BAD_RING, _DESCRIPTOR_FAULT, _COMPLETION_FAULT = 0x38, 0x39, 0x3A, 0x3B
_STATUS_DESCRIPTOR_FAULT = 0x16
_IN_FLIGHT = 32
_QUEUES = 4


@dataclass
class _Queue:
    """A queue; what ``start`` takes over is in ``ring`` to ``vector``."""

    words: dict[int, int] = field(default_factory=dict)
    ring: int = 0
    completions: int = 0
    ring_size: int = 2
    completions_size: int = 2
    function: int = 0
    vector: int = 0xFFFF
    tail: int = 0
    head: int = 0
    taken: int = 0
    written: int = 0
    running: bool = False
    resetting: bool = False
    stopped: bool = False
    error: int = 0
    in_flight: int = 0
    done: int = 0
    failed: int = 0
    bytes: int = 0
    dropped: int = 0


@dataclass
class _Flight:
    """A job under way; no descriptor if that could not be read."""

    queue: int
    descriptor: Descriptor | None
    due: int


class _Memory:
    """Host memory as a function sees it."""

    def __init__(self, function: SoftFunction):
        self._function = function

    def read(self, address: int, length: int) -> bytes:
        return bytes(self._function.dma(address, length) or b"")

    def reachable(self, address: int, length: int) -> bool:
        return self._function.dma(address, length) is not None


class SoftJobs:
    """Look-aside engine: jobs of all queues are worked off in one order.

    Parameters
    ----------
    functions : PCI functions by number
    cipher : engine of the ciphers
    report : told of errors: code, function, queue, info
    seed : of latencies, and of which queue comes next
    latency : steps that a job takes at most

    Attributes
    ----------
    stuck : nothing goes on
    tamper : what is done to a completion before it is written
    interrupts : sent
    doorbells : written to tail
    most : jobs that were in flight at once
    """

    def __init__(
        self,
        functions: dict[int, SoftFunction],
        cipher: SoftCipher,
        report: Callable[[int, int, int, int], None] = lambda *_: None,
        *,
        seed: int = 0,
        latency: int = 4,
    ):
        self._functions = functions
        self.cipher = cipher
        self._report = report
        self._rng = random.Random(seed)
        self._latency = latency
        self._queues = [_Queue() for _ in range(_QUEUES)]
        self._flight: deque[_Flight] = deque()
        self._now = 0
        self.stuck = False
        self.tamper: Callable[[bytes], bytes] = lambda raw: raw
        self.interrupts = self.doorbells = self.most = 0

    # Registers -----------------------------------------------------------------------------------

    def _find(self, offset: int) -> tuple[int, int, int]:
        """Array, queue, and half of a 64-bit register."""
        for base in (_RING, _COMPLETIONS, _DONE, _BYTES):
            if base <= offset < base + 8 * _QUEUES:
                return base, (offset - base) // 8, offset // 4 % 2
        return offset & ~0xF, offset % 16 // 4, 0

    def read(self, offset: int) -> int:
        array, number, half = self._find(offset)
        q = self._queues[number]
        state = q.running | q.resetting << 1 | q.stopped << 2 | q.in_flight << 8 | q.error << 16
        values = {
            _STATE: state, _TAIL: q.tail, _HEAD: q.head, _POSITION: q.taken | q.written << 16,
            _FAILED: q.failed, _DONE: q.done, _BYTES: q.bytes, _DROPPED: q.dropped,
        }  # fmt: skip
        value = values.get(array, q.words.get(offset, 0) << 32 * half)
        return value >> 32 * half & 0xFFFF_FFFF

    def write(self, offset: int, value: int) -> None:
        array, number, _ = self._find(offset)
        q = self._queues[number]
        if array == _CONTROL:
            if value & 1:
                self._start(number)
            if value & 2:
                q.resetting, q.running, q.stopped = True, False, False
        elif array == _TAIL:
            self.doorbells += 1
            q.tail = value & 0xFFFF
            if q.running and (q.tail - q.taken) % 2**16 > q.ring_size:
                self._stop(number, _INDEX_JUMP, q.tail)
        elif array == _HEAD:
            if q.running and (q.written - value) % 2**16 > (q.written - q.head) % 2**16:
                self._stop(number, _INDEX_JUMP, value)
            q.head = value & 0xFFFF
        else:
            q.words[offset] = value

    def _start(self, number: int) -> None:
        q = self._queues[number]
        if q.running or q.resetting or q.stopped:
            raise ModelError(f"job queue {number} is started, and is not idle")
        if q.tail or q.head:
            raise ModelError(f"job queue {number} is started with tail {q.tail}, head {q.head}")

        def wide(base: int) -> int:
            at = base + 8 * number
            return q.words.get(at, 0) | q.words.get(at + 4, 0) << 32

        setup = q.words.get(_SETUP + 4 * number, 0)
        owner = q.words.get(_OWNER + 4 * number, 0)
        q.ring, q.completions = wide(_RING), wide(_COMPLETIONS)
        q.ring_size, q.completions_size = 1 << (setup & 15), 1 << (setup >> 8 & 15)
        q.function, q.vector = owner & 0xFF, owner >> 16
        q.taken = q.written = 0
        q.running = True
        if q.ring_size < 2 or q.completions_size < 2 or q.ring % 64 or q.completions % 32:
            self._stop(number, _BAD_RING, q.ring)

    def _stop(self, number: int, code: int, info: int) -> None:
        q = self._queues[number]
        if q.running:
            q.running, q.stopped, q.error = False, True, code
            self._report(code, q.function, number, info)

    def function_reset(self, number: int) -> None:
        """Function level reset: its queues are reset, its keys forgotten."""
        for q in self._queues:
            if q.function == number and (q.running or q.stopped):
                q.resetting, q.running, q.stopped = True, False, False
        self.cipher.forget(number)

    # Jobs ----------------------------------------------------------------------------------------

    def step(self) -> bool:
        """Some jobs go on; whether anything did."""
        self._now += 1
        testing = self.cipher.testing
        self.cipher.step()
        if self.stuck:
            return testing
        took = [self._take(number) for number in self._rng.sample(range(_QUEUES), _QUEUES)]
        self.most = max(self.most, len(self._flight))
        waits = bool(self._flight)
        while self._flight and self._flight[0].due <= self._now and not testing:
            self._end(self._flight.popleft())
        for q in self._queues:
            if q.resetting and not q.in_flight:
                q.resetting = False
        return testing or any(took) or waits

    def _take(self, number: int) -> bool:
        """Begin a job of a queue, if it has one and there is a place for its completion."""
        q = self._queues[number]
        ahead = (q.written + q.in_flight - q.head) % 2**16
        full = ahead >= q.completions_size or len(self._flight) >= _IN_FLIGHT
        if not q.running or q.taken == q.tail or full:
            return False
        raw = self._functions[q.function].dma(
            q.ring + q.taken % q.ring_size * DESCRIPTOR.size, DESCRIPTOR.size
        )
        q.taken = (q.taken + 1) % 2**16
        q.in_flight += 1
        descriptor = None if raw is None else _unpack(bytes(raw))
        if descriptor is None:
            self._stop(number, _DESCRIPTOR_FAULT, q.ring)
        due = self._now + self._rng.randint(0, self._latency)
        self._flight.append(_Flight(number, descriptor, due))
        return True

    def _end(self, job: _Flight) -> None:
        q = self._queues[job.queue]
        q.in_flight -= 1
        if q.resetting:
            q.dropped += 1
            return
        memory = _Memory(self._functions[q.function])
        outcome, d = Outcome(status=_STATUS_DESCRIPTOR_FAULT), job.descriptor
        if d is not None:
            operations = {**copy_operations(), **self.cipher.operations(q.function)}
            outcome = carry_out(memory, d, operations)
        for address, data in outcome.writes:
            place = self._functions[q.function].dma(address, len(data))
            assert place is not None
            place[:] = data
        self._complete(job.queue, d, outcome)

    def _complete(self, number: int, d: Descriptor | None, outcome: Outcome) -> None:
        q = self._queues[number]
        function = self._functions[q.function]
        place = function.dma(
            q.completions + q.written % q.completions_size * COMPLETION.size, COMPLETION.size
        )
        if place is None:
            q.dropped += 1
            self._stop(number, _COMPLETION_FAULT, q.completions)
            return
        phase = 1 - q.written // q.completions_size % 2
        place[:] = self.tamper(COMPLETION.pack(
            outcome.status, phase, number, 0, 0 if d is None else d.cookie, outcome.length,
            outcome.crc, outcome.tag,
        ))  # fmt: skip
        q.written = (q.written + 1) % 2**16
        q.failed += outcome.status != 0
        q.done += outcome.status == 0
        q.bytes += d.length if d is not None and not outcome.status else 0
        if (d is None or d.flags & INTERRUPT) and q.vector != 0xFFFF:
            self.interrupts += 1
            function.raise_vector(q.vector)


def _unpack(raw: bytes) -> Descriptor:
    (opcode, flags, key, cookie, source, destination, length, source_entries,
     destination_entries, tag_length, aad_length, iv, tag, aad, reserved,
    ) = DESCRIPTOR.unpack(raw)  # fmt: skip
    return Descriptor(
        opcode, source, destination, length, flags, cookie, key, source_entries,
        destination_entries, tag_length, aad_length, iv, tag, aad, reserved,
    )  # fmt: skip
