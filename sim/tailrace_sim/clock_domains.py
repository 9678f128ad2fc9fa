"""What crosses between clock domains in a Verilog text, by following wires.

Independent of the gateware's own list (:mod:`tailrace_hw.lib.crossing`), which knows its
synchronisers: here every register is looked at, and everything it depends on.
"""

import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tailrace_hw.boards.blackbox import BlackBox
from tailrace_hw.lib.crossing import Crossing, Kind
from tailrace_hw.verilog import yosys
from tailrace_sim.verilog_modules import modules, one_clock_only

__all__ = ["Edge", "Netlist", "differences", "read_netlist"]

#: Lines from which on a module with one clock is not looked into.
_LARGE = 300
_BITWISE = {"$and", "$or", "$xor", "$xnor", "$not", "$pos", "$mux"}
_REGISTERS = {"$dff", "$adff", "$aldff", "$dffsr"}
_ASYNCHRONOUS = {"ARST", "ALOAD", "AD", "SET", "CLR"}

Bit = int | str


@dataclass(frozen=True, order=True)
class Edge:
    """A dependency from one clock domain to another.

    Attributes
    ----------
    source, sink : elements: a register, a memory, a foreign module's port, an input
    asynchronous : it reaches an asynchronous set or reset
    """

    source: str
    sink: str
    asynchronous: bool


@dataclass
class _Element:
    """Something that holds a value, or stands for what does."""

    clock: Bit | None
    inputs: list[tuple[Bit, bool]] = field(default_factory=list)


class Netlist:
    """A flat netlist of registers and what lies between them.

    Attributes
    ----------
    module : the flat module, as Yosys writes it
    """

    def __init__(
        self,
        module: Mapping[str, Any],
        boxes: Mapping[str, Mapping[str, str]],
        inputs: Mapping[str, str],
    ):
        self.module = module
        self._elements: dict[str, _Element] = {}
        self._driver: dict[Bit, str] = {}
        self._logic: dict[Bit, list[Bit]] = {}
        self._names = {name: net["bits"] for name, net in module["netnames"].items()}
        for name, cell in module["cells"].items():
            self._add(name, cell, boxes)
        for name, port in module["ports"].items():
            if port["direction"] == "input":
                clock = self._names[inputs[name]][0] if name in inputs else None
                self._elements[f"input {name}"] = _Element(clock)
                self._driver.update(dict.fromkeys(port["bits"], f"input {name}"))
        self.edges = self._find()

    def _add(self, name: str, cell: Mapping[str, Any], boxes) -> None:
        kind, wires = cell["type"], cell["connections"]
        if kind in _REGISTERS:
            self._register(name, wires)
        elif kind.startswith("$memrd"):
            self._memory(cell)
            for bit in wires["DATA"]:
                self._logic[bit] = [*wires["ADDR"], *wires["EN"]]
                self._driver[bit] = _memory_name(cell)
        elif kind.startswith("$memwr"):
            element = self._memory(cell)
            element.clock = wires["CLK"][0]
            for port in ("ADDR", "DATA", "EN"):
                element.inputs += [(bit, False) for bit in wires[port]]
        elif kind.startswith("$meminit"):
            pass
        elif kind.startswith("$"):
            self._combinational(kind, wires)
        else:
            self._box(name, cell, boxes[kind])

    def _register(self, name: str, wires) -> None:
        element = _Element(wires["CLK"][0])
        for port, bits in wires.items():
            if port not in ("CLK", "Q"):
                element.inputs += [(bit, port in _ASYNCHRONOUS) for bit in bits]
        self._elements[name] = element
        self._driver.update(dict.fromkeys(wires["Q"], name))

    def _memory(self, cell) -> _Element:
        return self._elements.setdefault(_memory_name(cell), _Element(None))

    def _combinational(self, kind: str, wires) -> None:
        everything = [bit for port, bits in wires.items() if port != "Y" for bit in bits]
        for index, output in enumerate(wires["Y"]):
            if kind not in _BITWISE:
                self._logic[output] = everything
                continue
            lanes = [wires[port] for port in ("A", "B") if port in wires]
            self._logic[output] = [lane[index] for lane in lanes if index < len(lane)]
            self._logic[output] += wires.get("S", [])

    def _box(self, name: str, cell, clocks: Mapping[str, str]) -> None:
        for port, bits in cell["connections"].items():
            clock = cell["connections"][clocks[port]][0] if port in clocks else None
            element = self._elements.setdefault(f"{name}.{port}", _Element(clock))
            if cell["port_directions"][port] == "output":
                self._driver.update(dict.fromkeys(bits, f"{name}.{port}"))
            elif clock is not None:
                element.inputs += [(bit, False) for bit in bits]

    def _find(self) -> set[Edge]:
        domains: dict[Bit, frozenset[Bit | None]] = {}
        found = set()
        for sink, element in self._elements.items():
            for bit, asynchronous in element.inputs:
                if self._domains(bit, domains) <= {element.clock}:
                    continue
                for source in self._sources(bit):
                    if self._elements[source].clock != element.clock:
                        found.add(Edge(source, sink, asynchronous))
        return found

    def _domains(self, bit: Bit, known: dict[Bit, frozenset[Bit | None]]) -> frozenset[Bit | None]:
        """Clocks of all registers that a bit depends on without a register in between."""
        stack = [bit]
        while stack:
            here = stack[-1]
            if here in known:
                stack.pop()
                continue
            open_bits = [b for b in self._logic.get(here, ()) if b not in known and b != here]
            if open_bits:
                stack += open_bits
                continue
            found = {clock for b in self._logic.get(here, ()) for clock in known[b]}
            if here in self._driver:
                found.add(self._elements[self._driver[here]].clock)
            known[here] = frozenset(found)
            stack.pop()
        return known[bit]

    def _sources(self, bit: Bit) -> set[str]:
        found: set[str] = set()
        seen: set[Bit] = set()
        queue = [bit]
        while queue:
            here = queue.pop()
            if here not in seen:
                seen.add(here)
                queue += self._logic.get(here, ())
                if here in self._driver:
                    found.add(self._driver[here])
        return found

    def elements(self, path: str) -> set[str]:
        """The elements behind a name with slashes: a register's, a memory's, a port's.

        Raises
        ------
        KeyError
            The netlist has no such name.
        """
        name = path.replace("/", ".")
        for candidate in (f"memory {name}", name, f"input {name}"):
            if candidate in self._elements:
                return {candidate}
        return {self._driver[bit] for bit in self._names[name]}

    def clocks(self) -> set[Bit]:
        """The wires that clock something."""
        return {element.clock for element in self._elements.values() if element.clock is not None}

    def clock(self, element: str) -> str:
        """Shortest name of an element's clock; empty if it has none."""
        bit = self._elements[element].clock
        names = [name for name, bits in self._names.items() if bits == [bit]]
        return min(names, key=len, default="")

    def label(self, element: str) -> str:
        """A name for an element that a reader knows."""
        owned = {bit for bit, driver in self._driver.items() if driver == element}
        names = [name for name, bits in self._names.items() if owned.intersection(bits)]
        return min(names, key=lambda name: ("$" in name, len(name)), default=element)


