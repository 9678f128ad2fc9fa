"""Jobs and what comes of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from tailrace.host import DmaBuffer, Host
from tailrace.jobs.errors import BadJob, JobError
from tailrace.regs import job_memory
from tailrace.regs.job_memory import JobFlag, JobOpcode, JobStatus

__all__ = ["Job", "JobResult", "Piece", "Registers", "Ticket"]

#: These need no destination, and an address of 0 tells the device that there is none.
_WITHOUT_DESTINATION = (JobOpcode.CRC32C, JobOpcode.KEY_INSTALL, JobOpcode.KEY_DELETE)


class Registers(Protocol):
    """What a job queue needs of the management function."""

    async def read(self, offset: int) -> int: ...

    async def read64(self, offset: int) -> int: ...

    async def write(self, offset: int, value: int) -> None: ...


class Piece(NamedTuple):
    """Device address and length."""

    address: int
    length: int


Pieces = tuple[int, int] | Sequence[tuple[int, int]]


def _pieces(given: Pieces) -> list[Piece]:
    """One piece or several, as a list."""
    if len(given) == 2 and isinstance(given[0], int):
        return [Piece(*given)]  # type: ignore[arg-type]
    return [Piece(*piece) for piece in given]  # type: ignore[misc]


@dataclass
class Job:
    """What the device is to do.

    More than one piece, or one that is shorter than the job, goes into a list; the device refuses
    lists that are too short. A piece may be longer than the job: the rest is not touched.

    Attributes
    ----------
    opcode : what to do
    source, destination : a piece (address, length) or several; () for none
    length : bytes of the source; None: all that the source has
    key : index in the key table
    iv : GCM: 12 bytes, or 16 with ``j0``; XTS: the tweak, 16 bytes
    j0 : ``iv`` is the pre-counter block (SP 800-38D, 7.1, step 2)
    aad : additional authenticated data
    tag : to compare with
    tag_length : bytes of the tag
    """

    opcode: JobOpcode
    source: Pieces = ()
    destination: Pieces = ()
    length: int | None = None
    key: int = 0
    iv: bytes = b""
    j0: bool = False
    aad: bytes = b""
    tag: bytes = b""
    tag_length: int = 16

    def pack(self, host: Host, cookie: int, lists: list[DmaBuffer]) -> bytes:
        """The descriptor; the lists that it points at are allocated and added to ``lists``.

        Raises
        ------
        BadJob
            There is no room for it in a descriptor.
        """
        sources, destinations = _pieces(self.source), _pieces(self.destination)
        length = sum(piece.length for piece in sources) if self.length is None else self.length
        self._check(length, sources, destinations)
        flags = JobFlag.J0 if self.j0 else JobFlag(0)
        places = [0, 0]
        entries = [0, 0]
        sides = ((sources, JobFlag.SOURCE_LIST), (destinations, JobFlag.DESTINATION_LIST))
        for side, (pieces, flag) in enumerate(sides):
            if side and not pieces and self.opcode in _WITHOUT_DESTINATION:
                continue
            if len(pieces) == 1 and pieces[0].length >= length:
                places[side] = pieces[0].address
            elif pieces or length:
                flags |= flag
                entries[side] = len(pieces)
                if pieces:
                    lists.append(_table(host, pieces))
                    places[side] = lists[-1].address
        return job_memory.DESCRIPTOR.pack(
            self.opcode, flags, self.key, cookie, *places, length, *entries, self.tag_length,
            len(self.aad), self.iv, self.tag, self.aad, b"",
        )  # fmt: skip

    def _check(self, length: int, sources: list[Piece], destinations: list[Piece]) -> None:
        rooms = (("IV", self.iv, 16), ("tag", self.tag, 16), ("AAD", self.aad, job_memory.MAX_AAD))
        for what, value, room in rooms:
            if len(value) > room:
                raise BadJob(f"{what} of {len(value)} bytes; a descriptor has room for {room}")
        tag = self.tag_length
        for what, number, bits in (("length", length, 32), ("key", self.key, 16), ("tag", tag, 8)):
            if not 0 <= number < 1 << bits:
                raise BadJob(f"{what} {number} does not fit into {bits} bits")
        for what, pieces in (("source", sources), ("destination", destinations)):
            if len(pieces) > job_memory.MAX_ENTRIES:
                raise BadJob(
                    f"{what} of {len(pieces)} pieces; a list has {job_memory.MAX_ENTRIES} at most"
                )


def _table(host: Host, pieces: list[Piece]) -> DmaBuffer:
    """A list in DMA memory."""
    entry = job_memory.LIST_ENTRY
    buffer = host.alloc(len(pieces) * entry.size, entry.size)
    for index, piece in enumerate(pieces):
        entry.pack_into(buffer.mem, index * entry.size, *piece, 0)
    return buffer


@dataclass(frozen=True)
class JobResult:
    """How a job ended.

    Attributes
    ----------
    status : OK or the reason
    length : bytes written to the destination
    crc : CRC-32C of the source (COPY and CRC32C)
    tag : of GCM_ENCRYPT; 16 bytes of which those of the tag's length count
    """

    status: JobStatus
    length: int
    crc: int
    tag: bytes

    @property
    def ok(self) -> bool:
        return self.status == JobStatus.OK

    def check(self, what: str = "job") -> "JobResult":
        """Itself; raises :class:`JobError` unless the status is OK."""
        if not self.ok:
            raise JobError(self.status, what)
        return self


@dataclass(eq=False)
class Ticket:
    """A submitted job.

    Attributes
    ----------
    cookie : the descriptor's
    result : how it ended, or None
    error : why there will be no result
    buffers : to be given back when the device is done with the job
    """

    cookie: int
    buffers: list[DmaBuffer] = field(default_factory=list)
    result: JobResult | None = None
    error: Exception | None = None

    @property
    def ended(self) -> bool:
        return self.result is not None or self.error is not None
