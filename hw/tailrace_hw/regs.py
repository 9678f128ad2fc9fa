"""SystemRDL register descriptions as Python objects.

The ``.rdl`` file beside a block is the one source of its addresses, fields and descriptions
(SystemRDL 2.0, Accellera). The gateware reads it through :func:`load`; the exporters in
:mod:`tailrace_hw.regs_export` make everything else from it.
"""

import contextlib
import functools
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from systemrdl import RDLCompileError, RDLCompiler
from systemrdl.node import AddrmapNode, FieldNode, RegNode
from systemrdl.rdltypes import OnWriteType

__all__ = [
    "GATEWARE",
    "Field",
    "Register",
    "RegisterError",
    "RegisterMap",
    "compile_rdl",
    "load",
    "sources",
]

#: Root of the gateware package; names of descriptions are relative to it.
GATEWARE = Path(__file__).resolve().parent
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class RegisterError(ValueError):
    """A register description does not compile, or uses what the CSR bank does not offer."""


@dataclass(frozen=True)
class Field:
    """One field of a register.

    Attributes
    ----------
    name, description : as in the source
    low, width : position in the register, in bits
    reset : value after reset
    sw_read, sw_write, hw_read, hw_write : who may do what
    counter : counts up by the value on its port every cycle
    write_one_clear : bits that software writes as 1 become 0; the gateware sets them
    write_clear : any write makes the field 0
    pulse : reads as 0; a written value is seen by the gateware for one cycle
    increment_width : width of a counter's increment port
    """

    name: str
    description: str
    low: int
    width: int
    reset: int
    sw_read: bool
    sw_write: bool
    hw_read: bool
    hw_write: bool
    counter: bool = False
    write_one_clear: bool = False
    write_clear: bool = False
    pulse: bool = False
    increment_width: int = 1


@dataclass(frozen=True)
class Register:
    """One register, or an array of them.

    Attributes
    ----------
    address : byte address of the (first) register in its map
    width : 8, 16, 32 or 64 bits
    count, stride : of an array, ``count`` is None for a single register
    external : the block serves accesses itself; the bank leaves it out
    """

    name: str
    description: str
    address: int
    width: int
    fields: tuple[Field, ...]
    count: int | None = None
    stride: int = 0
    external: bool = False

    def __getitem__(self, name: str) -> Field:
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(f"register {self.name} has no field {name}")

    @property
    def addresses(self) -> tuple[int, ...]:
        """Byte address of each element."""
        return tuple(self.address + i * self.stride for i in range(self.count or 1))


@dataclass(frozen=True)
class RegisterMap:
    """The registers of one block in order of their addresses."""

    name: str
    description: str
    registers: tuple[Register, ...]
    size: int

    def __getitem__(self, name: str) -> Register:
        for register in self.registers:
            if register.name == name:
                return register
        raise KeyError(f"{self.name} has no register {name}")


def sources() -> list[Path]:
    """All register descriptions of the gateware."""
    return sorted(GATEWARE.rglob("*.rdl"))


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C waits for the end of what is inside.

    The parser is an extension module that calls back into Python, where an interrupt is lost, or
    comes out as an error of another kind.
    """
    noted: list[int] = []
    before = {number: signal.getsignal(number) for number in _ENDS}
    before = {number: handler for number, handler in before.items() if callable(handler)}
    with contextlib.suppress(ValueError):  # signals are the main thread's
        for number in before:
            signal.signal(number, lambda number, _: noted.append(number))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            for number, handler in before.items():
                signal.signal(number, handler)
        if noted:
            signal.raise_signal(noted[0])


def compile_rdl(path: Path) -> AddrmapNode:
    """Compile one description to systemrdl-compiler's tree.

    Raises
    ------
    RegisterError
        It does not compile; the compiler has printed where and why.
    """
    compiler = RDLCompiler()
    try:
        with _uninterrupted():
            compiler.compile_file(str(path))
        return compiler.elaborate().top
    except RDLCompileError as error:
        raise RegisterError(f"{path} does not compile: {error}") from error


def _field(node: FieldNode) -> Field:
    prop = node.get_property
    on_write = prop("onwrite")
    return Field(
        name=node.inst_name,
        description=prop("desc") or "",
        low=node.low,
        width=node.width,
        reset=int(prop("reset") or 0),  # type: ignore[arg-type] # only constants are used
        sw_read=node.is_sw_readable,
        sw_write=node.is_sw_writable,
        hw_read=node.is_hw_readable,
        hw_write=node.is_hw_writable,
        counter=bool(prop("counter")),
        write_one_clear=on_write is OnWriteType.woclr,
        write_clear=on_write is OnWriteType.wclr,
        pulse=bool(prop("singlepulse")),
        increment_width=prop("incrwidth") or 1,
    )


def _register(node: RegNode) -> Register:
    return Register(
        name=node.inst_name,
        description=node.get_property("desc") or "",
        address=node.raw_absolute_address if node.is_array else node.absolute_address,
        width=node.get_property("regwidth"),
        fields=tuple(_field(field) for field in node.fields()),
        count=node.n_elements if node.is_array else None,
        stride=node.array_stride or 0 if node.is_array else 0,
        external=node.external,
    )


@functools.cache
def load(name: str) -> RegisterMap:
    """Register map of a block.

    Parameters
    ----------
    name : path of the description below ``tailrace_hw``, for example ``"mgmt/regs.rdl"``
    """
    top = compile_rdl(GATEWARE / name)
    registers = []
    for node in top.children(unroll=False):
        if not isinstance(node, RegNode):
            raise RegisterError(f"{name}: {node.inst_name} is not a register of the map itself")
        registers.append(_register(node))
    return RegisterMap(
        name=top.inst_name,
        description=top.get_property("desc") or "",
        registers=tuple(sorted(registers, key=lambda register: register.address)),
        size=top.size,
    )
