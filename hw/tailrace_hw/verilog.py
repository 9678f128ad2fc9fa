"""Component to Verilog.

Amaranth's own back end leaves processes as they are, and Verilog has no good form for some of them:
bits that are constant become ``always @*`` blocks with nothing to wait for, which simulators never
run. Here Yosys turns processes into expressions and registers first, natively (pyosys), in a
process of its own because Yosys keeps global state and writes to the terminal. Before that,
instances that are the same get one module.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import ClockDomain, Const, Value
from amaranth.hdl._ir import Design, Fragment, PortDirection
from amaranth.hdl._xfrm import DomainCollector
from amaranth.lib import wiring

from tailrace_hw.shared_modules import share_modules
from tailrace_hw.uncollected import uncollected

__all__ = ["TOOLS", "VerilogError", "convert", "prepare", "yosys"]

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
#: Names of array elements, as Amaranth shows them beside the whole array.
_ELEMENT = re.compile(r"(?<= )\\\S*\[\d+\]\S*")
_INDEX = re.compile(r"\[(\d+)\]")
_RUNNER = """
import sys
from pyosys import libyosys
design = libyosys.Design()
for command in sys.argv[1:]:
    libyosys.run_pass(command, design)
"""


class VerilogError(RuntimeError):
    """Yosys failed; the message has its last words."""


def yosys(commands: Sequence[str]) -> None:
    """Run Yosys's passes one after the other on one design.

    Raises
    ------
    VerilogError
        One of them failed.
    """
    result = subprocess.run(
        [sys.executable, "-c", _RUNNER, *commands], capture_output=True, text=True, check=False
    )
    if result.returncode:
        words = (result.stderr or result.stdout).strip().splitlines()[-3:]
        raise VerilogError(f"Yosys failed: {' '.join(words)}")


def prepare(component: wiring.Component, name: str) -> Design:
    """Elaborate a component whose ports are those of its signature.

    The names in it are those of the Verilog. Amaranth keeps this step to itself up to 0.5, but it
    is the only place where components and names are together.

    Clocks and resets of the domains that the component uses and does not define are its last
    ports, in the order of the domains' names. Left alone, Amaranth takes them from a set.
    """
    ports: list[tuple[str | None, Value, PortDirection]] = []
    for path, member, value in component.signature.flatten(component):
        direction = PortDirection.Input if member.flow == wiring.In else PortDirection.Output
        # The ready of a stream that is always ready is a constant, and no port.
        if not isinstance(port := Value.cast(value), Const):
            ports.append(("__".join(map(str, path)), port, direction))
    fragment = Fragment.get(component, None)
    fragment._propagate_domains_up()
    domains = DomainCollector()
    domains(fragment)
    for used in sorted(domains.used_domains - domains.defined_domains - {"comb"}):
        domain = ClockDomain(used)
        fragment.add_domains(domain)
        ports += [(None, signal, PortDirection.Input) for signal in (domain.clk, domain.rst)]
    return fragment.prepare(ports=ports, hierarchy=(name,))


def _without_brackets(text: str) -> str:
    """RTLIL in which element 3 of ``x`` is called ``x.3``.

    As ``x[3]`` it is taken for a bit of ``x`` by tools that write netlists of bits. Yosys's ABC9
    flow is one: it stops at two wires of one name (YosysHQ/yosys issue 4349).
    """
    return _ELEMENT.sub(lambda name: _INDEX.sub(r".\1", name[0]), text)


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
        with uncollected():
            design = prepare(component, name)
            text, _ = rtlil.convert_fragment(design, name=name, emit_src=False)
        source.write_text(share_modules(_without_brackets(text)))
        commands = [command.format(source=source, target=target) for command in _PASSES]
        yosys(commands)
        if not target.exists():
            raise VerilogError("Yosys wrote nothing")
        # The first line names the tool, the second would name this run's scratch folder.
        return target.read_text().replace(str(source), f"{name}.il")
