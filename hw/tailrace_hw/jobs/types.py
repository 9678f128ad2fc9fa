"""What a driver and the device, and the parts of the device, say to each other about jobs.

:class:`Descriptor`, :class:`ListEntry` and :class:`Completion` lie in host memory, little-endian.
"""

from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.crypto.types import MAX_AAD, KeyStatus, Status
from tailrace_hw.lib.packet import PacketSignature

__all__ = [
    "COMPLETION_BYTES",
    "DESCRIPTOR_BYTES",
    "ENTRY_BYTES",
    "LENGTH_BITS",
    "MAX_COPY",
    "MAX_ENTRIES",
    "NO_VECTOR",
    "RING_ALIGNMENT",
    "Completion",
    "Descriptor",
    "DescriptorFlags",
    "EnginePort",
    "EngineResult",
    "Entry",
    "Job",
    "JobStatus",
    "ListEntry",
    "Opcode",
    "OperationMeta",
    "OutputMeta",
    "QueueContext",
    "RawJob",
]

DESCRIPTOR_BYTES, ENTRY_BYTES, COMPLETION_BYTES = 192, 16, 32
#: Of the address of a ring of descriptors.
RING_ALIGNMENT = 64
#: Entries of a scatter or gather list.
MAX_ENTRIES = 64
#: Bytes of a COPY or CRC32C; no operation takes more.
MAX_COPY = 1 << 20
LENGTH_BITS = 21
#: A queue without interrupts.
NO_VECTOR = 0xFFFF


class Opcode(enum.Enum, shape=8):
    """What is asked for."""

    COPY = 0x01
    #: CRC-32C of the source; also copies, unless the destination is 0.
    CRC32C = 0x02
    GCM_ENCRYPT = 0x10
    GCM_DECRYPT = 0x11
    XTS_ENCRYPT = 0x12
    XTS_DECRYPT = 0x13
    #: The source is the key's description.
    KEY_INSTALL = 0x20
    KEY_DELETE = 0x21


class JobStatus(enum.Enum, shape=8):
    """How a job ended. The first that applies, in the order of the work."""

    OK = 0
    AUTHENTICATION_FAILED = Status.AUTHENTICATION_FAILED.value
    KEY_UNKNOWN = Status.KEY_UNKNOWN.value
    KEY_KIND = Status.KEY_KIND.value
    TAG_LENGTH = Status.TAG_LENGTH.value
    AAD_LENGTH = Status.AAD_LENGTH.value
    LENGTH = Status.LENGTH.value
    IV_REUSED = Status.IV_REUSED.value
    SELF_TEST = Status.SELF_TEST.value
    BAD_OPCODE = 0x10
    #: Too short or too long for the operation.
    BAD_LENGTH = 0x11
    #: Too many entries, or fewer bytes in them than the job has.
    BAD_LIST = 0x12
    #: The source could not be read.
    SOURCE_FAULT = 0x13
    #: The destination could not be written.
    DESTINATION_FAULT = 0x14
    #: A list could not be read.
    LIST_FAULT = 0x15
    #: The descriptor could not be read; the queue has stopped.
    DESCRIPTOR_FAULT = 0x16
    #: The queue was reset. Nobody is told.
    RESET = 0x17
    KEY_INDEX = 0x20 + KeyStatus.INDEX.value
    KEY_TAKEN = 0x20 + KeyStatus.TAKEN.value
    KEY_NOT_THERE = 0x20 + KeyStatus.UNKNOWN.value
    KEY_SIZE = 0x20 + KeyStatus.SIZE.value


class DescriptorFlags(data.Struct):
    """Bits of a descriptor; the others are not looked at."""

    #: Send the queue's MSI-X message when the completion is written.
    interrupt: 1
    #: ``source`` is the address of a list of ``source_entries``.
    source_list: 1
    destination_list: 1
    #: ``iv`` is J0 (SP 800-38D, 7.1, step 2).
    j0: 1
    reserved: 4


class Descriptor(data.Struct):
    """A job, as the driver puts it into the ring. 192 bytes, aligned to 64."""

    opcode: 8
    flags: DescriptorFlags
    #: Index in the key table.
    key: 16
    #: Comes back in the completion.
    cookie: 32
    source: 64
    destination: 64
    #: Bytes of the source, and of the destination.
    length: 32
    source_entries: 8
    destination_entries: 8
    #: Bytes of ``tag`` and ``aad`` that count.
    tag_length: 8
    aad_length: 8
    #: GCM: IV in the first 12 bytes, or J0. XTS: the tweak.
    iv: 128
    #: The tag to compare with.
    tag: 128
    aad: 8 * MAX_AAD
    #: Not looked at.
    reserved: 256


