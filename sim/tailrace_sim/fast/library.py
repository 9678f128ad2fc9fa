"""The fast backend's library: a Verilated device and the C++ core in one shared object.

Three caches under ``build_root()/fast``, each by content: ``model-<key>`` has the Verilated design
as an archive, minutes of work; ``core-<key>`` the objects of the core that fit every design;
``<top>-<key>`` the few that do not, and the library, seconds.
"""

import bisect
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from tailrace_sim.build import (
    BUILD_FLAGS,
    BuildError,
    announce,
    build_root,
    check_wave_headers,
    compiler,
    jobs,
    locked,
    provide_runtime,
    toolchain_env,
)
from tailrace_sim.fast.interface import CORE
from tailrace_sim.tool import run_tool

__all__ = ["Library", "Pin", "build_library", "code_map"]

_PREFIX = "Vdevice"
_PIC = "-fPIC -fvisibility=hidden -fno-semantic-interposition"
_FAST, _SLOW = f"-O2 {_PIC}", f"-O0 {_PIC}"
#: From so many files on a model's own header is precompiled: the classes of the whole device are
#: megabytes, more for the compiler to read than a file of the model.
_MANY_FILES = 24
#: Units of the core that know the design's class.
_OF_THE_DESIGN = ("device.cpp", "interface.cpp", "world.cpp")
_CORE_FLAGS = f"-std=c++20 -O2 {_PIC} -Wall -Wextra -Wno-missing-field-initializers"


@dataclass(frozen=True)
class Pin:
    """A port of the top module; its index in the library is its place in ``Library.pins``."""

    name: str
    bits: int
    input: bool


@dataclass(frozen=True)
class Library:
    """A library that is built.

    Attributes
    ----------
    path : of the shared object
    pins : the top's ports, in the order of the C interface's indices
    waves : whether ``tr_waves`` works
    """

    path: Path
    pins: tuple[Pin, ...]
    waves: bool


def build_library(
    verilog: Path, top: str, *, waves: bool = False, profile: bool = False
) -> Library:
    """Verilate ``verilog`` and compile the core against it, or return what is already there.

    Parameters
    ----------
    waves : with FST tracing
    profile : each statement of the design in a function of its own, for :func:`code_map`; the
        model is then several times slower

    Raises
    ------
    BuildError
        A tool is missing, or Verilator or the C++ compiler failed.
    """
    model = _build_model(verilog, top, waves, profile)
    pins = _read_pins((model / f"{_PREFIX}.h").read_text())
    sources = sorted(CORE.glob("*.[hc]*"))
    key = _key([model.name, _CORE_FLAGS], sources)
    directory = build_root() / "fast" / f"{top}-{key}"
    path = directory / "libtailrace.so"
    with locked(directory):
        if not path.exists():
            announce()
            environment = _environment()
            directory.mkdir(parents=True, exist_ok=True)
            (directory / "pins.cpp").write_text(_pins_source(pins))
            core = _build_core(sources, environment)
            units = [*(CORE / name for name in _OF_THE_DESIGN), directory / "pins.cpp"]
            _link(directory, model, units, core, waves, environment)
    return Library(path=path, pins=pins, waves=waves)


def code_map(library: Library, verilog: Path) -> list[tuple[int, str]]:
    """Which block the code of a library built with ``profile`` belongs to.

    Returns
    -------
    (address in the library's file, block) in order; each reaches to the next. A block is a Verilog
    module, ``core`` for the BFMs, ``model`` for what Verilator adds, or empty for the rest.
    """
    command = ["nm", "--defined-only", "-C", str(library.path)]
    symbols = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return _code_map(symbols, verilog.read_text())


_MODULE = re.compile(r"^module \\?(\S+?)\s*\(", re.MULTILINE)
_STATEMENT = re.compile(r"__PROF__\w+?__l(\d+)")


def _code_map(symbols: str, verilog: str) -> list[tuple[int, str]]:
    modules = [(verilog.count("\n", 0, m.start()) + 1, m[1]) for m in _MODULE.finditer(verilog)]
    starts = [line for line, _ in modules]
    result = []
    for entry in symbols.splitlines():
        address, kind, name = entry.split(" ", 2)
        if kind not in "tTwW":
            continue
        statement = _STATEMENT.search(name)
        if statement:
            place = bisect.bisect_right(starts, int(statement[1])) - 1
            block = modules[place][1] if place >= 0 else "model"
        elif name.startswith("tailrace::"):
            block = "core"
        else:
            block = "model" if name.startswith((_PREFIX, "Verilated", "VL_")) else ""
        result.append((int(address, 16), block))
    return sorted(result)


def _key(words: Sequence[str], sources: Iterable[Path]) -> str:
    digest = hashlib.sha256(json.dumps([*words, version("verilator"), compiler()]).encode())
    for path in sources:
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:20]


def _environment() -> dict[str, str]:
    return {**os.environ, **toolchain_env()}


def _run(command: Sequence[str], directory: Path, environment: dict[str, str], what: str) -> None:
    log = directory / "build.log"
    with open(log, "a") as output:
        output.write(f"$ {' '.join(command)}\n")
        output.flush()
        done = run_tool(command, cwd=directory, env=environment, stdout=output, stderr=output)
    if done.returncode:
        raise BuildError(f"{what} failed; see {log}")


