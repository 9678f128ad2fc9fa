"""What split and packed virtqueues have in common, as the driver sees them (virtio 1.2, 2.6)."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

from tailrace.errors import VirtqueueError
from tailrace.host import DmaBuffer, Host
from tailrace.virtio import spec
from tailrace.virtio.pci_transport import PciTransport, QueueAreas
from tailrace.virtio.spec import DescFlag, Feature

__all__ = ["Piece", "Used", "Virtqueue", "need_event"]


# Plain numbers: arithmetic on an IntFlag costs a microsecond, and this is done for every frame.
_NEXT, _WRITE = int(DescFlag.NEXT), int(DescFlag.WRITE)


class Piece(NamedTuple):
    """A buffer element: device address and length."""

    address: int
    length: int


class Used(NamedTuple):
    """A chain that the device has returned."""

    token: Any
    #: Bytes that the device wrote into the device-writable part.
    written: int


class _Chain(NamedTuple):
    """What the driver remembers of a chain that the device has."""

    token: Any
    #: Descriptors taken: their indices (split) or how many (packed).
    slots: Any
    #: Length of its device-writable part.
    writable: int


def need_event(event: int, new: int, old: int) -> bool:
    """Whether moving an index from ``old`` to ``new`` passes ``event`` (2.7.7.2).

    All three count modulo 2**16; the other side wants to hear when entry ``event`` is filled.
    """
    return (new - event - 1) & 0xFFFF < (new - old) & 0xFFFF


class Virtqueue(ABC):
    """A virtqueue from the driver's side: add chains, publish, kick, collect used ones.

    ::

        queue.add([Piece(address, length)], [], token)   # as many as fit
        await queue.kick()                               # publish; notify if the device wants it
        for token, written in queue.collect(): ...

    The ring is written in the order the specification asks for: descriptors first, then what
    makes them available. On a real CPU a store barrier stands between the two.

    Parameters
    ----------
    transport : notifies the device
    index : queue number
    size : ring entries
    chain_limit : longest chain that an indirect table has room for

    Attributes
    ----------
    free : descriptors that can be added now
    kicks, suppressed : notifications sent, and those the device did not want
    """

    def __init__(self, transport: PciTransport, index: int, size: int, chain_limit: int = 16):
        self.transport = transport
        self.host: Host = transport.host
        self.index = index
        self.size = size
        self.chain_limit = chain_limit
        self.event_idx = Feature.EVENT_IDX in transport.features
        self.indirect = Feature.INDIRECT_DESC in transport.features
        self.kicks = self.suppressed = 0
        self.free = size
        self._pending = 0  # chains published and not yet kicked for
        self._chains: dict[int, _Chain] = {}
        self._tables: DmaBuffer | None = None
        if self.indirect:
            self._tables = self.host.alloc(size * chain_limit * 16, 16)

    @property
    @abstractmethod
    def areas(self) -> QueueAreas:
        """Addresses for the transport (2.6)."""

    @property
    def outstanding(self) -> int:
        """Chains that the device has."""
        return len(self._chains)

    @abstractmethod
    def add(self, readable: Sequence[Piece], writable: Sequence[Piece], token: Any) -> None:
        """Put a chain into the ring, device-readable pieces first (2.7.4.2); not yet published.

        Raises
        ------
        QueueFull
            There are not enough free descriptors now.
        """

    @abstractmethod
    def publish(self) -> None:
        """Make the chains added since the last time available to the device."""

    @abstractmethod
    def notification_wanted(self) -> bool:
        """Whether the device wants to hear of what was published since the last kick."""

    @abstractmethod
    def collect(self, limit: int | None = None) -> list[Used]:
        """Chains that the device has used, in its order, at most ``limit``."""

    @abstractmethod
    def used_pending(self) -> bool:
        """Whether :meth:`collect` would return something."""

    @abstractmethod
    def disable_interrupt(self) -> None:
        """Ask for no used buffer notifications; a hint, the device may send them all the same."""

    @abstractmethod
    def enable_interrupt(self) -> bool:
        """Ask for a notification of the next used chain.

        True if one has been used already: then no notification may come, and the caller must
        look at the ring again.
        """

    @abstractmethod
    def reset(self) -> None:
        """Forget everything: the ring is as new. The device must not be using it."""

    def can_add(self, descriptors: int) -> bool:
        """Whether a chain of that many pieces fits now."""
        return self.free >= (1 if self._uses_table(descriptors) else descriptors)

    async def kick(self) -> bool:
        """Publish, then notify the device unless it asked not to be; whether it was notified."""
        self.publish()
        if not self._pending:
            return False
        wanted = self.notification_wanted()
        self._pending = 0
        if wanted:
            self.kicks += 1
            await self.transport.notify_queue(self.index)
        else:
            self.suppressed += 1
        return wanted

    def detach(self) -> list[Any]:
        """Tokens of all chains that the device never returned; the ring is as new afterwards."""
        tokens = [chain.token for chain in self._chains.values()]
        self.reset()
        return tokens

    def release(self) -> None:
        """Give the ring's memory back. The device must not be using it."""
        if self._tables is not None:
            self.host.free(self._tables)
            self._tables = None

    # For the two ring formats --------------------------------------------------------------------

    def _uses_table(self, descriptors: int) -> bool:
        return self.indirect and 1 < descriptors <= self.chain_limit

    def _check_chain(self, count: int) -> None:
        if count == 0:
            raise VirtqueueError(f"queue {self.index}: an empty chain")
        if count > self.size:  # holds for indirect tables as well (2.7.5.3.1)
            raise VirtqueueError(f"queue {self.index}: a chain of {count} in a ring of {self.size}")

    def _table(self, slot: int) -> tuple[int, memoryview]:
        """Address and memory of the indirect table that belongs to a ring slot (2.7.5.3)."""
        assert self._tables is not None
        start = slot * self.chain_limit * 16
        return self._tables.address + start, self._tables.mem[start:]

    def _take(self, id: int, written: int) -> _Chain:
        """The chain that the device returns, after checking that it may."""
        chain = self._chains.pop(id, None)
        if chain is None:
            raise VirtqueueError(
                f"queue {self.index}: the device returned chain {id}, which it does not have"
            )
        if written > chain.writable:
            raise VirtqueueError(
                f"queue {self.index}: the device claims {written} bytes written into chain {id},"
                f" which has room for {chain.writable}"
            )
        return chain


def piece_flags(readable: Sequence[Piece], writable: Sequence[Piece]) -> list[tuple[int, int, int]]:
    """(address, length, flags) of a chain; all but the last have NEXT."""
    pieces = [(address, length, _NEXT) for address, length in readable]
    pieces += [(address, length, _NEXT | _WRITE) for address, length in writable]
    address, length, flags = pieces[-1]
    pieces[-1] = (address, length, flags & _WRITE)
    return pieces


def check_size(size: int, *, packed: bool) -> None:
    """Refuse a queue size that the ring format does not allow (2.7, 2.8)."""
    if not 0 < size <= spec.MAX_QUEUE_SIZE:
        raise VirtqueueError(f"a queue of {size} entries")
    if not packed and size & (size - 1):
        raise VirtqueueError(f"a split ring of {size} entries, not a power of two (2.7)")
