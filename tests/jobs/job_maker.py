"""Jobs at random, good and bad, with their memory."""

from random import Random

from tailrace_sim.models.jobs import (
    DESTINATION_LIST,
    INTERRUPT,
    J0,
    OK,
    SOURCE_LIST,
    Descriptor,
    Operation,
    copy_operations,
    list_table,
)

__all__ = ["AREA_BITS", "KINDS", "POISON", "JobMaker"]

#: Each queue has an area of its own; bits 43:40 of an address are the function.
AREA_BITS = 36
#: Nothing can be read or written here.
POISON = 1 << 59

COPY, CRC, ENCRYPT, DECRYPT, XTS, KEY = 0x01, 0x02, 0x10, 0x11, 0x12, 0x20


def operations(function: int) -> dict[int, Operation]:
    """What the test's device can do; the second engine is StandInEngine."""

    def work(d, data):
        if d.key & 15:
            return d.key & 15, b"", 0, bytes(16)
        flipped = bytes(byte ^ d.iv[0] for byte in data)
        said = (
            d.length | min(d.tag_length, 31) << 21 | min(d.aad_length, 127) << 26
            | bool(d.flags & J0) << 33 | d.opcode << 34 | function << 42
        )  # fmt: skip
        aad = (d.aad[k : k + 16] for k in range(0, 96, 16))
        parts = (d.iv, d.tag, *aad, said.to_bytes(16, "little"))
        tag = 0
        for part in parts:
            tag ^= int.from_bytes(part, "little")
        return OK, flipped, d.key, tag.to_bytes(16, "little")

    table = copy_operations()
    for opcode, shortest in ((ENCRYPT, 0), (DECRYPT, 0), (XTS, 16)):
        table[opcode] = Operation(shortest, 16384, lambda _: True, work, whole=True)
    table[KEY] = Operation(80, 80, lambda _: False, work, whole=True)
    return table


