"""UDP and UNIX datagram sockets: each datagram is one Ethernet frame without FCS."""

import contextlib
import errno
import os
import socket
import stat
import struct
import time

from tailrace.cli.errors import UserError
from tailrace_sim.fast.network.peer import Limits, NoRoom, Peer

__all__ = ["UdpPeer", "UnixPeer"]

_LARGEST = 65536  # no datagram is longer
_BUFFER = 1 << 20
#: Linux: each datagram tells how many the socket has dropped before.
_SO_RXQ_OVFL = 40
_FULL = (errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM)
#: Seconds that a UNIX socket's owner has to make room: on a busy machine it may not run for long.
_PATIENCE = 10.0
#: Seconds that the simulation itself waits for him at a time, and between two looks.
_PAUSE, _NAP = 0.005, 0.0005


class _DatagramPeer(Peer):
    """A socket that is bound, and where it sends to.

    Parameters
    ----------
    remote : address for every datagram; None: the socket is connected
    """

    def __init__(self, name: str, sock: socket.socket, remote: str | None, limits: Limits | None):
        super().__init__(name, limits)
        self._socket = sock
        self._remote = remote
        sock.setblocking(False)
        with contextlib.suppress(OSError):  # what the system grants is enough
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            sock.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)

    def fileno(self) -> int | None:
        return None if self.closed else self._socket.fileno()

    def _read(self) -> bytes | None:
        try:
            data, extra, _, _ = self._socket.recvmsg(_LARGEST, socket.CMSG_SPACE(4))
        except BlockingIOError:
            return None
        except OSError:
            # An answer of the system to what was sent earlier: nobody takes it there.
            self.counters.refused += 1
            return None
        for level, kind, value in extra:
            if (level, kind) == (socket.SOL_SOCKET, _SO_RXQ_OVFL):
                (self.counters.missed,) = struct.unpack("I", value)
        return data

    def _send(self, frame: bytes) -> None:
        if self._remote is None:
            self._socket.send(frame)
        else:
            self._socket.sendto(frame, self._remote)

    def _write(self, frame: bytes, cycle: int) -> bool:
        try:
            try:
                self._send(frame)
            except ConnectionRefusedError:
                if self._remote is not None:
                    raise
                # That was about an earlier frame; this one has not been tried.
                self.counters.refused += 1
                self._send(frame)
        except OSError as error:
            if error.errno in _FULL:
                self._full()
            else:
                self.counters.refused += 1
            return False
        return True

    def _full(self) -> None:
        """The system has no room for a frame."""
        self.counters.full += 1

    def _close(self) -> None:
        self._socket.close()


def _resolve(host: str, port: int, what: str) -> tuple[int, tuple]:
    """Address family and address."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise UserError(
            f"{what}: no address for {host!r} ({error.strerror}); give an IP address"
        ) from None
    return found[0][0], found[0][4]


def _complaint(error: OSError, local: str, what: str) -> UserError:
    reasons = {
        errno.EADDRINUSE: "in use by another program; choose another one, or end that",
        errno.EADDRNOTAVAIL: "no address of this machine; choose one of those `ip address` shows",
        errno.EACCES: "not permitted; choose one that you may use, as a port from 1024 on",
        errno.ENOENT: "in a folder that does not exist; make it first",
    }
    reason = reasons.get(error.errno or 0, error.strerror or str(error))
    return UserError(f"{what}: {local} is {reason}")


class UdpPeer(_DatagramPeer):
    """``udp:HOST:PORT[,LOCALHOST:LOCALPORT]``: datagrams to and from one remote address.

    What others send to the local port does not reach us.
    """

    @classmethod
    def open(
        cls, remote: tuple[str, int], local: tuple[str, int] | None, limits: Limits | None = None
    ) -> Peer:
        """Bind and connect.

        Parameters
        ----------
        local : None: a port that the system chooses

        Raises
        ------
        UserError
            An address is none, or in use.
        """
        what = f"udp:{remote[0]}:{remote[1]}"
        family, address = _resolve(*remote, what)
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            if local is not None:
                local_family, local_address = _resolve(*local, what)
                if local_family != family:
                    raise UserError(f"{what}: one address is IPv4, the other IPv6; give two alike")
                if local_address == address:
                    raise UserError(f"{what}: both addresses are one; each side needs its own port")
                sock.bind(local_address)
            sock.connect(address)
        except OSError as error:
            sock.close()
            name = "the remote address" if local is None else f"{local[0]}:{local[1]}"
            raise _complaint(error, name, what) from None
        except UserError:
            sock.close()
            raise
        host, port = sock.getsockname()[:2]
        return cls(f"{what},{host}:{port}", sock, None, limits)


class UnixPeer(_DatagramPeer):
    """``unix:PATH[,LOCALPATH]``: the remote has ``PATH``, we make ``LOCALPATH`` and remove it.

    The system keeps few datagrams for a UNIX socket (ten on Linux) and says when it has no room.
    The device then stops sending until the other side has made some, as on a wire with flow
    control. One that makes none in ten seconds is not waited for again until it takes a frame.
    """

    def __init__(self, sock: socket.socket, remote: str, local: str, limits: Limits | None = None):
        super().__init__(f"unix:{remote},{local}", sock, remote, limits)
        self._full_since: float | None = None
        self._local = local
        self._inode = os.stat(local).st_ino

    @classmethod
    def open(cls, remote: str, local: str | None, limits: Limits | None = None) -> Peer:
        """Bind ``local``; default is the remote's with ``.tailrace`` behind.

        Raises
        ------
        UserError
            The path is no place for a socket, or in use.
        """
        local = f"{remote}.tailrace" if local is None else local
        what = f"unix:{remote}"
        if os.path.abspath(local) == os.path.abspath(remote):
            raise UserError(f"{what}: both paths are {local}; each side needs a socket of its own")
        _remove_stale(local, what)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            sock.bind(local)
        except OSError as error:
            sock.close()
            if error.errno is None:  # Python's own: the path is too long
                raise UserError(f"{what}: {local}: {error}; choose a shorter path") from None
            raise _complaint(error, local, what) from None
        return cls(sock, remote, local, limits)

    def _outward(self) -> int:
        moved = super()._outward()
        # Its owner is mostly about to take them; a machine with few processors lets it do so only
        # when we pause. Two simulations that do both make room meanwhile.
        end = time.monotonic() + _PAUSE
        while self.holds and time.monotonic() < end:
            time.sleep(_NAP)
            moved += self._inward() + super()._outward()
        return moved

    def _write(self, frame: bytes, cycle: int) -> bool:
        written = super()._write(frame, cycle)
        if written:
            self._full_since = None
        return written

    def _full(self) -> None:
        now = time.monotonic()
        if self._full_since is None:
            self._full_since = now
        if now < self._full_since + _PATIENCE:
            raise NoRoom
        super()._full()

    def _close(self) -> None:
        super()._close()
        with contextlib.suppress(OSError):
            if os.stat(self._local).st_ino == self._inode:
                os.unlink(self._local)


def _remove_stale(path: str, what: str) -> None:
    """Remove a socket that its owner has left behind."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise UserError(f"{what}: {path} exists and is no socket; remove it or choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            with contextlib.suppress(OSError):
                os.unlink(path)
            return
        except OSError:
            pass
    raise UserError(f"{what}: {path} is in use by another program; choose another path, or end it")
