"""Running a Verilated model under cocotb: the only place that starts a simulator.

The pytest side calls :func:`run`; the simulator side reads its parameters with :func:`parameters`
and its seed with :func:`seed`.
"""

import contextlib
import json
import os
import random
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tailrace_sim.build import Model, _environment, _Runner, build_root, toolchain_env

__all__ = ["Result", "SimulationError", "parameters", "pick_seed", "run", "seed"]

_PARAMETERS = "TAILRACE_PARAMETERS"
_SEED = "TAILRACE_SEED"


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
    return int(text, 0) if text else random.SystemRandom().getrandbits(32)


def parameters() -> dict[str, Any]:
    """Inside the simulator: the parameters that :func:`run` was given."""
    return json.loads(os.environ.get(_PARAMETERS, "{}"))


def seed() -> int:
    """Inside the simulator: the seed of this run."""
    return int(os.environ[_SEED])


def run(
    model: Model,
    module: str,
    *,
    name: str,
    tests: list[str],
    parameters: dict[str, Any] | None = None,
    seed: int | None = None,
    python_path: list[Path] | None = None,
) -> Result:
    """Run cocotb tests of a Python module on a model and insist that exactly those ran.

    Parameters
    ----------
    model : from :func:`tailrace_sim.build.build`
    module : importable module with the cocotb tests
    name : unique name of this run; its directory is ``build/run/<name>``
    tests : names of the cocotb tests to run; never empty
    parameters : JSON-serialisable, read in the simulator with :func:`parameters`
    seed : of the run; default :func:`pick_seed`
    python_path : folders to find ``module`` in

    Raises
    ------
    SimulationError
        A test failed, or the tests that ran are not ``tests``. The message has the seed and the
        log's path.
    """
    if not tests:
        raise SimulationError("no test was named: a run that checks nothing is an error")
    seed = pick_seed() if seed is None else seed
    directory = build_root() / "run" / name
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / "simulation.log"
    results = directory / "results.xml"
    results.unlink(missing_ok=True)
    print(f"seed {seed} (replay: {_SEED}={seed}), log {log}")
    environment = {
        **toolchain_env(),
        _PARAMETERS: json.dumps(parameters or {}),
        _SEED: str(seed),
    }
    runner = _Runner()
    with _environment(environment), _importable(python_path or []):
        try:
            runner.test(
                hdl_toplevel=model.top,
                hdl_toplevel_lang="verilog",
                test_module=module,
                test_filter="(^|\\.)(" + "|".join(tests) + ")$",
                build_dir=model.path,
                test_dir=directory,
                results_xml=str(results),
                seed=seed,
                waves=False,
                test_args=["--trace-file", str(directory / "waves.fst"), "--trace"]
                if model.waves
                else [],
                log_file=log,
            )
        except (RuntimeError, SystemExit) as error:
            raise SimulationError(f"simulation failed (seed {seed}); see {log}") from error
    ran, failed = _read_results(results)
    if failed:
        raise SimulationError(f"{', '.join(failed)} failed (seed {seed}); see {log}")
    if sorted(ran) != sorted(tests):
        raise SimulationError(f"expected tests {sorted(tests)}, but {sorted(ran)} ran; see {log}")
    return Result(tests=tuple(ran), directory=directory, seed=seed)


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


def _read_results(path: Path) -> tuple[list[str], list[str]]:
    """Names of the tests that ran and of those that failed, from cocotb's JUnit file."""
    if not path.exists():
        raise SimulationError(f"the simulator left no {path}")
    ran, failed = [], []
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        if case.find("skipped") is not None:
            continue
        ran.append(case.attrib["name"])
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(case.attrib["name"])
    return ran, failed
