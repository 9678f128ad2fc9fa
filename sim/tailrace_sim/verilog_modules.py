"""Verilog as Yosys writes it, cut down to the modules that a question is about.

Reading the whole device takes minutes. A large module that knows one clock only can't hide a
crossing, whatever is in it: it counts as one register of that clock.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

__all__ = ["Module", "modules", "one_clock_only"]

_POSEDGE = re.compile(r"posedge (\\\S+ |[A-Za-z_][\w$]*)")
_INSTANCE = re.compile(r"^  (\\\S+ |[A-Za-z_][\w$]*)\s+(?:\\\S+ |[A-Za-z_][\w$]*)\s*\($")
_CONNECTION = re.compile(r"^    \.(\\\S+ |[A-Za-z_][\w$]*)\((.*?)\),?$")
_ALIAS = re.compile(r"^  assign (\\\S+ |[A-Za-z_][\w$]*) = (\\\S+ |[A-Za-z_][\w$]*);$")


def _plain(name: str) -> str:
    return name.strip().lstrip("\\")


@dataclass(frozen=True)
class Module:
    """One module.

    Attributes
    ----------
    name : without escapes
    lines : from ``module`` with all ports to ``endmodule``
    """

    name: str
    lines: tuple[str, ...]

    @cached_property
    def ports(self) -> tuple[str, ...]:
        """Names of all ports."""
        listed = self.lines[0].partition("(")[2].rpartition(")")[0]
        return tuple(_plain(name) for name in listed.split(",") if name.strip())

    @cached_property
    def inputs(self) -> set[str]:
        """Names of input ports."""
        found = (re.match(r"^  input (?:\[[^]]*\] )?(.*);$", line) for line in self.lines)
        return {_plain(match.group(1)) for match in found if match}

    @cached_property
    def instances(self) -> list[tuple[str, dict[str, str]]]:
        """Module and connections of each instance."""
        found: list[tuple[str, dict[str, str]]] = []
        for line in self.lines:
            if match := _INSTANCE.match(line):
                found.append((_plain(match.group(1)), {}))
            elif found and (match := _CONNECTION.match(line)):
                found[-1][1][_plain(match.group(1))] = _plain(match.group(2))
        return found

    @cached_property
    def aliases(self) -> dict[str, str]:
        """Signals that are other names of one."""
        found = (_ALIAS.match(line) for line in self.lines)
        return {_plain(m.group(1)): _plain(m.group(2)) for m in found if m}

    @cached_property
    def edges(self) -> set[str]:
        """Signals that a process waits for: clocks and asynchronous resets."""
        return {_plain(name) for line in self.lines for name in _POSEDGE.findall(line)}

    def resolve(self, name: str) -> str:
        """The signal that a name is an alias of in the end."""
        while name in self.aliases:
            name = self.aliases[name]
        return name

    def shell(self) -> str:
        """The module with nothing in it."""
        ports = [line for line in self.lines if re.match(r"^  (input|output|inout) ", line)]
        return "\n".join(("(* blackbox *)", self.lines[0], *ports, "endmodule"))


def modules(text: str) -> dict[str, Module]:
    """The modules of a text by name."""
    found: dict[str, Module] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("module "):
            lines = [line]
        elif len(lines) == 1 and not lines[0].endswith(");"):
            lines[0] += line  # Yosys wraps long port lists
        elif lines:
            lines.append(line)
            if line == "endmodule":
                name = _plain(lines[0].removeprefix("module ").partition("(")[0])
                found[name] = Module(name, tuple(lines))
                lines = []
    return found


def one_clock_only(known: dict[str, Module], names: Iterable[str] = ()) -> dict[str, str]:
    """The clock input of each module that has one clock and no asynchronous reset, itself and all
    below it. Modules without a clock have none, and are not among them."""
    clocks: dict[str, set[str]] = {}

    def visit(name: str) -> set[str]:
        if name not in clocks:
            if name not in known:
                return {"?"}
            module = known[name]
            found = {module.resolve(edge) for edge in module.edges}
            for child, connections in module.instances:
                for port in visit(child):
                    found.add(module.resolve(connections.get(port, "?")))
            clocks[name] = found
        return clocks[name]

    for name in names or known:
        visit(name)
    return {
        name: next(iter(found))
        for name, found in clocks.items()
        if len(found) == 1 and found <= known[name].inputs
    }
