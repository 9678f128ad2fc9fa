"""What is wrong with a descriptor (virtio 1.2, 2.7.5 and 2.8.13)."""

from amaranth.hdl import Cat, Module, Mux
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.errors import ErrorCode
from tailrace_hw.virtio.fetch_types import (
    DESC_F_INDIRECT,
    DESC_F_NEXT,
    DESC_F_WRITE,
    Chunk,
)

__all__ = ["BALANCE_BITS", "DescriptorCheck", "DescriptorReport"]

#: A chain's buffers may be 4 GiB together (2.7.5.2).
LIMIT_BITS = 32
#: Minus a chain's bytes, modulo twice the limit: the sign says when there are too many.
BALANCE_BITS = LIMIT_BITS + 1


class Wrong(data.Struct):
    """What can be wrong with a descriptor."""

    #: It could not be read.
    fault: 1
    #: Its indirect table, or that it has one.
    indirect: 1
    zero_length: 1
    address: 1
    #: Its chain, with it.
    too_long: 1
    too_big: 1
    direction: 1


class DescriptorCheck(wiring.Component):
    """Judges one descriptor as the next of its chain. Combinational.

    Members
    -------
    chunk : ``In(Chunk)``
    packed_ring, indirect_allowed, size : ``In``
        Of the queue.
    in_table : ``In(1)``
        The descriptor is in an indirect table.
    count, balance, writable : ``In``
        The chain so far: descriptors, minus its bytes, and whether a device-writable one was seen.
    flags : ``Out(16)``
    other : ``Out(16)``
        ``next`` of a split descriptor, the buffer ID of a packed one.
    follows : ``Out(1)``
        NEXT is set.
    writes : ``Out(1)``
        WRITE is set.
    indirect : ``Out(1)``
        It refers to an indirect table.
    balance_after : ``Out(BALANCE_BITS)``
    wrong : ``Out(Wrong)``
    error : ``Out(1)``
        Something is wrong.
    """

    chunk: In(Chunk)
    packed_ring: In(1)
    indirect_allowed: In(1)
    size: In(16)
    in_table: In(1)
    count: In(16)
    balance: In(BALANCE_BITS)
    writable: In(1)
    flags: Out(16)
    other: Out(16)
    follows: Out(1)
    writes: Out(1)
    indirect: Out(1)
    balance_after: Out(BALANCE_BITS)
    wrong: Out(Wrong)
    error: Out(1)

    def elaborate(self, platform):
        m = Module()
        chunk = self.chunk
        low, high = chunk.raw[96:112], chunk.raw[112:128]
        m.d.comb += [
            Cat(self.flags, self.other).eq(Mux(self.packed_ring, Cat(high, low), Cat(low, high))),
            self.follows.eq(self.flags[DESC_F_NEXT]),
            self.writes.eq(self.flags[DESC_F_WRITE]),
            self.indirect.eq(self.flags[DESC_F_INDIRECT]),
            self.balance_after.eq(self.balance - chunk.length),
        ]
        entries = chunk.length[4:]
        bad_table = self.follows | ~self.indirect_allowed | chunk.ragged | (entries > self.size)
        m.d.comb += [
            self.wrong.fault.eq(chunk.fault),
            self.wrong.indirect.eq(self.indirect & (self.in_table | bad_table)),
            self.wrong.zero_length.eq(chunk.zero_length),
            self.wrong.address.eq(chunk.wraps),
            self.wrong.too_long.eq(~self.indirect & (self.count >= self.size)),
            # Once a length is not 0, the sum is not either: from the limit on the sign is set.
            self.wrong.too_big.eq(~self.indirect & ~self.balance_after[LIMIT_BITS]),
            self.wrong.direction.eq(~self.indirect & self.writable & ~self.writes),
            self.error.eq(self.wrong.as_value().any()),
        ]
        return m


class DescriptorReport(wiring.Component):
    """The error code for a descriptor that was found to be wrong, and what is said of it.

    Combinational; apart from :class:`DescriptorCheck`, for its verdict is in longer paths.

    Members
    -------
    wrong : ``In(Wrong)``
    chunk : ``In(Chunk)``
    index : ``In(16)``
        Where it was found.
    code, info : ``Out``
        Of the first that is set.
    """

    wrong: In(Wrong)
    chunk: In(Chunk)
    index: In(16)
    code: Out(ErrorCode)
    info: Out(64)

    def elaborate(self, platform):
        m = Module()
        wrong, chunk = self.wrong, self.chunk
        with m.If(wrong.fault):
            self._say(m, ErrorCode.QUEUE_FETCH_FAULT, self.index)
        with m.Elif(wrong.indirect):
            self._say(m, ErrorCode.QUEUE_BAD_INDIRECT, chunk.length)
        with m.Elif(wrong.zero_length):
            self._say(m, ErrorCode.QUEUE_ZERO_LENGTH, self.index)
        with m.Elif(wrong.address):
            self._say(m, ErrorCode.QUEUE_BAD_ADDRESS, chunk.address)
        with m.Elif(wrong.too_long):
            self._say(m, ErrorCode.QUEUE_CHAIN_TOO_LONG, self.index)
        with m.Elif(wrong.too_big):
            self._say(m, ErrorCode.QUEUE_LENGTH_TOO_BIG, chunk.length)
        with m.Elif(wrong.direction):
            self._say(m, ErrorCode.QUEUE_BAD_DIRECTION, self.index)
        return m

    def _say(self, m, code, info):
        m.d.comb += [self.code.eq(code), self.info.eq(info)]
