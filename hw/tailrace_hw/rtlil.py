"""RTLIL as text: where modules and instances are in it.

Amaranth and Yosys both write it a statement a line and indented alike (Yosys manual, appendix
"RTLIL text representation"), so that expressions find their way in it.
"""

import re
from collections.abc import Callable

__all__ = ["CELL", "MODULE", "reconnected", "retyped"]

#: A module: the attributes in front of it, its name, its body.
MODULE = re.compile(r"^((?:attribute [^\n]*\n)*)module (\S+)\n(.*?)^end\n", re.M | re.S)
#: An instance in a body: its type, its name, the lines of its parameters and connections.
CELL = re.compile(r"^  cell (\S+) (\S+)\n((?:    .*\n)*)", re.M)
_CONNECT = re.compile(r"(?<=^    connect )(\S+)(.*)", re.M)


def retyped(body: str, kind_of: Callable[[str, str], str]) -> str:
    """A body with other types of instances.

    Parameters
    ----------
    kind_of : gives the new type for the old one and the instance's name
    """

    def cell(match: re.Match[str]) -> str:
        kind, name, lines = match.groups()
        return f"  cell {kind_of(kind, name)} {name}\n{lines}"

    return CELL.sub(cell, body)


def reconnected(
    lines: str, ports: dict[str, str], net: Callable[[str], str] = lambda text: text
) -> str:
    """The lines of an instance with other names of its ports, and of what they are connected to.

    Parameters
    ----------
    ports : new names; ports that are not there keep theirs
    net : gives the new text of a connection
    """
    return _CONNECT.sub(lambda match: ports.get(match[1], match[1]) + net(match[2]), lines)
