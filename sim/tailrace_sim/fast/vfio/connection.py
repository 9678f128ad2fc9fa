"""The socket of one client: whole messages in and out, without ever waiting for it."""

import array
import contextlib
import os
import select
import socket
from collections.abc import Iterator

from tailrace_sim.fast.vfio.protocol import HEADER, LONGEST, MAX_FDS, BadClient, Message

__all__ = ["Connection"]

#: Bytes that wait for a client that does not read, until it is given up.
_UNREAD = 8 << 20
#: Messages that are taken at once: others have their turn too.
_BATCH = 64


class Connection:
    """Messages of one client.

    Parameters
    ----------
    sock : accepted
    """

    def __init__(self, sock: socket.socket):
        sock.setblocking(False)
        self._socket = sock
        self._received = bytearray()
        self._header: tuple[int, int, int, int, int] | None = None
        self._fds: list[int] = []
        self._lost_fds = False
        self._unsent = bytearray()

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def has_unsent(self) -> bool:
        """The client has not read all that was sent."""
        return bool(self._unsent)

    @property
    def in_message(self) -> bool:
        """A part of a message is here."""
        return bool(self._received) or self._header is not None

    def is_hung_up(self) -> bool:
        """The client has gone, whatever it has sent before."""
        poll = select.poll()
        poll.register(self._socket, select.POLLRDHUP)
        return bool(poll.poll(0))

    # In

    def receive(self) -> Iterator[Message]:
        """Messages that are here now, as far as they are whole.

        Raises
        ------
        EOFError
            The client is gone.
        BadClient
            What came is no message.
        """
        for _ in range(_BATCH):
            message = self._next()
            if message is None:
                return
            yield message

    def _next(self) -> Message | None:
        if self._header is None:
            if not self._fill(HEADER.size):
                return None
            number, command, size, flags, error = HEADER.unpack(self._received)
            if not HEADER.size <= size <= LONGEST:
                raise BadClient(f"a message of {size} bytes")
            self._header = (number, command, size - HEADER.size, flags, error)
            self._received.clear()
        number, command, size, flags, error = self._header
        if not self._fill(size):
            return None
        message = Message(
            number, command, flags, error, bytes(self._received), self._fds, self._lost_fds
        )
        self._header, self._fds, self._lost_fds = None, [], False
        self._received.clear()
        return message

    def _fill(self, size: int) -> bool:
        """Read until there are so many bytes; not one more, so that file descriptors stay with
        their message."""
        while (missing := size - len(self._received)) > 0:
            try:
                data, extra, flags, _ = self._socket.recvmsg(
                    missing, socket.CMSG_SPACE(4 * MAX_FDS), socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                return False
            except ConnectionError as error:
                raise EOFError from error
            for level, kind, value in extra:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    whole = len(value) - len(value) % 4
                    self._fds += array.array("i", value[:whole])
            self._lost_fds |= bool(flags & socket.MSG_CTRUNC) or len(self._fds) > MAX_FDS
            if not data:
                raise EOFError
            self._received += data
        return True

    # Out

    def send(self, data: bytes) -> None:
        """Send, now or when the client reads.

        Raises
        ------
        EOFError
            The client is gone.
        BadClient
            It does not read.
        """
        self._unsent += data
        self.flush()
        if len(self._unsent) > _UNREAD:
            raise BadClient(f"it does not read: {len(self._unsent)} bytes wait for it")

    def flush(self) -> None:
        """Send what waits, as far as the client takes it."""
        try:
            while self._unsent:
                del self._unsent[: self._socket.send(self._unsent)]
        except BlockingIOError:
            return
        except OSError as error:
            raise EOFError from error

    def close(self) -> None:
        """Give everything back."""
        for descriptor in self._fds:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._fds = []
        self._socket.close()
