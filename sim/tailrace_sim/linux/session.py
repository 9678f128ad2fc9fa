"""A guest with the device in its slot, and what is at the other end of the wire."""

import contextlib
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tailrace.cli.signals import signal_ends
from tailrace_sim.linux import registers
from tailrace_sim.linux.guest import Guest, GuestOptions, dgram_nic, dpu_slot
from tailrace_sim.linux.images import Images
from tailrace_sim.linux.orders import Orders
from tailrace_sim.linux.simulation import Simulation

__all__ = ["ADDRESS", "PEER_ADDRESS", "Outcome", "Session", "SessionOptions"]

ADDRESS, PEER_ADDRESS = "10.9.0.2", "10.9.0.1"
_PEER_MAC, _PLAIN_MAC = "02:00:00:00:09:01", "02:00:00:00:09:02"
_PEER_MEMORY = 256
#: Of the device, and so of what is at the other end.
_MTU = 9000
_POLL = 0.1
#: More often than this a guest with scripts boots only when its kernel dies.
_BOOTS = 4


@dataclass(frozen=True)
class SessionOptions:
    """What is to be run.

    Attributes
    ----------
    scripts : text by name; none: the guest has a shell on the terminal
    peer : ``guest``, ``dpu``, ``none``, or what ``plug`` can connect a port to
    functions : of the device that are plugged in
    cpus, memory : of the guest, number and MiB
    rings : ``packed`` or ``split``
    plain : an ordinary virtio network device is in the slot instead, to compare with
    time_out : seconds until all is ended; None: never
    plug : further options of ``plug``, for the guest's own device
    config : options of ``plug`` for every device
    """

    scripts: dict[str, str] = field(default_factory=dict)
    peer: str = "guest"
    functions: tuple[int, ...] = (0, 1)
    cpus: int = 1
    memory: int = 512
    rings: str = "packed"
    plain: bool = False
    time_out: float | None = None
    plug: Sequence[str] = ()
    config: Sequence[str] = ()


@dataclass
class Outcome:
    """What came of it.

    Attributes
    ----------
    statuses : exit status of each script that ended, by its name
    problem : why it ended before it should, if it did
    summaries : last lines of each simulation, by its name
    """

    statuses: dict[str, int] = field(default_factory=dict)
    problem: str | None = None
    summaries: dict[str, list[str]] = field(default_factory=dict)


