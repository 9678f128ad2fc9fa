"""Receive queue of the virtio-net driver (virtio 1.2, 5.1.6.3 and 5.1.6.4)."""

import itertools

from tailrace.errors import VirtioError
from tailrace.virtio import spec
from tailrace.virtio.net_types import Frame, QueueStats
from tailrace.virtio.queue import Piece, Virtqueue

__all__ = ["ReceiveQueue"]

_HEADER = spec.NET_HDR_LENGTH


class ReceiveQueue:
    """Keeps the ring filled with buffers and makes frames of the used ones.

    Nothing here waits. :meth:`receive` posts again at once what it has copied.

    Parameters
    ----------
    ring : the virtqueue
    pair : number of the queue pair, for the frames
    buffer : bytes of each buffer, header included
    pieces : descriptors each buffer is made of
    count : buffers; None for as many as the ring holds
    mergeable : VIRTIO_NET_F_MRG_RXBUF was negotiated

    Attributes
    ----------
    capacity : bytes that all buffers hold together
    """

    def __init__(
        self,
        ring: Virtqueue,
        pair: int,
        *,
        buffer: int,
        pieces: int,
        count: int | None,
        mergeable: bool,
    ):
        self.ring = ring
        self.stats = QueueStats()
        self._pair = pair
        self._mergeable = mergeable
        most = ring.size if ring._uses_table(pieces) else ring.size // pieces
        self._count = most if count is None else min(count, most)
        self._stride = (buffer + 63) & ~63
        self._memory = ring.host.alloc(max(1, self._count) * self._stride, 64)
        self._pieces = [self._split(i, buffer, pieces) for i in range(self._count)]
        self.capacity = self._count * buffer
        self._parts: list[tuple[int, int]] = []  # of the frame that is not complete yet

    def _split(self, index: int, buffer: int, pieces: int) -> list[Piece]:
        """A buffer in ``pieces`` descriptors of nearly the same length."""
        address = self._memory.address + index * self._stride
        edges = [buffer * i // pieces for i in range(pieces + 1)]
        return [Piece(address + a, b - a) for a, b in itertools.pairwise(edges)]

    def fill(self) -> None:
        """Post all buffers into the empty ring (5.1.6.3); publishes, does not notify."""
        for index in range(self._count):
            self.ring.add((), self._pieces[index], index)
        self.ring.publish()

    def receive(self, limit: int | None = None) -> list[Frame]:
        """Frames that have arrived, at most ``limit``; their buffers are posted again.

        The caller kicks the ring.
        """
        frames: list[Frame] = []
        while limit is None or len(frames) < limit:
            used = self.ring.collect(None if limit is None else limit - len(frames))
            if not used:
                break
            self.stats.completed += len(used)
            for index, written in used:
                self._parts.append((index, written))
                if len(self._parts) == self._needed():
                    frames.append(self._assemble())
        return frames

    def _needed(self) -> int:
        """Buffers of the frame that begins with the first part (num_buffers, 5.1.6.4)."""
        index, written = self._parts[0]
        if written < _HEADER:
            raise VirtioError(
                f"receive queue {self._pair}: {written} bytes written, less than a header"
            )
        number = spec.NET_HDR.unpack_from(self._memory.mem, index * self._stride)[6]
        if number == 0 or (number > 1 and not self._mergeable) or number > self._count:
            raise VirtioError(f"receive queue {self._pair}: num_buffers is {number}")
        return number

    def _assemble(self) -> Frame:
        mem, parts = self._memory.mem, self._parts
        index, written = parts[0]
        start = index * self._stride
        flags, _, _, _, csum_start, csum_offset, _ = spec.NET_HDR.unpack_from(mem, start)
        data = bytes(mem[start + _HEADER : start + written])
        if len(parts) > 1:
            rest = (mem[i * self._stride : i * self._stride + n] for i, n in parts[1:])
            data = b"".join([data, *rest])
            self.stats.merged += 1
        for index, _ in parts:
            self.ring.add((), self._pieces[index], index)
        frame = Frame(data, self._pair, flags, csum_start, csum_offset, len(parts))
        self._parts = []
        self.stats.frames += 1
        self.stats.bytes += len(data)
        return frame

    def detach(self) -> None:
        """After a reset: the ring is empty, the buffers are the driver's again."""
        self.ring.detach()
        self._parts = []

    def release(self) -> None:
        self.ring.release()
        self.ring.host.free(self._memory)
