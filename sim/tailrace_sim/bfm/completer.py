"""Answers to the device's memory reads: latency, splitting, reordering and injected faults."""

import random
from collections import deque
from dataclasses import dataclass, field

import cocotb
from cocotb.triggers import Event, Timer
from cocotb.utils import get_sim_time
from cocotbext.pcie.core.tlp import CplStatus, Tlp
from cocotbext.pcie.core.utils import PcieId

__all__ = ["FAULTS", "CompletionSettings", "Fault", "HostCompleter"]

#: Kinds of faults: Unsupported Request, Completer Abort, poisoned data, no completion at all.
FAULTS = ("ur", "ca", "poison", "drop")
_STATUS = {"ur": CplStatus.UR, "ca": CplStatus.CA}


@dataclass
class Fault:
    """Answer ``count`` reads that touch [low, high) with a fault, after letting ``skip`` pass.

    Attributes
    ----------
    after : completions with good data that come before the bad one, if the read has so many
    hits : reads answered with the fault so far
    """

    kind: str
    low: int = 0
    high: int = 1 << 64
    count: int = 1
    skip: int = 0
    after: int = 0
    function: int | None = None
    hits: int = 0

    def __post_init__(self):
        if self.kind not in FAULTS:
            raise ValueError(f"a fault is one of {FAULTS}, not {self.kind!r}")

    def takes(self, address: int, length: int, function: int) -> bool:
        """True if this read gets the fault; counts."""
        if self.hits >= self.count or not (address < self.high and self.low < address + length):
            return False
        if self.function not in (None, function):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.hits += 1
        return True


@dataclass
class CompletionSettings:
    """How host memory answers; may be changed at any time, in force for later reads.

    Attributes
    ----------
    latency_ns : from a read's arrival at the root complex to its first completion
    jitter_ns : up to so much is added at random
    reorder : completions are picked at random among the oldest so many reads that are due; 1 keeps
        the order. Completions of one read always stay in order.
    split : ``max`` cuts at Max_Payload_Size, ``rcb`` at each read completion boundary, ``random``
        at random ones
    rcb : read completion boundary in bytes
    """

    latency_ns: float = 0
    jitter_ns: float = 0
    reorder: int = 1
    split: str = "max"
    rcb: int = 64
    max_payload: int = 256


@dataclass(eq=False)
class _Answer:
    due: float
    completions: deque[Tlp] = field(default_factory=deque)


class HostCompleter:
    """Makes completions of read requests and sends them when they are due.

    Parameters
    ----------
    send : coroutine function that puts a completion on the link
    rng : every choice comes from it
    """

    def __init__(self, send, rng: random.Random):
        self.settings = CompletionSettings()
        self.faults: list[Fault] = []
        self._send = send
        self._rng = rng
        self._answers: list[_Answer] = []
        self._wake = Event()
        cocotb.start_soon(self._run())

    def replace_send(self, send) -> None:
        """Put completions elsewhere from now on."""
        self._send = send

    @property
    def idle(self) -> bool:
        """True if no completion is still to be sent."""
        return not self._answers

    def refuse(self, request: Tlp) -> None:
        """Answer with Unsupported Request."""
        self._enqueue([_status(request, CplStatus.UR)])

    def answer(self, request: Tlp, data: bytes) -> None:
        """Answer with ``data``, the whole dwords of the request, or with a fault if one is due."""
        completions = self._split(request, data)
        function = request.requester_id.function
        address, length = request.address, 4 * request.length
        for fault in self.faults:
            if fault.takes(address, length, function):
                completions = self._spoil(request, completions, fault)
                break
        self._enqueue(completions)

    def _spoil(self, request: Tlp, completions: list[Tlp], fault: Fault) -> list[Tlp]:
        good = min(fault.after, len(completions) - 1)
        if fault.kind == "poison":
            completions[good].ep = True
            return completions
        if fault.kind == "drop":
            return completions[:good]
        bad = _status(request, _STATUS[fault.kind])
        bad.byte_count = completions[good].byte_count
        bad.lower_address = completions[good].lower_address
        return [*completions[:good], bad]

    def _split(self, request: Tlp, data: bytes) -> list[Tlp]:
        """PCIe 5.0, 2.3.1.1: all but the last completion end at a read completion boundary."""
        rcb, limit = self.settings.rcb, self.settings.max_payload
        start = request.address
        end = start + 4 * request.length
        count = request.get_be_byte_count()
        offset = request.get_first_be_offset()
        completions = []
        while start < end:
            stop = (start + limit) & ~(rcb - 1)
            if self.settings.split != "max":
                first = (start & ~(rcb - 1)) + rcb
                choices = range(first, max(stop, first) + 1, rcb)
                stop = first if self.settings.split == "rcb" else self._rng.choice(choices)
            stop = min(stop, end)
            tlp = Tlp.create_completion_data_for_tlp(request, PcieId(0, 0, 0))
            tlp.lower_address = (start + offset) & 0x7F
            tlp.byte_count = count
            tlp.set_data(data[start - request.address : stop - request.address])
            completions.append(tlp)
            count -= stop - start - offset
            start, offset = stop, 0
        return completions

    def _enqueue(self, completions: list[Tlp]) -> None:
        if completions:
            delay = self.settings.latency_ns
            if self.settings.jitter_ns:
                delay += self._rng.random() * self.settings.jitter_ns
            self._answers.append(_Answer(get_sim_time("ns") + delay, deque(completions)))
            self._wake.set()

    async def _run(self):
        while True:
            if not self._answers:
                self._wake.clear()
                await self._wake.wait()
            reorder = max(self.settings.reorder, 1)
            window = self._answers[:reorder]
            now = get_sim_time("ns")
            due = [answer for answer in window if answer.due <= now] if reorder > 1 else window
            if not due or due[0].due > now:
                wait = min(answer.due for answer in window) - now
                await Timer(max(wait, 0.001), "ns", round_mode="ceil")
                continue
            answer = self._rng.choice(due) if len(due) > 1 else due[0]
            completion = answer.completions.popleft()
            if not answer.completions:
                self._answers.remove(answer)
            await self._send(completion)


def _status(request: Tlp, status: CplStatus) -> Tlp:
    tlp = Tlp.create_completion_for_tlp(request, PcieId(0, 0, 0), False, status)
    tlp.byte_count = request.get_be_byte_count()
    tlp.lower_address = (request.address + request.get_first_be_offset()) & 0x7F
    return tlp
