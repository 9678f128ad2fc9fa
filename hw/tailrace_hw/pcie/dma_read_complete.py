"""Completions checked against what was asked, and their data put into their tag's slot."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from tailrace_hw.pcie.barrel import rotate_left
from tailrace_hw.pcie.dma import DmaStatus
from tailrace_hw.pcie.dma_read_tags import TagInfo
from tailrace_hw.pcie.dma_splitter import MAX_PIECE
from tailrace_hw.pcie.rc import RcErrorCode, rc_chunk_layout

__all__ = ["ReadCompletions", "ReadResult"]

_CPL_SUCCESS = 0
_CPL_UNSUPPORTED = 1
#: Read completions end at multiples of the Read Completion Boundary (PCIe 5.0, 2.3.1.1).
_RCB_BITS = 6


class ReadResult(data.Struct):
    """How a tag's read ended."""

    status: DmaStatus
    #: The completions made no sense: more may come, so that the tag must not be used soon.
    late: 1


class _Progress(data.Struct):
    """What has been received for a tag; of its present use only if the tag was touched."""

    left: range(MAX_PIECE + 1)
    address: 12
    status: DmaStatus


class ReadCompletions(wiring.Component):
    """Checks each completion (PCIe 5.0, 2.3.2) and writes its dwords to the reorder memory.

    The memory is given as one bank a dword lane with an address each: a chunk of consecutive
    dwords that starts anywhere in a line goes to two lines in one cycle, so a chunk a cycle is
    taken whatever its alignment.

    A completion for a tag that is not open is dropped and reported. One that fails (status UR or
    CA, other status as CA, no data, byte count, length or address that do not fit) closes its tag
    at once; poisoned data are remembered until the last completion of the tag. Three cycles from a
    chunk to ``finish_valid``.

    Parameters
    ----------
    width, tags : as in :class:`DmaReadEngine`

    Members
    -------
    chunk_valid, chunk : In(1), In(rc_chunk_layout(width))
    open : In(tags)
    opened_valid, opened_tag : In(1), In(8)
        A tag is given out.
    looks_up : Out(1), lookup : Out(8), looked_up : In(TagInfo)
    close_valid, close_tag, close_completions : Out
    finish_valid, finish_tag : Out
    unexpected : Out(1), unexpected_tag : Out(8)
        A completion was dropped.
    write_enable : Out(1), write_address : Out(line of the memory), write_data : Out(32), a lane
    result_tag : In(8), result : Out(ReadResult)
        Of a done tag, same cycle.
    """

    def __init__(self, width: int, tags: int):
        self.width = width
        self.tags = tags
        lanes = width // 32
        lines = tags * MAX_PIECE * 8 // width
        super().__init__(
            {
                "chunk_valid": In(1),
                "chunk": In(rc_chunk_layout(width)),
                "open": In(tags),
                "opened_valid": In(1),
                "opened_tag": In(8),
                "looks_up": Out(1),
                "lookup": Out(8),
                "looked_up": In(TagInfo),
                "close_valid": Out(1),
                "close_tag": Out(8),
                "close_completions": Out(4),
                "finish_valid": Out(1),
                "finish_tag": Out(8),
                "unexpected": Out(1),
                "unexpected_tag": Out(8),
                "write_enable": Out(1).array(lanes),
                "write_address": Out(range(lines)).array(lanes),
                "write_data": Out(32).array(lanes),
                "result_tag": In(8),
                "result": Out(ReadResult),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._known = Signal()
        self._final = Signal()
        self._closing = Signal()
        self._outcome = Signal(ReadResult)
        self._check(m)
        placed = self._place(m)
        rotated = self._rotate(m, placed)
        self._finish(m, rotated)
        return m

    def _check(self, m):
        """Compare the completion with what its tag stands for; one cycle, so that two completions
        of one tag may follow each other."""
        descriptor = self.chunk.descriptor
        tag_bits = ceil_log2(self.tags)
        tag = descriptor.tag[:tag_bits]
        begins = Signal()
        m.submodules.progress = progress = memory.Memory(shape=_Progress, depth=self.tags, init=[])
        read = progress.read_port(domain="comb")
        write = progress.write_port()
        #: Tags of whose present use a completion has come.
        touched = Signal(self.tags)
        fresh = ~Array(touched)[tag]
        status = Signal(DmaStatus)
        m.d.comb += [
            self.lookup.eq(descriptor.tag),
            begins.eq(self.chunk_valid & self.chunk.first),
            self.looks_up.eq(begins),
            self._known.eq(
                Array(self.open)[tag]
                & (descriptor.tag < self.tags)
                & (descriptor.error_code != RcErrorCode.INVALID_TAG)
            ),
            read.addr.eq(tag),
            status.eq(Mux(fresh, DmaStatus.OK, read.data.status)),
            self.close_valid.eq(begins & self._known & self._closing),
            self.close_tag.eq(descriptor.tag),
            self.close_completions.eq(self.looked_up.completions),
            self.unexpected.eq(begins & ~self._known),
            self.unexpected_tag.eq(descriptor.tag),
            write.addr.eq(tag),
            write.en.eq(begins & self._known),
            write.data.status.eq(self._outcome.status),
        ]
        opened = (self.opened_valid << self.opened_tag[:tag_bits])[: self.tags]
        came = (write.en << tag)[: self.tags]
        m.d.sync += touched.eq((touched | came) & ~opened)
        # Both comparisons at once, so that they don't wait for the word which of them counts.
        differs = Mux(
            fresh,
            self._differs(self.looked_up.length, self.looked_up.address),
            self._differs(read.data.left, read.data.address),
        )
        misfit = self._fit(m, differs, write)
        self._judge(m, status, misfit)

    def _differs(self, left, address):
        descriptor = self.chunk.descriptor
        return (descriptor.byte_count != left) | (descriptor.lower_address != address)

    def _fit(self, m, differs, write):
        """Whether byte count, length and address don't fit each other or what is expected."""
        descriptor = self.chunk.descriptor
        offset = descriptor.lower_address[:2]
        room = Signal(14)
        end = Signal(14)
        misfit = Signal()
        next_address = Signal(12)
        m.d.comb += [
            room.eq((descriptor.dword_count << 2) - offset),
            end.eq(offset + descriptor.byte_count + 3),
            self._final.eq(descriptor.byte_count <= room),
            next_address.eq(descriptor.lower_address + room),
            write.data.left.eq(descriptor.byte_count - room),
            write.data.address.eq(next_address),
            misfit.eq(
                differs
                | Mux(
                    self._final,
                    end[2:] != descriptor.dword_count,
                    next_address[:_RCB_BITS].any(),
                )
                | (descriptor.dword_count == 0)
            ),
        ]
        return misfit

    def _judge(self, m, status, misfit):
        """The completion's outcome, and whether it is the last one of its tag."""
        descriptor = self.chunk.descriptor
        code = descriptor.error_code
        m.d.comb += self._closing.eq(1)
        with m.If(code == RcErrorCode.TIMEOUT):
            m.d.comb += [self._outcome.status.eq(DmaStatus.TIMEOUT), self._outcome.late.eq(1)]
        with m.Elif(code == RcErrorCode.FUNCTION_RESET):
            m.d.comb += [
                self._outcome.status.eq(DmaStatus.BUS_MASTER_OFF), self._outcome.late.eq(1),
            ]  # fmt: skip
        with m.Elif(descriptor.status == _CPL_UNSUPPORTED):
            m.d.comb += self._outcome.status.eq(DmaStatus.UR)
        with m.Elif(descriptor.status != _CPL_SUCCESS):
            m.d.comb += self._outcome.status.eq(DmaStatus.CA)
        with m.Elif(misfit | (code > RcErrorCode.POISONED)):
            m.d.comb += [self._outcome.status.eq(DmaStatus.CA), self._outcome.late.eq(1)]
        with m.Else():
            m.d.comb += [self._closing.eq(self._final), self._outcome.status.eq(status)]
            poisoned = descriptor.poisoned | (code == RcErrorCode.POISONED)
            with m.If(poisoned & (status == DmaStatus.OK)):
                m.d.comb += self._outcome.status.eq(DmaStatus.POISONED)

    def _step_layout(self):
        """What goes down the pipeline with a chunk."""
        lanes = self.width // 32
        return data.StructLayout(
            {
                "write": 1,
                "line": range(self.tags * MAX_PIECE * 8 // self.width),
                "lane": range(lanes),
                "dwords": range(lanes + 1),
                "finish": 1,
                "spoil": 1,
                "tag": 8,
                "result": ReadResult,
                "data": self.width,
            }
        )

    def _place(self, m):
        """Where the chunk goes: the tag's slot, counted on from the completion's first chunk."""
        lanes = self.width // 32
        slot_lines = MAX_PIECE * 8 // self.width
        descriptor = self.chunk.descriptor
        step = Signal(self._step_layout())
        known, closing, outcome = Signal(), Signal(), Signal(ReadResult)
        line_in_slot = Signal(range(slot_lines))
        first_line = descriptor.lower_address[exact_log2(self.width // 8) :]
        begins = self.chunk.first
        now_known = Mux(begins, self._known, known)
        line = Signal.like(line_in_slot)
        m.d.comb += line.eq(Mux(begins, first_line, line_in_slot))
        with m.If(self.chunk_valid):
            m.d.sync += line_in_slot.eq(line + 1)
            with m.If(begins):
                m.d.sync += [
                    known.eq(self._known), closing.eq(self._closing), outcome.eq(self._outcome),
                ]  # fmt: skip
        ends = self.chunk_valid & self.chunk.last & now_known
        m.d.sync += [
            step.write.eq(self.chunk_valid & now_known),
            step.line.eq(Cat(line, descriptor.tag)),
            step.lane.eq(descriptor.lower_address[2 : 2 + exact_log2(lanes)]),
            step.dwords.eq(self.chunk.dwords),
            step.finish.eq(ends & Mux(begins, self._closing, closing)),
            step.spoil.eq(ends & self.chunk.discontinue),
            step.tag.eq(descriptor.tag),
            step.result.eq(Mux(begins, self._outcome, outcome)),
            step.data.eq(self.chunk.data),
        ]
        return step

    def _rotate(self, m, step):
        """Turn the chunk so that each dword is in the lane of its address."""
        rotated = Signal(self._step_layout())
        m.d.sync += [
            rotated.eq(step),
            rotated.data.eq(rotate_left(step.data, step.lane, 32)),
        ]
        return rotated

    def _finish(self, m, step):
        """Write the lanes, then tell that the tag is done."""
        lanes = self.width // 32
        slot_bits = exact_log2(MAX_PIECE * 8 // self.width)
        slot_line = step.line[:slot_bits]
        for lane in range(lanes):
            index = Signal(range(lanes), name=f"index{lane}")
            wraps = lane < step.lane
            following = (slot_line + 1)[:slot_bits]
            m.d.comb += [
                index.eq(lane - step.lane),
                self.write_enable[lane].eq(step.write & (index < step.dwords)),
                self.write_address[lane].eq(
                    Cat(Mux(wraps, following, slot_line), step.line[slot_bits:])
                ),
                self.write_data[lane].eq(step.data.word_select(lane, 32)),
            ]
        m.submodules.results = results = memory.Memory(
            shape=ReadResult, depth=self.tags, init=[]
        )
        write = results.write_port()
        read = results.read_port(domain="comb")
        spoiled = Signal(self.tags)
        tag_bits = ceil_log2(self.tags)
        bad = Signal()
        m.d.comb += [
            bad.eq(step.spoil | Array(spoiled)[step.tag[:tag_bits]]),
            self.finish_valid.eq(step.finish),
            self.finish_tag.eq(step.tag),
            write.addr.eq(step.tag),
            write.en.eq(step.finish),
            write.data.eq(step.result),
            read.addr.eq(self.result_tag),
            self.result.eq(read.data),
        ]
        with m.If(bad & (step.result.status == DmaStatus.OK)):
            m.d.comb += write.data.status.eq(DmaStatus.CA)
        one_hot = (1 << step.tag[:tag_bits])[: self.tags]
        with m.If(step.finish):
            m.d.sync += spoiled.eq(spoiled & ~one_hot)
        with m.Elif(step.spoil):
            m.d.sync += spoiled.eq(spoiled | one_hot)
