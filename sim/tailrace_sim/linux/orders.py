"""Orders to a simulation that has a control socket (``plug --control``)."""

import socket
from pathlib import Path

__all__ = ["Orders"]

_LONGEST = 4096


class Orders:
    """Sends them, and has the answers when they have come; never waits.

    Parameters
    ----------
    name : of the simulation, for messages
    path : of its control socket
    """

    def __init__(self, name: str, path: Path):
        self._name = name
        self._path = path
        self._sent: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        # Linux finds an address for the answers.
        self._socket.bind("")

    def send(self, order: str) -> str | None:
        """Send one; what is wrong if it can't be sent."""
        try:
            self._socket.sendto(order.encode(), str(self._path))
        except OSError as error:
            return f"{self._name} takes no orders: {order}: {error.strerror}"
        self._sent.append(order)
        return None

    def complaint(self) -> str | None:
        """What the simulation has said of an order, if it was not that all is well."""
        while self._sent:
            try:
                answer = self._socket.recv(_LONGEST).decode(errors="replace")
            except BlockingIOError:
                return None
            order = self._sent.pop(0)
            if answer != "ok":
                return f"{self._name} refuses {order!r}: {answer}"
        return None

    def close(self) -> None:
        """Behind this there are no answers."""
        self._socket.close()
