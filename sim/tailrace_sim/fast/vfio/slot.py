"""The server: a socket a function, and the clients that connect to it."""

import atexit
import contextlib
import select
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cocotb
from cocotb.queue import Queue
from cocotb.triggers import Event, Lock

from tailrace_sim.fast.pcie_host import FastPcieHost
from tailrace_sim.fast.vfio.client import PATIENCE, Client, Complaints
from tailrace_sim.fast.vfio.function import PluggedFunction
from tailrace_sim.fast.vfio.protocol import Message
from tailrace_sim.fast.vfio.sockets import listen

__all__ = ["Place", "Slot"]

#: Requests of one client that may wait before its socket is not read any more.
_WAITING = 64


class Place:
    """A function and its socket.

    Attributes
    ----------
    path : of the socket
    function : what is there
    client : that has it now
    clients, busy : that have come; that came while another one had it
    complaints : about them
    maps, messages, late : of clients that have gone
    """

    def __init__(self, host: FastPcieHost, number: int, path: Path, lock: Lock):
        self.path = path
        self.listener = listen(path)
        self.function = PluggedFunction(host, number, lock)
        self.complaints = Complaints()
        self.client: Client | None = None
        self.clients = self.busy = 0
        self.messages = self.late = 0
        self.queue: Queue[tuple[Client, Message | None] | None] = Queue()

    async def serve(self) -> None:
        """Requests, one behind the other, until there is None."""
        while (item := await self.queue.get()) is not None:
            client, message = item
            if message is not None:
                await client.handle(message)
            else:
                await client.clean_up()
                client.close()

    def close(self) -> None:
        """Remove the socket."""
        self.listener.close()
        with contextlib.suppress(OSError):
            self.path.unlink()
        if self.client is not None:
            self.client.close()


