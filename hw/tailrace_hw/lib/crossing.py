"""The gateware's own list of its clock domain crossings.

Signals cross between clock domains only in the synchronisers of ``amaranth.lib.cdc``, in
:class:`~tailrace_hw.lib.fifo.AsyncFifo` and in what is built of them. :func:`crossings` elaborates
a component, finds them in the tree and gives each with the registers on both sides, under the
names that they have in the emitted Verilog. Constraints are generated from that list
(:mod:`tailrace_hw.boards.constraints`); a test compares it with what crosses in the Verilog.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from amaranth.hdl import Signal
from amaranth.hdl._ast import Assign, SignalDict, Switch
from amaranth.hdl._ir import Design, Fragment, Instance
from amaranth.hdl._mem import MemoryInstance
from amaranth.lib import wiring
from amaranth.lib.cdc import AsyncFFSynchronizer, FFSynchronizer, PulseSynchronizer

from tailrace_hw.lib.fifo import AsyncFifo
from tailrace_hw.verilog import prepare

__all__ = ["READ_REGISTER", "Crossing", "Kind", "Source", "crossings"]

#: Yosys's name for the output register of a memory's read port.
READ_REGISTER = "_0_"


class Kind(Enum):
    """How a value crosses."""

    #: A vector of which one bit changes at a time: its bits may not drift apart.
    GRAY = "gray pointer"
    #: A memory that one domain writes and the other reads, guarded by Gray pointers.
    MEMORY = "memory"
    #: One bit, or bits that have nothing to do with each other.
    LEVEL = "level"
    #: One bit that toggles for each event.
    PULSE = "pulse"
    #: Asynchronous set of registers that leave it with their own clock.
    RESET = "reset"


@dataclass(frozen=True, order=True)
class Source:
    """What drives a crossing.

    Attributes
    ----------
    domain : clock domain; empty for an input port of the component of which nothing is known
    name : register, memory or input port, as a path below the component
    port : it is an input port of the component
    """

    domain: str
    name: str
    port: bool = False


@dataclass(frozen=True)
class Crossing:
    """One crossing. Names are paths of instances and a register below the component, with slashes.

    Attributes
    ----------
    kind : how it crosses
    name : the synchroniser or memory
    sources : what drives it, registers of the sink's own domain among them where logic mixes them
    sink : clock domain it arrives in
    registers : what the crossing signals reach: the first stage of a synchroniser, all stages of
        one that is set asynchronously, the register behind a memory
    stages : the synchroniser's registers in order; empty for a memory
    width : bits
    """

    kind: Kind
    name: str
    sources: tuple[Source, ...]
    sink: str
    registers: tuple[str, ...]
    stages: tuple[str, ...]
    width: int

    @property
    def foreign(self) -> tuple[Source, ...]:
        """The sources outside the sink's domain."""
        return tuple(source for source in self.sources if source.domain != self.sink)

    @property
    def source(self) -> str:
        """The clock domain it comes from; empty if it is not known.

        Raises
        ------
        ValueError
            There are several.
        """
        domains = {source.domain for source in self.foreign}
        if len(domains) > 1:
            raise ValueError(f"{self.name} comes from several domains: {', '.join(domains)}")
        return next(iter(domains), "")

    def below(self, path: str, ports: Mapping[str, Iterable[Source]]) -> "Crossing":
        """The same crossing in a component that has this one as ``path``.

        Parameters
        ----------
        ports : what drives the input ports
        """
        sources: set[Source] = set()
        for source in self.sources:
            if source.port:
                sources |= set(ports[source.name])
            else:
                sources.add(replace(source, name=f"{path}/{source.name}"))
        return replace(
            self,
            name=f"{path}/{self.name}",
            sources=tuple(sorted(sources)),
            registers=tuple(f"{path}/{name}" for name in self.registers),
            stages=tuple(f"{path}/{name}" for name in self.stages),
        )


