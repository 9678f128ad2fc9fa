"""Modules to netlists of a family's primitives, each module once.

The commands are those of ``synth_xilinx`` and ``synth_ecp5``, in their order. They run over
batches of modules, two batches at a time; what a batch has mapped is kept by the modules' content.
"""

import json
import re
import shutil
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tailrace_sim.synth.rtlil import SELF, Module
from tailrace_sim.synth.yosys import TOOL, SynthError, synth_root, yosys

__all__ = ["FAMILIES", "Family", "LostMemory", "Mapped", "map_modules", "unmapped"]

#: Modules are mapped in batches of about so many cells. A batch has a fixed cost of five seconds;
#: a big one costs more than its modules, because ABC9's loop over modules does work of the size of
#: the whole design for each of them. What is mapped is kept when a batch ends.
_BATCH_CELLS = 6000
_BATCH_MODULES = 16
_WORKERS = 2


@dataclass(frozen=True)
class Family:
    """How a family is mapped.

    Attributes
    ----------
    name : as the command line has it
    title : for people
    command : the synthesis command up to ``-top``
    """

    name: str
    title: str
    command: str


#: Pads and clock buffers are left out: a block is measured as a part of something.
FAMILIES = {
    "xcup": Family(
        "xcup", "AMD UltraScale+", "synth_xilinx -family xcup -noiopad -noclkbuf"
    ),
    "ecp5": Family("ecp5", "Lattice ECP5", "synth_ecp5 -abc9 -noflatten"),
}  # fmt: skip


@dataclass(frozen=True)
class LostMemory:
    """A memory that became registers and logic, for want of a RAM that does what it does."""

    name: str
    depth: int
    width: int
    rom: bool

    def __str__(self) -> str:
        kind = "constants in logic" if self.rom else "registers"
        return f"{self.name} ({self.depth} x {self.width}: {kind})"


@dataclass(frozen=True)
class Mapped:
    """The mapped netlist of one module."""

    path: Path

    @cached_property
    def _content(self) -> dict[str, Any]:
        return json.loads(self.path.read_text())

    @property
    def netlist(self) -> dict[str, Any]:
        """The module as Yosys's JSON has it."""
        return self._content["module"]

    @property
    def lost(self) -> list[LostMemory]:
        """Memories that became registers."""
        return [LostMemory(**entry) for entry in self._content["lost"]]


def map_modules(
    modules: Iterable[Module], family: Family, progress: Callable[[int, int], None]
) -> dict[str, Mapped]:
    """Netlists of modules by key; what is not kept from before is mapped now.

    Parameters
    ----------
    progress : called with the number of modules that are done, and of all that had to be mapped

    Raises
    ------
    SynthError
        A module can't be mapped.
    """
    folder = _kept(family)
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {module.key: module for module in modules}
    results = {key: Mapped(folder / f"{key}.json") for key in wanted}
    missing = unmapped(wanted.values(), family)
    done = 0
    progress(done, len(missing))
    with ThreadPoolExecutor(_WORKERS) as pool:
        futures = {pool.submit(_map, batch, family, folder): batch for batch in _batches(missing)}
        try:
            for future in as_completed(futures):
                future.result()
                done += len(futures[future])
                progress(done, len(missing))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return results


def unmapped(modules: Iterable[Module], family: Family) -> list[Module]:
    """Those of the modules that :func:`map_modules` would have to map."""
    folder = _kept(family)
    by_key = {module.key: module for module in modules}
    return [module for key, module in by_key.items() if not (folder / f"{key}.json").exists()]


def _kept(family: Family) -> Path:
    return synth_root() / "map" / f"{family.name}-{TOOL.split()[-1]}"


def _batches(modules: list[Module]) -> list[list[Module]]:
    """The biggest first, so that the last ones to run are small."""
    batches: list[list[Module]] = []
    cells = 0
    for module in sorted(modules, key=lambda module: -module.cells):
        if not batches or cells + module.cells > _BATCH_CELLS or len(batches[-1]) == _BATCH_MODULES:
            batches.append([])
            cells = 0
        batches[-1].append(module)
        cells += module.cells
    return batches


def _map(batch: list[Module], family: Family, results: Path) -> None:
    work = synth_root() / "work" / uuid.uuid4().hex[:12]
    work.mkdir(parents=True)
    stubs: dict[str, str] = {}
    for module in batch:
        stubs |= module.stubs
    names = {module.key: f"\\m_{module.key}" for module in batch}
    text = [module.text.replace(f"module {SELF}\n", f"module {names[module.key]}\n", 1)
            for module in batch]  # fmt: skip
    instances = "".join(f"  cell {name} \\u_{key}\n  end\n" for key, name in names.items())
    (work / "batch.il").write_text(
        "".join([*text, *stubs.values(), f"module \\batch\n{instances}end\n"])
    )
    selection = " ".join(f"m_{key}" for key in names)
    run = f"{family.command} -top batch -run"
    what = f"mapping {batch[0].name.lstrip(chr(92))}" + (
        f" and {len(batch) - 1} more" if len(batch) > 1 else ""
    )
    yosys(
        [
            "read_rtlil batch.il",
            f"{run} begin:map_ffram",
            # What is a memory now has found no RAM and becomes registers in the next step.
            "select t:$mem_v2", "write_rtlil -selected lost.il", "select -clear",
            f"{run} map_ffram:check",
            "attrmap -remove src", "attrmap -modattr -remove src",
            f"select {selection}", "write_json -selected batch.json",
        ],
        work,
        what,
    )  # fmt: skip
    _keep(work, names, results, what)
    shutil.rmtree(work)


def _keep(work: Path, names: dict[str, str], results: Path, what: str) -> None:
    """Sort a batch's results into the modules' own files."""
    netlists = json.loads((work / "batch.json").read_text())["modules"]
    lost = _lost_memories((work / "lost.il").read_text())
    for key, name in names.items():
        if name[1:] not in netlists:
            raise SynthError(f"{what}: a module got lost; see {work / 'yosys.log'}")
        content = {"module": netlists[name[1:]], "lost": lost.get(name, [])}
        partial = results / f"{key}.partial"
        partial.write_text(json.dumps(content, separators=(",", ":")))
        partial.rename(results / f"{key}.json")


def _lost_memories(text: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for name, body in re.findall(r"^module (\S+)\n(.*?)^end\n", text, re.MULTILINE | re.DOTALL):
        for attributes, cell, parameters in re.findall(
            r"((?:^  attribute .*\n)*)^  cell \$mem_v2 (\S+)\n((?:    parameter .*\n)*)",
            body,
            re.MULTILINE,
        ):
            if cell.startswith("$"):
                continue  # a table that Yosys made of a case statement
            if r'\ram_style "logic"' in attributes:
                continue  # what was asked for is not lost
            values = dict(re.findall(r"parameter (?:signed )?\\(\w+) (.*)", parameters))
            found.setdefault(name, []).append(
                {
                    "name": cell.lstrip("\\"),
                    "depth": int(values["SIZE"]),
                    "width": int(values["WIDTH"]),
                    "rom": int(values["WR_PORTS"]) == 0,
                }
            )
    return found
