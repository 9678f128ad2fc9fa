"""The S-box as a table."""

from collections.abc import Sequence

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.crypto import gf256

__all__ = ["TableSbox"]


def _table(m: Module, table: Sequence[int], index: Value) -> Value:
    """``table[index]`` in the same cycle. A memory, which simulators look up at once; synthesis is
    told to make logic of it.
    """
    m.submodules.table = rom = memory.Memory(
        shape=8, depth=256, init=table, attrs={"ram_style": "logic", "rom_style": "distributed"}
    )
    port = rom.read_port(domain="comb")
    m.d.comb += port.addr.eq(index)
    return port.data


class TableSbox(wiring.Component):
    """SubBytes of one byte (FIPS 197, 5.1.1), and on request InvSubBytes (5.3.2): logic without
    registers.

    Each bit of the table is a function of 8 bits: four LUT6 and the multiplexers behind them, one
    level. With ``inverse`` the table is that of the field's inverse, between a level that undoes
    the affine transformation for InvSubBytes and one that does it for SubBytes.

    Parameters
    ----------
    inverse : :class:`bool`
        Has InvSubBytes too.

    Members
    -------
    i : In(8)
    o : Out(8)
    decrypt : In(1)
        InvSubBytes; only with ``inverse``.
    """

    def __init__(self, *, inverse: bool = False):
        self.inverse = inverse
        super().__init__({"i": In(8), "o": Out(8)} | ({"decrypt": In(1)} if inverse else {}))

    def elaborate(self, platform):
        m = Module()
        if not self.inverse:
            m.d.comb += self.o.eq(_table(m, gf256.SBOX, self.i))
            return m
        entering, leaving = Signal(8), Signal(8)
        undone = gf256.linear(gf256.INVERSE_AFFINE, self.i ^ gf256.AFFINE_CONSTANT)
        done = gf256.linear(gf256.AFFINE, leaving) ^ gf256.AFFINE_CONSTANT
        m.d.comb += [
            entering.eq(Mux(self.decrypt, undone, self.i)),
            self.o.eq(Mux(self.decrypt, leaving, done)),
        ]
        # A module of its own, so that synthesis keeps the table.
        m.submodules.inversion = inversion = Module()
        inverted = _table(inversion, [gf256.inverse(value) for value in range(256)], entering)
        inversion.d.comb += leaving.eq(inverted)
        return m
