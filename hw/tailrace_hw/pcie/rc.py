"""Requester completion interface: completions out of the RC stream, one by one (PG213)."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.lib.axis import AxisSignature
from tailrace_hw.pcie.usp import RC_USER

__all__ = ["RcDescriptor", "RcErrorCode", "RcUnpack", "rc_chunk_layout"]

_SLOT_LANES = 8
_DESCRIPTOR_LANES = 3


class RcDescriptor(data.Struct):
    """First three dwords of a completion (PG213, requester completion descriptor)."""

    #: Low bits of the address of the first byte.
    lower_address: 12
    error_code: 4
    #: Bytes left of the request, these included.
    byte_count: 13
    locked: 1
    request_completed: 1
    reserved0: 1
    dword_count: 11
    status: 3
    poisoned: 1
    reserved1: 1
    requester_id: 16
    tag: 8
    completer_id: 16
    reserved2: 1
    tc: 3
    attributes: 3
    reserved3: 1


class RcErrorCode:
    """``error_code`` of the descriptor (PG213)."""

    NORMAL = 0
    POISONED = 1
    BAD_STATUS = 2
    NO_DATA = 3
    MISMATCH = 4
    BAD_ADDRESS = 5
    INVALID_TAG = 6
    FUNCTION_RESET = 8
    TIMEOUT = 9


def rc_chunk_layout(width: int) -> data.StructLayout:
    """Layout of a piece of a completion.

    Members
    -------
    descriptor : valid and constant for the whole completion
    first, last : framing of the completion
    dwords : used dwords of ``data``; less than all of them on the last chunk only
    discontinue : on the last chunk: the block met an error that it could not correct
    data : payload without descriptor; dword 0 of it in bits 31:0 of the first chunk
    """
    return data.StructLayout(
        {
            "descriptor": RcDescriptor,
            "first": 1,
            "last": 1,
            "dwords": range(width // 32 + 1),
            "discontinue": 1,
            "data": width,
        }
    )


def _beat_layout(width: int) -> data.StructLayout:
    """A beat of the RC stream: which 32-byte slots start a TLP, its data."""
    return data.StructLayout({"data": width, "sop": width // 256, "discontinue": 1})


class RcUnpack(wiring.Component):
    """Undoes the straddle and strips the descriptor: completions as chunks that start at lane 0.

    A completion of up to ``width`` bits of payload is one chunk, a longer one a chunk each
    ``width`` bits. Since a TLP starts at byte lane 0 or 32 of a beat, its payload starts 3 or 11
    dwords into a window of two beats, and each chunk is the same cut of the next window.

    Latency 3 cycles from the beat that completes a chunk. One chunk a cycle; ``rc.tready`` falls
    only while completions come that take more chunks than beats (of 20 bytes and less, or of a
    few dwords more than a full chunk). ``o`` has no backpressure: what follows must take a chunk
    a cycle. A beat in which a TLP was expected and none starts is dropped.

    Parameters
    ----------
    width : :class:`int`
        Bits of the RC interface: 512 (2-TLP straddle on) or 256 (straddle off).

    Members
    -------
    rc : In(AxisSignature)
        ``m_axis_rc`` of the integrated block, dword aligned.
    valid : Out(1)
    chunk : Out(rc_chunk_layout(width))
    """

    def __init__(self, width: int):
        self.width = width
        super().__init__(
            {
                "rc": In(AxisSignature(width, user=RC_USER[width], keep=width // 32)),
                "valid": Out(1),
                "chunk": Out(rc_chunk_layout(width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._next = Signal(_beat_layout(self.width))
        self._next_valid = Signal()
        self._head = Signal(_beat_layout(self.width))
        self._head_valid = Signal()
        #: First slot of ``head`` that belongs to no TLP handled so far.
        self._position = Signal(1)
        self._in_tlp = Signal()
        self._base_held = Signal(1)
        self._left_held = Signal(11)
        use_next = Signal()
        self._receive(m, use_next)
        self._process(m, use_next)
        return m

    def _receive(self, m, use_next):
        """Input register, with the start-of-packet sideband as one bit a slot."""
        user = self.rc.tuser
        if self.width == 512:
            # is_sop[67:64] and is_sop0_ptr, is_sop1_ptr; bit 1 of a pointer is the slot.
            high = [user[64 + k] & user[69 + 2 * k] for k in range(2)]
            low = [user[64 + k] & ~user[69 + 2 * k] for k in range(2)]
            sop = Cat(low[0] | low[1], high[0] | high[1])
            discontinue = user[96]
        else:
            sop = user[32]
            discontinue = user[42]
        m.d.comb += self.rc.tready.eq(~self._next_valid | use_next)
        with m.If(self.rc.tready):
            m.d.sync += [
                self._next_valid.eq(self.rc.tvalid),
                self._next.data.eq(self.rc.tdata),
                self._next.sop.eq(sop),
                self._next.discontinue.eq(discontinue),
            ]

    def _process(self, m, use_next):
        """One chunk from the window ``head``, ``next``; then move the window."""
        slots = self.width // 256
        lanes = self.width // 32
        head, following = self._head, self._next
        start = Signal(1)
        found = Signal()
        base = Signal(1)
        descriptor = Signal(RcDescriptor)
        if slots == 1:
            m.d.comb += [found.eq(head.sop), start.eq(0)]
        else:
            m.d.comb += [
                found.eq(head.sop[1] | (head.sop[0] & ~self._position)),
                start.eq(~(head.sop[0] & ~self._position)),
            ]
        raw = Array(head.data.word_select(k, 256)[:96] for k in range(slots))[start]
        left = Signal(11)
        m.d.comb += [
            base.eq(Mux(self._in_tlp, self._base_held, start)),
            descriptor.eq(raw),
            left.eq(Mux(self._in_tlp, self._left_held, descriptor.dword_count)),
        ]
        count = Signal(range(lanes + 1))
        #: Window lane after the chunk's last dword.
        end = Signal(range(2 * lanes + 1))
        last, active, fire, next_slot = Signal(), Signal(), Signal(), Signal(range(2 * slots + 1))
        m.d.comb += [
            last.eq(left <= lanes),
            count.eq(Mux(last, left, lanes)),
            end.eq(_DESCRIPTOR_LANES + _SLOT_LANES * base + count),
            active.eq(self._head_valid & (self._in_tlp | found)),
            fire.eq(active & ((end <= lanes) | self._next_valid)),
            next_slot.eq((end + _SLOT_LANES - 1) >> 3),
        ]
        self._emit(m, fire, last, count, base, descriptor, end)
        with m.If(fire):
            m.d.sync += [
                self._in_tlp.eq(~last),
                self._base_held.eq(base),
                self._left_held.eq(left - lanes),
            ]
        stay = Signal()
        skip = Signal()
        m.d.comb += [
            stay.eq(Mux(active, ~fire | (last & (next_slot < slots)), 0)),
            # The TLP ended with the window: both beats are used up.
            skip.eq(fire & last & (next_slot == 2 * slots)),
            use_next.eq(~self._head_valid | ~stay),
        ]
        with m.If(fire & last):
            m.d.sync += self._position.eq(next_slot if slots == 2 else 0)
        with m.Elif(use_next):
            m.d.sync += self._position.eq(0)
        with m.If(use_next):
            m.d.sync += [self._head.eq(following), self._head_valid.eq(self._next_valid & ~skip)]

    def _emit(self, m, fire, last, count, base, descriptor, end):
        """Output register."""
        lanes = self.width // 32
        window = Cat(self._head.data, self._next.data)
        cuts = [
            window.bit_select(32 * (_DESCRIPTOR_LANES + _SLOT_LANES * k), self.width)
            for k in range(self.width // 256)
        ]
        spoiled = Signal()
        beats_spoiled = self._head.discontinue | ((end > lanes) & self._next.discontinue)
        m.d.sync += self.valid.eq(fire)
        with m.If(fire):
            m.d.sync += [
                self.chunk.first.eq(~self._in_tlp),
                self.chunk.last.eq(last),
                self.chunk.dwords.eq(count),
                self.chunk.discontinue.eq(beats_spoiled | spoiled),
                self.chunk.data.eq(Array(cuts)[base]),
                spoiled.eq(~last & (beats_spoiled | spoiled)),
            ]
            with m.If(~self._in_tlp):
                m.d.sync += self.chunk.descriptor.eq(descriptor)
