"""A client's memory: maps in the core, and messages where there is no file descriptor."""

import errno
import os
import struct
import time
from collections.abc import Callable
from typing import Any

from tailrace_sim.fast.kernel import Kernel
from tailrace_sim.fast.vfio.protocol import (
    BadClient,
    BadRequest,
    Command,
    Flags,
    Message,
    fields,
    pack_header,
)

__all__ = ["ClientMemory"]

_MAP = struct.Struct("=IIQQQ")
_UNMAP = struct.Struct("=IIQQ")
_TRANSFER = struct.Struct("=QQ")
_UNMAP_ALL = 1 << 1
_ACCESS = 3
_NUMBERS = 1 << 16
_MOST_MAPS = 65535
#: Messages at which the core takes no requests of the device any more, of no function.
_MOST_WAITING = 1024
#: Seconds that a client may hold up the device like that.
_PATIENCE = 30.0


class ClientMemory:
    """What a function reaches, of one client.

    Attributes
    ----------
    maps : now
    messages : DMA_READ and DMA_WRITE so far

    Parameters
    ----------
    send : gets a whole message for the client
    """

    def __init__(
        self, kernel: Kernel, device: int, function: int, send: Callable[[bytes], None]
    ):
        self._kernel = kernel
        self._place = device, function
        self._send = send
        #: By number: command, number of the core, bytes, when it was sent. Oldest first.
        self._waiting: dict[int, tuple[int, int, int, float]] = {}
        self._next = 0
        self.maps = self.messages = 0

    # Maps

    def map(self, message: Message) -> None:
        """DMA_MAP.

        Raises
        ------
        BadRequest
            It cannot be done.
        """
        _, flags, offset, address, size = fields(_MAP, message)
        if flags & ~_ACCESS or not flags:
            raise BadRequest(f"DMA_MAP with flags {flags:#x}")
        if len(message.fds) > 1:
            raise BadRequest(f"DMA_MAP with {len(message.fds)} file descriptors")
        if self.maps >= _MOST_MAPS:
            raise BadRequest(f"DMA_MAP beyond {_MOST_MAPS} maps", errno.ENOSPC)
        descriptor = message.fds[0] if message.fds else -1
        kernel = self._kernel
        error = kernel.lib.tr_map(
            kernel.world, *self._place, descriptor, offset, address, size, flags
        )
        if error:
            raise BadRequest(
                f"DMA_MAP of {size:#x} bytes at {address:#x}: {os.strerror(error)}", error
            )
        self.maps += 1

    def unmap(self, message: Message) -> None:
        """DMA_UNMAP; behind it the device does not touch those bytes.

        Raises
        ------
        BadRequest
            There is no such map.
        """
        _, flags, address, size = fields(_UNMAP, message, exact=False)
        if flags & ~_UNMAP_ALL:
            raise BadRequest(f"DMA_UNMAP with flags {flags:#x}")
        kernel = self._kernel
        if flags & _UNMAP_ALL:
            kernel.lib.tr_unmap_all(kernel.world, *self._place)
            self.maps = 0
            return
        error = kernel.lib.tr_unmap(kernel.world, *self._place, address, size)
        if error:
            raise BadRequest(
                f"DMA_UNMAP of {size:#x} bytes at {address:#x}: no such map", error
            )
        self.maps -= 1

    def unmap_all(self) -> None:
        """The client is gone."""
        kernel = self._kernel
        kernel.lib.tr_unmap_all(kernel.world, *self._place)
        kernel.lib.tr_space_end(kernel.world, *self._place)
        self.maps = 0

    # Messages

    def holds_up(self) -> bool:
        """Nothing goes on in the device, and not for a moment only: this client answers nothing."""
        if len(self._waiting) < _MOST_WAITING:
            return False
        oldest = next(iter(self._waiting.values()))
        return time.monotonic() - oldest[-1] > _PATIENCE

    def transfer(self, event: Any) -> None:
        """The core wants bytes of the client's memory, or has some for it."""
        kernel = self._kernel
        write = event.kind == kernel.lib.TR_CLIENT_WRITE
        command = Command.DMA_WRITE if write else Command.DMA_READ
        while self._next in self._waiting:
            self._next = (self._next + 1) % _NUMBERS
        self._waiting[self._next] = command, event.a, event.d, time.monotonic()
        data = bytes(kernel.ffi.buffer(event.data, event.length)) if write else b""
        body = _TRANSFER.pack(event.b, event.d) + data
        self.messages += 1
        self._send(pack_header(self._next, command, len(body)) + body)
        self._next = (self._next + 1) % _NUMBERS

    def answer(self, message: Message) -> None:
        """The client has answered.

        Raises
        ------
        BadClient
            Nobody asked.
        """
        command, number, size, _ = self._waiting.pop(message.number, (0, 0, 0, 0.0))
        if command != message.command:
            raise BadClient(f"an answer to a {message.name()} that was not sent")
        good = not message.flags & Flags.ERROR
        data = message.body[_TRANSFER.size :]
        if command == Command.DMA_READ and good:
            good = len(data) == size
        kernel = self._kernel
        kernel.lib.tr_answer(kernel.world, *self._place, number, data, len(data), good)
