"""Host side of the fetch tests: memory, and drivers that build split and packed rings in it."""

import abc
import random
import struct
from dataclasses import dataclass, field

NEXT, WRITE, INDIRECT = 1, 2, 4
AVAIL, USED = 1 << 7, 1 << 15


class Memory:
    """Host memory from address 0 on."""

    def __init__(self, size: int = 1 << 22):
        self.data = bytearray(size)
        self._free = 0x1000

    def allocate(self, size: int, align: int = 16) -> int:
        self._free = -(-self._free // align) * align
        address = self._free
        self._free += size
        assert self._free <= len(self.data), "host memory is used up"
        return address

    def restart(self) -> None:
        """All is free, and zero as a driver makes it."""
        self.data[:] = bytes(len(self.data))
        self._free = 0x1000

    def mark(self) -> int:
        """Where :meth:`restart_at` may begin without harm to what there is."""
        return self._free

    def restart_at(self, mark: int) -> None:
        """All from ``mark`` on is free, and zero."""
        self.data[mark:] = bytes(len(self.data) - mark)
        self._free = mark

    def left(self) -> int:
        return len(self.data) - self._free

    def read(self, address: int, length: int) -> bytes:
        chunk = bytes(self.data[address : address + length])
        return chunk + bytes(length - len(chunk))

    def write(self, address: int, content: bytes) -> None:
        self.data[address : address + len(content)] = content


@dataclass(frozen=True)
class Buffer:
    address: int
    length: int
    writable: bool


#: A harmless chain.
GOOD = [Buffer(0x9000, 64, False), Buffer(0xA000, 64, True)]


@dataclass
class Chain:
    """What the driver posted, and what the device must therefore be given."""

    buffers: list[Buffer]
    id: int
    slots: int
    #: Ring descriptors to free.
    descriptors: list[int] = field(default_factory=list)


def random_chain(rng: random.Random, longest: int) -> list[Buffer]:
    count = min(longest, rng.choice([1, 1, 1, 1, 1, 2, 2, 3, 4, 5, 9, 17, 25]))
    readable = rng.randint(0, count)
    return [
        Buffer(rng.getrandbits(64) >> 1, rng.randint(1, 1 << 16), index >= readable)
        for index in range(count)
    ]


class Ring(abc.ABC):
    """What both formats share."""

    packed_ring = False

    def __init__(self, memory: Memory, rng: random.Random, queue: int, size: int, tables: int = 24):
        self.memory, self.rng, self.queue, self.size = memory, rng, queue, size
        #: Free descriptors are not always neighbours.
        self.shuffles = True
        #: What the device did so far, kept by the bench: chains given, of these for good, and
        #: chains that it was told of.
        self.given = self.committed = self.notified = 0
        self.stopped = False
        self.event_idx = False
        self.indirect = True
        #: All chains ever posted, in order; the first ``completed`` were returned.
        self.posted: list[Chain] = []
        self.completed = 0
        self.free = size
        # A table's place is used again when as many others were in use since.
        self._tables = [memory.allocate(16 * 64) for _ in range(tables)]
        self._table = 0

    def large_tables(self) -> None:
        """Tables with a place for every chain there can be."""
        self._tables = [self.memory.allocate(16 * 256) for _ in self._tables]

    def __str__(self):
        kind = type(self).__name__
        last = [len(chain.buffers) for chain in self.posted[self.given : self.given + 3]]
        return (
            f"{kind} {self.queue} of {self.size}: {len(self.posted)} posted, {self.notified} told, "
            f"{self.given} given, {self.committed} committed, next {last}"
        )

    def table_address(self) -> int:
        self._table += 1
        return self._tables[self._table % len(self._tables)]

    def kept(self, more: int = 0) -> int:
        """Segments of the chains that were given and not committed, and of ``more`` behind them."""
        chains = self.posted[self.committed : self.given + more]
        return sum(len(chain.buffers) for chain in chains)

    def room(self) -> int:
        in_flight = len(self.posted) - self.completed
        return self.free if in_flight < len(self._tables) - 1 else 0

    def complete(self, count: int) -> None:
        """The device returns the next ``count`` chains."""
        for _ in range(count):
            self.free_chain(self.posted[self.completed])
            self.completed += 1

    @abc.abstractmethod
    def post(self, buffers: list[Buffer], indirect: bool = False) -> None:
        """Makes a chain available to the device."""

    @abc.abstractmethod
    def free_chain(self, chain: Chain) -> None:
        """What the chain occupied in the ring is the driver's again."""


class SplitRing(Ring):
    """virtio 1.2, 2.7."""

    def __init__(self, memory, rng, queue, size, tables=24):
        super().__init__(memory, rng, queue, size, tables)
        self.desc = memory.allocate(16 * size)
        self.driver = memory.allocate(6 + 2 * size, 64)
        self.device = memory.allocate(6 + 8 * size, 4)
        self._idle = list(range(size))
        self.index = 0
        self._event_seen = 0

    def descriptor(self, table, index, buffer, flags, following=0):
        flags |= WRITE * buffer.writable
        entry = struct.pack("<QIHH", buffer.address, buffer.length, flags, following)
        self.memory.write(table + 16 * index, entry)

    def link(self, table, indices, buffers):
        for position, (index, buffer) in enumerate(zip(indices, buffers, strict=True)):
            more = position + 1 < len(indices)
            following = indices[position + 1] if more else 0xBAD
            self.descriptor(table, index, buffer, NEXT * more, following)

    def post(self, buffers, indirect=False):
        if self.shuffles and self.rng.random() < 0.2:
            self.rng.shuffle(self._idle)
        if not indirect:
            indices = [self._idle.pop(0) for _ in buffers]
            self.link(self.desc, indices, buffers)
        else:
            indices = [self._idle.pop(0)]
            table = self.table_address()
            order = list(range(len(buffers)))
            if self.shuffles and self.rng.random() < 0.3:
                order[1:] = self.rng.sample(order[1:], len(order) - 1)
            self.link(table, order, buffers)
            whole = Buffer(table, 16 * len(buffers), False)
            self.descriptor(self.desc, indices[0], whole, INDIRECT)
        self.free -= len(indices)
        self.publish(indices[0])
        self.posted.append(Chain(buffers, indices[0], 1, indices))

    def publish(self, head: int, step: int = 1):
        place = self.driver + 4 + 2 * (self.index % self.size)
        self.memory.write(place, struct.pack("<H", head))
        self.index = (self.index + step) & 0xFFFF
        self.memory.write(self.driver + 2, struct.pack("<H", self.index))

    def free_chain(self, chain):
        self._idle += chain.descriptors
        self.free += len(chain.descriptors)

    def wants_notify(self) -> bool:
        """2.7.7.2: whether the index has passed avail_event since last asked."""
        if not self.event_idx:
            return True
        raw = self.memory.read(self.device + 4 + 8 * self.size, 2)
        event = struct.unpack("<H", raw)[0]
        old, self._event_seen = self._event_seen, self.index
        return (self.index - event - 1) & 0xFFFF < (self.index - old) & 0xFFFF


class PackedRing(Ring):
    """virtio 1.2, 2.8."""

    packed_ring = True

    def __init__(self, memory, rng, queue, size, tables=24):
        super().__init__(memory, rng, queue, size, tables)
        self.desc = memory.allocate(16 * size)
        self.driver = memory.allocate(4)
        self.device = memory.allocate(4)
        self._offset, self._wrap = 0, 1
        self._used_offset, self._used_wrap = 0, 1

    def flags(self):
        return AVAIL if self._wrap else USED

    def post(self, buffers, indirect=False):
        buffer_id = self.rng.getrandbits(16)
        entries = []
        if indirect:
            table = self.table_address()
            for index, buffer in enumerate(buffers):
                entry = struct.pack(
                    "<QIHH", buffer.address, buffer.length, 0, WRITE * buffer.writable
                )
                self.memory.write(table + 16 * index, entry)
            entries.append((table, 16 * len(buffers), INDIRECT))
        else:
            for index, buffer in enumerate(buffers):
                flags = WRITE * buffer.writable | NEXT * (index + 1 < len(buffers))
                entries.append((buffer.address, buffer.length, flags))
        self.publish(entries, buffer_id)
        self.posted.append(Chain(buffers, buffer_id, len(entries)))

    def publish(self, entries, buffer_id):
        """Writes the chain so that its first descriptor becomes available last (2.8.21)."""
        writes = []
        for address, length, flags in entries:
            entry = struct.pack("<QIHH", address, length, buffer_id, flags | self.flags())
            writes.append((self.desc + 16 * self._offset, entry))
            self._offset += 1
            if self._offset == self.size:
                self._offset, self._wrap = 0, self._wrap ^ 1
        self.free -= len(entries)
        for address, entry in reversed(writes):
            self.memory.write(address, entry)

    def free_chain(self, chain):
        flags = (AVAIL | USED) * self._used_wrap
        entry = struct.pack("<QIHH", 0, 0, chain.id, flags)
        self.memory.write(self.desc + 16 * self._used_offset, entry)
        self._used_offset += chain.slots
        if self._used_offset >= self.size:
            self._used_offset -= self.size
            self._used_wrap ^= 1
        self.free += chain.slots

    def wants_notify(self) -> bool:
        return True
