"""A TAP interface of the machine: its other end is an interface of the system's own stack."""

import contextlib
import errno
import fcntl
import os
import struct

from tailrace.cli.errors import UserError
from tailrace_sim.fast.network.peer import Limits, Peer

__all__ = ["TapPeer"]

_DEVICE = "/dev/net/tun"
_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000
_LARGEST = 65536
_NAME_LENGTH = 15


class TapPeer(Peer):
    """``tap:NAME``: makes the interface, or takes one that was made for this user."""

    def __init__(self, name: str, descriptor: int, limits: Limits | None = None):
        super().__init__(f"tap:{name}", limits)
        self._descriptor = descriptor

    @classmethod
    def open(cls, name: str, limits: Limits | None = None) -> Peer:
        """Attach to the interface.

        Raises
        ------
        UserError
            The machine has no TAP, the user not the right, or the interface another owner.
        """
        what = f"tap:{name}"
        if not 0 < len(name.encode()) <= _NAME_LENGTH or "/" in name or " " in name:
            raise UserError(f"{what}: an interface's name has 1 to {_NAME_LENGTH} letters")
        try:
            descriptor = os.open(_DEVICE, os.O_RDWR | os.O_NONBLOCK)
        except OSError as error:
            raise _complaint(error, what, name) from None
        try:
            request = struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI)
            fcntl.ioctl(descriptor, _TUNSETIFF, request)
        except OSError as error:
            os.close(descriptor)
            raise _complaint(error, what, name) from None
        return cls(name, descriptor, limits)

    def fileno(self) -> int | None:
        return None if self.closed else self._descriptor

    def _read(self) -> bytes | None:
        # Not ready, or the interface is down.
        with contextlib.suppress(OSError):
            return os.read(self._descriptor, _LARGEST)
        return None

    def _write(self, frame: bytes, cycle: int) -> bool:
        try:
            os.write(self._descriptor, frame)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.ENOBUFS):
                self.counters.full += 1
            else:
                self.counters.refused += 1
            return False
        return True

    def _close(self) -> None:
        os.close(self._descriptor)


def _complaint(error: OSError, what: str, name: str) -> UserError:
    if error.errno in (errno.EPERM, errno.EACCES):
        return UserError(
            f"{what}: no permission; run as root, or once `sudo ip tuntap add {name} mode tap "
            f"user $USER`, and use udp: or unix: where that is not possible"
        )
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return UserError(f"{what}: this machine has no {_DEVICE}; use udp: or unix: instead")
    if error.errno == errno.EBUSY:
        return UserError(f"{what}: in use by another program; choose another name, or end that")
    if error.errno == errno.EINVAL:
        return UserError(f"{what}: {name} is an interface of another kind; choose another name")
    return UserError(f"{what}: {error.strerror}")
