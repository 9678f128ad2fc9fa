"""One client of a plugged function: what it asks, and what it is answered."""

import contextlib
import errno
import os
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from tailrace_sim.fast.kernel import Kernel
from tailrace_sim.fast.vfio.connection import Connection
from tailrace_sim.fast.vfio.function import CONFIG_SIZE, PluggedFunction
from tailrace_sim.fast.vfio.memory import ClientMemory
from tailrace_sim.fast.vfio.protocol import (
    CONFIG_REGION,
    IRQS,
    MAX_TRANSFER,
    REGIONS,
    BadClient,
    BadRequest,
    Command,
    Flags,
    IrqIndex,
    Message,
    fields,
    negotiate,
    pack_header,
)

__all__ = ["PATIENCE", "Client", "Complaints"]

#: Seconds that an access may take by default; QEMU gives up after 5, or as it is told.
PATIENCE = 3.0
_DEVICE_INFO = struct.Struct("=IIII")
_REGION_INFO = struct.Struct("=IIIIQQ")
_IRQ_INFO = struct.Struct("=IIII")
_ACCESS = struct.Struct("=QII")
# Flags of the three
_IS_PCI, _HAS_RESET = 1 << 1, 1 << 0
_READABLE, _WRITABLE = 1 << 0, 1 << 1
_EVENTFD, _MASKABLE = 1 << 0, 1 << 1


@dataclass
class Complaints:
    """What clients did wrong, by reason.

    Attributes
    ----------
    refused : requests with an error reply
    dropped : clients that were disconnected
    """

    refused: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)

    #: Reasons that are kept; more are counted together.
    _MOST = 50

    def add(self, counts: dict[str, int], reason: str) -> None:
        """Count one."""
        if reason not in counts and len(counts) >= self._MOST:
            reason = "other reasons"
        counts[reason] = counts.get(reason, 0) + 1


