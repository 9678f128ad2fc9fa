"""Virtqueues from the device's side, in pure Python (virtio 1.2, 2.7 and 2.8).

Written from the specification, and sharing nothing with the driver in sw/tailrace: one checks the
other. Everything a driver can write wrong ends in a :class:`QueueFault` that carries the name of
the ``ErrorCode`` that the gateware reports for it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Chain", "DeviceQueue", "PackedDevice", "QueueFault", "Segment", "SplitDevice"]

_NEXT, _WRITE, _INDIRECT = 1, 2, 4
_AVAIL, _USED = 1 << 7, 1 << 15

Dma = Callable[[int, int], memoryview | None]


class QueueFault(Exception):
    """The driver wrote nonsense, or memory that cannot be reached."""

    def __init__(self, code: str, info: int):
        self.code, self.info = code, info
        super().__init__(f"{code} (0x{info:x})")


class Segment(NamedTuple):
    address: int
    length: int
    writable: bool


@dataclass(frozen=True)
class Chain:
    """A descriptor chain, indirect tables resolved.

    Attributes
    ----------
    id : head index (split) or buffer ID (packed)
    slots : descriptors of the ring it occupies
    segments : its buffers in order
    """

    id: int
    slots: int
    segments: tuple[Segment, ...]

    @property
    def readable(self) -> int:
        return sum(s.length for s in self.segments if not s.writable)

    @property
    def writable(self) -> int:
        return sum(s.length for s in self.segments if s.writable)


class DeviceQueue(ABC):
    """A ring that the device takes chains from and returns them to.

    Parameters
    ----------
    dma : gives the memory at an address, None where there is none
    size : entries
    areas : addresses of descriptor, driver and device area (2.6)
    event_idx, indirect : negotiated
    max_length : longest buffer that is accepted
    """

    def __init__(
        self,
        dma: Dma,
        size: int,
        areas: tuple[int, int, int],
        *,
        event_idx: bool,
        indirect: bool,
        max_length: int = 1 << 17,
    ):
        self._dma = dma
        self.size = size
        self.desc, self.driver, self.device = areas
        self.event_idx, self.indirect = event_idx, indirect
        self._max_length = max_length
        self.in_flight = 0

    @abstractmethod
    def pop(self) -> Chain | None:
        """The next chain that the driver made available."""

    @abstractmethod
    def push(self, chain: Chain, written: int) -> None:
        """Return a chain; the driver sees it with the next :meth:`flush`."""

    @abstractmethod
    def flush(self) -> bool:
        """Make the returned chains visible; whether the driver wants an interrupt for them."""

    @abstractmethod
    def listen(self, on: bool) -> None:
        """Ask for, or against, available buffer notifications."""

    @abstractmethod
    def unpop(self, chain: Chain) -> None:
        """Give back the chain taken last: :meth:`pop` will return it again."""

    def memory(self, address: int, length: int, code: str) -> memoryview:
        found = self._dma(address, length)
        if found is None:
            raise QueueFault(code, address)
        return found

    def read(self, address: int, length: int) -> int:
        return int.from_bytes(self.memory(address, length, "QUEUE_FETCH_FAULT"), "little")

    def write(self, address: int, value: int, length: int) -> None:
        where = self.memory(address, length, "QUEUE_USED_FAULT")
        where[:] = value.to_bytes(length, "little")

    def _descriptor(self, address: int) -> tuple[int, int, int, int]:
        """addr, len and the two 16-bit members of a descriptor."""
        raw = bytes(self.memory(address, 16, "QUEUE_FETCH_FAULT"))
        return (
            int.from_bytes(raw[:8], "little"),
            int.from_bytes(raw[8:12], "little"),
            int.from_bytes(raw[12:14], "little"),
            int.from_bytes(raw[14:], "little"),
        )

    def _segment(self, segments: list[Segment], address: int, length: int, flags: int) -> None:
        """Append a buffer after checking it (2.7.4.2, 2.7.5)."""
        if length == 0:
            raise QueueFault("QUEUE_ZERO_LENGTH", address)
        if length > self._max_length:
            raise QueueFault("QUEUE_LENGTH_TOO_BIG", length)
        writable = bool(flags & _WRITE)
        if segments and segments[-1].writable and not writable:
            raise QueueFault("QUEUE_BAD_DIRECTION", address)
        segments.append(Segment(address, length, writable))
        if len(segments) > self.size:
            raise QueueFault("QUEUE_CHAIN_TOO_LONG", len(segments))

    def _indirect_entries(self, length: int) -> int:
        if not self.indirect or length == 0 or length % 16:
            raise QueueFault("QUEUE_BAD_INDIRECT", length)
        return length // 16

    @staticmethod
    def _passed(event: int, new: int, old: int) -> bool:
        """The index went past ``event`` on its way from old to new (2.7.7.2)."""
        moved = (new - old) % 65536
        distance = (event - old) % 65536
        return distance < moved


class SplitDevice(DeviceQueue):
    """Split ring, device side (2.7). See :class:`DeviceQueue`."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._next = 0
        self._used = 0
        self._flushed = 0

    def pop(self) -> Chain | None:
        idx = self.read(self.driver + 2, 2)
        waiting = (idx - self._next) % 65536
        if waiting > self.size - self.in_flight:
            raise QueueFault("QUEUE_INDEX_JUMP", idx)
        if not waiting:
            return None
        head = self.read(self.driver + 4 + 2 * (self._next % self.size), 2)
        segments = self._walk(head)
        self._next = (self._next + 1) % 65536
        self.in_flight += 1
        return Chain(head, 1, tuple(segments))

    def unpop(self, chain: Chain) -> None:
        self._next = (self._next - 1) % 65536
        self.in_flight -= 1

    def _walk(self, head: int) -> list[Segment]:
        segments: list[Segment] = []
        table, entries, index, inside = self.desc, self.size, head, False
        for _ in range(2 * self.size + 2):
            if index >= entries:
                raise QueueFault("QUEUE_DESCRIPTOR_INDEX", index)
            address, length, flags, following = self._descriptor(table + 16 * index)
            if flags & _INDIRECT:
                if inside or flags & _NEXT:
                    raise QueueFault("QUEUE_BAD_INDIRECT", address)
                table, entries = address, self._indirect_entries(length)
                index, inside = 0, True
                continue
            self._segment(segments, address, length, flags)
            if not flags & _NEXT:
                return segments
            index = following
        raise QueueFault("QUEUE_CHAIN_TOO_LONG", head)

    def push(self, chain: Chain, written: int) -> None:
        entry = self.device + 4 + 8 * (self._used % self.size)
        self.write(entry, written << 32 | chain.id, 8)
        self._used = (self._used + 1) % 65536
        self.in_flight -= 1

    def flush(self) -> bool:
        if self._used == self._flushed:
            return False
        old, self._flushed = self._flushed, self._used
        self.write(self.device + 2, self._used, 2)
        if self.event_idx:
            event = self.read(self.driver + 4 + 2 * self.size, 2)
            return self._passed(event, self._used, old)
        return not self.read(self.driver, 2) & 1

    def listen(self, on: bool) -> None:
        if self.event_idx:
            event = self._next if on else self._next - 1
            self.write(self.device + 4 + 8 * self.size, event % 65536, 2)
        else:
            self.write(self.device, 0 if on else 1, 2)


