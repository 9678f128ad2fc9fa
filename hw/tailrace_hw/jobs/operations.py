"""The table of operations: what the queues must know of each."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from tailrace_hw.jobs.types import MAX_COPY, Opcode

__all__ = ["COPY_ENGINE", "COPY_OPERATIONS", "MAX_WHOLE", "Destination", "Operation", "engines_of"]

#: Number of the engine that is part of the queues.
COPY_ENGINE = 0
#: Longest job that can be held back until all of it has come.
MAX_WHOLE = 16384


class Destination(Enum):
    """Whether an operation writes to host memory."""

    ALWAYS = auto()
    #: Unless the address is 0 and no list.
    OPTIONAL = auto()
    NEVER = auto()


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes
    ----------
    opcode : in the descriptor, an :class:`Opcode`
    engine : number of the engine that does it
    shortest, longest : bytes of a job; others end with BAD_LENGTH
    destination : what happens to the engine's packet
    output : the engine gives a packet
    whole : the engine gets a job only when all of its source has come; one whose source fails
        never enters it
    """

    opcode: Any
    engine: int
    shortest: int
    longest: int
    destination: Destination = Destination.ALWAYS
    output: bool = True
    whole: bool = False

    def __post_init__(self):
        if not 0 <= self.shortest <= self.longest <= (MAX_WHOLE if self.whole else MAX_COPY):
            raise ValueError(f"{self.opcode}: no job has {self.shortest} to {self.longest} bytes")
        if self.destination is Destination.ALWAYS and not self.output:
            raise ValueError(f"{self.opcode}: nothing to write to the destination")
        if not 0 <= self.engine < 8:
            raise ValueError(f"{self.opcode}: engines are 0 to 7, not {self.engine}")


#: What :class:`~tailrace_hw.jobs.copy_engine.CopyEngine` does.
COPY_OPERATIONS = (
    Operation(Opcode.COPY, COPY_ENGINE, 1, MAX_COPY),
    Operation(Opcode.CRC32C, COPY_ENGINE, 1, MAX_COPY, Destination.OPTIONAL),
)


def engines_of(operations) -> int:
    """Number of engines of a table, which must name each opcode once and leave no engine out.

    Raises
    ------
    ValueError
        It does not.
    """
    opcodes = [operation.opcode for operation in operations]
    if len(set(opcodes)) != len(opcodes):
        raise ValueError("an opcode is in the table twice")
    engines = {operation.engine for operation in operations}
    if engines != set(range(len(engines))):
        raise ValueError(f"engines must be numbered from 0 without a gap, not {sorted(engines)}")
    return len(engines)