def crossings(
    component: wiring.Component,
    clocks: Mapping[str, str] | None = None,
    instances: Mapping[str, Mapping[str, str]] | None = None,
) -> "Tree":
    """Elaborate a component and look for its crossings.

    Parameters
    ----------
    clocks : clock domain of input ports that belong to one; those of a clock domain's own reset
        need not be named, the others count as asynchronous
    instances : by the name of a foreign module, its ports with the port that has their clock
    """
    return Tree(prepare(component, "top"), clocks or {}, instances or {})


class Tree:
    """An elaborated component and its crossings.

    Attributes
    ----------
    crossings : tuple of :class:`Crossing`, in the order of the hierarchy
    domains : clock domains of the component
    """

    def __init__(
        self,
        design: Design,
        clocks: Mapping[str, str],
        instances: Mapping[str, Mapping[str, str]],
    ):
        self._design = design
        self._clocks = clocks
        self._instances = instances
        self._outputs = SignalDict()
        for fragment in design.fragments:
            if isinstance(fragment, Instance):
                for name, (value, kind) in fragment.ports.items():
                    for signal in value._lhs_signals() if kind == "o" else ():
                        self._outputs[signal] = (fragment, name)
        self._drivers = _drivers(design)
        self._top = design.fragment
        self._inputs = SignalDict(
            (signal, name)
            for name, signal, _ in design.ports
            if signal not in self._drivers and signal not in self._outputs
        )
        self._named = {
            domain: self._alias(record.clk) for domain, record in self._top.domains.items()
        }
        self.domains = tuple(self._named)
        self.crossings = tuple(self._walk(self._top, ()))

    def driving(self, value) -> set[Source]:
        """Registers and input ports on which a value depends without a register in between."""
        return self._trace(value._rhs_signals())

    def entering(self, instance: str) -> dict[str, set[Source]]:
        """By input port: what drives a foreign module's instance, given by its path."""
        for fragment in self._design.fragments:
            if isinstance(fragment, Instance) and "/".join(self._path(fragment)) == instance:
                return {
                    name: self.driving(value)
                    for name, (value, kind) in fragment.ports.items()
                    if kind == "i"
                }
        raise ValueError(f"there is no instance {instance}")

    def _walk(self, fragment: Fragment, parent: tuple[object, ...]) -> Iterator[Crossing]:
        origins = fragment.origins or ()
        for origin in origins:
            if isinstance(origin, FFSynchronizer):
                yield self._synchroniser(fragment, origin, parent)
            elif isinstance(origin, AsyncFFSynchronizer):
                yield self._reset(fragment, origin)
        if isinstance(fragment, MemoryInstance):
            yield from self._memory(fragment)
        for child, _, _ in fragment.subfragments:
            yield from self._walk(child, origins)

    def _synchroniser(self, fragment, origin: FFSynchronizer, parent) -> Crossing:
        (domain,) = (name for name in fragment.statements if name != "comb")
        stages = tuple(self._registers(fragment, domain))
        width = len(origin.i)
        if any(isinstance(owner, PulseSynchronizer) for owner in parent):
            kind = Kind.PULSE
        elif any(isinstance(owner, AsyncFifo) for owner in parent) and width > 1:
            kind = Kind.GRAY
        else:
            kind = Kind.LEVEL
        return self._crossing(
            kind, fragment, self.driving(origin.i), domain, stages[:1], stages, width
        )

    def _reset(self, fragment, origin: AsyncFFSynchronizer) -> Crossing:
        (domain,) = (name for name in fragment.statements if name != "comb")
        stages = tuple(self._registers(fragment, domain))
        return self._crossing(
            Kind.RESET, fragment, self.driving(origin.i), domain, stages, stages, 1
        )

    def _memory(self, fragment: MemoryInstance) -> Iterator[Crossing]:
        # The emitted Verilog has the memory in the module around it.
        path = self._path(fragment)
        written = {self._domain(fragment, port._domain) for port in fragment._write_ports}
        for port in fragment._read_ports:
            if port._domain == "comb":
                continue  # what it reads is followed to the register behind it
            domain = self._domain(fragment, port._domain)
            if written <= {domain}:
                continue
            sources = {Source(source, "/".join(path)) for source in written}
            yield Crossing(
                Kind.MEMORY,
                "/".join(path),
                tuple(sorted(sources)),
                domain,
                ("/".join((*path[:-1], READ_REGISTER)),),
                (),
                len(port._data),
            )

    def _crossing(self, kind, fragment, sources, domain, registers, stages, width) -> Crossing:
        return Crossing(
            kind,
            "/".join(self._path(fragment)),
            tuple(sorted(sources)),
            self._domain(fragment, domain),
            registers,
            stages,
            width,
        )

    def _registers(self, fragment: Fragment, domain: str) -> Iterator[str]:
        """Registers of a fragment in one domain, in the order of their statements."""
        for statement in fragment.statements[domain]:
            for signal in statement._lhs_signals():
                yield self._name(fragment, signal)

    def _path(self, fragment: Fragment) -> tuple[str, ...]:
        return tuple(self._design.fragments[fragment].name[1:])

    def _name(self, fragment: Fragment, signal: Signal) -> str:
        names = self._design.fragments[fragment].signal_names
        return "/".join((*self._path(fragment), names[signal]))

    def _domain(self, fragment: Fragment, name: str) -> str:
        """A domain by the name that the component has for its clock."""
        return self._clock_of(fragment.domains[name].clk)

    def _clock_of(self, clock: Signal) -> str:
        clock = self._alias(clock)
        for domain, signal in self._named.items():
            if signal is clock:
                return domain
        raise ValueError(f"the clock {clock.name} belongs to no domain of the component")

    def _alias(self, signal: Signal) -> Signal:
        """The signal that another one is just a name of."""
        while signal in self._drivers:
            _, domain, rhs = self._drivers[signal][0]
            if len(self._drivers[signal]) > 1 or domain != "comb" or len(rhs) != 1:
                return signal
            signal = rhs[0]
        return signal

    def _trace(self, signals: Iterable[Signal]) -> set[Source]:
        found: set[Source] = set()
        seen = SignalDict()
        queue = list(signals)
        while queue:
            signal = queue.pop()
            if signal in seen:
                continue
            seen[signal] = True
            if signal in self._inputs:
                found.add(self._input(signal))
            if signal in self._outputs:
                found.add(self._output(signal))
            for fragment, domain, rhs in self._drivers.get(signal, ()):
                if domain == "comb":
                    queue += rhs
                else:
                    found.add(Source(self._domain(fragment, domain), self._name(fragment, signal)))
        return found

    def _input(self, signal: Signal) -> Source:
        name = self._inputs[signal]
        for domain, record in self._top.domains.items():
            if record.rst is signal:
                return Source(domain, name, port=True)
        return Source(self._clocks.get(name, ""), name, port=True)

    def _output(self, signal: Signal) -> Source:
        fragment, name = self._outputs[signal]
        clock = self._instances.get(fragment.type, {}).get(name, "")
        domain = self._clock_of(fragment.ports[clock][0]) if clock else ""
        return Source(domain, "/".join((*self._path(fragment), name)))


def _drivers(design: Design) -> SignalDict:
    """By signal: the fragment, the domain and the right-hand side of each of its assignments."""
    drivers = SignalDict()

    def visit(fragment, domain, statements, conditions):
        for statement in statements:
            if isinstance(statement, Switch):
                inner = [*conditions, *statement.test._rhs_signals()]
                for _, body, _ in statement.cases:
                    visit(fragment, domain, body, inner)
            elif isinstance(statement, Assign):
                rhs = [*conditions, *statement.rhs._rhs_signals()]
                for signal in statement.lhs._lhs_signals():
                    drivers.setdefault(signal, []).append((fragment, domain, rhs))

    for fragment in design.fragments:
        for domain, statements in fragment.statements.items():
            visit(fragment, domain, statements, [])
        if isinstance(fragment, MemoryInstance):
            writes = [port._domain for port in fragment._write_ports]
            for port in fragment._read_ports:
                for domain in writes if port._domain == "comb" else [port._domain]:
                    for signal in port._data._lhs_signals():
                        drivers.setdefault(signal, []).append((fragment, domain, []))
    return drivers
