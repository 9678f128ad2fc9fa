"""Requester request interface: read requests and write TLPs packed into the RQ stream (PG213)."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.lib.axis import AxisSignature
from tailrace_hw.pcie.usp import RQ_USER, SEQ_NUM_WIDTH

__all__ = ["Requester", "RqDescriptor", "RqHeader", "memory_header", "rq_chunk_layout"]

_GRANULE = 128
_SLOT = 256
_MEMORY_WRITE = 1
_DESCRIPTOR_DWORDS = 4
#: A read is a descriptor, padded to a slot.
_READ_GRANULES = 2


class RqDescriptor(data.Struct):
    """First four dwords of a request (PG213, requester request descriptor, memory requests)."""

    address_type: 2
    #: Dword address.
    address: 62
    dword_count: 11
    #: 0 memory read, 1 memory write.
    request_type: 4
    poisoned: 1
    #: Requester ID; the block fills in the bus number.
    function: 8
    bus: 8
    tag: 8
    completer_id: 16
    requester_id_enable: 1
    tc: 3
    attributes: 3
    force_ecrc: 1


class RqHeader(data.Struct):
    """A request TLP without its payload."""

    descriptor: RqDescriptor
    first_be: 4
    last_be: 4
    #: Comes back on pcie_rq_seq_num when the request has passed the block's ordering point.
    seq_num: SEQ_NUM_WIDTH


def rq_chunk_layout(width: int) -> data.StructLayout:
    """Layout of a piece of a write TLP.

    Members
    -------
    header : the TLP's, valid on its first chunk
    first, last : framing of the TLP
    dwords : used dwords of ``data``, all of them but on the last chunk
    data : payload, dword 0 of the TLP's payload in bits 31:0 of the first chunk
    """
    return data.StructLayout(
        {"header": RqHeader, "first": 1, "last": 1, "dwords": range(width // 32 + 1), "data": width}
    )


def memory_header(header, *, address, length, function, write, tag=0, seq_num=0):
    """Statements that fill ``header`` for ``length`` (1 to 4096) bytes at byte ``address``."""
    offset = address[:2]
    end = offset + length
    dwords = (end + 3) >> 2
    first = (Const(0xF, 4) << offset)[:4]
    last = Const(0xF, 4) >> (-end)[:2]
    single = dwords == 1
    return [
        header.eq(0),
        header.descriptor.address.eq(address[2:]),
        header.descriptor.dword_count.eq(dwords),
        header.descriptor.request_type.eq(_MEMORY_WRITE if write else 0),
        header.descriptor.function.eq(function),
        header.descriptor.tag.eq(tag),
        header.first_be.eq(Mux(single, first & last, first)),
        header.last_be.eq(Mux(single, 0, last)),
        header.seq_num.eq(seq_num),
    ]


def _slot_layout():
    """Sideband of one 32-byte slot: what of a TLP starts and ends in it."""
    return data.StructLayout(
        {
            "sop": 1,
            "eop": 1,
            "eop_lane": 3,
            "first_be": 4,
            "last_be": 4,
            "seq_num": SEQ_NUM_WIDTH,
        }
    )


class Requester(wiring.Component):
    """Packs request TLPs back to back into the RQ stream, at 512 bits with two TLPs a beat.

    A TLP is its 16-byte descriptor and its payload; it starts on a 32-byte boundary of the stream
    (PG213: straddle, byte lane 0 or 32). A 256-byte write takes 4.5 beats of 512 bits, a read
    request half a beat. A read is taken together with the last chunk of a write; when more wait,
    another one goes by itself before the next write. So two reads go between two writes, and small
    TLPs leave more than one a cycle. The order within each kind is kept. Nothing is dropped.

    A TLP's chunks must follow each other without a gap: the block wants ``tvalid`` to stay up from
    the first beat of a TLP to its last, so a producer offers a first chunk only when it has them
    all.

    Latency 1 cycle from a chunk taken to its beat on ``rq`` when the beat is full, or the TLP ends
    and no other write follows at once; else one more to see what shares the beat, as with a read by
    itself. One full beat a cycle.

    Parameters
    ----------
    width : :class:`int`
        Bits of the RQ interface, 256 or 512.

    Members
    -------
    read : In(stream of RqHeader)
    write : In(stream of rq_chunk_layout(width))
    write_follows : In(1)
        While a chunk is on ``write``: another one is in the cycle after it is taken.
    rq : Out(AxisSignature)
        ``s_axis_rq`` of the integrated block; straddle on at 512 bits, dword aligned.
    """

    def __init__(self, width: int):
        self.width = width
        super().__init__(
            {
                "read": In(stream.Signature(RqHeader)),
                "write": In(stream.Signature(rq_chunk_layout(width))),
                "write_follows": In(1),
                "rq": Out(AxisSignature(width, user=RQ_USER[width], keep=width // 32)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        granules = self.width // _GRANULE
        #: What is merged in one cycle: a full beat held, a chunk with its descriptor, padding.
        self._row = row = 2 * granules + 2
        self._fill = Signal(range(row - granules + 1))
        self._merged = Signal(data.ArrayLayout(_GRANULE, row))
        self._slots = Signal(data.ArrayLayout(_slot_layout(), row // 2))
        take_write, take_read, advance = Signal(), Signal(), Signal()
        emit, in_tlp = Signal(), Signal()
        m.d.comb += advance.eq(~self.rq.tvalid | self.rq.tready)
        position = self._measure(m, take_write)
        self._arbitrate(m, position, in_tlp, advance, take_write, take_read)
        self._merge(m, position, take_write, take_read)
        total = Signal(range(row + 1))
        #: What is held ends a TLP, and nothing is in sight that could share its beat.
        complete = Signal()
        m.d.comb += [
            total.eq(Mux(take_read, position + _READ_GRANULES, position)),
            complete.eq(
                ~take_read
                & Mux(take_write, self.write.payload.last & ~self.write_follows, ~in_tlp)
            ),
            emit.eq(advance & ((total >= granules) | (complete & (total != 0)))),
        ]
        with m.If(take_write):
            m.d.sync += in_tlp.eq(~self.write.payload.last)
        self._store(m, emit, total)
        self._drive(m, advance, emit)
        return m

    def _measure(self, m, take_write):
        """Returns the granules held after the chunk, which is where a read may be put."""
        chunk, fill = self.write.payload, self._fill
        #: Position after the chunk's last dword, counted from the start of what is held.
        self._end = end = Signal(range(4 * self._row + 1))
        position = Signal(range(self._row + 1))
        m.d.comb += [
            end.eq(Cat(Const(0, 2), fill + chunk.first) + chunk.dwords),
            position.eq(fill),
        ]
        with m.If(take_write):
            # A TLP's end is padded to a slot.
            m.d.comb += position.eq(Mux(chunk.last, (end + 7) >> 3 << 1, (end + 3) >> 2))
        return position

    def _arbitrate(self, m, position, in_tlp, advance, take_write, take_read):
        """A chunk of a write when it has room; a read behind a write's end, or by itself."""
        granules = self.width // _GRANULE
        #: A read may go by itself before the next write.
        read_turn = Signal()
        alone = self.read.valid & ~in_tlp & read_turn
        m.d.comb += [
            take_write.eq(self.write.valid & advance & (self._fill <= granules) & ~alone),
            take_read.eq(
                self.read.valid
                & advance
                & Mux(take_write, self.write.payload.last, ~in_tlp)
                & (position <= self._row - _READ_GRANULES)
            ),
            self.write.ready.eq(take_write),
            self.read.ready.eq(take_read),
        ]
        with m.If(take_write):
            m.d.sync += read_turn.eq(1)
        with m.Elif(take_read):
            m.d.sync += read_turn.eq(0)

    def _merge(self, m, position, take_write, take_read):
        """Append the chunk and the read to what is held, in granules of 16 bytes."""
        granules, row = self.width // _GRANULE, self._row
        chunk, read, fill = self.write.payload, self.read.payload, self._fill
        self._held = held = Signal(data.ArrayLayout(_GRANULE, row - granules))
        self._held_slots = held_slots = Signal(
            data.ArrayLayout(_slot_layout(), (row - granules) // 2)
        )
        payload = [chunk.data.word_select(k, _GRANULE) for k in range(granules)]
        descriptor = chunk.header.descriptor.as_value()
        items = [
            Mux(chunk.first, early, late)
            for early, late in zip([descriptor, *payload], [*payload, payload[-1]], strict=True)
        ]
        m.d.comb += [self._merged[k].eq(held[k]) for k in range(row - granules)]
        with m.Switch(fill):
            for level in range(granules + 1):
                with m.Case(level):
                    m.d.comb += [self._merged[level + k].eq(item) for k, item in enumerate(items)]
        for place in range(0, row, 2):
            with m.If(take_read & (position == place)):
                m.d.comb += self._merged[place].eq(read.descriptor)
        self._frame(m, position, take_write, take_read, held_slots)

    def _frame(self, m, position, take_write, take_read, held_slots):
        """Sideband of what was merged."""
        chunk, read, fill = self.write.payload, self.read.payload, self._fill
        last_dword = Signal.like(self._end)
        m.d.comb += last_dword.eq(self._end - 1)
        for index in range(self._row // 2):
            slot = self._slots[index]
            if index < len(held_slots):
                m.d.comb += slot.eq(held_slots[index])
            with m.If(take_write & chunk.first & (fill[1:] == index)):
                m.d.comb += [
                    slot.sop.eq(1),
                    slot.first_be.eq(chunk.header.first_be),
                    slot.last_be.eq(chunk.header.last_be),
                    slot.seq_num.eq(chunk.header.seq_num),
                ]
            with m.If(take_write & chunk.last & (last_dword[3:] == index)):
                m.d.comb += [slot.eop.eq(1), slot.eop_lane.eq(last_dword[:3])]
            with m.If(take_read & (position[1:] == index)):
                m.d.comb += [
                    slot.sop.eq(1),
                    slot.eop.eq(1),
                    slot.eop_lane.eq(_DESCRIPTOR_DWORDS - 1),
                    slot.first_be.eq(read.first_be),
                    slot.last_be.eq(read.last_be),
                    slot.seq_num.eq(read.seq_num),
                ]

    def _store(self, m, emit, total):
        """Keep what does not leave in this cycle."""
        granules = self.width // _GRANULE
        slots = granules // 2
        with m.If(emit):
            m.d.sync += self._fill.eq(Mux(total > granules, total - granules, 0))
            m.d.sync += [
                self._held[k].eq(self._merged[k + granules]) for k in range(len(self._held))
            ]
            m.d.sync += [
                self._held_slots[k].eq(self._slots[k + slots]) for k in range(len(self._held_slots))
            ]
        with m.Else():
            m.d.sync += self._fill.eq(total)
            m.d.sync += [self._held[k].eq(self._merged[k]) for k in range(len(self._held))]
            m.d.sync += [
                self._held_slots[k].eq(self._slots[k]) for k in range(len(self._held_slots))
            ]

    def _drive(self, m, advance, emit):
        """Output register with the sideband of the width."""
        slots = [self._slots[k] for k in range(self.width // _SLOT)]
        user = self._user_512(slots) if self.width == 512 else self._user_256(slots[0])
        lanes = self.width // 32
        if self.width == 512:
            # With straddle the sideband frames the TLPs; tkeep and tlast carry no information.
            keep = Const((1 << lanes) - 1, lanes)
        else:
            keep = Mux(slots[0].eop, Const(0xFF, 8) >> (~slots[0].eop_lane), 0xFF)
        with m.If(advance):
            m.d.sync += self.rq.tvalid.eq(emit)
            with m.If(emit):
                m.d.sync += [
                    self.rq.tdata.eq(Cat(self._merged[k] for k in range(self.width // _GRANULE))),
                    self.rq.tkeep.eq(keep),
                    self.rq.tlast.eq(slots[-1].eop | ((~slots[-1].sop) & slots[0].eop)),
                    self.rq.tuser.eq(user),
                ]

    @staticmethod
    def _user_512(slots):
        """PG213, s_axis_rq_tuser at 512 bits: the first TLP that starts or ends comes first."""
        low, high = slots
        start = Mux(low.sop, low.as_value(), high.as_value())
        start = data.View(_slot_layout(), start)
        return Cat(
            start.first_be, high.first_be, start.last_be, high.last_be,
            Const(0, 4),  # addr_offset, dword aligned mode
            low.sop | high.sop, low.sop & high.sop,
            Const(0, 1), ~low.sop, Const(2, 2),
            low.eop | high.eop, low.eop & high.eop,
            Mux(low.eop, Cat(low.eop_lane, 0), Cat(high.eop_lane, 1)),
            Cat(high.eop_lane, 1),
            Const(0, 25),  # discontinue, TPH
            start.seq_num, high.seq_num,
            Const(0, 64),  # parity, not used
        )  # fmt: skip

    @staticmethod
    def _user_256(slot):
        """PG213, s_axis_rq_tuser at 256 bits."""
        return Cat(
            slot.first_be, slot.last_be, Const(0, 16), slot.seq_num[:4], Const(0, 32),
            slot.seq_num[4:],
        )  # fmt: skip
