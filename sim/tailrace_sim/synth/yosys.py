"""Yosys in a process of its own, with its log kept.

pyosys is the native Yosys as a Python module. It keeps global state, writes to the terminal and
ends the process when a command fails, so nothing here loads it into this process.
"""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from tailrace_sim.build import build_root

__all__ = ["TOOL", "SynthError", "synth_root", "yosys"]

#: What a mapped netlist depends on beside its source and the commands.
TOOL = f"pyosys {version('pyosys')}"

_RUNNER = """
import json, sys
from pyosys import libyosys
design = libyosys.Design()
log = sys.argv[1]
for command in json.load(sys.stdin):
    libyosys.run_pass(f"tee -q -a {log} {command}", design)
"""
_ERROR = re.compile(r"ERROR: ?(.*)")


class SynthError(RuntimeError):
    """A tool failed or its result can't be right; the message says which, and where its log is."""


def synth_root() -> Path:
    """Where results and logs are kept."""
    return build_root() / "synth"


def last_error(log: Path) -> str:
    """What a tool's log says went wrong."""
    text = log.read_text(errors="replace") if log.exists() else ""
    found = _ERROR.findall(text)
    return found[-1].strip() if found else "it ended without saying why"


def yosys(commands: Sequence[str], folder: Path, what: str) -> None:
    """Run commands on one design, in ``folder``; the log is ``yosys.log`` there.

    Raises
    ------
    SynthError
        A command failed; ``what`` begins the message.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "yosys.log"
    log.unlink(missing_ok=True)
    result = subprocess.run(
        [sys.executable, "-c", _RUNNER, log.name],
        input=json.dumps(list(commands)), cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if result.returncode < 0:
        raise SynthError(f"{what}: Yosys was ended by signal {-result.returncode}; see {log}")
    if result.returncode:
        raise SynthError(f"{what}: {last_error(log)}; see {log}")