class Slot:
    """The device in the slots of other programs: each function at a socket of its own.

    ::

        slot = Slot(host, {1: Path("/tmp/dpu")})
        await slot.start()
        pacer = Pacer(kernel, [peer], slot=slot)
        await slot.left.wait()

    Nothing here waits for a client, and nothing that a client sends ends the simulation.

    Attributes
    ----------
    places : by function
    left : every client that has come has gone

    Parameters
    ----------
    host : started and enumerated; the functions named here are the clients' from now on
    sockets : path by function number
    patience : seconds that an access of a client may take until it is answered with all ones

    Raises
    ------
    UserError
        A socket cannot be made.
    """

    def __init__(self, host: FastPcieHost, sockets: dict[int, Path], patience: float = PATIENCE):
        self._host = host
        self._patience = patience
        self._kernel = host.kernel
        self._epoll = select.epoll()
        self.places: dict[int, Place] = {}
        self.left = Event()
        self._serving: list[Any] = []
        self._others: list[Callable[[], int]] = []
        self._config_lock = Lock()
        host.memory.fence()
        try:
            for number, path in sorted(sockets.items()):
                self._add(number, path)
        except Exception:
            self.close()
            raise
        kernel = self._kernel
        for kind in (kernel.lib.TR_CLIENT_READ, kernel.lib.TR_CLIENT_WRITE):
            kernel.on_event(host.device.index, kind, self._transfer)
        kernel.lib.tr_wake(kernel.world, self._epoll.fileno())
        atexit.register(self.close)

    def _add(self, number: int, path: Path) -> None:
        place = Place(self._host, number, path, self._config_lock)
        self.places[number] = place
        self._epoll.register(place.listener.fileno(), select.EPOLLIN)

    def also(self, number: int, pump: Callable[[], int]) -> None:
        """Somebody else who is heard while clients are, even if the simulation sleeps.

        Parameters
        ----------
        number : what ``select`` can wait on for that
        pump : takes what there is, without waiting; how much that was
        """
        self._epoll.register(number, select.EPOLLIN)
        self._others.append(pump)

    async def start(self) -> None:
        """Functions as a reset leaves them; then clients are served."""
        for place in self.places.values():
            await place.function.reset()
            place.function.resets = 0
            self._serving.append(cocotb.start_soon(place.serve()))

    async def finish(self) -> None:
        """Nobody has the functions any more; behind this they are at rest."""
        for place in self.places.values():
            place.listener.close()
            if place.client is not None:
                place.client.end("")
                self._drop(place, place.client)
            place.queue.put_nowait(None)
        for task in self._serving:
            await task

    # What the pacer asks

    def fileno(self) -> int:
        """Readable when there is something to :meth:`pump`."""
        return self._epoll.fileno()

    def pump(self) -> int:
        """Take what has come from clients, without waiting; how much that was."""
        moved = 0
        for place in self.places.values():
            if place.client is not None:
                moved += self._pump(place, place.client)
        if self._epoll.poll(0):
            for place in self.places.values():
                moved += self._accept(place)
            moved += sum([pump() for pump in self._others])
        if moved and self._kernel.after_events is not None:
            self._kernel.after_events()
        return moved

    def is_busy(self) -> bool:
        """Something is under way: a request, or an access of the device that waits."""
        host = self._host
        return (
            any(place.client is not None and place.client.waiting for place in self.places.values())
            or any(not place.queue.empty() for place in self.places.values())
            or any(p.function.space.waiting or p.function.space.held for p in self.places.values())
            or host.is_waiting
            or bool(host.device.link.outstanding)
        )

    def activity(self) -> int:
        """A number that changes whenever the device does something on the link."""
        link = self._host.device.link
        return int(link.read_tlps + link.write_tlps + link.interrupts)

    # Clients

    def _pump(self, place: Place, client: Client) -> int:
        moved = 0
        with contextlib.suppress(EOFError):
            client.connection.flush()
        if client.waiting < _WAITING and client.gone is None:
            for message in client.receive():
                place.queue.put_nowait((client, message))
                moved += 1
        elif client.connection.is_hung_up():
            # What waits is of no use to anybody any more.
            client.end("")
        client.look_at_clock()
        if client.gone is not None:
            self._drop(place, client)
            return moved + 1
        wanted = select.EPOLLIN if client.waiting < _WAITING else 0
        wanted |= select.EPOLLOUT if client.connection.has_unsent else 0
        self._epoll.modify(client.connection.fileno(), wanted)
        return moved

    def _accept(self, place: Place) -> int:
        try:
            sock, _ = place.listener.accept()
        except OSError:
            return 0
        client = place.client
        if client is not None and client.connection.is_hung_up():
            # It has gone since we looked, and this may be the same one again.
            self._pump(place, client)
            if place.client is client:
                client.end("")
                self._drop(place, client)
        if place.client is not None:
            place.busy += 1
            sock.close()
            return 1
        self._take(place, sock)
        return 1

    def _take(self, place: Place, sock: socket.socket) -> None:
        place.clients += 1
        self.left.clear()
        place.client = Client(
            self._kernel, self._host.device.index, place.function, sock, place.complaints,
            self._patience,
        )  # fmt: skip
        self._epoll.register(sock.fileno(), select.EPOLLIN)

    def _drop(self, place: Place, client: Client) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._epoll.unregister(client.connection.fileno())
        place.messages += client.memory.messages
        place.late += client.late
        place.client = None
        # Behind its requests, which find that it has gone; its memory goes at once.
        client.memory.unmap_all()
        place.queue.put_nowait((client, None))
        if all(other.client is None for other in self.places.values()):
            self.left.set()

    def _transfer(self, event: Any) -> None:
        place = self.places.get(int(event.c))
        if place is not None and place.client is not None:
            place.client.memory.transfer(event)

    # End

    def close(self) -> None:
        """Remove the sockets; clients see that we have gone."""
        atexit.unregister(self.close)
        if not self._epoll.closed:
            self._kernel.lib.tr_wake(self._kernel.world, -1)
            self._epoll.close()
        for place in self.places.values():
            place.close()

    def __enter__(self) -> "Slot":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
