"""A driver of one virtqueue that knows of the device only what host memory and interrupts tell.

It checks what it sees: every chain comes back once, in the order the device gave them back, groups
whole. It sleeps exactly as virtio 1.2 allows it to (2.7.7, 2.7.10, 2.8.10), so that an interrupt
that does not come leaves it asleep for ever.
"""

from collections import deque
from dataclasses import dataclass, field
from random import Random

__all__ = ["Chain", "RingDriver"]

NEXT, WRITE = 1, 2
AVAIL, USED = 1 << 7, 1 << 15
ENABLE, DISABLE, DESC = 0, 1, 2


@dataclass
class Chain:
    """A chain that the driver made available."""

    id: int
    slots: int
    #: (address, length, writable)
    buffers: list[tuple[int, int, bool]]
    descriptors: list[int] = field(default_factory=list)
    #: What the device said when it completed the chain.
    written: int = 0
    more: bool = False


class RingDriver:
    """One queue. ``run`` is its thread: a generator that yields the cycles until its next step.

    Parameters
    ----------
    memory : Memory
    number, size, packed, event_idx : the queue
    base : address of 64 KiB for its areas, which are placed at random in there
    polls : it never wants an interrupt
    brisk : it takes a chain back every cycle, and does not wait in between
    """

    def __init__(
        self, memory, number, size, packed, event_idx, base, rng: Random, polls=False, brisk=False
    ):
        self.memory, self.number, self.size, self.rng = memory, number, size, rng
        self.packed, self.event_idx = packed, event_idx
        self.polls, self.brisk = polls, brisk
        self.desc = base + 16 * rng.randrange(64)
        self.driver = base + 0x8000 + 4 * rng.randrange(64)
        self.device = base + 0xC000 + 4 * rng.randrange(64)
        self.buffer_base = base << 8
        if packed:
            self.writable = range(self.desc, self.desc + 16 * size)
            self.event_area = range(self.device, self.device + 4)
        else:
            self.writable = range(self.device + 2, self.device + 4 + 8 * size)
            self.event_area = range(self.writable.stop, self.writable.stop + 2)
        self.interrupts = self.arms = self.laps = self.returned = self.posted = 0
        self.begin()

    def __str__(self) -> str:
        kind = "packed" if self.packed else "split"
        return f"queue {self.number} ({kind}, size {self.size}, EVENT_IDX {int(self.event_idx)})"

    def begin(self):
        """State of a queue that has just been enabled; clears the rings."""
        self.memory.write(self.desc, bytes(16 * self.size))
        self.memory.write(self.driver, bytes(6 + 2 * self.size))
        self.memory.write(self.device, bytes(6 + 8 * self.size))
        #: Chains the device has, in ring order, and chains it gave back, in that order.
        self.with_device: deque[Chain] = deque()
        self.expected: deque[Chain] = deque()
        self.free_descriptors = list(range(self.size))
        self.free_ids = list(range(self.size))
        self.rng.shuffle(self.free_ids)
        self.rng.shuffle(self.free_descriptors)
        self.avail, self.avail_wrap = 0, 1
        self.used, self.used_wrap = 0, 1
        self.interrupted = False
        self.asleep = False
        # Cleared rings ask for an interrupt at the first chain.
        self.arms += 1
        if self.polls:
            self._suppress()

    # Making chains available

    @property
    def free(self) -> int:
        """Descriptors that are not in use."""
        return len(self.free_descriptors)

    def post(self, slots: int) -> Chain:
        """Make a chain of ``slots`` descriptors available."""
        readable = self.rng.randint(0, slots)
        buffers = [
            (
                self.buffer_base + self.rng.randrange(1 << 20),
                self.rng.randint(1, 9000),
                k >= readable,
            )
            for k in range(slots)
        ]
        taken = [self.free_descriptors.pop() for _ in range(slots)]
        chain = (self._post_packed if self.packed else self._post_split)(buffers, taken)
        self.with_device.append(chain)
        self.posted += 1
        return chain

    def _descriptor(self, index, address, length, low, high):
        raw = address | length << 64 | low << 96 | high << 112
        self.memory.write_int(self.desc + 16 * index, 16, raw)

    def _post_split(self, buffers, taken) -> Chain:
        for k, (address, length, writable) in enumerate(buffers):
            last = k == len(buffers) - 1
            flags = (0 if last else NEXT) | (WRITE if writable else 0)
            self._descriptor(taken[k], address, length, flags, 0 if last else taken[k + 1])
        entry = self.driver + 4 + 2 * (self.avail % self.size)
        self.memory.write_int(entry, 2, taken[0])
        self.avail = (self.avail + 1) & 0xFFFF
        self.memory.write_int(self.driver + 2, 2, self.avail)
        return Chain(taken[0], 1, buffers, taken)

    def _post_packed(self, buffers, taken) -> Chain:
        number = self.free_ids.pop()
        for k, (address, length, writable) in enumerate(buffers):
            last = k == len(buffers) - 1
            flags = (0 if last else NEXT) | (WRITE if writable else 0)
            flags |= AVAIL if self.avail_wrap else USED
            self._descriptor(self.avail, address, length, number, flags)
            self.avail += 1
            if self.avail == self.size:
                self.avail, self.avail_wrap = 0, self.avail_wrap ^ 1
        return Chain(number, len(buffers), buffers, taken)

    # Taking chains back

    def visible(self) -> int:
        """Chains the driver can see that it has not taken back (packed: 0 or 1)."""
        if self.packed:
            return int(self._marked(self.used, self.used_wrap))
        return (self.memory.read_int(self.device + 2, 2) - self.used) & 0xFFFF

    def _marked(self, index, wrap) -> bool:
        flags = self.memory.read_int(self.desc + 16 * index + 14, 2)
        return flags & (AVAIL | USED) == (AVAIL | USED if wrap else 0)

    def _advance(self, index, wrap, slots):
        index += slots
        return (index - self.size, wrap ^ 1) if index >= self.size else (index, wrap)

    def take_back(self) -> None:
        """Take the next used chain back, and check it."""
        assert self.expected, f"{self}: the device used more than it was given"
        chain = self.expected.popleft()
        self._check_group(chain)
        if self.packed:
            at = self.desc + 16 * self.used
            address, length, number, flags = (
                self.memory.read_int(at + offset, size)
                for offset, size in ((0, 8), (8, 4), (12, 2), (14, 2))
            )
            assert address == 0
            assert bool(flags & WRITE) == bool(chain.written)
            before = self.used
            self.used, self.used_wrap = self._advance(self.used, self.used_wrap, chain.slots)
            self.laps += self.used <= before
            self.free_ids.insert(0, chain.id)
        else:
            at = self.device + 4 + 8 * (self.used % self.size)
            number = self.memory.read_int(at, 4)
            length = self.memory.read_int(at + 4, 4)
            self.used = (self.used + 1) & 0xFFFF
        assert (number, length) == (chain.id, chain.written), (
            f"{self}: id {number}, length {length}; expected {chain} after {self.returned}, "
            f"then {list(self.expected)[:4]}"
        )
        self.free_descriptors = chain.descriptors + self.free_descriptors
        self.returned += 1

    def _check_group(self, chain):
        """Where a group begins, all of it must be there."""
        count, index, wrap, later = 1, self.used, self.used_wrap, iter(self.expected)
        while chain.more:
            index, wrap = self._advance(index, wrap, chain.slots)
            chain = next(later, None)
            assert chain, f"{self}: a group is visible that has not ended"
            count += 1
            assert not self.packed or self._marked(index, wrap), f"{self}: half a group"
        assert self.packed or self.visible() >= count, f"{self}: half a group"

    # Interrupts

    def interrupt(self) -> None:
        self.interrupts += 1
        self.interrupted = True

    def _suppress(self):
        """Say that no interrupt is wanted (with EVENT_IDX in a split ring: leave it as it is)."""
        if self.packed:
            self.memory.write_int(self.driver + 2, 2, DISABLE)
        elif not self.event_idx:
            self.memory.write_int(self.driver, 2, 1)

    def _arm(self):
        """Ask for an interrupt at the next used chain, or some further on."""
        self.arms += 1
        in_use = (
            self.size - self.free if self.packed else len(self.with_device) + len(self.expected)
        )
        ahead = self.rng.randrange(max(1, in_use)) if self.rng.random() < 0.4 else 0
        if not self.packed:
            if self.event_idx:
                event = (self.used + ahead) & 0xFFFF
                self.memory.write_int(self.driver + 4 + 2 * self.size, 2, event)
            else:
                self.memory.write_int(self.driver, 2, 0)
        elif self.event_idx and self.rng.random() < 0.9:
            index, wrap = self._advance(self.used, self.used_wrap, ahead)
            self.memory.write_int(self.driver, 4, index | wrap << 15 | DESC << 16)
        else:
            self.memory.write_int(self.driver + 2, 2, ENABLE)

    def run(self):
        """The driver's thread."""
        rng = self.rng
        while True:
            if rng.random() < 0.7:
                self._suppress()
            while self.visible():
                self.take_back()
                yield 0 if self.brisk else rng.choice((0, 0, 0, 3, 20))
            if self.polls:
                yield 0 if self.brisk else 10
                continue
            yield rng.choice((0, 1, 10))
            self._arm()
            yield rng.choice((0, 0, 1, 40))
            if self.visible():
                continue
            self.asleep = True
            while not self.interrupted:
                yield 1
            self.interrupted = self.asleep = False
