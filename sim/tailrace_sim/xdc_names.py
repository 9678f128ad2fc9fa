"""Are the names in constraints and scripts names of something in the Verilog, and of what they say?

Vivado's names are held against the flat netlist: ports of the top, pins of instances, registers
with ``_reg`` behind their name. Clock pins are followed to the wire of the domain they stand for.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tailrace_hw.lib.crossing import Crossing
from tailrace_sim.clock_domains import Netlist

__all__ = ["clock_complaints", "clock_pins", "name_complaints", "names"]

_QUERY = re.compile(r"\[get_(pins|cells|ports) (?:-quiet )?\{([^{}]*)\}\]")
_CLOCK = re.compile(
    r"(?:set (\w+)_clk|require \{clock (\w+)\}) "
    r"\[get_clocks -of_objects \[get_pins \{([^{}]*)\}\]\]"
)
_REGISTERS = ("$dff", "$adff", "$aldff", "$dffsr")


def names(text: str) -> set[tuple[str, str]]:
    """What a text asks for: ``pins``, ``cells`` or ``ports``, and a name.

    Raises
    ------
    ValueError
        A query has another form than those that are written.
    """
    found = _QUERY.findall(text)
    if len(found) != len(re.findall(r"get_(?:pins|cells|ports|nets)\b", text)):
        raise ValueError("a query that is not [get_... {names}]")
    return {(kind, name) for kind, listed in found for name in listed.split()}


def name_complaints(netlist: Netlist, asked: Iterable[tuple[str, str]]) -> list[str]:
    """A line for each name that nothing in the netlist has."""
    module = netlist.module
    holds = {"pins": _has_pin, "cells": _has_cell, "ports": _has_port}
    return [f"{kind} {name}" for kind, name in sorted(asked) if not holds[kind](module, name)]


def clock_pins(netlist: Netlist, domains: Iterable[str]) -> dict[str, str]:
    """The output that drives the clock of each domain of the top, as Vivado names it."""
    found = {}
    for domain in domains:
        (element,) = netlist.elements(_wire(domain))
        found[domain] = element.replace(".", "/")
    return found


def clock_complaints(netlist: Netlist, text: str, crossings: Iterable[Crossing]) -> list[str]:
    """Where a text takes a pin for a domain's clock and the domain has another: followed to the
    domain's wire in the top, to the registers of crossings, and to all that clocks anything."""
    module, complaints = netlist.module, []
    taken = {}
    for first, second, pin in _CLOCK.findall(text):
        bits = _connection(module, pin)
        taken[first or second] = bits
        if bits != module["netnames"].get(_wire(first or second), {}).get("bits"):
            complaints.append(f"{pin} is not the clock of {first or second}")
    if sorted(map(str, netlist.clocks())) != sorted(
        str(b) for bits in taken.values() for b in bits
    ):
        complaints.append(f"clocks of {sorted(taken)} are not all clocks")
    for crossing in crossings:
        ends = [(crossing.sink, stage) for stage in (*crossing.stages, *crossing.registers)]
        for domain, register in ends:
            cell = _register(module, register)
            if cell is None or cell["connections"]["CLK"] != taken.get(domain):
                complaints.append(f"{register} is not clocked by {domain}")
    return complaints


def _wire(domain: str) -> str:
    return "clk" if domain == "sync" else f"{domain}_clk"


def _connection(module: Mapping[str, Any], pin: str) -> list[int | str]:
    """The wire on a pin of an instance; none if there is no such instance or pin."""
    instance, _, port = pin.rpartition("/")
    cell = module["cells"].get(instance.replace("/", "."), {"connections": {}})
    return cell["connections"].get(port, [])


def _register(module: Mapping[str, Any], path: str) -> Mapping[str, Any] | None:
    bits = module["netnames"].get(path.replace("/", "."), {}).get("bits")
    for cell in module["cells"].values():
        if cell["type"] in _REGISTERS and cell["connections"]["Q"] == bits:
            return cell
    return None


def _has_pin(module: Mapping[str, Any], name: str) -> bool:
    if register := re.fullmatch(r"(.*)_reg/PRE", name):
        cell = _register(module, register[1])
        # PRE sets; a register that is cleared has CLR.
        return cell is not None and set(cell["parameters"].get("ARST_VALUE", "0")) == {"1"}
    return bool(_connection(module, name))


def _has_cell(module: Mapping[str, Any], name: str) -> bool:
    path, behind, index = name.rpartition("_reg")
    if not behind:
        return path.replace("/", ".") in module["cells"]
    if index == "*":
        memory = "\\" + path.replace("/", ".")
        return any(cell["parameters"].get("MEMID") == memory for cell in module["cells"].values())
    cell = _register(module, path)
    wanted = "[*]" if cell is not None and len(cell["connections"]["Q"]) > 1 else ""
    return cell is not None and index == wanted


def _has_port(module: Mapping[str, Any], name: str) -> bool:
    port, bracket, index = name.rstrip("]").partition("[")
    if port not in module["ports"]:
        return False
    width = len(module["ports"][port]["bits"])
    return int(index) < width if bracket else width == 1
