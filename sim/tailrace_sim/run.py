"""Running a Verilated model under cocotb: the only place that starts a simulator.

The pytest side calls :func:`run`; the simulator side reads its parameters with :func:`parameters`
and its seed with :func:`seed`.
"""

import contextlib
import dataclasses
import fcntl
import itertools
import json
import os
import random
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cocotb_tools.config

from tailrace.cli.errors import UserError
from tailrace_sim.build import Model, _environment, _Runner, build_root, locked, toolchain_env
from tailrace_sim.fast.launch import LOG, launch
from tailrace_sim.look import Look

__all__ = [
    "LARGEST_SEED",
    "TRACE",
    "Result",
    "SimulationError",
    "own_run",
    "parameters",
    "pick_seed",
    "run",
    "seed",
]

_PARAMETERS = "TAILRACE_PARAMETERS"
_SEED = "TAILRACE_SEED"
#: The core's random numbers start from 64 bits.
LARGEST_SEED = (1 << 64) - 1
_LOG, _RESULTS = "simulation.log", "results.xml"
#: File of a trace in the run's directory, if it is not in the foreground.
TRACE = "trace.txt"


class SimulationError(AssertionError):
    """A test in the simulator failed, or not the tests ran that were expected to."""


@dataclass(frozen=True)
class Result:
    """What a run left behind.

    Attributes
    ----------
    tests : names of the cocotb tests that ran (all passed)
    directory : where they ran; log, waves and files of the tests are in it
    seed : the seed they ran with
    """

    tests: tuple[str, ...]
    directory: Path
    seed: int


def pick_seed() -> int:
    """``$TAILRACE_SEED`` if set, else a fresh one. The caller prints it, so that a run replays."""
    text = os.environ.get(_SEED)
    if not text:
        return random.SystemRandom().getrandbits(32)
    try:
        number = int(text, 0)
    except ValueError:
        raise UserError(f"{_SEED} must be a number, not {text!r}; unset it") from None
    if not 0 <= number <= LARGEST_SEED:
        raise UserError(f"{_SEED} must be 0 to {LARGEST_SEED}, not {number}; unset it")
    return number


def parameters() -> dict[str, Any]:
    """Inside the simulator: the parameters that :func:`run` was given."""
    return json.loads(os.environ.get(_PARAMETERS, "{}"))


def seed() -> int:
    """Inside the simulator: the seed of this run."""
    return int(os.environ[_SEED])


@contextlib.contextmanager
def own_run(name: str) -> Iterator[str]:
    """A name for :func:`run` that no other process uses meanwhile: ``name``, else ``name-2``, ...

    For whoever keeps files in the run's directory before and after it.
    """
    runs = build_root() / "run"
    runs.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        mine = name if number == 1 else f"{name}-{number}"
        with open(runs / f"{mine}.owner", "w") as owner:
            try:
                fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield mine
            return


def run(
    model: Model,
    module: str,
    *,
    name: str,
    tests: list[str],
    parameters: dict[str, Any] | None = None,
    seed: int | None = None,
    python_path: list[Path] | None = None,
    devices: int = 1,
    look: Look | None = None,
    foreground: bool = False,
) -> Result:
    """Run cocotb tests of a Python module on a model and insist that exactly those ran.

    Parameters
    ----------
    model : from :func:`tailrace_sim.build.build`
    module : importable module with the cocotb tests
    name : unique name of this run; its directory is ``build/run/<name>``. A run of the same name
        in another process is waited for
    tests : names of the cocotb tests to run; never empty
    parameters : JSON-serialisable, read in the simulator with :func:`parameters`
    seed : of the run; default :func:`pick_seed`
    python_path : folders to find ``module`` in
    devices : of the model, in one simulation; more than one on the fast backend only
    look : what to show of it, on the fast backend; default: what the environment says
    foreground : it has our standard streams, and Ctrl-C is its own affair

    Raises
    ------
    SimulationError
        A test failed, or the tests that ran are not ``tests``. The message has the seed and the
        log's path.
    KeyboardInterrupt
        An interrupt has ended it, between two strides on the fast backend, its files closed.
    """
    # pytest shows what is said below, and whose run it was, instead of this function's text.
    __tracebackhide__ = True
    if not tests:
        raise SimulationError("no test was named: a run that checks nothing is an error")
    seed = pick_seed() if seed is None else seed
    look = (look or Look.from_environment()).fitting(backend=model.backend, waves=model.waves)
    directory = build_root() / "run" / name
    directory.mkdir(parents=True, exist_ok=True)
    if look.trace and look.trace_file is None and not foreground:
        look = dataclasses.replace(look, trace_file=directory / TRACE)
        print(f"trace {look.trace_file}")
    test_filter = "(^|\\.)(" + "|".join(tests) + ")$"
    start = _Start(model, module, test_filter, directory, seed, devices, foreground)
    log, results = start.log, start.results
    if not foreground:
        print(f"seed {seed} (replay: {_SEED}={seed}), log {log}")
    environment = {
        **toolchain_env(),
        _PARAMETERS: json.dumps(parameters or {}),
        _SEED: str(seed),
        **look.environment(),
    }
    with locked(directory), _environment(environment), _importable(python_path or []):
        results.unlink(missing_ok=True)
        try:
            (_start_fast if model.backend == "fast" else _start_cocotb)(start)
        except (RuntimeError, SystemExit) as error:
            # Failed tests end here too; what is known of them is in the results.
            if not results.exists():
                raise SimulationError(f"simulation failed (seed {seed}; see {log})") from error
    ran, failed = _read_results(results)
    if failed:
        reasons = "; ".join(f"{test} failed: {reason}" for test, reason in failed.items())
        raise SimulationError(f"{reasons} (seed {seed}; see {log})")
    if sorted(ran) != sorted(tests):
        raise SimulationError(f"expected tests {sorted(tests)}, but {sorted(ran)} ran; see {log}")
    return Result(tests=tuple(ran), directory=directory, seed=seed)