class Session:
    """Starts everything, follows it to its end, and leaves nothing behind.

    Parameters
    ----------
    directory : where the logs of the guests go
    show : called with lines of the guest's console, and with what happens
    simulate : makes a :class:`Simulation`
    """

    def __init__(
        self,
        images: Images,
        options: SessionOptions,
        directory: Path,
        show: Callable[[str], None],
        simulate: Callable[..., Simulation] = Simulation,
    ):
        self._images = images
        self._options = options
        self._directory = directory
        self._show = show
        self._simulate = simulate
        self._simulations: list[Simulation] = []
        self._guests: list[Guest] = []
        self._orders: Orders | None = None
        self._finished = False
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """All of it.

        Raises
        ------
        UserError
            It could not be started.
        KeyboardInterrupt
            It was interrupted; :attr:`outcome` has what came of it until then.
        """
        # Short: the path of a socket has 107 characters at most.
        with tempfile.TemporaryDirectory(prefix="tailrace-") as scratch, signal_ends():
            with _terminal_kept(), contextlib.ExitStack() as stack:
                stack.callback(self._stop)
                self._start(Path(scratch))
                self._follow()
        return self.outcome

    def _plug(self, name: str, scratch: Path, port0: str | None, own: Sequence[str]) -> list[str]:
        """Start a device; the slot with it."""
        sockets = {n: scratch / f"{name}{n}" for n in self._options.functions}
        options = [*self._options.config, *own]
        simulation = self._simulate(f"the simulation of {name}", sockets, port0, options)
        self._simulations.append(simulation)
        return dpu_slot(sockets)

    def _dpu(self, scratch: Path, port0: str | None) -> list[str]:
        """Start the guest's device, which takes orders; the slot with it."""
        control = scratch / "control"
        slot = self._plug("dpu", scratch, port0, [f"--control={control}", *self._options.plug])
        self._orders = Orders(self._simulations[-1].name, control)
        return slot

    def _start(self, scratch: Path) -> None:
        """Simulations first: QEMU does not wait for their sockets."""
        options = self._options
        here, there = scratch / "here", scratch / "there"
        with_peer = options.peer in ("guest", "dpu")
        port0 = f"unix:{there},{here}" if with_peer else options.peer
        if options.plain:
            slot = dgram_nic(here, there, _PLAIN_MAC, _MTU)
        else:
            slot = self._dpu(scratch, None if port0 == "none" else port0)
        peer_slot = dgram_nic(there, here, _PEER_MAC, _MTU)
        if options.peer == "dpu":
            peer_slot = self._plug("peer", scratch, f"unix:{here},{there}", ())
        for simulation in self._simulations:
            simulation.wait_ready()
        variables = {
            "ADDRESS": ADDRESS, "PEER": PEER_ADDRESS if with_peer else "",
            "WIRE": options.peer.partition(":")[0],
            **registers.variables(rings=options.rings),
        }  # fmt: skip
        if with_peer:
            away = {**variables, "ADDRESS": PEER_ADDRESS, "PEER": ADDRESS}
            # Its kernel makes and verifies each sum itself, as with the ordinary NIC.
            away |= (
                registers.variables(rings=options.rings, sums=False)
                if options.peer == "dpu"
                else registers.variables(rings="packed")
            )
            peer = GuestOptions("peer", peer_slot, away, memory=_PEER_MEMORY)
            self._boot("the peer", peer, None)
        host = GuestOptions(
            "host", slot, variables, options.scripts, options.cpus, options.memory,
            console=not options.scripts,
        )  # fmt: skip
        self._boot("the guest", host, self._show)

    def _boot(self, name: str, options: GuestOptions, show: Callable[[str], None] | None) -> None:
        directory = self._directory / options.role
        # The guest with the device is the last one.
        self._guests.append(Guest(name, self._images, options, directory, show))

    def _follow(self) -> None:
        """Until the guest has ended, or somebody else has who should not."""
        guest = self._guests[-1]
        limit = self._options.time_out
        end = None if limit is None else time.monotonic() + limit
        while guest.running and self.outcome.problem is None:
            time.sleep(_POLL)
            self._listen(guest)
            self.outcome.problem = self.outcome.problem or self._trouble(guest)
            if self.outcome.problem is None and end is not None and time.monotonic() > end:
                self.outcome.problem = f"the guest had not ended after {limit:g} s"
        self._listen(guest)
        if self._options.scripts and "end" not in guest.events and self.outcome.problem is None:
            self.outcome.problem = guest.complaint()
        self._finished = True

    def _listen(self, guest: Guest) -> None:
        for event in guest.poll():
            word, _, rest = event.partition(" ")
            if word == "exit":
                status, _, name = rest.partition(" ")
                self.outcome.statuses[name] = int(status)
            elif word == "wire" and self._orders is not None:
                self.outcome.problem = self.outcome.problem or self._orders.send(rest)

    def _trouble(self, guest: Guest) -> str | None:
        """What ended, or can't go on, while the guest still runs."""
        if self._orders is not None and (refused := self._orders.complaint()) is not None:
            return refused
        for simulation in self._simulations:
            # With --once it ends when its guest does, which may be this very moment.
            if not simulation.running and guest.running and "end" not in guest.events:
                return simulation.complaint()
        for other in self._guests[:-1]:
            other.poll()
            if not other.running:
                return other.complaint()
            if "trouble no network" in other.events:
                return f"{other.name} found no network device; see {other.log}"
        if self._options.scripts and guest.boots > _BOOTS:
            return f"{guest.name} boots again and again; see {guest.log}"
        return None

    def _stop(self) -> None:
        """The guests, then the simulations, which end with them."""
        with contextlib.ExitStack() as stack:
            if self._orders is not None:
                stack.callback(self._orders.close)
            for simulation in self._simulations:
                stack.callback(self._end, simulation)
            for guest in self._guests:
                stack.callback(guest.stop)

    def _end(self, simulation: Simulation) -> None:
        hurry = not self._finished or self.outcome.problem is not None
        self.outcome.summaries[simulation.name] = simulation.stop(hurry=hurry)
        if simulation.failed:
            # A QEMU without its device dies too, and nobody can say which of the two is seen first.
            why, other = simulation.complaint(), self.outcome.problem
            self.outcome.problem = why if other in (None, why) else f"{why}; then {other}"


@contextlib.contextmanager
def _terminal_kept() -> Iterator[None]:
    """The terminal is as it was, whoever had it meanwhile and however he ended."""
    try:
        before = termios.tcgetattr(sys.stdin.fileno())
    except (termios.error, OSError, ValueError):
        yield
        return
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, before)
