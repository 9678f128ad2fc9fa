"""Messages of vfio-user, as QEMU's ``docs/interop/vfio-user.rst`` has them (protocol 0.0).

Names are those of that text and of Linux' ``include/uapi/linux/vfio.h``. All fields are in the byte
order of the machine.
"""

import errno
import json
import struct
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Any

__all__ = [
    "CONFIG_REGION",
    "HEADER",
    "IRQS",
    "LONGEST",
    "MAX_FDS",
    "MAX_TRANSFER",
    "REGIONS",
    "BadClient",
    "BadRequest",
    "Command",
    "Flags",
    "IrqAction",
    "IrqData",
    "IrqIndex",
    "Message",
    "Negotiated",
    "fields",
    "negotiate",
    "pack_header",
]

HEADER = struct.Struct("=HHIII")
#: Regions of a PCI device by index: BARs, ROM, configuration space, VGA.
REGIONS, CONFIG_REGION = 9, 7
IRQS = 5
#: File descriptors that we take with one message, and bytes of one data transfer.
MAX_FDS, MAX_TRANSFER = 8, 1 << 20
#: Longest message that anybody needs to send.
LONGEST = MAX_TRANSFER + 4096


class Command(IntEnum):
    """Commands, and which of them we send."""

    VERSION = 1
    DMA_MAP = 2
    DMA_UNMAP = 3
    DEVICE_GET_INFO = 4
    DEVICE_GET_REGION_INFO = 5
    DEVICE_GET_REGION_IO_FDS = 6
    DEVICE_GET_IRQ_INFO = 7
    DEVICE_SET_IRQS = 8
    REGION_READ = 9
    REGION_WRITE = 10
    DMA_READ = 11  # ours
    DMA_WRITE = 12  # ours
    DEVICE_RESET = 13


class Flags(IntFlag):
    """Of a header."""

    TYPE = 0xF
    REPLY = 1
    NO_REPLY = 1 << 4
    ERROR = 1 << 5


class IrqIndex(IntEnum):
    """Kinds of interrupts of a PCI device; we have MSI-X only."""

    INTX = 0
    MSI = 1
    MSIX = 2
    ERR = 3
    REQ = 4


class IrqData(IntFlag):
    """What a DEVICE_SET_IRQS brings along."""

    NONE = 1 << 0
    BOOL = 1 << 1
    EVENTFD = 1 << 2


class IrqAction(IntFlag):
    """What a DEVICE_SET_IRQS is about."""

    MASK = 1 << 3
    UNMASK = 1 << 4
    TRIGGER = 1 << 5


class BadRequest(Exception):
    """A request that gets an error reply; the client goes on.

    Attributes
    ----------
    number : errno of the reply
    reason : for the summary
    """

    def __init__(self, reason: str, number: int = errno.EINVAL):
        super().__init__(reason)
        self.reason = reason
        self.number = number


class BadClient(Exception):
    """Where a message ends is not known, or nothing can be expected of it any more."""


@dataclass
class Message:
    """A message as it came.

    Attributes
    ----------
    number, command, flags, error : of the header
    body : what is behind the header
    fds : file descriptors that came along; who takes one removes it, the others are closed
    lost_fds : there were more than :data:`MAX_FDS`
    """

    number: int
    command: int
    flags: int
    error: int
    body: bytes = b""
    fds: list[int] = field(default_factory=list)
    lost_fds: bool = False

    @property
    def is_reply(self) -> bool:
        return self.flags & Flags.TYPE == Flags.REPLY

    def name(self) -> str:
        """The command's name."""
        try:
            return Command(self.command).name
        except ValueError:
            return f"command {self.command}"


def pack_header(number: int, command: int, size: int, flags: int = 0, error: int = 0) -> bytes:
    """Header of a message with ``size`` bytes behind it."""
    return HEADER.pack(number, command, HEADER.size + size, flags, error)


def fields(layout: struct.Struct, message: Message, *, exact: bool = True) -> tuple[Any, ...]:
    """Fields at the start of a message's body.

    Raises
    ------
    BadRequest
        It is shorter, or with ``exact`` longer.
    """
    size = len(message.body)
    if size < layout.size or (exact and size != layout.size):
        raise BadRequest(f"{message.name()} with {size} bytes instead of {layout.size}")
    return layout.unpack_from(message.body)


@dataclass(frozen=True)
class Negotiated:
    """What a client can do.

    Attributes
    ----------
    reply : body of the answer to its VERSION
    max_transfer : bytes of one DMA_READ or DMA_WRITE at most
    """

    reply: bytes
    max_transfer: int


_VERSION = struct.Struct("=HH")
_OURS = {"max_msg_fds": MAX_FDS, "max_data_xfer_size": MAX_TRANSFER, "pgsizes": 4096}


def negotiate(message: Message) -> Negotiated:
    """Answer a VERSION: major 0, minor 0, and of our capabilities those that the client named.

    Raises
    ------
    BadRequest
        It is malformed, or of another major version.
    """
    major, _ = fields(_VERSION, message, exact=False)
    if major != 0:
        raise BadRequest(f"protocol version {major}, and we speak 0 only", errno.ENOTSUP)
    theirs = _capabilities(message.body[_VERSION.size :])
    size = theirs.get("max_data_xfer_size", MAX_TRANSFER)
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise BadRequest(f"max_data_xfer_size is {size!r}")
    ours = {name: value for name, value in _OURS.items() if name in theirs}
    text = json.dumps({"capabilities": ours}).encode() + b"\0"
    return Negotiated(_VERSION.pack(0, 0) + text, size)


def _capabilities(data: bytes) -> dict[str, Any]:
    if not data:
        return {}
    if data[-1] != 0:
        raise BadRequest("VERSION whose data does not end with a zero byte")
    try:
        parsed = json.loads(data[:-1])
        found = parsed.get("capabilities", {})
        if not isinstance(found, dict):
            raise TypeError("capabilities are no object")
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise BadRequest(f"VERSION whose data is no JSON object: {error}") from None
    return found
