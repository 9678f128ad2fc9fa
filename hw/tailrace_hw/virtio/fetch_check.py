"""What is wrong with a descriptor (virtio 1.2, 2.7.5 and 2.8.13)."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.errors import ErrorCode
from tailrace_hw.virtio.fetch_types import (
    DESC_F_INDIRECT,
    DESC_F_NEXT,
    DESC_F_WRITE,
    Chunk,
)

__all__ = ["DescriptorCheck"]

#: A chain's buffers may be 4 GiB together (2.7.5.2).
LIMIT_BITS = 32


class DescriptorCheck(wiring.Component):
    """Judges one descriptor as the next of its chain. Combinational.

    Members
    -------
    chunk : ``In(Chunk)``
    packed_ring, indirect_allowed, size : ``In``
        Of the queue.
    in_table : ``In(1)``
        The descriptor is in an indirect table.
    index : ``In(16)``
        Where it was found, for the report.
    count, bytes, writable : ``In``
        The chain so far: descriptors, bytes, and whether a device-writable one was seen.
    flags : ``Out(16)``
    other : ``Out(16)``
        ``next`` of a split descriptor, the buffer ID of a packed one.
    follows : ``Out(1)``
        NEXT is set.
    writes : ``Out(1)``
        WRITE is set.
    indirect : ``Out(1)``
        It refers to an indirect table.
    bytes_after : ``Out(33)``
    error, code, info : ``Out``
    """

    chunk: In(Chunk)
    packed_ring: In(1)
    indirect_allowed: In(1)
    size: In(16)
    in_table: In(1)
    index: In(16)
    count: In(16)
    bytes: In(33)
    writable: In(1)
    flags: Out(16)
    other: Out(16)
    follows: Out(1)
    writes: Out(1)
    indirect: Out(1)
    bytes_after: Out(33)
    error: Out(1)
    code: Out(ErrorCode)
    info: Out(64)

    def elaborate(self, platform):
        m = Module()
        chunk = self.chunk
        low, high = chunk.raw[96:112], chunk.raw[112:128]
        total = Signal(34)
        m.d.comb += [
            Cat(self.flags, self.other).eq(Mux(self.packed_ring, Cat(high, low), Cat(low, high))),
            self.follows.eq(self.flags[DESC_F_NEXT]),
            self.writes.eq(self.flags[DESC_F_WRITE]),
            self.indirect.eq(self.flags[DESC_F_INDIRECT]),
            total.eq(self.bytes + chunk.length),
            self.bytes_after.eq(total),
        ]
        entries = chunk.length[4:]
        bad_table = (
            self.follows
            | ~self.indirect_allowed
            | (chunk.length[:4] != 0)
            | (entries == 0)
            | (entries > self.size)
        )
        too_big = total[LIMIT_BITS + 1] | (total[LIMIT_BITS] & (total[:LIMIT_BITS] != 0))
        with m.If(chunk.fault):
            self._wrong(m, ErrorCode.QUEUE_FETCH_FAULT, self.index)
        with m.Elif(self.indirect & (self.in_table | bad_table)):
            self._wrong(m, ErrorCode.QUEUE_BAD_INDIRECT, chunk.length)
        with m.Elif(chunk.zero_length):
            self._wrong(m, ErrorCode.QUEUE_ZERO_LENGTH, self.index)
        with m.Elif(chunk.wraps):
            self._wrong(m, ErrorCode.QUEUE_BAD_ADDRESS, chunk.address)
        with m.Elif(~self.indirect & (self.count >= self.size)):
            self._wrong(m, ErrorCode.QUEUE_CHAIN_TOO_LONG, self.index)
        with m.Elif(~self.indirect & too_big):
            self._wrong(m, ErrorCode.QUEUE_LENGTH_TOO_BIG, chunk.length)
        with m.Elif(~self.indirect & self.writable & ~self.writes):
            self._wrong(m, ErrorCode.QUEUE_BAD_DIRECTION, self.index)
        return m

    def _wrong(self, m, code, info):
        m.d.comb += [self.error.eq(1), self.code.eq(code), self.info.eq(info)]
