"""One module for all instances that are the same.

Amaranth writes a module for every instance: the S-boxes of the cipher engine's lanes are 1,120
modules of equal text. Verilog with one of them is a fraction as long, and what reads it, Yosys,
Verilator or a person, has that much less to read.
"""

import hashlib
import re

from tailrace_hw.rtlil import CELL, MODULE, reconnected, retyped

__all__ = ["share_modules"]

#: What Amaranth calls a signal that goes in or out of a module and is not in its signature: by the
#: number of its net, which counts through the whole design.
_PORT = re.compile(r"\\port\$\d+\$\d+")
_PORT_WIRE = re.compile(rf"^  wire (?:.* )?({_PORT.pattern})$", re.M)


def share_modules(text: str) -> str:
    """RTLIL, as Amaranth writes it, in which every module is there once.

    Modules are the same if their texts are, but for their own names, for the types of what they
    instantiate as long as these are the same, and for the numbers in the names that Amaranth gives
    to ports without one: these count from 1 in each module. Instances keep their names; the
    module that stands for all of a kind has the name of the first.
    """
    found = list(MODULE.finditer(text))
    ports = {match[2]: _numbered(match[3]) for match in found}
    bodies = {match[2]: _renamed(match[3], ports[match[2]], ports) for match in found}
    kinds: dict[str, str] = {}
    first: dict[str, str] = {}
    # What a module instantiates stands behind it.
    for name in reversed(bodies):
        kinds[name] = hashlib.sha256(_typed(bodies[name], kinds).encode()).hexdigest()
        first[kinds[name]] = name
    types = {name: first[kind] for name, kind in kinds.items()}
    kept = [
        f"{match[1]}module {match[2]}\n{_typed(bodies[match[2]], types)}end\n"
        for match in found
        if types[match[2]] == match[2]
    ]
    return "\n".join([text[: found[0].start()], *kept])


def _numbered(body: str) -> dict[str, str]:
    """New names for a module's ports without a name, in the order in which they stand there."""
    old = dict.fromkeys(_PORT_WIRE.findall(body))
    return {name: f"\\port${number}" for number, name in enumerate(old, 1)}


def _renamed(body: str, own: dict[str, str], ports: dict[str, dict[str, str]]) -> str:
    """A body with new names for its own ports and for those of its children."""

    def nets(text: str) -> str:
        return _PORT.sub(lambda found: own[found[0]], text)

    parts, end = [], 0
    for match in CELL.finditer(body):
        kind, name, lines = match.groups()
        parts += [nets(body[end : match.start()]), f"  cell {kind} {name}\n"]
        parts.append(reconnected(lines, ports.get(kind, {}), nets))
        end = match.end()
    return "".join([*parts, nets(body[end:])])


def _typed(body: str, types: dict[str, str]) -> str:
    """A body whose instances are of the types that stand for theirs."""
    return retyped(body, lambda kind, _: types.get(kind, kind))
