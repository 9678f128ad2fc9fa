"""Split virtqueue, driver side (virtio 1.2, 2.7)."""

from collections.abc import Sequence
from struct import Struct, unpack_from
from typing import Any

from tailrace.errors import QueueFull, VirtqueueError
from tailrace.virtio import spec
from tailrace.virtio.pci_transport import PciTransport, QueueAreas
from tailrace.virtio.queue import (
    Piece,
    Used,
    Virtqueue,
    _Chain,
    check_size,
    need_event,
    piece_flags,
)
from tailrace.virtio.spec import DescFlag

__all__ = ["SplitQueue"]

_LE16 = Struct("<H")
_INDIRECT = int(DescFlag.INDIRECT)
_RING = 4  # both rings begin with flags and idx


class SplitQueue(Virtqueue):
    """Descriptor table, available ring and used ring, each written by one side only (2.7).

    See :class:`Virtqueue`.
    """

    def __init__(self, transport: PciTransport, index: int, size: int, chain_limit: int = 16):
        check_size(size, packed=False)
        super().__init__(transport, index, size, chain_limit)
        desc, avail, used = spec.SPLIT_ALIGN
        self._desc = self.host.alloc(16 * size, desc)
        self._avail = self.host.alloc(6 + 2 * size, avail)
        self._used = self.host.alloc(6 + 8 * size, used)
        self.reset()

    @property
    def areas(self) -> QueueAreas:
        return QueueAreas(self._desc.address, self._avail.address, self._used.address)

    def reset(self) -> None:
        for buffer in (self._desc, self._avail, self._used):
            buffer.view[:] = 0
        self._chains.clear()
        self._free_list = list(range(self.size - 1, -1, -1))
        self.free = self.size
        self._avail_idx = 0  # next entry to fill
        self._published = 0  # idx as the device sees it
        self._last_used = 0  # next used entry to look at
        self._pending = 0
        self.disable_interrupt()

    def release(self) -> None:
        super().release()
        for buffer in (self._desc, self._avail, self._used):
            self.host.free(buffer)

    def add(self, readable: Sequence[Piece], writable: Sequence[Piece], token: Any) -> None:
        """Place the buffers (2.7.13.1) and the head into the available ring (2.7.13.2)."""
        count = len(readable) + len(writable)
        self._check_chain(count)
        pieces = piece_flags(readable, writable)
        room = sum(length for _, length in writable)
        if self._uses_table(count):
            slots = self._add_indirect(pieces)
        elif self.free < count:
            raise QueueFull(f"queue {self.index} has {self.free} free descriptors, not {count}")
        else:
            slots = [self._free_list.pop() for _ in range(count)]
            pack, mem = spec.VIRTQ_DESC.pack_into, self._desc.mem
            for slot, next_slot, piece in zip(slots, [*slots[1:], 0], pieces, strict=True):
                pack(mem, 16 * slot, *piece, next_slot)
        self.free -= len(slots)
        self._chains[slots[0]] = _Chain(token, slots, room)
        _LE16.pack_into(self._avail.mem, _RING + 2 * (self._avail_idx % self.size), slots[0])
        self._avail_idx = self._avail_idx + 1 & 0xFFFF

    def _add_indirect(self, pieces: list[tuple[int, int, int]]) -> list[int]:
        """One descriptor that points at a table of them (2.7.5.3)."""
        if not self.free:
            raise QueueFull(f"queue {self.index} has no free descriptor")
        slot = self._free_list.pop()
        address, table = self._table(slot)
        for i, piece in enumerate(pieces):
            following = i + 1 if i + 1 < len(pieces) else 0
            spec.VIRTQ_DESC.pack_into(table, 16 * i, *piece, following)
        spec.VIRTQ_DESC.pack_into(
            self._desc.mem, 16 * slot, address, 16 * len(pieces), _INDIRECT, 0
        )
        return [slot]

    def publish(self) -> None:
        """Update idx of the available ring (2.7.13.3)."""
        self._pending += self._avail_idx - self._published & 0xFFFF
        self._published = self._avail_idx
        _LE16.pack_into(self._avail.mem, 2, self._avail_idx)

    def notification_wanted(self) -> bool:
        """2.7.10: avail_event with VIRTIO_F_EVENT_IDX, else flags of the used ring."""
        if self.event_idx:
            (event,) = _LE16.unpack_from(self._used.mem, _RING + 8 * self.size)
            return need_event(event, self._published, self._published - self._pending)
        (flags,) = _LE16.unpack_from(self._used.mem, 0)
        return not flags & spec.USED_F_NO_NOTIFY

    def _used_idx(self) -> int:
        return _LE16.unpack_from(self._used.mem, 2)[0]

    def used_pending(self) -> bool:
        return self._used_idx() != self._last_used

    def collect(self, limit: int | None = None) -> list[Used]:
        """Receive used buffers (2.7.14)."""
        count = self._used_idx() - self._last_used & 0xFFFF
        if not count:
            return []
        if count > len(self._chains):
            raise VirtqueueError(
                f"queue {self.index}: used idx moved by {count}, but the device has only"
                f" {len(self._chains)} chains"
            )
        if limit is not None:
            count = min(count, limit)
        found = []
        for id, written in self._used_elements(self._last_used % self.size, count):
            chain = self._take(id, written)
            self._free_list.extend(reversed(chain.slots))
            self.free += len(chain.slots)
            found.append(Used(chain.token, written))
        self._last_used = self._last_used + count & 0xFFFF
        return found

    def _used_elements(self, start: int, count: int) -> list[tuple[int, int]]:
        """``count`` elements of the used ring in one or two reads."""
        values: list[int] = []
        while count:
            run = min(count, self.size - start)
            values += unpack_from(f"<{2 * run}I", self._used.mem, _RING + 8 * start)
            start, count = 0, count - run
        return list(zip(values[::2], values[1::2], strict=True))

    def disable_interrupt(self) -> None:
        """2.7.7: flags, or a used_event that lies behind."""
        if self.event_idx:
            self._write_used_event(self._last_used - 1)
        else:
            _LE16.pack_into(self._avail.mem, 0, spec.AVAIL_F_NO_INTERRUPT)

    def enable_interrupt(self) -> bool:
        if self.event_idx:
            self._write_used_event(self._last_used)
        else:
            _LE16.pack_into(self._avail.mem, 0, 0)
        return self.used_pending()

    def _write_used_event(self, index: int) -> None:
        _LE16.pack_into(self._avail.mem, _RING + 2 * self.size, index & 0xFFFF)
