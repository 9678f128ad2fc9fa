"""What a module's content depends on, and what not."""

from amaranth.hdl import Module
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

from tailrace_sim.build import emit
from tailrace_sim.synth.front import read_verilog


class Short(enum.Enum, shape=8):
    NONE = 0
    ONE = 1


class Long(enum.Enum, shape=8):
    NONE = 0
    ONE = 1
    TWO = 2


class Wide(enum.Enum, shape=9):
    NONE = 0
    ONE = 1


def content(members: type[enum.Enum]) -> tuple[str, str]:
    """Text and hash of a component with a register of an enumeration."""

    class Passes(wiring.Component):
        i: In(members)
        o: Out(members)

        def elaborate(self, platform):
            m = Module()
            m.d.sync += self.o.eq(self.i)
            return m

    name = f"passes_{members.__name__}"
    module = read_verilog(emit(Passes, name, "synth"), name).modules[f"\\{name}"]
    return module.text, module.key


def test_a_new_member_of_an_enumeration_is_no_new_content():
    """Else a new error code would let the area record of every block that reports errors age."""
    text, key = content(Short)
    assert "enum" not in text
    assert "\\o" in text
    assert content(Long)[1] == key
    assert content(Wide)[1] != key