class PackedDevice(DeviceQueue):
    """Packed ring, device side (2.8). See :class:`DeviceQueue`."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._next, self._wrap = 0, True
        self._used, self._used_wrap = 0, True
        self._moved = 0  # ring entries passed since the last flush

    def _is_available(self, flags: int) -> bool:
        return bool(flags & _AVAIL) == self._wrap and bool(flags & _USED) != self._wrap

    def pop(self) -> Chain | None:
        position = self._next
        address, length, id, flags = self._descriptor(self.desc + 16 * position)
        if not self._is_available(flags):
            return None
        segments: list[Segment] = []
        slots = 1
        if flags & _INDIRECT:
            if flags & _NEXT:
                raise QueueFault("QUEUE_BAD_INDIRECT", address)
            for i in range(self._indirect_entries(length)):
                inner, size, _, bits = self._descriptor(address + 16 * i)
                if bits & _INDIRECT:
                    raise QueueFault("QUEUE_BAD_INDIRECT", inner)
                self._segment(segments, inner, size, bits)
        else:
            self._segment(segments, address, length, flags)
        while flags & _NEXT:
            position = (position + 1) % self.size
            address, length, id, flags = self._descriptor(self.desc + 16 * position)
            slots += 1
            if slots > self.size:
                raise QueueFault("QUEUE_CHAIN_TOO_LONG", slots)
            if flags & _INDIRECT:
                raise QueueFault("QUEUE_BAD_INDIRECT", address)
            self._segment(segments, address, length, flags)
        self._advance(slots)
        self.in_flight += slots
        return Chain(id, slots, tuple(segments))

    def _advance(self, slots: int) -> None:
        """Move the next available position, backwards if negative; the wrap counter follows."""
        self._next += slots
        if not 0 <= self._next < self.size:
            self._next %= self.size
            self._wrap = not self._wrap

    def unpop(self, chain: Chain) -> None:
        self._advance(-chain.slots)
        self.in_flight -= chain.slots

    def push(self, chain: Chain, written: int) -> None:
        flags = (_AVAIL | _USED) * self._used_wrap | (_WRITE if written else 0)
        entry = self.desc + 16 * self._used
        self.write(entry + 8, written, 4)
        self.write(entry + 12, chain.id | flags << 16, 4)
        self._used += chain.slots
        if self._used >= self.size:
            self._used -= self.size
            self._used_wrap = not self._used_wrap
        self.in_flight -= chain.slots
        self._moved += chain.slots

    def flush(self) -> bool:
        """The used descriptors are visible already; this decides about the interrupt (2.8.10)."""
        if not self._moved:
            return False
        moved, self._moved = self._moved, 0
        off_wrap = self.read(self.driver, 2)
        mode = self.read(self.driver + 2, 2) & 3
        if mode != 2 or not self.event_idx:
            return mode != 1
        # Count positions so that the two rounds of the ring do not coincide.
        here = self._used + self.size * (1 - self._used_wrap)
        event = (off_wrap & 0x7FFF) + self.size * (1 - (off_wrap >> 15))
        return 1 <= (here - event) % (2 * self.size) <= moved

    def listen(self, on: bool) -> None:
        if not on:
            self.write(self.device + 2, 1, 2)
        elif self.event_idx:
            self.write(self.device, self._next | self._wrap << 15, 2)
            self.write(self.device + 2, 2, 2)
        else:
            self.write(self.device + 2, 0, 2)
