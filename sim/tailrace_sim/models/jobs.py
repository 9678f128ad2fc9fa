"""Golden model of the job queues: what a descriptor asks for, and what must come of it.

Written from the layout in docs/jobs.md; CRC-32C from RFC 3720, B.4. A job is carried out on a
:class:`HostMemory` at once; whether a part of it can be reached is what that says.
"""

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

__all__ = [
    "COMPLETION",
    "DESCRIPTOR",
    "Completion",
    "Descriptor",
    "HostMemory",
    "Operation",
    "Outcome",
    "carry_out",
    "copy_operations",
    "crc32c",
    "list_table",
]

#: opcode, flags, key, cookie, source, destination, length, entries, lengths of tag and AAD, iv,
#: tag, aad, and 32 bytes that are not looked at
DESCRIPTOR = struct.Struct("<BBHIQQIBBBB16s16s96s32s")
#: status, phase, queue, reserved, cookie, length, crc, tag
COMPLETION = struct.Struct("<BBBBIII16s")
_ENTRY = struct.Struct("<QII")
INTERRUPT, SOURCE_LIST, DESTINATION_LIST, J0 = 1, 2, 4, 8
OK, BAD_OPCODE, BAD_LENGTH, BAD_LIST, SOURCE_FAULT, DESTINATION_FAULT, LIST_FAULT = (
    0, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15,
)  # fmt: skip
_MAX_ENTRIES = 64
_TOP = 1 << 64


def _crc_table() -> list[int]:
    """RFC 3720, B.4: the polynomial 0x11EDC6F41, least significant bit first."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """CRC-32C of ``data``; as an integer, whose low byte RFC 3720 sends first."""
    state = 0xFFFFFFFF
    for byte in data:
        state = state >> 8 ^ _TABLE[(state ^ byte) & 0xFF]
    return state ^ 0xFFFFFFFF


class HostMemory(Protocol):
    """What the model must know of memory."""

    def read(self, address: int, length: int) -> bytes: ...

    def reachable(self, address: int, length: int) -> bool:
        """Whether the device can read and write there."""


@dataclass
class Descriptor:
    """A job; see the layout."""

    opcode: int
    source: int = 0
    destination: int = 0
    length: int = 0
    flags: int = 0
    cookie: int = 0
    key: int = 0
    source_entries: int = 0
    destination_entries: int = 0
    tag_length: int = 0
    aad_length: int = 0
    iv: bytes = bytes(16)
    tag: bytes = bytes(16)
    aad: bytes = bytes(96)
    reserved: bytes = bytes(32)

    def pack(self) -> bytes:
        return DESCRIPTOR.pack(
            self.opcode, self.flags, self.key, self.cookie, self.source, self.destination,
            self.length, self.source_entries, self.destination_entries, self.tag_length,
            self.aad_length, self.iv, self.tag, self.aad, self.reserved,
        )  # fmt: skip


@dataclass(frozen=True)
class Completion:
    """What the device writes."""

    status: int
    phase: int
    queue: int
    cookie: int
    length: int
    crc: int
    tag: bytes

    @classmethod
    def unpack(cls, data: bytes) -> "Completion":
        status, phase, queue, reserved, cookie, length, crc, tag = COMPLETION.unpack(data)
        assert reserved == 0
        assert phase in (0, 1)
        return cls(status, phase, queue, cookie, length, crc, tag)


@dataclass
class Outcome:
    """How a job ends.

    Attributes
    ----------
    writes : what is in the destination, if the job ends well
    may_write : where the device may write, however it ends
    """

    status: int = OK
    length: int = 0
    crc: int = 0
    tag: bytes = bytes(16)
    writes: list[tuple[int, bytes]] = field(default_factory=list)
    may_write: list[range] = field(default_factory=list)


@dataclass(frozen=True)
class Operation:
    """What an opcode does.

    Attributes
    ----------
    shortest, longest : bytes of a job
    destination : whether it has one, by descriptor
    work : descriptor, payload -> status, output, crc, tag
    whole : nothing is written if the source can't be read
    """

    shortest: int
    longest: int
    destination: Callable[[Descriptor], bool]
    work: Callable[[Descriptor, bytes], tuple[int, bytes, int, bytes]]
    whole: bool = False


def copy_operations() -> dict[int, Operation]:
    """COPY and CRC32C."""

    def work(_, data):
        return OK, data, crc32c(data), bytes(16)

    def given(descriptor):
        return bool(descriptor.destination or descriptor.flags & DESTINATION_LIST)

    return {
        0x01: Operation(1, 1 << 20, lambda _: True, work),
        0x02: Operation(1, 1 << 20, given, work),
    }


def list_table(entries: Iterable[tuple[int, int]]) -> bytes:
    """A list as it is in memory."""
    return b"".join(_ENTRY.pack(address, length, 0) for address, length in entries)


class _Ends(Exception):
    """The job goes no further."""


def _pieces(memory: HostMemory, d: Descriptor, source: bool) -> tuple[list[tuple[int, int]], int]:
    """The job's part of one side, and a status."""
    flag, count, address = (
        (SOURCE_LIST, d.source_entries, d.source)
        if source
        else (DESTINATION_LIST, d.destination_entries, d.destination)
    )
    entries, status = [(address, d.length)], OK
    if d.flags & flag:
        if count and not memory.reachable(address, 16 * count):
            return [], LIST_FAULT
        raw = memory.read(address, 16 * count)
        entries = [_ENTRY.unpack_from(raw, 16 * k)[:2] for k in range(count)]
    pieces, left = [], d.length
    for where, length in entries:
        length = min(length, left)
        if length:
            pieces.append((where, length))
        if where + length > _TOP and status == OK:
            status = SOURCE_FAULT if source else DESTINATION_FAULT
        left -= length
    if left and status == OK:
        status = BAD_LIST
    return pieces, status


def carry_out(
    memory: HostMemory, descriptor: Descriptor, operations: dict[int, Operation]
) -> Outcome:
    """The outcome of a job whose descriptor could be read."""
    outcome = Outcome()
    d = descriptor
    try:
        operation = operations.get(d.opcode)
        if operation is None:
            raise _Ends(BAD_OPCODE)
        if not operation.shortest <= d.length <= operation.longest:
            raise _Ends(BAD_LENGTH)
        goes_out = operation.destination(d)
        too_many = bool(d.flags & SOURCE_LIST) and d.source_entries > _MAX_ENTRIES
        if goes_out:
            listed = bool(d.flags & DESTINATION_LIST)
            too_many |= listed and d.destination_entries > _MAX_ENTRIES
        if too_many:
            raise _Ends(BAD_LIST)
        sources, status = _pieces(memory, d, True)
        destinations, second = _pieces(memory, d, False) if goes_out else ([], OK)
        if status or second:
            raise _Ends(status or second)
        source_good = all(memory.reachable(*piece) for piece in sources)
        if source_good or not operation.whole:
            outcome.may_write = [range(a, a + n) for a, n in destinations]
        if not source_good:
            raise _Ends(SOURCE_FAULT)
        payload = b"".join(memory.read(*piece) for piece in sources)
        status, output, crc, tag = operation.work(d, payload)
        if status:
            outcome.may_write = []
            raise _Ends(status)
        if not all(memory.reachable(*piece) for piece in destinations):
            raise _Ends(DESTINATION_FAULT)
    except _Ends as end:
        outcome.status = end.args[0]
        return outcome
    for address, length in destinations:
        outcome.writes.append((address, output[:length]))
        output = output[length:]
    outcome.length = d.length if goes_out else 0
    outcome.crc, outcome.tag = crc, tag
    return outcome
