"""Packed virtqueue, driver side (virtio 1.2, 2.8)."""

from collections.abc import Sequence
from struct import Struct
from typing import Any

from tailrace.errors import QueueFull
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
from tailrace.virtio.spec import DescFlag, RingEvent

__all__ = ["PackedQueue"]

_LE16 = Struct("<H")
_USED = Struct("<8xIHH")  # len, id and flags of a used descriptor
_FLAGS = 14
# Plain numbers: arithmetic on an IntFlag costs a microsecond, and this is done for every frame.
_WRITE, _INDIRECT = int(DescFlag.WRITE), int(DescFlag.INDIRECT)
_AVAIL, _USED_FLAG = int(DescFlag.AVAIL), int(DescFlag.USED)
_AVAIL_USED = _AVAIL | _USED_FLAG


class PackedQueue(Virtqueue):
    """One ring that both sides write, and an event suppression structure of each (2.8).

    See :class:`Virtqueue`.
    """

    def __init__(self, transport: PciTransport, index: int, size: int, chain_limit: int = 16):
        check_size(size, packed=True)
        super().__init__(transport, index, size, chain_limit)
        desc, driver, device = spec.PACKED_ALIGN
        self._ring = self.host.alloc(16 * size, desc)
        self._driver = self.host.alloc(4, driver)
        self._device = self.host.alloc(4, device)
        self.reset()

    @property
    def areas(self) -> QueueAreas:
        return QueueAreas(self._ring.address, self._driver.address, self._device.address)

    def reset(self) -> None:
        for buffer in (self._ring, self._driver, self._device):
            buffer.view[:] = 0
        self._chains.clear()
        self._free_ids = list(range(self.size - 1, -1, -1))
        self.free = self.size
        self._next_avail = 0
        self._avail_wrap = 1  # Driver Ring Wrap Counter (2.8.1)
        self._next_used = 0
        self._used_wrap = 1
        self._pending = 0  # descriptors, not chains: the event offset counts these
        self._added = 0
        self._held: tuple[int, int] | None = None  # flags that publish everything added
        self.disable_interrupt()

    def release(self) -> None:
        super().release()
        for buffer in (self._ring, self._driver, self._device):
            self.host.free(buffer)

    def add(self, readable: Sequence[Piece], writable: Sequence[Piece], token: Any) -> None:
        """Place the buffers into the ring (2.8.21).

        The flags of the first descriptor of a batch are held back until :meth:`publish`: the
        device goes through the ring in order, so that nothing behind it is seen before.
        """
        count = len(readable) + len(writable)
        self._check_chain(count)
        pieces = piece_flags(readable, writable)
        room = sum(length for _, length in writable)
        table = self._uses_table(count)
        slots = 1 if table else count
        if self.free < slots:
            raise QueueFull(f"queue {self.index} has {self.free} free descriptors, not {slots}")
        id = self._free_ids.pop()
        if table:
            pieces = [self._fill_table(id, pieces)]
        self._place(id, pieces)
        self.free -= slots
        self._added += slots
        self._chains[id] = _Chain(token, slots, room)

    def _fill_table(self, id: int, pieces: list[tuple[int, int, int]]) -> tuple[int, int, int]:
        """Indirect table (2.8.7); only WRITE has a meaning in it (2.8.19). Its descriptor."""
        address, table = self._table(id)
        for i, (piece, length, flags) in enumerate(pieces):
            spec.PVIRTQ_DESC.pack_into(table, 16 * i, piece, length, 0, flags & _WRITE)
        return address, 16 * len(pieces), _INDIRECT

    def _place(self, id: int, pieces: list[tuple[int, int, int]]) -> None:
        pack, mem = spec.PVIRTQ_DESC.pack_into, self._ring.mem
        for address, length, flags in pieces:
            flags |= _AVAIL if self._avail_wrap else _USED_FLAG
            offset = 16 * self._next_avail
            if self._held is None:
                self._held = (offset + _FLAGS, flags)
                flags = _LE16.unpack_from(mem, offset + _FLAGS)[0]  # as they were: not available
            pack(mem, offset, address, length, id, flags)
            self._next_avail += 1
            if self._next_avail == self.size:
                self._next_avail = 0
                self._avail_wrap ^= 1

    def publish(self) -> None:
        """Write the flags that were held back (2.8.21)."""
        if self._held is not None:
            _LE16.pack_into(self._ring.mem, *self._held)
            self._held = None
            self._pending += self._added
            self._added = 0

    def notification_wanted(self) -> bool:
        """Device event suppression structure (2.8.10, 2.8.21)."""
        off_wrap, flags = spec.PVIRTQ_EVENT.unpack_from(self._device.mem)
        if flags & 3 != RingEvent.DESC or not self.event_idx:
            return flags & 3 != RingEvent.DISABLE
        event = off_wrap & 0x7FFF
        if off_wrap >> 15 != self._avail_wrap:
            event -= self.size  # it lies in the round before this one
        return need_event(event, self._next_avail, self._next_avail - self._pending)

    def used_pending(self) -> bool:
        (flags,) = _LE16.unpack_from(self._ring.mem, 16 * self._next_used + _FLAGS)
        return bool(self._chains) and flags & _AVAIL_USED == _AVAIL_USED * self._used_wrap

    def collect(self, limit: int | None = None) -> list[Used]:
        """Receive used buffers (2.8.22): AVAIL and USED both equal the used wrap counter."""
        found: list[Used] = []
        unpack, mem = _USED.unpack_from, self._ring.mem
        wanted = _AVAIL_USED * self._used_wrap
        while self._chains and (limit is None or len(found) < limit):
            length, id, flags = unpack(mem, 16 * self._next_used)
            if flags & _AVAIL_USED != wanted:
                break
            # Without WRITE the length means nothing (2.8.4).
            written = length if flags & _WRITE else 0
            chain = self._take(id, written)
            self._free_ids.append(id)
            self.free += chain.slots
            self._next_used += chain.slots
            if self._next_used >= self.size:
                self._next_used -= self.size
                self._used_wrap ^= 1
                wanted = _AVAIL_USED * self._used_wrap
            found.append(Used(chain.token, written))
        return found

    def disable_interrupt(self) -> None:
        spec.PVIRTQ_EVENT.pack_into(self._driver.mem, 0, 0, int(RingEvent.DISABLE))

    def enable_interrupt(self) -> bool:
        """Driver event suppression structure (2.8.10); the offset is written before the flags."""
        if self.event_idx:
            off_wrap = self._next_used | self._used_wrap << 15
            spec.PVIRTQ_EVENT.pack_into(self._driver.mem, 0, off_wrap, int(RingEvent.DESC))
        else:
            spec.PVIRTQ_EVENT.pack_into(self._driver.mem, 0, 0, int(RingEvent.ENABLE))
        return self.used_pending()
