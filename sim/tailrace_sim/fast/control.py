"""Orders to a simulation that runs: a UNIX datagram socket, a line each."""

import atexit
import contextlib
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import cocotb
from cocotb.queue import Queue

from tailrace_sim.fast.vfio.sockets import listen

__all__ = ["Control"]

#: Of an order; what is longer is none.
_LONGEST = 256
Order = Callable[[], Awaitable[None]]


class Control:
    """Takes orders and answers each sender that has an address of its own.

    The answer is ``ok`` once the order is carried out, or one line that says what is wrong. Orders
    are carried out one behind the other. Nothing that is sent here ends the simulation, and an
    answer that nobody takes is lost.

    Attributes
    ----------
    path : of the socket
    done, refused : orders so far

    Parameters
    ----------
    orders : what to do, by the text of the order

    Raises
    ------
    UserError
        The socket can't be made.
    """

    def __init__(self, path: Path, orders: Mapping[str, Order]):
        self.path = path
        self.done = self.refused = 0
        self._orders = orders
        self._queue: Queue[tuple[str, Any]] = Queue()
        self._socket = listen(path, socket.SOCK_DGRAM)
        atexit.register(self._remove)
        self._serving = cocotb.start_soon(self._serve())

    def fileno(self) -> int:
        """Readable when there is something to :meth:`pump`."""
        return self._socket.fileno()

    def pump(self) -> int:
        """Take what has been sent, without waiting; how much that was."""
        moved = 0
        while True:
            try:
                data, sender = self._socket.recvfrom(_LONGEST + 1)
            except OSError:
                return moved
            self._queue.put_nowait((data.decode(errors="replace"), sender))
            moved += 1

    async def _serve(self) -> None:
        while True:
            text, sender = await self._queue.get()
            answer = await self._obey(text)
            if sender:
                with contextlib.suppress(OSError):
                    self._socket.sendto(answer.encode(), sender)

    async def _obey(self, text: str) -> str:
        order = " ".join(text.split())
        if order not in self._orders:
            self.refused += 1
            known = ", ".join(self._orders)
            return f"no order {order[:_LONGEST]!r}; there are {known}"
        await self._orders[order]()
        self.done += 1
        return "ok"

    def close(self) -> None:
        """Remove the socket; may be called twice."""
        self._serving.cancel()
        self._remove()

    def _remove(self) -> None:
        atexit.unregister(self._remove)
        if self._socket.fileno() >= 0:
            self._socket.close()
            with contextlib.suppress(OSError):
                self.path.unlink()

    def __enter__(self) -> "Control":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