def _build_model(verilog: Path, top: str, waves: bool, profile: bool) -> Path:
    """Directory with the archives and headers of the Verilated design."""
    flags = [
        *BUILD_FLAGS,
        *(["--trace-fst", "--trace-structs"] if waves else []),
        *(["--prof-cfuncs"] if profile else []),
    ]
    key = _key([top, *flags, _FAST, _SLOW], [verilog])
    directory = build_root() / "fast" / f"model-{top}-{key}"
    done = directory / "done"
    with locked(directory):
        if not done.exists():
            announce()
            environment = _environment()
            if waves:
                check_wave_headers()
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True)
            # By its path: the makefile depends on the program that wrote it.
            verilator = Path(environment["VERILATOR_ROOT"]) / "bin" / "verilator_bin"
            command = [
                str(verilator), "--cc", str(verilog.resolve()), "--top", top, "--prefix", _PREFIX,
                "--Mdir", ".", *flags,
            ]  # fmt: skip
            _run(command, directory, environment, f"verilating {top}")
            settings = [
                "VM_PARALLEL_BUILDS=1", f"OPT_FAST={_FAST}", f"OPT_SLOW={_SLOW}",
                f"OPT_GLOBAL={_FAST}",
            ]  # fmt: skip
            files = sum(1 for _ in directory.glob("*.cpp"))
            settings += provide_runtime(
                directory, _PREFIX, settings, environment, own_header=files >= _MANY_FILES
            )
            command = ["make", "-f", f"{_PREFIX}.mk", "-j", jobs(), f"lib{_PREFIX}", *settings]
            _run(command, directory, environment, f"compiling {top}")
            for path in directory.iterdir():
                if path.suffix in (".o", ".d", ".cpp", ".gch", ".fast", ".slow"):
                    path.unlink()
            done.touch()
    return directory


_PORT = re.compile(r"VL_(IN|OUT)(?:8|16|64|W)?\(&(\w+),(\d+),(\d+)")


def _read_pins(header: str) -> tuple[Pin, ...]:
    """Ports of the model's class, with their names in Verilog."""
    return tuple(
        Pin(
            # Verilator writes what C++ does not allow in a name as __0 and its hexadecimal code.
            re.sub(r"__0([0-9A-F]{2})", lambda code: chr(int(code[1], 16)), name),
            int(high) - int(low) + 1,
            direction == "IN",
        )
        for direction, name, high, low in _PORT.findall(header)
    )


def _encoded(name: str) -> str:
    return name.replace("__", "___05F")


def _pins_source(pins: Sequence[Pin]) -> str:
    """C++ that gives the core the ports by index."""
    table = "\n".join(f'    {{"{pin.name}", {pin.bits}, {int(pin.input)}}},' for pin in pins)
    binds = "\n".join(
        f"    at[{index}] = &model.{_encoded(pin.name)};" for index, pin in enumerate(pins)
    )
    return f"""\
// Generated by library.py from {_PREFIX}.h.

#include "{_PREFIX}.h"
#include "pins.hpp"

namespace tailrace {{

const tr_pin pin_table[] = {{
{table}
}};
const uint32_t pin_count = {len(pins)};

void bind_pins({_PREFIX} &model, void **at) {{
{binds}
}}

}}  // namespace tailrace
"""


def _rules(units: Sequence[Path], flags: Sequence[str]) -> tuple[list[str], str]:
    """Names of objects, and the rules of a makefile that compile them."""
    objects = [f"{unit.stem}.o" for unit in units]
    rules = "".join(
        f"{name}: {unit}\n\tg++ {' '.join(flags)} -c {unit} -o {name}\n"
        for name, unit in zip(objects, units, strict=True)
    )
    return objects, rules


def _build_core(sources: Sequence[Path], environment: dict[str, str]) -> list[Path]:
    """Objects of the core that fit every design."""
    units = [path for path in sources if path.suffix == ".cpp" and path.name not in _OF_THE_DESIGN]
    directory = build_root() / "fast" / f"core-{_key([_CORE_FLAGS], sources)}"
    objects, rules = _rules(units, [*_CORE_FLAGS.split(), f"-I{CORE}"])
    done = directory / "done"
    with locked(directory):
        if not done.exists():
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True)
            (directory / "Makefile").write_text(f"all: {' '.join(objects)}\n{rules}")
            _run(["make", "-j", jobs()], directory, environment, "compiling the core")
            done.touch()
    return [directory / name for name in objects]


def _link(
    directory: Path, model: Path, units: Sequence[Path], core: Sequence[Path], waves: bool,
    environment: dict[str, str],
) -> None:  # fmt: skip
    """The library, from what knows the design, the core and the design."""
    root = Path(environment["VERILATOR_ROOT"]) / "include"
    flags = [
        *_CORE_FLAGS.split(), f"-I{CORE}", f"-isystem{model}", f"-isystem{root}",
        f"-isystem{root}/vltstd", f"-DVM_TRACE_FST={int(waves)}", f"-DVM_TRACE={int(waves)}",
    ]  # fmt: skip
    objects, rules = _rules(units, flags)
    archives = f"{model}/lib{_PREFIX}.a {model}/libverilated.a"
    libraries = "-pthread -lz -llz4" if waves else "-pthread"
    (directory / "Makefile").write_text(
        f"libtailrace.so: {' '.join(objects)}\n"
        f"\tg++ -shared -o partial.so $^ {' '.join(map(str, core))} {archives} {libraries}\n"
        f"\tmv partial.so $@\n{rules}"
    )
    _run(["make", "-j", jobs()], directory, environment, "compiling the core")
    for name in objects:
        (directory / name).unlink()
