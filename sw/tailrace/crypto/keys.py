"""Keys of the cipher engine: which places of its table are free, and handles of those in use."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from tailrace.crypto.errors import BadMessage, KeyGone
from tailrace.crypto.octets import Octets, octets
from tailrace.host import Mutex
from tailrace.regs.job_memory import KEY_DESCRIPTION, KeyKind, KeySize

if TYPE_CHECKING:
    from tailrace.crypto.cipher import Cipher

__all__ = ["XTS_ROWS", "Key", "KeyTable", "describe"]

#: Rows that an XTS key takes, from a multiple of it on.
XTS_ROWS = 4
_SIZES = {16: KeySize.AES_128, 24: KeySize.AES_192, 32: KeySize.AES_256}


class KeyTable:
    """The places of the key table, as far as this driver knows.

    Whoever installs keys for the same function must share one: the device lets a function replace
    its own keys without a word. Places of other functions are found out by trying.

    Parameters
    ----------
    rows : of the table
    """

    def __init__(self, rows: int):
        self._used = bytearray(rows)
        self._refused: set[tuple[int, int]] = set()
        #: Places, and the number of the queue whose job left the doubt.
        self._doubtful: list[tuple[int, int, int]] = []

    @property
    def free(self) -> int:
        """Rows that are not in use by this driver."""
        return self._used.count(0)

    @property
    def others(self) -> int:
        """Rows that other functions have, as far as known: of a group, one at least."""
        single = {index for index, rows in self._refused if rows == 1}
        groups = [range(index, index + rows) for index, rows in self._refused if rows > 1]
        return len(single) + sum(single.isdisjoint(group) for group in groups)

    def take(self, rows: int, tried: Collection[int] = ()) -> int | None:
        """The first place for a key that was not tried, or None.

        GCM keys are laid from the beginning and XTS keys from the end, so that single rows don't
        break up the groups of four. Places that others had come last: those may be gone by now.
        """
        places = range(0, len(self._used) - rows + 1, rows)
        ordered = places[::-1] if rows > 1 else places

        def first(*, refused: bool) -> int | None:
            for index in ordered:
                known = (index, rows) in self._refused and not refused
                if not known and index not in tried and not any(self._used[index : index + rows]):
                    return index
            return None

        index = first(refused=False)
        if index is None:
            index = first(refused=True)
        if index is not None:
            self._used[index : index + rows] = bytes([1]) * rows
        return index

    def keep(self, index: int, rows: int) -> None:
        """A place that was taken has a key: no other function has a part of it."""
        self._refused = {
            (start, count) for start, count in self._refused
            if start + count <= index or index + rows <= start
        }  # fmt: skip

    def give(self, index: int, rows: int) -> None:
        """A place is free again."""
        self._used[index : index + rows] = bytes(rows)

    def refuse(self, index: int, rows: int) -> None:
        """A place that was taken turned out to be another function's."""
        self.give(index, rows)
        self._refused.add((index, rows))

    def doubt(self, index: int, rows: int, queue: int) -> None:
        """A place that was taken has a key, or gets one, or not: nobody knows how its job ended."""
        self._doubtful.append((index, rows, queue))

    def take_doubtful(self, queue: int) -> tuple[int, int] | None:
        """A place in doubt by a job of this queue, behind which the queue can delete the key.

        Jobs of another queue might be ahead of that job.
        """
        for place in self._doubtful:
            if place[2] == queue:
                self._doubtful.remove(place)
                return place[:2]
        return None


def describe(kind: KeyKind, material: Octets, *, strict: bool) -> bytes:
    """A key's description, as the source of KEY_INSTALL.

    Raises
    ------
    BadMessage
        It is not bytes, has a length that no key of the kind has, or Key1 equals Key2 (XTS).
    """
    material = octets("a key", material)
    if kind == KeyKind.GCM:
        if len(material) not in _SIZES:
            raise BadMessage(f"an AES key has 16, 24 or 32 bytes, not {len(material)}")
        size, tweak = _SIZES[len(material)], b""
    else:
        if len(material) not in (32, 64):
            raise BadMessage(
                f"an XTS key is two AES keys of 16 or 32 bytes each, not {len(material)} in all"
            )
        half = len(material) // 2
        size, material, tweak = _SIZES[half], material[:half], material[half:]
        if material == tweak:
            raise BadMessage("Key1 and Key2 of an XTS key must not be the same")
    return KEY_DESCRIPTION.pack(kind, size, strict, b"", material, tweak)


class Key:
    """A key in the device; made by :meth:`Cipher.install` and :meth:`Cipher.install_xts`.

    Attributes
    ----------
    kind, strict : as installed
    deleted : the device has erased it
    subkey : H of a GCM key, if somebody has asked the device for it; dropped with the key
    generation : counts up at the begin and at the end of a replacement
    """

    def __init__(self, cipher: "Cipher", index: int, kind: KeyKind, strict: bool):
        self._cipher = cipher
        self._index = index
        self._deleting = False
        #: A job that changes the key must not come behind its deletion: others may have the place.
        self._changing = Mutex(cipher.queue.host)
        self.kind = kind
        self.strict = strict
        self.deleted = False
        self.subkey: bytes | None = None
        self.generation = 0

    @property
    def rows(self) -> int:
        """Of the table that it takes."""
        return XTS_ROWS if self.kind == KeyKind.XTS else 1

    @property
    def index(self) -> int:
        """Its place; raises :class:`KeyGone` from the begin of its deletion on."""
        if self.deleted:
            raise KeyGone(f"key {self._index} was deleted")
        if self._deleting:
            raise KeyGone(
                f"the deletion of key {self._index} was begun; call delete() until it ends well"
            )
        return self._index

    async def replace(self, material: bytes, *, strict: bool | None = None) -> None:
        """Another key of the same kind in its place; jobs submitted before still use the old one.

        ``strict`` None leaves it as it is. After an exception that is no :class:`JobError` it may
        be the old key or the new one: replace it again, or delete it.
        """
        chosen = self.strict if strict is None else strict
        description = describe(self.kind, material, strict=chosen)
        async with self._changing:
            index = self.index
            self._forget_subkey()
            try:
                await self._cipher.put_key(index, description)
            finally:
                self._forget_subkey()  # one that was asked for meanwhile may be of either key
            self.strict = chosen

    async def delete(self) -> None:
        """Erase it in the device; without effect if that was done already.

        A key that a function level reset has erased is taken as deleted. From the begin on nobody
        may use it. After an exception (queue reset, stopped, no answer) it may be in the device
        still and keeps its place: call it again.
        """
        self._deleting = True
        self.subkey = None
        async with self._changing:
            if not self.deleted:
                await self._cipher.drop_key(self._index, self.rows)
                self.deleted = True

    def keep_subkey(self, subkey: bytes, generation: int) -> None:
        """H that was asked for in a generation, unless the key has changed since."""
        if generation == self.generation and not self._deleting:
            self.subkey = subkey

    def _forget_subkey(self) -> None:
        self.generation += 1
        self.subkey = None
