"""The bits of a mapped design as a graph: which bit hangs on which, through how many levels.

Nodes are bits of nets. Modules are put beside each other, once for each instance, and joined at
their ports, so that nothing has to be flattened by Yosys.
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from tailrace_sim.synth.cells import arcs, clocked

__all__ = ["Graph", "ModuleGraph", "Place", "assemble"]

_Edges = list[tuple[int, int, int]]


@dataclass
class ModuleGraph:
    """One module: local numbers of bits, edges, and what begins and ends a path.

    Attributes
    ----------
    netlist : as Yosys's JSON has it
    children : instance name to name of the module
    """

    netlist: dict[str, Any]
    children: dict[str, str]
    edges: np.ndarray = field(init=False)
    starts: np.ndarray = field(init=False)
    ends: np.ndarray = field(init=False)
    owners: list[tuple[str, str]] = field(init=False)
    size: int = field(init=False)
    kinds: Counter[str] = field(init=False)

    def __post_init__(self) -> None:
        edges: _Edges = []
        starts: list[tuple[int, int]] = []
        ends: list[int] = []
        self.owners = []
        self.kinds = Counter()
        for name, cell in self.netlist["cells"].items():
            if name not in self.children:
                self.kinds[cell["type"]] += 1
                self._cell(name, cell, edges, starts, ends)
        self.edges = np.array(edges, dtype=np.int64).reshape(-1, 3)
        self.starts = np.array(starts, dtype=np.int64).reshape(-1, 2)
        self.ends = np.array(ends, dtype=np.int64)
        bits = itertools.chain.from_iterable(
            net["bits"] for net in self.netlist["netnames"].values()
        )
        self.size = 1 + max((bit for bit in bits if isinstance(bit, int)), default=0)

    def _cell(self, name: str, cell: dict[str, Any], edges: _Edges,
              starts: list[tuple[int, int]], ends: list[int]) -> None:  # fmt: skip
        kind, pins = cell["type"], cell["connections"]
        outputs = {pin for pin, way in cell["port_directions"].items() if way == "output"}
        for source, target, levels in arcs(kind, pins, outputs):
            if isinstance(source, int) and isinstance(target, int):
                edges.append((source, target, levels))
        level = clocked(kind)
        if level is None:
            return
        for pin, bits in pins.items():
            for bit in bits:
                if not isinstance(bit, int):
                    continue
                if pin in outputs:
                    starts.append((bit, level))
                else:
                    ends.append(bit)
                    self.owners.append((name, pin))

    @cached_property
    def names(self) -> dict[int, str]:
        """A name for each bit: the shortest of those that a person gave, if there is one."""
        best: dict[int, tuple[bool, int, str]] = {}
        for name, net in self.netlist["netnames"].items():
            hidden = bool(net["hide_name"])
            width = len(net["bits"])
            for index, bit in enumerate(net["bits"]):
                if isinstance(bit, int):
                    text = name if width == 1 else f"{name}[{index}]"
                    rank = (hidden, len(text), text)
                    if bit not in best or rank < best[bit]:
                        best[bit] = rank
        return {bit: "" if hidden else text for bit, (hidden, _, text) in best.items()}

    def end_name(self, index: int) -> str:
        """What a path ends at: the register's output and the pin, or the cell's name."""
        cell, pin = self.owners[index]
        outputs = self.netlist["cells"][cell]["connections"]
        for output in ("Q", "DO", "O"):
            for bit in outputs.get(output, ())[:1]:
                if self.names.get(bit):
                    return f"{self.names[bit]}.{pin}"
        named = cell if not cell.startswith("$") else self.netlist["cells"][cell]["type"]
        return f"{named}.{pin}"


@dataclass(frozen=True)
class Place:
    """An instance of a module: its path, and the number of its bit 0."""

    path: str
    module: ModuleGraph
    offset: int
    first_end: int


@dataclass
class Graph:
    """A whole design.

    Attributes
    ----------
    edges : rows of source, target, levels
    starts : rows of bit and level after the clock edge
    ends : bits that clocked inputs hang on
    inputs, outputs : bits of the top's ports
    places : instances in the order of their offsets
    """

    edges: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    inputs: np.ndarray
    outputs: np.ndarray
    places: list[Place]
    size: int

    def place(self, bit: int) -> Place:
        """The instance that a bit is in."""
        low, high = 0, len(self.places)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.places[middle].offset <= bit else (low, middle)
        return self.places[low]

    def name(self, bit: int) -> str:
        """Name of a bit with its instance's path; empty if only a tool named it."""
        place = self.place(bit)
        text = place.module.names.get(bit - place.offset, "")
        return f"{place.path}{text}" if text else ""

    def end_name(self, index: int) -> str:
        """Name of a clocked input, by its place in ``ends``."""
        place = max(
            (place for place in self.places if place.first_end <= index and len(place.module.ends)),
            key=lambda place: (place.first_end, place.offset),
        )
        return f"{place.path}{place.module.end_name(index - place.first_end)}"


def _joins(child: ModuleGraph, cell: dict[str, Any], outer: int, inner: int) -> Iterator[tuple]:
    """Edges between an instance's pins and the ports of its module."""
    for pin, bits in cell["connections"].items():
        port = child.netlist["ports"].get(pin)
        if port is None:
            continue
        for outside, inside in zip(bits, port["bits"], strict=False):
            if isinstance(outside, int) and isinstance(inside, int):
                if port["direction"] == "output":
                    yield inner + inside, outer + outside, 0
                else:
                    yield outer + outside, inner + inside, 0


def assemble(top: str, modules: Mapping[str, ModuleGraph]) -> Graph:
    """Put ``top`` and everything below it together.

    Parameters
    ----------
    modules : by name; instances are looked up through ``children``
    """
    places: list[Place] = []
    joins: list[tuple] = []
    size = ends = 0

    def put(name: str, path: str) -> int:
        nonlocal size, ends
        module = modules[name]
        offset = size
        places.append(Place(path, module, offset, ends))
        size += module.size
        ends += len(module.ends)
        for instance, kind in module.children.items():
            cell = module.netlist["cells"].get(instance)
            if cell is not None:  # an instance whose outputs nobody reads is gone
                inner = put(kind, f"{path}{instance.lstrip(chr(92))}.")
                joins.extend(_joins(modules[kind], cell, offset, inner))
        return offset

    put(top, "")
    ports = modules[top].netlist["ports"].values()
    bits = {
        way: [b for port in ports if port["direction"] == way for b in port["bits"]
              if isinstance(b, int)]
        for way in ("input", "output")
    }  # fmt: skip
    return Graph(
        edges=np.concatenate(
            [
                np.array(joins, dtype=np.int64).reshape(-1, 3),
                *(place.module.edges + np.array([place.offset] * 2 + [0]) for place in places),
            ]
        ),
        starts=np.concatenate(
            [place.module.starts + np.array([place.offset, 0]) for place in places]
        ),
        ends=np.concatenate([place.module.ends + place.offset for place in places]),
        inputs=np.array(bits["input"], dtype=np.int64),
        outputs=np.array(bits["output"], dtype=np.int64),
        places=places,
        size=size,
    )
