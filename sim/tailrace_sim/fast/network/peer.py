"""The outside end of a port's wire: what all kinds of it have in common."""

import atexit
import dataclasses
from abc import ABC, abstractmethod
from collections import deque
from typing import Any

__all__ = ["Counters", "Limits", "NoRoom", "Peer"]

#: Frames that wait to enter the device, at most: more stay with the sender, or in the system.
_WAITING = 64
#: Shortest Ethernet header: addresses and type.
_HEADER = 14
_CYCLE_NS = 4


@dataclasses.dataclass(frozen=True)
class Limits:
    """Lengths of frames, without FCS, that the device takes.

    Attributes
    ----------
    shortest : frames below are filled with zeros, as a MAC does (not those without whole header)
    longest : frames above are dropped and counted
    """

    shortest: int = _HEADER
    longest: int = 9238


@dataclasses.dataclass
class Counters:
    """Frames of a peer so far.

    Attributes
    ----------
    frames_in, bytes_in : from the peer into the device
    frames_out, bytes_out : from the device, given to the peer
    too_long, too_short : from the peer, dropped: longer than the device takes, no Ethernet header
    refused : the system said that nobody takes them: nobody has the remote socket, no route, the
        interface is down
    full : from the device, dropped: the system has no room for them, and none was made in time
    missed : from the peer, dropped by the system: the simulation did not take them in time
    link_down : both ways, dropped: the port has no link
    """

    frames_in: int = 0
    bytes_in: int = 0
    frames_out: int = 0
    bytes_out: int = 0
    too_long: int = 0
    too_short: int = 0
    refused: int = 0
    full: int = 0
    missed: int = 0
    link_down: int = 0

    def lines(self) -> list[tuple[str, str]]:
        """Rows of a summary; what did not happen is left out."""
        rows = [
            ("frames in", f"{self.frames_in} ({self.bytes_in} bytes)"),
            ("frames out", f"{self.frames_out} ({self.bytes_out} bytes)"),
        ]
        dropped = {
            "dropped, too long": self.too_long,
            "dropped, too short": self.too_short,
            "refused by the other side": self.refused,
            "dropped, no room outside": self.full,
            "missed, came too fast": self.missed,
            "dropped, the link is down": self.link_down,
        }
        return rows + [(name, str(count)) for name, count in dropped.items() if count]


class NoRoom(Exception):
    """The outside can't take this frame now; it is to be offered again."""


class Peer(ABC):
    """Frames from outside into a port, and what leaves the port to the outside.

    ::

        with open_peer("udp:127.0.0.1:5001,127.0.0.1:5000") as peer:
            cocotb.start_soon(peer.run(system.port))

    Nothing here waits for the other side for more than some milliseconds: while that has no room,
    the device sends nothing more and the simulation goes on. What is wrong with a frame, or with
    the other side, is counted, and ends nothing. It is closed with the process at the latest.

    Attributes
    ----------
    name : for the user: with the address that the system has chosen, if it has
    counters : so far
    limits : of the device
    port : that it is attached to, None before :meth:`attach`
    link_up : nothing passes while it is False
    """

    def __init__(self, name: str, limits: Limits | None = None):
        self.name = name
        self.counters = Counters()
        self.limits = limits or Limits()
        self.port: Any = None
        self._leaving: deque[Any] = deque()
        self.closed = False
        self.link_up = True
        atexit.register(self.close)

    # What a kind of peer has to know

    @abstractmethod
    def _read(self) -> bytes | None:
        """The next frame from outside, None if there is none now."""

    @abstractmethod
    def _write(self, frame: bytes, cycle: int) -> bool:
        """Give a frame to the outside; False if that was counted as something else.

        Raises
        ------
        NoRoom
            It has neither been given nor counted.
        """

    @abstractmethod
    def _close(self) -> None:
        """Called once."""

    def fileno(self) -> int | None:
        """What ``select`` can wait on for frames; None if there is no such thing."""
        return None

    @property
    def finished(self) -> bool:
        """Nothing will ever come from outside any more."""
        return self.closed

    @property
    def has_room(self) -> bool:
        """The port would take a frame."""
        return self.port is not None and self.port.settings.waiting < _WAITING

    @property
    def holds(self) -> bool:
        """A frame has left the device that the outside has no room for yet."""
        return bool(self._leaving)

    # Traffic

    def attach(self, port: Any) -> None:
        """From now on :meth:`pump` serves this :class:`~tailrace_sim.fast.mac_port.FastPort`."""
        self.port = port

    def pump(self) -> int:
        """Move what there is, both ways; number of frames."""
        if self.closed:
            return 0
        return self._outward() + self._inward()

    def _outward(self) -> int:
        while not self.port.received.empty():
            self._leaving.append(self.port.received.get_nowait())
        moved = 0
        try:
            while self._leaving:
                self._leave(self._leaving[0])
                self._leaving.popleft()
                moved += 1
        except NoRoom:
            pass
        self.port.settings.hold = int(self.holds)
        return moved

    def _leave(self, frame: Any) -> None:
        if not self.link_up:
            self.counters.link_down += 1
        elif self._write(frame.data, frame.end):
            self.counters.frames_out += 1
            self.counters.bytes_out += len(frame.data)

    def _inward(self) -> int:
        # Nobody else looks at what has entered, and it would grow without end.
        self.port.sent.clear()
        moved = 0
        for _ in range(max(0, _WAITING - self.port.settings.waiting)):
            frame = self._read()
            if frame is None:
                break
            moved += 1
            self._enter(frame)
        return moved

    def _enter(self, frame: bytes) -> None:
        if not self.link_up:
            self.counters.link_down += 1
        elif len(frame) < _HEADER:
            self.counters.too_short += 1
        elif len(frame) > self.limits.longest:
            self.counters.too_long += 1
        else:
            self.counters.frames_in += 1
            self.counters.bytes_in += len(frame)
            self.port.send(frame.ljust(self.limits.shortest, b"\0"))

    async def run(self, port: Any, *, cycles: int = 256) -> None:
        """Serve a port until :meth:`close`, looking outside every so many cycles."""
        # Not above: cocotb is there inside a simulation only.
        from cocotb.triggers import Timer

        self.attach(port)
        while not self.closed:
            self.pump()
            await Timer(cycles * _CYCLE_NS, "ns")

    # End

    def close(self) -> None:
        """Give everything back to the system; may be called twice."""
        if not self.closed:
            self.closed = True
            self.counters.full += len(self._leaving)
            self._leaving.clear()
            atexit.unregister(self.close)
            self._close()

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