@dataclass(frozen=True)
class _Start:
    """What a simulator is started with, whichever it is."""

    model: Model
    module: str
    test_filter: str
    directory: Path
    seed: int
    devices: int
    foreground: bool

    @property
    def log(self) -> Path:
        return self.directory / _LOG

    @property
    def results(self) -> Path:
        return self.directory / _RESULTS


def _start_cocotb(start: _Start) -> None:
    """An executable with cocotb inside."""
    if start.devices != 1:
        raise UserError(f"{start.devices} devices in one simulation need the fast backend")
    waves = ["--trace-file", str(start.directory / "waves.fst"), "--trace"]
    _Runner().test(
        hdl_toplevel=start.model.top,
        hdl_toplevel_lang="verilog",
        test_module=start.module,
        test_filter=start.test_filter,
        build_dir=start.model.path,
        test_dir=start.directory,
        results_xml=str(start.results),
        seed=start.seed,
        extra_env={"LD_LIBRARY_PATH": _library_path()},
        waves=False,
        test_args=waves if start.model.waves else [],
        log_file=None if start.foreground else start.log,
    )


def _library_path() -> str:
    """Where a model finds cocotb: the environment that it was linked in may be gone since."""
    given = os.environ.get("LD_LIBRARY_PATH")
    return os.pathsep.join([str(cocotb_tools.config.libs_dir), *([given] if given else [])])


def _start_fast(start: _Start) -> None:
    """A Python process that cocotb takes for a simulator, see :mod:`tailrace_sim.fast.process`."""
    environment = {
        "COCOTB_TOPLEVEL": start.model.top,
        "COCOTB_TEST_MODULES": start.module,
        "COCOTB_TEST_FILTER": start.test_filter,
        "COCOTB_RESULTS_FILE": str(start.results),
        "COCOTB_RANDOM_SEED": str(start.seed),
        "TOPLEVEL_LANG": "verilog",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        LOG: str(start.log) if start.foreground else "",
    }
    if start.foreground:
        # Assertions of a verb are not its user's; to have pytest rewrite those of all modules takes
        # most of its start, where Python keeps no bytecode.
        environment["COCOTB_REWRITE_ASSERTION_FILES"] = ""
    arguments = [str(start.model.path), start.model.top, str(start.devices)]
    launch(arguments, start.directory, environment, None if start.foreground else start.log)


@contextlib.contextmanager
def _importable(folders: list[Path]) -> Iterator[None]:
    """Modules of ``folders`` can be imported: cocotb's runner gives the simulator our module path,
    whatever ``PYTHONPATH`` says."""
    saved = sys.path[:]
    sys.path[:0] = [str(folder) for folder in folders]
    try:
        yield
    finally:
        sys.path[:] = saved


def _read_results(path: Path) -> tuple[list[str], dict[str, str]]:
    """Names of the tests that ran, and those that failed with the reason, from cocotb's JUnit file.
    """
    if not path.exists():
        raise SimulationError(f"the simulator left no {path}")
    ran: list[str] = []
    failed: dict[str, str] = {}
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        if case.find("skipped") is not None:
            continue
        ran.append(case.attrib["name"])
        for wrong in (*case.findall("failure"), *case.findall("error")):
            failed[case.attrib["name"]] = _first_line(wrong.get("message") or wrong.text or "")
    return ran, failed


def _first_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0] if lines else "no reason given"
