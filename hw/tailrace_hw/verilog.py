"""Component to Verilog.

Amaranth's own back end leaves processes as they are, and Verilog has no good form for some of them:
bits that are constant become ``always @*`` blocks with nothing to wait for, which simulators never
run. Here Yosys turns processes into expressions and registers first, natively (pyosys), in a
process of its own because Yosys keeps global state and writes to the terminal.
"""

import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from amaranth.back import rtlil
from amaranth.lib import wiring

__all__ = ["TOOLS", "VerilogError", "convert"]

#: What the text depends on beside the gateware.
TOOLS = f"amaranth {version('amaranth')}, pyosys {version('pyosys')}"

#: Attributes that mean something inside Amaranth only, or change with the place of the sources.
_ATTRIBUTES = " ".join(
    f"-remove {name}"
    for name in ("generator", "top", "src", "amaranth.hierarchy", "amaranth.decoding")
)
_PASSES = (
    "read_rtlil {source}",
    "proc",
    "memory_collect",
    "opt_clean",
    f"attrmap {_ATTRIBUTES}",
    f"attrmap -modattr {_ATTRIBUTES}",
    "write_verilog -norename {target}",
)
_RUNNER = """
import sys
from pyosys import libyosys
design = libyosys.Design()
for command in sys.argv[1:]:
    libyosys.run_pass(command, design)
"""


class VerilogError(RuntimeError):
    """Yosys failed; the message has its last words."""


def convert(component: wiring.Component, name: str) -> str:
    """Verilog of a component, the same text for the same gateware.

    Parameters
    ----------
    component : the top
    name : of the Verilog module

    Raises
    ------
    VerilogError
        Yosys failed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        source, target = Path(scratch, "top.il"), Path(scratch, "top.v")
        source.write_text(rtlil.convert(component, name=name, emit_src=False))
        commands = [command.format(source=source, target=target) for command in _PASSES]
        result = subprocess.run(
            [sys.executable, "-c", _RUNNER, *commands], capture_output=True, text=True, check=False
        )
        if result.returncode or not target.exists():
            words = (result.stderr or result.stdout).strip().splitlines()[-3:]
            raise VerilogError(f"Yosys failed: {' '.join(words)}")
        # The first line names the tool, the second would name this run's scratch folder.
        return target.read_text().replace(str(source), f"{name}.il")
