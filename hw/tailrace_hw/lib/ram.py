"""Memory with one write port and one read port."""

from amaranth.hdl import Module
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["SimpleDualPortRam"]


class SimpleDualPortRam(wiring.Component):
    """Simple dual-port RAM in one clock domain, in block RAM when it is big.

    A read takes 1 cycle: ``read_data`` is that of the last cycle in which ``read_enable`` was set.
    One read and one write a cycle. What a read gives that meets a write to the same row in the
    same cycle is the old row, or with ``transparent`` the new one.

    Parameters
    ----------
    shape : shape-like
        One row.
    depth : :class:`int`
        Rows.
    granularity : :class:`int` or None
        Bits (for an unsigned shape) or elements (for an array layout) behind one bit of
        ``write_enable``; None: a row is written whole.
    transparent : :class:`bool`
        Forward a write to a read in the same cycle (costs a bypass a bit).
    init : iterable
        First rows' initial contents, the rest is 0.

    Members
    -------
    write_address : In(range(depth))
    write_data : In(shape)
    write_enable : In(1), or one bit a granule
    read_address : In(range(depth))
    read_enable : In(1)
    read_data : Out(shape)
    """

    def __init__(self, shape, depth: int, *, granularity=None, transparent=False, init=()):
        self._data = memory.MemoryData(shape=shape, depth=depth, init=init)
        self._granularity = granularity
        self._transparent = transparent
        enables = memory.WritePort.Signature(
            addr_width=0, shape=shape, granularity=granularity
        ).members["en"]
        super().__init__(
            {
                "write_address": In(range(depth)),
                "write_data": In(shape),
                "write_enable": In(enables.shape),
                "read_address": In(range(depth)),
                "read_enable": In(1),
                "read_data": Out(shape),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.storage = storage = memory.Memory(self._data)
        write = storage.write_port(granularity=self._granularity)
        read = storage.read_port(transparent_for=(write,) if self._transparent else ())
        m.d.comb += [
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
            write.en.eq(self.write_enable),
            read.addr.eq(self.read_address),
            read.en.eq(self.read_enable),
            self.read_data.eq(read.data),
        ]
        return m