class Client:
    """A connection and what was agreed on it.

    Attributes
    ----------
    connection : its socket
    memory : its memory
    gone : it is over, for this reason (empty: the client has gone by itself)
    waiting : requests that are not answered yet
    late : accesses answered before the device did

    Parameters
    ----------
    kernel, device : the simulation, and which device of it
    function : that the client has
    complaints : for the summary
    patience : seconds that an access may take until it is answered with all ones
    """

    def __init__(
        self,
        kernel: Kernel,
        device: int,
        function: PluggedFunction,
        sock: socket.socket,
        complaints: Complaints,
        patience: float = PATIENCE,
    ):
        self.connection = Connection(sock)
        self._patience = patience
        self.memory = ClientMemory(kernel, device, function.number, self._send)
        self.gone: str | None = None
        self.waiting = self.late = 0
        self._function = function
        self._complaints = complaints
        self._space = function.space
        self._greeted = False
        self._open: list[tuple[float, Message]] = []
        self._requests: dict[int, Callable[[Message], Awaitable[bytes]]] = {
            Command.VERSION: self._version,
            Command.DMA_MAP: self._map,
            Command.DMA_UNMAP: self._unmap,
            Command.DEVICE_GET_INFO: self._device_info,
            Command.DEVICE_GET_REGION_INFO: self._region_info,
            Command.DEVICE_GET_IRQ_INFO: self._irq_info,
            Command.DEVICE_SET_IRQS: self._set_irqs,
            Command.REGION_READ: self._read,
            Command.REGION_WRITE: self._write,
            Command.DEVICE_RESET: self._reset,
        }

    # Messages

    def receive(self) -> list[Message]:
        """Requests that have come; answers to ours are taken at once."""
        requests = []
        try:
            for message in self.connection.receive():
                if message.is_reply:
                    self._answered(message)
                else:
                    requests.append(message)
                    self.waiting += 1
                    self._open.append((time.monotonic(), message))
        except EOFError:
            self.end("it left in the middle of a message" if self.connection.in_message else "")
        except BadClient as error:
            self.end(str(error))
        return requests

    def _answered(self, message: Message) -> None:
        try:
            self.memory.answer(message)
        finally:
            _close(message.fds)

    def _send(self, data: bytes) -> None:
        if self.gone is not None:
            return
        try:
            self.connection.send(data)
        except EOFError:
            self.end("")
        except BadClient as error:
            self.end(str(error))

    def end(self, reason: str) -> None:
        """Nothing more is taken from this client, or sent to it."""
        if self.gone is None:
            self.gone = reason
            if reason:
                self._complaints.add(self._complaints.dropped, reason)

    # Requests

    async def handle(self, message: Message) -> None:
        """Do what a request asks and answer it."""
        body, error = b"", 0
        try:
            if self.gone is None:
                body = await self._do(message)
        except BadRequest as refusal:
            self._complaints.add(self._complaints.refused, refusal.reason)
            error = refusal.number
        finally:
            self.waiting -= 1
            _close(message.fds)
        if self._take(message):
            self._reply(message, body, error)
        if error and not self._greeted:
            self.end(f"no VERSION was agreed on, but a {message.name()} refused")

    async def _do(self, message: Message) -> bytes:
        if message.flags & Flags.TYPE:
            raise BadRequest(f"a message of type {message.flags & Flags.TYPE}")
        if message.lost_fds:
            raise BadRequest(f"{message.name()} with too many file descriptors")
        request = self._requests.get(message.command)
        if request is None:
            raise BadRequest(f"{message.name()}, which we don't have", errno.ENOTSUP)
        if self._greeted == (message.command == Command.VERSION):
            raise BadRequest(f"{message.name()} where a VERSION was {_expected(self._greeted)}")
        return await request(message)

    def _take(self, message: Message) -> bool:
        """True if this request is still to be answered."""
        for index, (_, waiting) in enumerate(self._open):
            if waiting is message:
                del self._open[index]
                return True
        return False

    def _reply(self, message: Message, body: bytes, error: int = 0) -> None:
        if message.flags & Flags.NO_REPLY:
            return
        flags = Flags.REPLY | (Flags.ERROR if error else 0)
        self._send(pack_header(message.number, message.command, len(body), flags, error) + body)

    def look_at_clock(self) -> None:
        """Accesses that take too long get an answer before the client gives us up; a client that
        takes too long, for others, is given up."""
        if self.memory.holds_up():
            self.end("it does not answer DMA messages, and others wait for it")
        due = time.monotonic() - self._patience
        while self._open and self._open[0][0] < due:
            message = self._open[0][1]
            if message.command not in (Command.REGION_READ, Command.REGION_WRITE):
                return
            if len(message.body) < _ACCESS.size:
                return
            _, _, count = _ACCESS.unpack_from(message.body)
            self._open.pop(0)
            self.late += 1
            ones = b"\xff" * min(count, MAX_TRANSFER)
            read = message.command == Command.REGION_READ
            self._reply(message, message.body[: _ACCESS.size] + (ones if read else b""))

    # What there is

    async def _version(self, message: Message) -> bytes:
        agreed = negotiate(message)
        self._space.message_limit = min(agreed.max_transfer, 4096)
        self._greeted = True
        return agreed.reply

    async def _device_info(self, message: Message) -> bytes:
        self._check_room(message, _DEVICE_INFO)
        return _DEVICE_INFO.pack(_DEVICE_INFO.size, _IS_PCI | _HAS_RESET, REGIONS, IRQS)

    async def _region_info(self, message: Message) -> bytes:
        index = self._check_room(message, _REGION_INFO)[2]
        if index >= REGIONS:
            raise BadRequest(f"DEVICE_GET_REGION_INFO of region {index}")
        size = self._region_size(index)
        flags = _READABLE | _WRITABLE if size else 0
        return _REGION_INFO.pack(_REGION_INFO.size, flags, index, 0, size, 0)

    async def _irq_info(self, message: Message) -> bytes:
        index = self._check_room(message, _IRQ_INFO)[2]
        if index >= IRQS:
            raise BadRequest(f"DEVICE_GET_IRQ_INFO of kind {index}")
        count = len(self._function.vectors) if index == IrqIndex.MSIX else 0
        flags = _EVENTFD | _MASKABLE if count else 0
        return _IRQ_INFO.pack(_IRQ_INFO.size, flags, index, count)

    @staticmethod
    def _check_room(message: Message, layout: struct.Struct) -> tuple[Any, ...]:
        """Fields of a query, whose answer must have room with the client."""
        found = fields(layout, message, exact=False)
        if found[0] < layout.size:
            raise BadRequest(f"{message.name()} with argsz {found[0]}")
        return found

    def _region_size(self, region: int) -> int:
        return CONFIG_SIZE if region == CONFIG_REGION else self._function.bar_size(region)

    # Memory and interrupts

    async def _map(self, message: Message) -> bytes:
        self.memory.map(message)
        return b""

    async def _unmap(self, message: Message) -> bytes:
        self.memory.unmap(message)
        return message.body

    async def _set_irqs(self, message: Message) -> bytes:
        self._function.vectors.set(message)
        await self._function.flush()
        return b""

    # Accesses

    def _check_access(self, message: Message, *, write: bool) -> tuple[int, int, int]:
        offset, region, count = fields(_ACCESS, message, exact=not write)
        size = self._region_size(region)
        if region >= REGIONS or not size:
            raise BadRequest(f"{message.name()} of region {region}, which we don't have")
        if not 1 <= count <= MAX_TRANSFER or offset + count > size:
            raise BadRequest(
                f"{message.name()} of {count} bytes at {offset:#x} of region {region},"
                f" which has {size:#x}"
            )
        if write and len(message.body) - _ACCESS.size != count:
            raise BadRequest(f"REGION_WRITE of {count} bytes with {len(message.body)} in all")
        return offset, region, count

    async def _read(self, message: Message) -> bytes:
        offset, region, count = self._check_access(message, write=False)
        if region == CONFIG_REGION:
            data = await self._function.config_read(offset, count)
        else:
            data = await self._function.bar_read(region, offset, count)
        return message.body[: _ACCESS.size] + data

    async def _write(self, message: Message) -> bytes:
        offset, region, _ = self._check_access(message, write=True)
        data = message.body[_ACCESS.size :]
        if region == CONFIG_REGION:
            await self._function.config_write(offset, data)
        else:
            await self._function.bar_write(region, offset, data)
        return message.body[: _ACCESS.size]

    async def _reset(self, message: Message) -> bytes:
        if message.body:
            raise BadRequest(f"DEVICE_RESET with {len(message.body)} bytes")
        await self._function.reset()
        return b""

    # End

    async def clean_up(self) -> None:
        """What the client has left behind: nothing of it is used any more."""
        self.memory.unmap_all()
        self._function.vectors.disable()
        await self._function.reset()

    def close(self) -> None:
        """Give its socket back."""
        for _, message in self._open:
            _close(message.fds)
        self._open.clear()
        self.connection.close()


def _expected(greeted: bool) -> str:
    return "agreed on already" if greeted else "expected"


def _close(descriptors: list[int]) -> None:
    while descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptors.pop())
