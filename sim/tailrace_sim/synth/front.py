"""Verilog to a design of modules that can be mapped."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tailrace_sim.build import locked
from tailrace_sim.synth.rtlil import Module, split
from tailrace_sim.synth.yosys import TOOL, synth_root, yosys

__all__ = ["PREPARE", "Design", "cached", "flat", "read_verilog"]

#: Processes become registers and multiplexers, memories become one cell each.
PREPARE = (
    "proc", "memory_collect", "opt_clean",
    "attrmap -remove src -remove top", "attrmap -modattr -remove src -remove top",
)  # fmt: skip


@dataclass(frozen=True)
class Design:
    """Modules by name, and where their text is kept."""

    modules: dict[str, Module]
    path: Path

    def closure(self, top: str) -> Iterator[tuple[Module, int]]:
        """Each module below ``top`` (and ``top``), with how often it is there."""
        counts: dict[str, int] = {}
        for name in self._order(top, {}):
            counts.setdefault(name, 0)
        counts[top] = 1
        for name in self._order(top, {}):
            for kind in self.modules[name].children.values():
                counts[kind] += counts[name]
            yield self.modules[name], counts[name]

    def _order(self, name: str, seen: dict[str, bool]) -> list[str]:
        """Parents before children."""
        after: list[str] = []

        def visit(current: str) -> None:
            if current not in seen:
                seen[current] = True
                for kind in self.modules[current].children.values():
                    visit(kind)
                after.append(current)

        visit(name)
        return after[::-1]


def cached(
    key: str, commands: Sequence[str], what: str, files: Mapping[str, Path] | None = None
) -> Design:
    """The design that commands lead to, run in a folder of their own.

    Parameters
    ----------
    key : hash of the content of ``files``
    files : what stands in that folder, by name there; so no command has a path, which may have
        spaces in it
    """
    digest = hashlib.sha256(f"{TOOL}{key}{list(commands)}".encode()).hexdigest()[:24]
    folder = synth_root() / "front" / digest
    path = folder / "design.il"
    with locked(folder):
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            for name, file in (files or {}).items():
                (folder / name).unlink(missing_ok=True)
                (folder / name).symlink_to(file.resolve())
            yosys([*commands, "write_rtlil partial.il"], folder, what)
            (folder / "partial.il").rename(path)
    return Design(split(path.read_text()), path)


def read_verilog(source: Path, top: str) -> Design:
    """Read a Verilog file of ours with ``top`` at the top of the hierarchy.

    Raises
    ------
    SynthError
        Yosys failed.
    """
    key = hashlib.sha256(source.read_bytes()).hexdigest()
    commands = ("read_verilog -sv -defer source.v", f"hierarchy -check -top {top}", *PREPARE)
    return cached(key, commands, f"reading {source}", {"source.v": source})


def flat(design: Design, top: str) -> Design:
    """``top`` of a design with everything below it dissolved into one module."""
    commands = (
        "read_rtlil input.il",
        f"hierarchy -check -top {top}",
        "flatten -noscopeinfo",
        "opt_clean",
        # Where a name came from, as text with spaces in it.
        "attrmap -remove hdlname -remove scopename",
    )
    return cached(f"{design.path}", commands, f"flattening {top}", {"input.il": design.path})
