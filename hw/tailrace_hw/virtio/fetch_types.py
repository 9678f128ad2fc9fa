"""What the parts of the descriptor fetcher say to each other, and its per-queue tables."""

from amaranth.hdl import Elaboratable, Module, Signal
from amaranth.lib import data, enum, memory, wiring
from amaranth.lib.wiring import Out

from tailrace_hw.errors import ErrorCode

__all__ = [
    "BATCH",
    "DESC_F_AVAIL",
    "DESC_F_INDIRECT",
    "DESC_F_NEXT",
    "DESC_F_USED",
    "DESC_F_WRITE",
    "HEAD_BURST",
    "TABLE_TAG",
    "ChainState",
    "Chunk",
    "EventDone",
    "EventWrite",
    "Fault",
    "FlagOp",
    "Flags",
    "Head",
    "Init",
    "Job",
    "JobKind",
    "Polled",
    "QueueConfig",
    "QueueTables",
    "Rewind",
    "TableRead",
    "TableWrite",
    "Touch",
    "misfit_layout",
    "progress_layout",
    "segment_layout",
]

#: Descriptors a read asks for at most (packed ring, indirect table).
BATCH = 8
#: Descriptors read at a split chain's head: drivers mostly link neighbours, so the second
#: descriptor of a chain is usually there without a dependent read.
HEAD_BURST = 2
#: In the tag of a read: the first burst of a table, asked for before its turn.
TABLE_TAG = 1 << 15

#: Bit numbers in the flags of a descriptor (2.7.5 and 2.8.13).
DESC_F_NEXT = 0
DESC_F_WRITE = 1
DESC_F_INDIRECT = 2
DESC_F_AVAIL = 7
DESC_F_USED = 15


class Flags(data.Struct):
    """The bits that decide what is done next for a queue."""

    enabled: 1
    #: An error was reported; nothing is fetched until the queue is enabled again.
    failed: 1
    packed_ring: 1
    #: A notification has come that no read issued so far is sure to have seen.
    pending: 1
    #: Descriptors (packed) or available entries (split) are being fetched.
    active: 1
    #: Reads that carry another epoch are stale: their data is dropped.
    epoch: 1
    #: Something changed since the queue was last found to have nothing to do.
    ready: 1
    #: Split: a read of the available index is in flight.
    polling: 1
    #: Split: avail_event is to be written.
    due: 1
    #: Split: avail_event has been written with the available index last seen.
    armed: 1
    #: Split: avail_event is being written.
    writing: 1
    #: A chain did not fit beside what is cached and asked for: until one is whole, read single
    #: descriptors, each when the one before is done; see ``misfit_layout``.
    starved: 1
    #: The chain at the queue's front is longer than the cache: given only while it is fetched.
    oversize: 1


class QueueConfig(data.Struct):
    """A queue as the driver set it up; see QueueCommand."""

    size: 16
    desc: 64
    driver: 64
    device: 64
    packed_ring: 1
    event_idx: 1
    indirect: 1


class JobKind(enum.Enum, shape=3):
    #: A batch of ring descriptors.
    PACKED = 0
    #: The available index.
    INDEX = 1
    #: Entries of the available ring.
    ENTRIES = 2
    #: A chain's head descriptor and its neighbour.
    HEAD = 3
    #: A head that became stale before it was read: only its cache slot is given back.
    DROP = 4


class Job(data.Struct):
    """A read in flight on the ring port, in the order of the requests."""

    kind: JobKind
    queue: 8
    epoch: 1
    #: Descriptors (PACKED) or entries (ENTRIES) asked for, and cache slots held for each, as for a
    #: HEAD or DROP, as a power of two.
    count: 6
    grain: 3
    #: Where in the ring: wrap counter and offset (packed), available index (split).
    position: 16
    head: 16


class Head(data.Struct):
    """An entry of the available ring whose descriptor has not been asked for yet."""

    queue: 8
    epoch: 1
    grain: 3
    position: 16
    head: 16


class ChainState(data.Struct):
    """A packed chain that goes on in the next batch, and how far to read ahead."""

    start: 16
    count: 16
    #: Minus its bytes, see DescriptorCheck.
    balance: 33
    writable: 1
    #: Batches that may be in flight, as a power of two.
    window: 3
    #: Segments that a ring descriptor or entry is likely to become, as a power of two.
    weight: 3


class Polled(data.Struct):
    """The available index last read."""

    index: 16


class Chunk(data.Struct):
    """16 bytes of a read, with what can be said of them as a descriptor."""

    raw: 128
    last: 1
    #: The read failed; the same on all chunks of a packet.
    fault: 1
    zero_length: 1
    #: Address + length is above 2**64.
    wraps: 1
    #: The length is not a number of whole descriptors, or 0.
    ragged: 1
    #: Ring data: the first burst of this descriptor's table was asked for. Other data: it is of
    #: such a burst.
    table: 1

    @property
    def address(self):
        return self.raw[0:64]

    @property
    def length(self):
        return self.raw[64:96]