class JobMaker:
    """Makes descriptors in the area of one queue."""

    def __init__(self, rng: Random, memory, function: int, queue: int, longest: int = 5000):
        self.rng, self.memory, self.function = rng, memory, function
        self.base = function << 40 | queue << AREA_BITS
        self.next = self.base + (1 << 24)
        self.longest = longest

    def operations(self) -> dict[int, Operation]:
        """What the device can do for it."""
        return operations(self.function)

    def place(self, length: int, align: int = 1) -> int:
        """An address for some bytes, near a page's end now and then."""
        page = (self.next + 4095) & ~4095
        offset = self.rng.choice((self.rng.randrange(4096), 4096 - self.rng.randint(1, 64)))
        address = page + offset // align * align
        self.next = address + length + 1
        if self.next - self.base > 1 << 35:
            self.next = self.base + (1 << 24)
        return address

    def length(self, shortest: int = 1, longest: int | None = None) -> int:
        longest = self.longest if longest is None else longest
        top = self.rng.choice((80, 300, longest))
        return self.rng.randint(shortest, max(shortest, min(top, longest)))

    def entries(self, total: int, surplus: bool = True) -> list[tuple[int, int]]:
        """Pieces of ``total`` bytes and often more, some of them empty."""
        rng = self.rng
        count = rng.choice((1, 2, 4, 64, rng.randint(1, 64)))
        cuts = sorted(rng.randint(0, total) for _ in range(count - 1))
        lengths = [b - a for a, b in zip([0, *cuts], [*cuts, total], strict=True)]
        if surplus:
            lengths[-1] += rng.choice((0, 0, 1, 1000, (1 << 32) - 1 - lengths[-1]))
            while len(lengths) < 64 and rng.random() < 0.2:
                lengths.append(rng.choice((0, 100)))
        return [(self.place(min(length, total)), length) for length in lengths]

    def side(self, d: Descriptor, source: bool, entries=None, listed=None) -> None:
        """Give a job its source or destination."""
        listed = self.rng.random() < 0.4 if listed is None else listed
        if not (listed or entries):
            address, count = self.place(d.length), 0
            if source:
                self.memory.write(address, self.rng.randbytes(d.length))
        else:
            entries = self.entries(d.length) if entries is None else entries
            left = d.length
            for where, length in entries:
                if source and where < POISON:
                    self.memory.write(where, self.rng.randbytes(min(length, left)))
                left -= min(length, left)
            count = len(entries)
            address = self.place(16 * count)
            self.memory.write(address, list_table(entries))
            d.flags |= SOURCE_LIST if source else DESTINATION_LIST
        if source:
            d.source, d.source_entries = address, count
        else:
            d.destination, d.destination_entries = address, count

    def blank(self, opcode: int, length: int) -> Descriptor:
        rng = self.rng
        return Descriptor(
            opcode,
            length=length,
            flags=rng.choice((0, INTERRUPT)) | rng.choice((0, J0)) | rng.choice((0, 0xF0)),
            cookie=rng.getrandbits(32),
            key=rng.getrandbits(12) << 4,
            tag_length=rng.choice((16, rng.getrandbits(8))),
            aad_length=rng.choice((20, rng.getrandbits(8))),
            iv=rng.randbytes(16),
            tag=rng.randbytes(16),
            aad=rng.randbytes(96),
            reserved=rng.randbytes(32),
        )

    def good(self, opcode: int | None = None, length: int | None = None) -> Descriptor:
        rng = self.rng
        opcode = opcode or rng.choice((COPY, COPY, CRC, ENCRYPT, DECRYPT, XTS, KEY))
        shortest = {KEY: 80, XTS: 16, ENCRYPT: 0, DECRYPT: 0}.get(opcode, 1)
        longest = 80 if opcode == KEY else self.longest
        d = self.blank(opcode, self.length(shortest, longest) if length is None else length)
        self.side(d, True)
        if opcode == CRC and rng.random() < 0.5:
            return d
        if opcode != KEY:
            self.side(d, False)
        elif rng.random() < 0.5:
            d.flags |= DESTINATION_LIST
            d.destination_entries = rng.getrandbits(8)
        return d

    def make(self, kind: str) -> Descriptor:
        """A job of a kind of :data:`KINDS`."""
        return KINDS[kind](self)

    # The bad ones

    def bad_opcode(self):
        d = self.good()
        d.opcode = self.rng.choice((0, 3, 0x13, 0x21, 0xFF))
        return d

    def bad_length(self):
        opcode, length = self.rng.choice(
            ((COPY, 0), (COPY, (1 << 20) + 1), (CRC, 1 << 31), (XTS, 15), (ENCRYPT, 16385),
             (KEY, 79), (KEY, 81))
        )  # fmt: skip
        d = self.blank(opcode, length)
        d.source, d.destination = self.place(64), self.place(64)
        return d

    def many_entries(self):
        d = self.good(COPY)
        if self.rng.random() < 0.5:
            d.flags |= SOURCE_LIST
            d.source_entries = self.rng.choice((65, self.rng.randint(65, 255)))
        else:
            d.flags |= DESTINATION_LIST
            d.destination_entries = self.rng.choice((65, self.rng.randint(65, 255)))
        return d

    def short_list(self):
        """One byte less, or nothing at all."""
        d = self.blank(self.rng.choice((COPY, ENCRYPT)), self.length())
        short = self.rng.choice((True, False))
        entries = self.entries(d.length - 1, surplus=False)
        if self.rng.random() < 0.2:
            entries = []
        for source in (True, False):
            self.side(d, source, entries if source == short else None, listed=True)
        return d

    def no_list(self):
        d = self.good(self.rng.choice((COPY, ENCRYPT, CRC)), self.length())
        flag, name = self.rng.choice(
            ((SOURCE_LIST, "source"), (DESTINATION_LIST, "destination"))
        )
        d.flags |= flag
        setattr(d, name, POISON | self.base | self.rng.randrange(1 << 20))
        setattr(d, f"{name}_entries", self.rng.randint(1, 64))
        return d

    def _poisoned(self, source: bool, opcode: int):
        """A side of which nothing, or only a part, can be reached."""
        d = self.blank(opcode, self.length())
        entries = None
        if self.rng.random() < 0.7:
            entries = self.entries(d.length, surplus=False)
            used = [k for k, (_, length) in enumerate(entries) if length]
            where = self.rng.choice(used)
            entries[where] = (entries[where][0] | POISON, entries[where][1])
        self.side(d, source, entries)
        self.side(d, not source)
        if entries is None:
            d.flags &= ~(SOURCE_LIST if source else DESTINATION_LIST)
            if source:
                d.source |= POISON
            else:
                d.destination |= POISON
        return d

    def bad_source(self):
        return self._poisoned(True, self.rng.choice((COPY, CRC, ENCRYPT)))

    def bad_destination(self):
        return self._poisoned(False, self.rng.choice((COPY, CRC, ENCRYPT)))

    def beyond(self):
        """A piece that goes beyond the last address."""
        d = self.blank(COPY, self.rng.randint(2, 3000))
        source = self.rng.random() < 0.5
        last = (1 << 64) - self.rng.randint(1, d.length - 1)
        if self.rng.random() < 0.5:
            self.side(d, source, [(last, d.length)], listed=True)
        else:
            self.side(d, source, listed=False)
            if source:
                d.source = last
            else:
                d.destination = last
        self.side(d, not source)
        return d

    def refused(self):
        """The engine does not like it."""
        d = self.good(self.rng.choice((ENCRYPT, DECRYPT, XTS, KEY)))
        d.key |= self.rng.randint(1, 8)
        return d


KINDS = {
    "good": JobMaker.good,
    "bad_opcode": JobMaker.bad_opcode,
    "bad_length": JobMaker.bad_length,
    "many_entries": JobMaker.many_entries,
    "short_list": JobMaker.short_list,
    "no_list": JobMaker.no_list,
    "bad_source": JobMaker.bad_source,
    "bad_destination": JobMaker.bad_destination,
    "beyond": JobMaker.beyond,
    "refused": JobMaker.refused,
}
