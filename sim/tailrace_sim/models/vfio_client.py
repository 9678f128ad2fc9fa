"""A client of the vfio-user protocol that plays QEMU. It shares no code with the server."""

import array
import json
import os
import select
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

HEADER = struct.Struct("<HHIII")
VERSION, MAP, UNMAP, INFO, REGION_INFO, IO_FDS, IRQ_INFO, SET_IRQS, READ, WRITE = range(1, 11)
DMA_READ, DMA_WRITE, RESET = 11, 12, 13
REPLY, NO_REPLY, ERROR = 1, 0x10, 0x20
NONE, BOOL, EVENTFD, MASK, UNMASK, TRIGGER = (1 << bit for bit in range(6))
MSIX = 2
CONFIG = 7
CAPABILITIES = {"max_msg_fds": 8, "max_data_xfer_size": 1 << 20, "pgsizes": 4096}
#: Seconds until an answer, or a frame.
PATIENCE = 120
#: Accesses of a BAR until the device has done what takes it some hundred cycles: each is ten at
#: least.
READS = 1000


class Refused(Exception):
    """An error reply."""

    def __init__(self, command: int, number: int):
        super().__init__(f"command {command}: {os.strerror(number)}")
        self.number = number


@dataclass
class Reply:
    number: int
    command: int
    flags: int
    error: int
    body: bytes


class VfioClient:
    """A connection to one function.

    Attributes
    ----------
    guest : (base, bytes) of memory that the device gets by messages only
    dma : messages of the device: (command, address, size)
    answering : False: messages of the device wait, see :meth:`answer_dma`
    failing : messages of the device get an error reply
    """

    def __init__(self, path, *, greet: bool = True, capabilities: dict | None = None):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(str(path))
        self.number = self.command = 0
        self.guest: list[tuple[int, memoryview]] = []
        self.dma: list[tuple[int, int, int]] = []
        self.unanswered: list[tuple[int, int, bytes]] = []
        self.answering, self.failing = True, False
        self.replies: dict[int, Reply] = {}
        if greet:
            self.version(CAPABILITIES if capabilities is None else capabilities)

    # Messages

    def send(self, command: int, body: bytes = b"", *, fds=(), flags: int = 0) -> int:
        self.number, self.command = self.number + 1 & 0xFFFF, command
        data = HEADER.pack(self.number, command, HEADER.size + len(body), flags, 0) + body
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sent = self.sock.sendmsg([data], rights)
        self.sock.sendall(data[sent:])
        return self.number

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                more = self.sock.recv(size - len(data))
            except TimeoutError:
                what = f"to request {self.number}, command {self.command}, the last one"
                raise TimeoutError(f"no answer in {PATIENCE} s {what}") from None
            if not more:
                raise EOFError
            data += more
        return data

    def take(self) -> None:
        """The next message of the server."""
        number, command, size, flags, error = HEADER.unpack(self._exactly(HEADER.size))
        body = self._exactly(size - HEADER.size)
        if flags & 0xF == REPLY:
            self.replies[number] = Reply(number, command, flags, error, body)
            return
        self.dma.append((command, *struct.unpack_from("<QQ", body)))
        self.unanswered.append((number, command, body))
        if self.answering:
            self.answer_dma()

    def answer_dma(self) -> None:
        """Answer what the device has asked."""
        while self.unanswered:
            number, command, body = self.unanswered.pop(0)
            address, size = struct.unpack_from("<QQ", body)
            found = [
                memory[address - base :]
                for base, memory in self.guest
                if base <= address < base + len(memory)
            ]
            if not found or len(found[0]) < size or self.failing:
                self.sock.sendall(HEADER.pack(number, command, HEADER.size, REPLY | ERROR, 14))
                continue
            answer = body[:16]
            if command == DMA_READ:
                answer += bytes(found[0][:size])
            else:
                found[0][:size] = body[16:]
            header = HEADER.pack(number, command, HEADER.size + len(answer), REPLY, 0)
            self.sock.sendall(header + answer)

    def wait(self, number: int) -> Reply:
        """The reply to a request."""
        while number not in self.replies:
            self.take()
        return self.replies.pop(number)

    def serve(self, seconds: float, *readable: int) -> bool:
        """Serve the device until a descriptor is readable; False if that took too long."""
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            own = self.sock.fileno()
            ready, _, _ = select.select([own, *readable], [], [], max(left, 0))
            if own in ready:
                self.take()
            elif ready:
                return True
            elif left <= 0:
                return False

    def expect(self, descriptor: int, what: str) -> None:
        """Serve the device until a descriptor is readable."""
        assert self.serve(PATIENCE, descriptor), f"not in {PATIENCE} s: {what}"

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Ask until it is so; ``condition`` is to access a BAR.

        Bounded by what the device did meanwhile, not by the clock: a busy machine changes nothing.
        """
        for _ in range(READS):
            if condition():
                return
        raise AssertionError(f"not in {READS} accesses of the device: {what}")

    def request(self, command: int, body: bytes = b"", *, fds=()) -> bytes:
        reply = self.wait(self.send(command, body, fds=fds))
        assert reply.command == command
        if reply.flags & ERROR:
            assert reply.body == b"", "an error reply is a header"
            raise Refused(command, reply.error)
        return reply.body

    # Requests

    def version(self, capabilities: dict) -> dict:
        text = json.dumps({"capabilities": capabilities}).encode() + b"\0"
        body = self.request(VERSION, struct.pack("<HH", 0, 1) + text)
        assert body[:4] == bytes(4)
        return json.loads(body[4:-1])["capabilities"]

    def info(self) -> tuple[int, ...]:
        return struct.unpack("<IIII", self.request(INFO, struct.pack("<IIII", 16, 0, 0, 0)))

    def region(self, index: int) -> tuple[int, ...]:
        body = struct.pack("<IIIIQQ", 32, 0, index, 0, 0, 0)
        return struct.unpack("<IIIIQQ", self.request(REGION_INFO, body))

    def irq(self, index: int) -> tuple[int, ...]:
        body = struct.pack("<IIII", 16, 0, index, 0)
        return struct.unpack("<IIII", self.request(IRQ_INFO, body))

    def map(self, address: int, size: int, *, fd: int | None = None, offset=0, flags=3) -> None:
        body = struct.pack("<IIQQQ", 32, flags, offset, address, size)
        assert self.request(MAP, body, fds=[] if fd is None else [fd]) == b""

    def unmap(self, address: int, size: int, flags: int = 0) -> None:
        body = struct.pack("<IIQQ", 24, flags, address, size)
        assert self.request(UNMAP, body) == body

    def read(self, region: int, offset: int, size: int) -> bytes:
        body = struct.pack("<QII", offset, region, size)
        answer = self.request(READ, body)
        assert answer[:16] == body
        assert len(answer) == 16 + size
        return answer[16:]

    def write(self, region: int, offset: int, data: bytes) -> None:
        body = struct.pack("<QII", offset, region, len(data))
        assert self.request(WRITE, body + data) == body

    def config(self, offset: int, size: int = 4) -> int:
        return int.from_bytes(self.read(CONFIG, offset, size), "little")

    def set_config(self, offset: int, value: int, size: int = 4) -> None:
        self.write(CONFIG, offset, value.to_bytes(size, "little"))

    def set_irqs(self, flags: int, start: int, count: int, *, data=b"", fds=(), index=MSIX) -> None:
        body = struct.pack("<IIIII", 20 + len(data), flags, index, start, count) + data
        assert self.request(SET_IRQS, body, fds=fds) == b""

    def reset(self) -> None:
        assert self.request(RESET) == b""

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> "VfioClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
