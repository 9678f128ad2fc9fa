"""Simulated time and the wall clock: no faster than asked, and no hurry when nothing happens."""

import select
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from tailrace.cli.errors import UserError
from tailrace_sim.fast.kernel import LONGEST, Kernel
from tailrace_sim.fast.network.peer import Peer

__all__ = ["Pacer", "Source", "check_realtime"]

_CYCLE = 4000  # ps
#: Least factor: a cycle takes 40 ms.
_SLOWEST = 1e-7
#: Seconds of one sleep at most: an interrupt is seen behind it.
_LONGEST_NAP = 0.1
_PS = 1_000_000_000_000
#: Seconds of one sleep: so far simulated time may be behind, if no frame wakes us.
_NAP = 0.02
#: Seconds that simulated time may be behind and still make up for.
_DEBT = 0.1
#: Without ``realtime``: seconds of a sleep between strides, and how long (ps) nothing must have
#: moved at the ports before.
_IDLE_NAP = 0.1
#: Seconds of one sleep while a peer holds a frame: no socket tells that another one has room.
_HELD_NAP = 0.002
_QUIET = 1_000_000_000
#: With a source: how long (ps) nothing must have moved before time stands still.
_DEVICE_QUIET = 4096 * _CYCLE


class Source(Protocol):
    """Somebody outside, apart from the ports, who may ask something of the device."""

    def fileno(self) -> int:
        """What ``select`` can wait on for that."""

    def pump(self) -> int:
        """Take what there is, without waiting; how much that was."""

    def is_busy(self) -> bool:
        """Something is still to happen."""

    def activity(self) -> int:
        """A number that changes with what the device does."""


def check_realtime(factor: float) -> float:
    """The factor, if it can be one.

    Raises
    ------
    UserError
        It is below 1e-7 (a clock cycle takes 40 ms then), or above 1000.
    """
    if not _SLOWEST <= factor <= 1000:
        raise UserError(f"--realtime must be {_SLOWEST:g} to 1000, not {factor:g}")
    return factor


class Pacer:
    """Lets a simulation sleep between its strides; a frame from a peer ends the sleep.

    With ``realtime`` simulated time is never ahead of ``realtime`` times the wall-clock time since
    the start. A simulation that is too slow for that runs as fast as it can and forgets what it is
    behind by, so that it does not race later. Without, it runs as fast as it can while frames move;
    after a simulated millisecond without any it simulates about 10 strides a second. With a source,
    simulated time stands still while neither that nor a port wants anything and the device has done
    nothing for 4096 cycles.

    Attributes
    ----------
    slept : seconds so far
    behind : seconds of wall-clock time that were given up because the simulation was too slow

    Parameters
    ----------
    kernel : the simulation; the pacer takes its ``between``
    peers : to be looked at during sleeps, if they are attached to a port
    realtime : simulated seconds a wall-clock second; None: as fast as it goes
    clock : seconds of wall-clock time
    source : to be asked between strides
    """

    def __init__(
        self,
        kernel: Kernel,
        peers: Sequence[Peer] = (),
        realtime: float | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        source: Source | None = None,
    ):
        self._kernel = kernel
        self._peers = peers
        self._source = source
        self._rate = None if realtime is None else check_realtime(realtime) * _PS
        self._clock = clock
        self._start = clock() - (0 if self._rate is None else kernel.now() / self._rate)
        self._moved = 0
        self._quiet_since = kernel.now()
        self.slept = self.behind = 0.0
        kernel.between = self._between

    def stop(self) -> None:
        """Full speed again."""
        self._kernel.between = None
        self._kernel.longest = LONGEST

    def _between(self) -> None:
        if self._source is not None:
            self._source.pump()
            self._stand_still(self._source)
        if self._rate is not None:
            self._keep_pace(self._rate)
        elif self._source is None:
            self._rest()

    # While something is asked

    def _stand_still(self, source: Source) -> None:
        """Sleep as long as nobody wants anything."""
        now = self._kernel.now()
        moved = source.activity() + sum(self._activity(peer) for peer in self._peers)
        waiting = any(self._waiting(peer) for peer in self._peers)
        if moved != self._moved or waiting or source.is_busy():
            self._moved, self._quiet_since = moved, now
        elif now - self._quiet_since > _DEVICE_QUIET:
            while not self._kernel.interrupted and not self._sleep(_LONGEST_NAP):
                pass
            self._quiet_since = now
            if self._rate is not None:
                self._start = self._clock() - now / self._rate

    # As fast as asked

    def _due(self, rate: float) -> int:
        """Simulated time that is allowed by now."""
        return int((self._clock() - self._start) * rate)

    def _keep_pace(self, rate: float) -> None:
        now = self._kernel.now()
        left = self._due(rate) - now
        if left > rate * _DEBT:
            late = left / rate - _DEBT
            self._start += late
            self.behind += late
            left = int(rate * _DEBT)
        while left < _CYCLE and not self._kernel.interrupted:
            # Up to date: sleep, until a nap's worth of time is due or a frame wants to get in.
            self._sleep(min((max(_NAP * rate, _CYCLE) - left) / rate, _LONGEST_NAP))
            left = self._due(rate) - now
        self._kernel.longest = max(min(left, LONGEST), 1)

    # As fast as useful

    def _rest(self) -> None:
        now = self._kernel.now()
        moved = sum(self._activity(peer) for peer in self._peers)
        if moved != self._moved or any(self._waiting(peer) for peer in self._peers):
            self._moved, self._quiet_since = moved, now
        elif self._peers and now - self._quiet_since > _QUIET and self._sleep(_IDLE_NAP):
            self._quiet_since = now

    @staticmethod
    def _activity(peer: Peer) -> int:
        if peer.port is None:
            return 0
        settings = peer.port.settings
        return int(settings.frames_in + settings.frames_out)

    @staticmethod
    def _waiting(peer: Peer) -> bool:
        return peer.port is not None and bool(peer.port.settings.waiting)

    # Sleep

    def _sleep(self, seconds: float) -> bool:
        """Sleep; True if a peer had something before the time was over, or took what it held."""
        by_number = {
            number: peer
            for peer in self._peers
            if peer.has_room and (number := peer.fileno()) is not None
        }
        held = [peer for peer in self._peers if peer.holds]
        if held:
            seconds = min(seconds, _HELD_NAP)
        before = self._clock()
        numbers = list(by_number)
        if self._source is not None:
            numbers.append(self._source.fileno())
        ready, _, _ = select.select(numbers, [], [], seconds)
        pumped = {id(peer): peer for peer in held}
        pumped |= {id(peer): peer for number, peer in by_number.items() if number in ready}
        moved = sum([peer.pump() for peer in pumped.values()])
        if self._source is not None:
            moved += self._source.pump()
        if ready and not moved:
            # Something that is always ready, as an interface that is down.
            time.sleep(max(0, before + seconds - self._clock()))
        self.slept += self._clock() - before
        return moved > 0
