"""``./tailrace test``: all tests, or those of a path or a block."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from tailrace.cli.errors import UserError
from tailrace_sim.build import repository
from tailrace_sim.device import check_backend
from tailrace_sim.run import LARGEST_SEED

__all__ = ["run_tests"]


def _resolve(what: str) -> str:
    """A path as it is; a block's name as its folder below ``tests``."""
    tests = repository() / "tests"
    if Path(what.split("::")[0]).exists():
        return what
    if (tests / what).is_dir():
        return str(tests / what)
    blocks = sorted(path.name for path in tests.iterdir() if path.is_dir() and path.name != "data")
    raise UserError(f"no test path or block {what}; blocks are {', '.join(blocks)}")


def run_tests(
    what: Annotated[
        list[str] | None, typer.Argument(metavar="[PATH|BLOCK]...", help="Default: everything.")
    ] = None,
    soak: Annotated[bool, typer.Option("--soak", help="Run the long tests too.")] = False,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", min=0, max=LARGEST_SEED, help="Replay random tests with this seed."
        ),
    ] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, help="Tests at a time.")
    ] = min(os.cpu_count() or 1, 8),
    backend: Annotated[
        str | None, typer.Option("--backend", help="Of the whole device: fast (default) or cocotb.")
    ] = None,
    match: Annotated[
        str | None, typer.Option("-k", metavar="EXPRESSION", help="Only tests whose name matches.")
    ] = None,
) -> None:
    """Run the tests; prints what failed and its seed."""
    targets = [_resolve(item) for item in what or []] or [str(repository() / "tests")]
    command = [sys.executable, "-m", "pytest", "-q", "--rootdir", str(repository()), *targets]
    command += ["-c", str(repository() / "pyproject.toml")]
    if jobs > 1:
        command += ["-n", str(jobs), "--dist", "worksteal"]
    if soak:
        command.append("--soak")
    if match is not None:
        command += ["-k", match]
    if seed is not None:
        command.append(f"--hypothesis-seed={seed}")
    environment = {**os.environ, **({} if seed is None else {"TAILRACE_SEED": str(seed)})}
    if backend is not None:
        environment["TAILRACE_BACKEND"] = check_backend(backend)
    status = subprocess.run(command, env=environment, check=False).returncode
    if status == 5:
        asked = " ".join([*(what or []), *([f"-k {match!r}"] if match else [])])
        raise UserError(f"no test matches {asked}")
    raise typer.Exit(status)
