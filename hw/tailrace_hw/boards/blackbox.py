"""Blocks that are not ours: their ports, an instance of them, an empty module for the tools."""

from collections.abc import Mapping
from dataclasses import dataclass

from amaranth.hdl import Const, Instance, Value, ValueLike

__all__ = ["BlackBox", "Port", "ports"]


@dataclass(frozen=True)
class Port:
    """A port of a block.

    Attributes
    ----------
    direction : ``i`` or ``o``
    clock : the port whose clock it belongs to; empty for a pad, a clock, an asynchronous input
    idle : level of an input that the design has no use for
    """

    name: str
    direction: str
    width: int = 1
    clock: str = ""
    idle: int = 0


def ports(table: str, clock: str = "") -> tuple[Port, ...]:
    """Ports from lines of a name with its direction, its width and its idle level.

    ``i cfg_fc_sel 3`` is an input of three bits; ``i cfg_link_training_enable 1 =1`` one that is
    held at 1 if nobody uses it.
    """
    found = []
    for line in table.splitlines():
        direction, name, width, *idle = [*line.split(), ""] if line.strip() else ("", "", "0")
        if name:
            level = int(idle[0].lstrip("=") or 0) if idle and idle[0] else 0
            found.append(Port(name, direction, int(width), clock, level))
    return tuple(found)


@dataclass(frozen=True)
class BlackBox:
    """A module that is known by its ports only.

    Attributes
    ----------
    module : its name
    ports : all inputs, and the outputs that a design may use
    parameters : names of its numeric parameters
    """

    module: str
    ports: tuple[Port, ...]
    parameters: tuple[str, ...] = ()

    def port(self, name: str) -> Port:
        """A port by its name."""
        return next(port for port in self.ports if port.name == name)

    def instance(
        self, used: Mapping[str, ValueLike], parameters: Mapping[str, object] | None = None
    ) -> Instance:
        """An instance: the ports in ``used``, other inputs at their idle level.

        Raises
        ------
        ValueError
            ``used`` has a port that the block has not, or of another width.
        """
        known = {port.name: port for port in self.ports}
        arguments = [("p", name, value) for name, value in (parameters or {}).items()]
        for name, value in used.items():
            if name not in known:
                raise ValueError(f"{self.module} has no port {name}")
            width = len(Value.cast(value))
            if width != known[name].width:
                raise ValueError(
                    f"{self.module}.{name} has {known[name].width} bits, the signal {width}"
                )
        for port in self.ports:
            if port.name in used:
                arguments.append((port.direction, port.name, used[port.name]))
            elif port.direction == "i":
                arguments.append(("i", port.name, Const(port.idle, port.width)))
        return Instance(self.module, *arguments)

    def verilog(self) -> str:
        """The empty module."""
        lines = []
        for port in self.ports:
            size = f" [{port.width - 1}:0]" if port.width > 1 else ""
            direction = "input" if port.direction == "i" else "output"
            lines.append(f"  {direction} wire{size} {port.name}")
        body = ",\n".join(lines)
        settings = ", ".join(f"parameter {name} = 0" for name in self.parameters)
        head = f"{self.module} #({settings})" if settings else self.module
        return f"(* blackbox *)\nmodule {head} (\n{body}\n);\nendmodule\n"