class Fault(data.Struct):
    """Fails a queue for a reason found outside the chain assembler."""

    queue: 8
    code: ErrorCode
    info: 64


class EventWrite(data.Struct):
    queue: 8
    address: 64
    value: 16


class EventDone(data.Struct):
    queue: 8
    fault: 1
    address: 64


def segment_layout() -> data.StructLayout:
    """A segment as the cache stores it; members as in Segment."""
    return data.StructLayout(
        {"address": 64, "length": 32, "writable": 1, "last": 1, "id": 16, "slots": 16}
    )


def progress_layout(slot_bits: int) -> data.StructLayout:
    """Running counts of reads and of cache slots; differences of two of them are in flight."""
    return data.StructLayout({"reads": 8, "slots": slot_bits})


def misfit_layout(slot_bits: int) -> data.StructLayout:
    """How a starved queue's chain was found not to fit.

    ``cached``: there was no room for it beside the chains in the cache alone, given up to
    ``freed``. It is not read again before all of them were given, and some for good.
    """
    return data.StructLayout({"cached": 1, "freed": slot_bits})


class TableRead(wiring.Signature):
    """An asynchronous look into a per-queue table, as the reader sees it."""

    def __init__(self, shape):
        super().__init__({"queue": Out(8), "value": wiring.In(shape)})


class TableWrite(wiring.Signature):
    """The one write port of a per-queue table; written at the end of the cycle."""

    def __init__(self, shape):
        super().__init__({"valid": Out(1), "queue": Out(8), "value": Out(shape)})


class FlagOp(wiring.Signature):
    """Changes flags of one queue; set wins over clear, whoever asks."""

    def __init__(self):
        super().__init__({"valid": Out(1), "queue": Out(8), "set": Out(Flags), "clear": Out(Flags)})


class Touch(wiring.Signature):
    """Pulse: the cache or the reads in flight of a queue changed; look at it again."""

    def __init__(self):
        super().__init__({"valid": Out(1), "queue": Out(8)})


class Rewind(wiring.Signature):
    """Sets the position where a queue's next read starts; held until ``ready``."""

    def __init__(self):
        super().__init__(
            {"valid": Out(1), "ready": wiring.In(1), "queue": Out(8), "position": Out(16)}
        )


class Init(wiring.Signature):
    """Puts a part's tables into the state of a fresh queue; held until ``ready``."""

    def __init__(self):
        super().__init__(
            {"valid": Out(1), "ready": wiring.In(1), "queue": Out(8), "packed_ring": Out(1)}
        )


class QueueTables(Elaboratable):
    """Per-queue tables in LUTRAM, each with one owner that writes and any number of readers.

    Parameters
    ----------
    queues : rows
    shapes : table name -> shape of a row

    ``read(name)`` makes a new reader and ``write[name]`` is the owner's port, both as the table
    sees them. A write is seen by readers from the next cycle on. A queue number that does not
    exist is not written.

    Memories outlive a reset of the clock domain, so every row is cleared after one, which takes a
    cycle a queue. Until ``ready`` is set, writes have no effect.
    """

    def __init__(self, queues: int, shapes: dict):
        self._queues = queues
        self._shapes = shapes
        self._readers: dict[str, list] = {name: [] for name in shapes}
        self.ready = Signal()
        self.write = {
            name: TableWrite(shape).flip().create(path=(f"{name}_write",))
            for name, shape in shapes.items()
        }

    def read(self, name: str):
        """A new reader of a table, to be connected before elaboration ends."""
        readers = self._readers[name]
        path = (f"{name}_read{len(readers)}",)
        readers.append(TableRead(self._shapes[name]).flip().create(path=path))
        return readers[-1]

    def elaborate(self, platform):
        m = Module()
        rows = max(self._queues, 2)
        row = Signal(range(rows + 1))
        m.d.comb += self.ready.eq(row == rows)
        with m.If(~self.ready):
            m.d.sync += row.eq(row + 1)
        for name, shape in self._shapes.items():
            # Left to itself, a synthesiser makes registers of the smallest.
            attrs = {"ram_style": "distributed"}
            table = memory.Memory(shape=shape, depth=rows, init=[], attrs=attrs)
            m.submodules[name] = table
            write, port = self.write[name], table.write_port()
            with m.If(self.ready):
                m.d.comb += [
                    port.en.eq(write.valid & (write.queue < self._queues)),
                    port.addr.eq(write.queue),
                    port.data.eq(write.value),
                ]
            with m.Else():
                m.d.comb += [port.en.eq(1), port.addr.eq(row), port.data.eq(0)]
            for reader in self._readers[name]:
                look = table.read_port(domain="comb")
                m.d.comb += [look.addr.eq(reader.queue), reader.value.eq(look.data)]
        return m
