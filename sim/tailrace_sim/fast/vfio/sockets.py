"""Sockets that clients connect to: made at the start, removed at the end."""

import contextlib
import os
import socket
import stat
from pathlib import Path

from tailrace.cli.errors import UserError

__all__ = ["check_socket", "listen"]

#: Bytes of a path in ``sockaddr_un``, with the zero behind it.
_LONGEST_PATH = 108
_BACKLOG = 8


def _is_dead(path: Path) -> bool:
    """A socket that nobody listens at: somebody was killed and has left it."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def _make_room(path: Path) -> None:
    if len(os.fsencode(path)) >= _LONGEST_PATH:
        raise UserError(
            f"{path} is too long for a socket: {_LONGEST_PATH - 1} bytes at most; choose a shorter"
            " path, as in /tmp"
        )
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; choose another path") from None
    if not stat.S_ISSOCK(mode):
        raise UserError(f"{path} exists and is no socket; remove it, or choose another path")
    if not _is_dead(path):
        raise UserError(f"{path} is in use by another program; end that, or choose another path")
    with contextlib.suppress(OSError):
        path.unlink()


def listen(path: Path, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """A socket that listens at ``path``; one that somebody was killed at is replaced.

    Raises
    ------
    UserError
        There can be none.
    """
    _make_room(path)
    made = socket.socket(socket.AF_UNIX, kind)
    try:
        made.bind(str(path))
        if kind == socket.SOCK_STREAM:
            made.listen(_BACKLOG)
    except OSError as error:
        made.close()
        raise UserError(f"{path}: no socket can be there: {error.strerror}") from None
    made.setblocking(False)
    return made


def check_socket(path: Path) -> None:
    """Whether :func:`listen` can do it; leaves nothing behind.

    Raises
    ------
    UserError
        It can't.
    """
    listen(path).close()
    path.unlink()
