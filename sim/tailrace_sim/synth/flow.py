"""From a design to its figures."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path as File
from typing import Any

from tailrace_sim.synth import cells, depth, graph
from tailrace_sim.synth.cells import Area, area
from tailrace_sim.synth.depth import Path, long_paths, longest_path
from tailrace_sim.synth.front import Design
from tailrace_sim.synth.graph import Graph, ModuleGraph, assemble
from tailrace_sim.synth.mapping import Family, Mapped, map_modules
from tailrace_sim.synth.rtlil import Module
from tailrace_sim.synth.yosys import SynthError, synth_root

__all__ = ["Figures", "Progress", "Subject", "content_of", "graph_of", "measure", "paths_over"]

#: Called with what is being done, how much of it is done, and of how much.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Subject:
    """What is measured: a module of a design, under a name."""

    name: str
    design: Design
    module: str

    def modules(self) -> list[Module]:
        """The modules below it, it included."""
        return [module for module, _ in self.design.closure(self.module)]


@dataclass
class Figures:
    """What was measured of one block.

    Attributes
    ----------
    name, family, width : which block; the width is 0 for somebody else's Verilog
    area : of the whole
    depth : levels of the longest path between registers (RAMs and unknown cells count as such)
    path : signals with names along it, each with the level it stands at
    depth_ports : the same where ports begin and end paths too
    path_ports : the path of that
    lost : memories that became registers
    loops : bits on combinational loops
    parts : LUTs of each instance without what is below it, by path
    content : hash of what was mapped
    fmax_mhz : median of place and route, or None
    seeds : what each seed of place and route reached
    pnr : why there is no figure of place and route
    """

    name: str
    family: str
    width: int
    area: Area
    depth: int | None
    path: list[str]
    depth_ports: int | None
    path_ports: list[str]
    lost: list[str]
    loops: int
    parts: dict[str, int]
    content: str
    fmax_mhz: float | None = None
    seeds: list[float] = field(default_factory=list)
    pnr: str = ""

    def entry(self) -> dict[str, Any]:
        """One flat row, as the JSON file has it."""
        row = asdict(self)
        del row["parts"], row["content"]
        return {"name": row.pop("name"), "family": row.pop("family"), "width": row.pop("width"),
                **row.pop("area"), **row}  # fmt: skip


def content_of(subject: Subject, family: Family) -> str:
    """Hash of everything that the figures depend on.

    That several instances share a module does not count, nor in which order modules stand.
    """
    counts: Counter[str] = Counter()
    for module, count in subject.design.closure(subject.module):
        counts[f"{module.key} {list(module.children)}"] += count
    return hashlib.sha256(f"{family} {sorted(counts.items())}".encode()).hexdigest()[:24]


def _program() -> str:
    parts = [__file__, *(module.__file__ or "" for module in (cells, depth, graph))]
    return hashlib.sha256(b"".join(File(part).read_bytes() for part in parts)).hexdigest()[:8]


def measure(
    subjects: Iterable[Subject], family: Family, width: int, progress: Progress
) -> list[Figures]:
    """Map what is not mapped yet, then count and find the longest paths.

    Raises
    ------
    SynthError
        Something does not map, or maps to nothing.
    """
    subjects = list(subjects)
    everything = {module.key: module for subject in subjects for module in subject.modules()}
    mapped = map_modules(
        everything.values(), family, lambda done, of: progress("mapping modules", done, of)
    )
    results = []
    graphs: dict[str, ModuleGraph] = {}
    for index, subject in enumerate(subjects):
        progress("counting, longest paths", index, len(subjects))
        results.append(_figures(subject, family, width, mapped, graphs))
    progress("counting, longest paths", len(subjects), len(subjects))
    return results


def _figures(
    subject: Subject, family: Family, width: int, mapped: dict[str, Mapped],
    graphs: dict[str, ModuleGraph],
) -> Figures:  # fmt: skip
    content = content_of(subject, family)
    kept = synth_root() / "figures" / f"{content}-{_program()}.json"
    if kept.exists():
        values = json.loads(kept.read_text())
        values |= {"name": subject.name, "width": width, "area": Area(**values["area"])}
        return Figures(**values)
    figures = _analyse(subject, family, width, mapped, graphs, content)
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(asdict(figures)))
    return figures


def _module_graph(module: Module, mapped: Mapped) -> ModuleGraph:
    children = {name.removeprefix("\\"): kind for name, kind in module.children.items()}
    return ModuleGraph(mapped.netlist, children)


def graph_of(
    subject: Subject, mapped: dict[str, Mapped], graphs: dict[str, ModuleGraph] | None = None
) -> tuple[Graph, dict[str, ModuleGraph]]:
    """The bits of a mapped subject, and its modules' by name.

    Parameters
    ----------
    graphs : those of modules that were read before; grows
    """
    graphs = {} if graphs is None else graphs
    mine: dict[str, ModuleGraph] = {}
    for module in subject.modules():
        # Modules of equal content share a netlist, but their children have names of their own.
        key = f"{module.key} {list(module.children.values())}"
        if key not in graphs:
            graphs[key] = _module_graph(module, mapped[module.key])
        mine[module.name] = graphs[key]
    return assemble(subject.module, mine), mine


def paths_over(subject: Subject, family: Family, limit: int) -> list[tuple[str, int, Path]]:
    """:func:`~tailrace_sim.synth.depth.long_paths` of a subject."""
    mapped = map_modules(subject.modules(), family, lambda done, of: None)
    return long_paths(graph_of(subject, mapped)[0], limit)


def _analyse(
    subject: Subject, family: Family, width: int, mapped: dict[str, Mapped],
    graphs: dict[str, ModuleGraph], content: str,
) -> Figures:  # fmt: skip
    whole, mine = graph_of(subject, mapped, graphs)
    counts = _counts(whole)
    taken = area(counts)
    if not taken.cells:
        log = subject.design.path.parent / "yosys.log"
        raise SynthError(f"{subject.name} maps to 0 cells: its outputs, if it has any, are "
                         f"constants or inputs; see {log}")  # fmt: skip
    inner, outer = longest_path(whole, ports=False), longest_path(whole, ports=True)
    lost = {module.name: mapped[module.key].lost for module in subject.modules()}
    return Figures(
        name=subject.name,
        family=family.name,
        width=width,
        area=taken,
        depth=inner.levels if inner else None,
        path=inner.names if inner else [],
        depth_ports=outer.levels if outer else None,
        path_ports=outer.names if outer else [],
        lost=_lost(whole, mine, lost),
        loops=max((path.loops for path in (inner, outer) if path), default=0),
        parts=_parts(whole),
        content=content,
    )


def _counts(whole: Graph) -> Counter[str]:
    total: Counter[str] = Counter()
    for place in whole.places:
        total += place.module.kinds
    return total


def _parts(whole: Graph) -> dict[str, int]:
    """LUTs, logic and memory, of each instance without what is below it; the top is ``""``."""
    sums: dict[str, int] = {}
    for place in whole.places:
        taken = area(place.module.kinds)
        sums[place.path.rstrip(".")] = taken.lut + taken.lutram
    return sums


def _lost(whole: Graph, modules: dict[str, ModuleGraph], lost: dict[str, list[Any]]) -> list[str]:
    of = {id(module): lost[name] for name, module in modules.items()}
    return [f"{place.path}{entry}" for place in whole.places for entry in of[id(place.module)]]
