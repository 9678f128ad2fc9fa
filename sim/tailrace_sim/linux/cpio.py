"""Archives that the kernel unpacks at boot: cpio in the "newc" format.

Linux, Documentation/driver-api/early-userspace/buffer-format.rst. Several archives one after the
other are one; each may be compressed by itself.
"""

import stat

__all__ = ["Archive"]

_TRAILER = "TRAILER!!!"


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


class Archive:
    """Files, folders and links by their path in the guest; folders above come by themselves."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._names: set[str] = set()

    def _add(self, path: str, mode: int, data: bytes) -> None:
        name = path.strip("/")
        if not name or name in self._names:
            raise ValueError(f"{path!r} is no new name")
        parent = name.rpartition("/")[0]
        if parent and parent not in self._names:
            self.folder(parent)
        self._names.add(name)
        self._entry(name, mode, data)

    def _entry(self, name: str, mode: int, data: bytes) -> None:
        encoded = name.encode() + b"\0"
        # Inode, mode, uid, gid, links, mtime, size, device (2), special device (2), name, check.
        numbers = (len(self._parts), mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
        header = b"070701" + b"".join(b"%08x" % number for number in numbers)
        self._parts += [_padded(header + encoded), _padded(data)]

    def __contains__(self, path: str) -> bool:
        return path.strip("/") in self._names

    def folder(self, path: str) -> None:
        """An empty folder."""
        self._add(path, stat.S_IFDIR | 0o755, b"")

    def file(self, path: str, data: bytes, *, executable: bool = False) -> None:
        """A file."""
        self._add(path, stat.S_IFREG | (0o755 if executable else 0o644), data)

    def link(self, path: str, target: str) -> None:
        """A symbolic link."""
        self._add(path, stat.S_IFLNK | 0o777, target.encode())

    def data(self) -> bytes:
        """The archive; it can go on after that."""
        end = Archive()
        end._entry(_TRAILER, 0, b"")
        whole = b"".join([*self._parts, *end._parts])
        return whole + bytes(-len(whole) % 512)
