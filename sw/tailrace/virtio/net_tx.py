"""Transmit queue of the virtio-net driver (virtio 1.2, 5.1.6.2)."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

from tailrace.errors import VirtioError
from tailrace.virtio import spec
from tailrace.virtio.net_types import CsumRequest, QueueStats, TxFrame
from tailrace.virtio.queue import Piece, Virtqueue
from tailrace.virtio.spec import CsumFlag

__all__ = ["TransmitQueue"]

_NEEDS_CSUM = int(CsumFlag.NEEDS_CSUM)
_SHIFT = 64  # room for TxFrame.shift
_MEMORY = 1 << 20  # a queue of jumbo frames has fewer slots than ring entries


class _Sent(NamedTuple):
    slot: int
    tag: Any


class TransmitQueue:
    """Copies frames behind a header into slots of DMA memory and posts them.

    Nothing here waits: :meth:`post` says whether there was room.

    Parameters
    ----------
    ring : the virtqueue
    max_frame : longest frame that may be sent
    can_csum : VIRTIO_NET_F_CSUM was negotiated
    """

    def __init__(self, ring: Virtqueue, max_frame: int, *, can_csum: bool):
        self.ring = ring
        self.stats = QueueStats()
        self._max_frame = max_frame
        self._can_csum = can_csum
        self._stride = (spec.NET_HDR_LENGTH + max_frame + _SHIFT + 63) & ~63
        self._count = min(ring.size, max(64, _MEMORY // self._stride))
        self._memory = ring.host.alloc(self._stride * self._count, 64)
        self._slots = list(range(self._count - 1, -1, -1))

    def post(self, frame: TxFrame) -> bool:
        """Add a frame to the ring, unpublished; False when it has no room for it now."""
        if not isinstance(frame, TxFrame):
            raise VirtioError(f"a frame to send is a TxFrame, not {type(frame).__name__}")
        data, csum, cuts, shift, tag = frame
        self._check(frame)
        flags, start, where = self._csum(csum)
        if not self._slots or not self.ring.can_add(len(cuts) + 1):
            return False
        slot = self._slots.pop()
        offset = slot * self._stride + shift
        mem = self._memory.mem
        spec.NET_HDR.pack_into(mem, offset, flags, spec.GSO_NONE, 0, 0, start, where, 0)
        begin = offset + spec.NET_HDR_LENGTH
        mem[begin : begin + len(data)] = data
        total = spec.NET_HDR_LENGTH + len(data)
        self.ring.add(self._cut(self._memory.address + offset, total, cuts), (), _Sent(slot, tag))
        self.stats.frames += 1
        self.stats.bytes += len(data)
        return True

    def _check(self, frame: TxFrame) -> None:
        if not 0 < len(frame.data) <= self._max_frame:
            raise VirtioError(
                f"cannot send a frame of {len(frame.data)} bytes, the limit is {self._max_frame}"
            )
        if not 0 <= frame.shift < _SHIFT:
            raise VirtioError(f"a shift of {frame.shift} bytes is not below {_SHIFT}")
        if len(frame.cuts) >= self.ring.size:
            raise VirtioError(f"{len(frame.cuts)} cuts do not fit a ring of {self.ring.size}")
        if frame.cuts:
            edges = (0, *frame.cuts, spec.NET_HDR_LENGTH + len(frame.data))
            if any(a >= b for a, b in itertools.pairwise(edges)):
                raise VirtioError(f"cuts {edges[1:-1]} do not ascend within {edges[-1]} bytes")

    def _csum(self, csum: CsumRequest | None) -> tuple[int, int, int]:
        """flags, csum_start and csum_offset of the header (5.1.6.2)."""
        if csum is None:
            return 0, 0, 0
        if not self._can_csum:
            raise VirtioError("a checksum was asked for, but VIRTIO_NET_F_CSUM was not negotiated")
        if not (0 <= csum.start <= 0xFFFF and 0 <= csum.offset <= 0xFFFF):
            raise VirtioError(f"{csum} does not fit the header's 16-bit fields")
        return _NEEDS_CSUM, csum.start, csum.offset

    @staticmethod
    def _cut(address: int, total: int, cuts: Sequence[int]) -> list[Piece]:
        if not cuts:
            return [Piece(address, total)]
        edges = [0, *cuts, total]
        return [Piece(address + a, b - a) for a, b in itertools.pairwise(edges)]

    def reclaim(self) -> int:
        """Take back what the device has sent; how many frames."""
        used = self.ring.collect()
        for sent, _ in used:
            self._slots.append(sent.slot)
        self.stats.completed += len(used)
        return len(used)

    @property
    def outstanding(self) -> int:
        return self.ring.outstanding

    def detach(self) -> list[Any]:
        """After a reset: tags of the frames whose fate is unknown; the queue is empty then."""
        lost = [sent.tag for sent in self.ring.detach()]
        self.stats.lost += len(lost)
        self._slots = list(range(self._count - 1, -1, -1))
        return lost

    def release(self) -> None:
        self.ring.release()
        self.ring.host.free(self._memory)