def _memory_name(cell) -> str:
    return "memory " + cell["parameters"]["MEMID"].lstrip("\\")


def read_netlist(
    texts: Iterable[str],
    top: str,
    *,
    boxes: Iterable[BlackBox] = (),
    inputs: Mapping[str, str] | None = None,
) -> Netlist:
    """Read Verilog, with everything of one clock only left out that is large.

    Parameters
    ----------
    boxes : foreign modules, without text
    inputs : the clock of input ports of the top that belong to one; others are asynchronous
    """
    known = modules("\n".join(texts))
    foreign = {box.module: box for box in boxes if box.module not in known}
    single = one_clock_only(known)
    opaque = {
        name: clock
        for name, clock in single.items()
        if len(known[name].lines) > _LARGE and name != top
    }
    kept: list[str] = []
    queue, seen = [top], {top}
    while queue:
        module = known[queue.pop()]
        if module.name in opaque:
            kept.append(module.shell())
            continue
        kept.append("\n".join(module.lines))
        for child, _ in module.instances:
            if child not in seen and child in known:
                seen.add(child)
                queue.append(child)
    clocks = {
        name: {port.name: port.clock for port in box.ports if port.clock}
        for name, box in foreign.items()
    }
    for name, clock in opaque.items():
        clocks[name] = {port: clock for port in known[name].ports if port != clock}
    kept += [box.verilog() for box in foreign.values()]
    return Netlist(_flatten("\n".join(kept), top), clocks, inputs or {})


def _flatten(text: str, top: str) -> Mapping[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        source, target = Path(scratch, "design.v"), Path(scratch, "design.json")
        source.write_text(text)
        yosys(
            [
                f"read_verilog {source}",
                f"hierarchy -check -top {top}",
                "proc",
                "flatten -noscopeinfo",
                f"write_json {target}",
            ]
        )
        return json.loads(target.read_text())["modules"][top]


def differences(netlist: Netlist, crossings: Iterable[Crossing]) -> list[str]:
    """Where the netlist and the gateware's list differ: a line for each edge in only one."""
    listed = set()
    complaints = []
    for crossing in crossings:
        for source in crossing.foreign:
            for register in crossing.registers:
                try:
                    pairs = {
                        Edge(a, b, crossing.kind is Kind.RESET)
                        for a in netlist.elements(source.name)
                        for b in netlist.elements(register)
                    }
                except KeyError as error:
                    complaints.append(f"{crossing.name}: {error.args[0]} is not in the Verilog")
                    continue
                listed |= pairs
    for what, edges in (
        ("crosses and is not listed", netlist.edges - listed),
        ("is listed and does not cross", listed - netlist.edges),
    ):
        for edge in sorted(edges):
            way = "sets" if edge.asynchronous else "reaches"
            complaints.append(
                f"{netlist.label(edge.source)} ({netlist.clock(edge.source)}) {way} "
                f"{netlist.label(edge.sink)} ({netlist.clock(edge.sink)}): {what}"
            )
    return complaints