class ListEntry(data.Struct):
    """Piece of a source or destination; lists are contiguous tables of these. 16 bytes."""

    address: 64
    #: May be 0.
    length: 32
    reserved: 32


class Completion(data.Struct):
    """The end of a job, as the device writes it. 32 bytes, aligned to as many."""

    status: JobStatus
    #: Bit 0 is 1 in the first round of the ring, 0 in the second, and so on.
    phase: 8
    queue: 8
    reserved: 8
    cookie: 32
    #: Bytes written to the destination; 0 of a job that failed, which may have written some.
    length: 32
    #: CRC-32C of the source (COPY, CRC32C).
    crc: 32
    #: GCM_ENCRYPT: bytes behind its length are 0.
    tag: 128


class QueueContext(data.Struct):
    """A queue as its driver has set it up; constant from its start to the end of its reset."""

    function: 8
    #: NO_VECTOR for none.
    vector: 16
    #: Base addresses of the rings.
    ring: 64
    completions: 64
    #: Logarithms of their numbers of entries.
    ring_log2: 4
    completions_log2: 4


class RawJob(data.Struct):
    """A descriptor that was read, without the parameters of its operation."""

    #: Number of the job among those in flight.
    slot: 8
    queue: 4
    function: 8
    #: The descriptor could not be read; what follows means nothing.
    fault: 1
    opcode: 8
    flags: DescriptorFlags
    cookie: 32
    source: 64
    destination: 64
    length: 32
    source_entries: 8
    destination_entries: 8


class Job(data.Struct):
    """A job on its way, as its descriptor and the table of operations describe it."""

    slot: 8
    queue: 4
    function: 8
    #: Not OK: it is only carried to its completion.
    status: JobStatus
    engine: 3
    #: The engine gets it only when all of it has come, and not at all if a part fails to.
    whole: 1
    #: The engine answers with a packet.
    output: 1
    #: There is no destination; what the engine gives is dropped.
    discard: 1
    interrupt: 1
    cookie: 32
    length: LENGTH_BITS
    source: 64
    destination: 64
    source_list: 1
    destination_list: 1
    source_entries: 7
    destination_entries: 7


class Entry(data.Struct):
    """Piece of a job's source or destination."""

    address: 64
    #: 0 only where a list breaks off: it is then the last one.
    length: LENGTH_BITS
    #: The job's last one.
    last: 1


class OperationMeta(data.Struct):
    """Metadata of a job's packet on its way into an engine."""

    #: Number of the job, comes back with what the engine gives.
    slot: 8
    function: 8
    opcode: 8
    key: 16
    j0: 1
    #: More than the fields of the descriptor can say is said as the most that these can.
    tag_length: 5
    aad_length: 7
    #: Bytes of payload; with 0 the packet is one beat whose data mean nothing.
    length: LENGTH_BITS
    iv: 128
    tag: 128
    aad: 8 * MAX_AAD


class OutputMeta(data.Struct):
    """Metadata of a packet that an engine gives."""

    slot: 8


class EngineResult(data.Struct):
    """End of a job in its engine."""

    slot: 8
    status: JobStatus
    crc: 32
    tag: 128


class EnginePort(wiring.Signature):
    """An engine, as the job queues see it.

    Each packet on ``i`` is a job, of just the length that its metadata say. There is one result
    for each, in order, not before all of the packet was taken. A job of an operation with output
    that ends well gives a packet of its length on ``o``, in order, before or after the result;
    unless the length is 0: then none. **A job that does not end well gives no packet.** Whether
    ``i`` is taken may depend on whether ``o`` is, for the jobs before it.
    """

    def __init__(self, width: int):
        self.width = width
        super().__init__(
            {
                "i": Out(PacketSignature(width, OperationMeta)),
                "o": In(PacketSignature(width, OutputMeta)),
                "result": In(stream.Signature(EngineResult)),
            }
        )

    def __eq__(self, other) -> bool:
        return isinstance(other, EnginePort) and self.width == other.width
