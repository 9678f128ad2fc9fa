"""Data of finished reads out of the reorder memory, aligned to the client's packet."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from tailrace_hw.lib.arbiter import RoundRobinArbiter
from tailrace_hw.lib.packet import beat_layout
from tailrace_hw.pcie.barrel import rotate_left
from tailrace_hw.pcie.dma import DmaReadMeta, DmaStatus
from tailrace_hw.pcie.dma_read_client import EPOCH_WIDTH, read_job_layout
from tailrace_hw.pcie.dma_read_complete import ReadResult
from tailrace_hw.pcie.dma_splitter import MAX_PIECE

__all__ = ["ReadOut"]


class ReadOut(wiring.Component):
    """Reads the lines of a job, turns them to the packet's alignment and joins them to beats.

    Jobs are taken from the clients in turn, a piece each; a piece's lines are read one a cycle.
    What is left of a beat at a piece's end is kept for the client's next piece. A job that ends a
    request with more than one beat left takes one cycle more. Data of a failed piece is zeroed.

    Parameters
    ----------
    width, tags, functions : as in :class:`DmaReadEngine`
    clients : :class:`int`

    Members
    -------
    job : In(stream of read_job_layout(width)), one a client
    epochs : In(EPOCH_WIDTH) of each function
    expired : In(tags)
    result_tag : Out(8), result : In(ReadResult)
    read_address : Out(line of the memory), read_enable : Out(1), read_data : In(width)
        The memory answers in the next cycle.
    release_valid, release_tag, release_late : Out
        A job's lines have been read.
    ended_valid, ended_status, ended_function, ended_tag, ended_bytes, ended_last : Out
        A job was started; ``ended_last``: it ends its request, with that status. ``ended_tag`` is
        the link tag of the request's first piece that failed.
    beat_valid, beat : Out(1) a client, Out(beat)
    """

    def __init__(self, width: int, clients: int, tags: int, functions: int):
        self.width = width
        self.clients = clients
        self.tags = tags
        super().__init__(
            {
                "job": In(stream.Signature(read_job_layout(width))).array(clients),
                "epochs": In(EPOCH_WIDTH).array(functions),
                "expired": In(tags),
                "result_tag": Out(8),
                "result": In(ReadResult),
                "read_address": Out(range(tags * MAX_PIECE * 8 // width)),
                "read_enable": Out(1),
                "read_data": In(width),
                "release_valid": Out(1),
                "release_tag": Out(8),
                "release_late": Out(1),
                "ended_valid": Out(1),
                "ended_last": Out(1),
                "ended_status": Out(DmaStatus),
                "ended_function": Out(8),
                "ended_tag": Out(8),
                "ended_bytes": Out(range(MAX_PIECE + 1)),
                "beat_valid": Out(1).array(clients),
                "beat": Out(beat_layout(width, DmaReadMeta)),
            }
        )
        line = width // 8
        self._plan_layout = data.StructLayout(
            {
                "client": range(clients),
                "tag": 8,
                "line": range(MAX_PIECE // line),
                "lines": range(MAX_PIECE // line + 2),
                "first_byte": range(line),
                "length": range(MAX_PIECE + 1),
                "fill": range(line),
                "flush": 1,
                "last": 1,
                "client_tag": 16,
                "status": DmaStatus,
                "failed": 1,
                "late": 1,
            }
        )
        self._step_layout = data.StructLayout(
            {
                "valid": 1,
                "client": range(clients),
                "flush": 1,
                "final": 1,
                "fill": range(line),
                "count": range(line + 1),
                "turn": range(line),
                "failed": 1,
                "client_tag": 16,
                "status": DmaStatus,
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.arbiter = arbiter = RoundRobinArbiter(
            read_job_layout(self.width), self.clients
        )
        for mine, theirs in zip(arbiter.i, self.job, strict=True):
            wiring.connect(m, wiring.flipped(theirs), mine)
        self._plan = Signal(self._plan_layout)
        self._plan_valid = Signal()
        #: This cycle is the plan's last.
        self._plan_ends = Signal()
        plan_ready = Signal()
        self._make_plan(m, arbiter, plan_ready)
        step = self._walk(m, plan_ready)
        self._align(m, step)
        return m

    def _status(self, m, job):
        """Status of the piece, and whether more completions may come for its tag."""
        tag_bits = ceil_log2(self.tags)
        status, late = Signal(DmaStatus), Signal()
        overdue = Array(self.expired)[job.tag[:tag_bits]]
        m.d.comb += self.result_tag.eq(job.tag)
        with m.If(job.status != DmaStatus.OK):
            m.d.comb += status.eq(job.status)
        with m.Else():
            m.d.comb += late.eq(overdue | self.result.late)
            with m.If(Array(self.epochs)[job.function] != job.epoch):
                m.d.comb += status.eq(DmaStatus.BUS_MASTER_OFF)
            with m.Elif(overdue):
                m.d.comb += status.eq(DmaStatus.TIMEOUT)
            with m.Else():
                m.d.comb += status.eq(self.result.status)
        return status, late

    def _make_plan(self, m, arbiter, plan_ready):
        """From a job to lines, and to the request's status so far."""
        line_bytes = self.width // 8
        bits = exact_log2(line_bytes)
        job, client = arbiter.o.payload, arbiter.grant
        status, late = self._status(m, job)
        failures = [Signal(DmaStatus, name=f"failure{k}") for k in range(self.clients)]
        fail_tags = [Signal(8, name=f"fail_tag{k}") for k in range(self.clients)]
        before = Signal(DmaStatus)
        overall = Signal(DmaStatus)
        start = Signal()
        first_byte = job.first_byte[:bits]
        end = first_byte + job.length
        lines = (end + line_bytes - 1)[bits:]
        last_count = ((end - 1)[:bits] + 1)
        fill_last = (job.offset - first_byte)[:bits]
        m.d.comb += [
            before.eq(Array(failures)[client]),
            overall.eq(Mux(before == DmaStatus.OK, status, before)),
            start.eq(arbiter.o.valid & plan_ready),
            arbiter.o.ready.eq(plan_ready),
            self.ended_valid.eq(start),
            self.ended_last.eq(job.last),
            self.ended_status.eq(overall),
            self.ended_function.eq(job.function),
            self.ended_tag.eq(Mux(before == DmaStatus.OK, job.tag, Array(fail_tags)[client])),
            self.ended_bytes.eq(Mux(status == DmaStatus.OK, job.length, 0)),
        ]
        for index in range(self.clients):
            with m.If(start & (client == index)):
                m.d.sync += failures[index].eq(Mux(job.last, DmaStatus.OK, overall))
                with m.If(before == DmaStatus.OK):
                    m.d.sync += fail_tags[index].eq(job.tag)
        single = lines == 1
        ends_at_once = single & ~(job.last & (job.offset + job.length > line_bytes))
        over = Mux(single, job.offset + job.length, fill_last + last_count) > line_bytes
        with m.If(plan_ready):
            m.d.sync += [
                self._plan_valid.eq(arbiter.o.valid),
                self._plan_ends.eq(ends_at_once),
                self._plan.client.eq(client),
                self._plan.tag.eq(job.tag),
                self._plan.line.eq(job.first_byte[bits:]),
                self._plan.lines.eq(lines),
                self._plan.first_byte.eq(first_byte),
                self._plan.length.eq(job.length),
                self._plan.fill.eq(job.offset),
                self._plan.flush.eq(job.last & over),
                self._plan.last.eq(job.last),
                self._plan.client_tag.eq(job.client_tag),
                self._plan.status.eq(overall),
                self._plan.failed.eq(status != DmaStatus.OK),
                self._plan.late.eq(late),
            ]

    def _walk(self, m, plan_ready):
        """One line a cycle; returns the pipeline step that goes with the memory's answer."""
        plan = self._plan
        line_bytes = self.width // 8
        index = Signal(range(MAX_PIECE // line_bytes + 2))
        left = Signal(range(MAX_PIECE + 1))
        fill = Signal(range(line_bytes))
        fill_now = Mux(index == 0, plan.fill, fill)
        left_now = Mux(index == 0, plan.length, left)
        room = Mux(index == 0, line_bytes - plan.first_byte, line_bytes)
        count = Signal(range(line_bytes + 1))
        last_line, flushing = Signal(), Signal()
        step = Signal(self._step_layout)
        m.d.comb += [
            count.eq(Mux(left_now < room, left_now, room)),
            last_line.eq(index + 1 == plan.lines),
            flushing.eq(index == plan.lines),
            plan_ready.eq(~self._plan_valid | self._plan_ends),
            self.read_address.eq(Cat((plan.line + index)[: len(plan.line)], plan.tag)),
            self.read_enable.eq(1),
            self.release_valid.eq(self._plan_valid & last_line),
            self.release_tag.eq(plan.tag),
            self.release_late.eq(plan.late),
        ]
        with m.If(~plan_ready):
            m.d.sync += self._plan_ends.eq(index + 2 == plan.lines + plan.flush)
        with m.If(self._plan_valid):
            m.d.sync += [
                index.eq(Mux(plan_ready, 0, index + 1)),
                left.eq(left_now - count),
                fill.eq(fill_now + count),
            ]
        m.d.sync += [
            step.valid.eq(self._plan_valid),
            step.client.eq(plan.client),
            step.flush.eq(flushing),
            step.final.eq(plan.last & Mux(plan.flush, flushing, last_line)),
            step.fill.eq(fill_now),
            step.count.eq(Mux(flushing, 0, count)),
            step.turn.eq(plan.fill - plan.first_byte),
            step.failed.eq(plan.failed),
            step.client_tag.eq(plan.client_tag),
            step.status.eq(Mux(plan.last, plan.status, DmaStatus.OK)),
        ]
        return step

    def _align(self, m, step):
        """Rotate in two steps, then join with what the client's last line left."""
        register = Signal(self._step_layout)
        coarse = Signal(self._step_layout)
        fine = Signal(self._step_layout)
        line, coarse_data, fine_data = (
            Signal(self.width, name=name) for name in ("line", "coarse_data", "fine_data")
        )
        m.d.sync += [
            register.eq(step),
            line.eq(self.read_data),
            coarse.eq(register),
            coarse_data.eq(
                rotate_left(Mux(register.failed, 0, line), register.turn[4:], 128)
            ),
            fine.eq(coarse),
            fine_data.eq(rotate_left(coarse_data, coarse.turn[:4], 8)),
        ]
        self._join(m, fine, fine_data)

    def _join(self, m, step, turned):
        """Bytes below ``fill`` come from the carry, the others from the line."""
        line_bytes = self.width // 8
        m.submodules.carries = carries = memory.Memory(
            shape=self.width, depth=max(self.clients, 2), init=[]
        )
        carry = carries.read_port(domain="comb")
        keep = carries.write_port()
        end = Signal(range(2 * line_bytes))
        full, gives = Signal(), Signal()
        merged = Signal(self.width)
        m.d.comb += [
            carry.addr.eq(step.client),
            end.eq(step.fill + step.count),
            full.eq(end >= line_bytes),
            gives.eq(step.valid & (full | step.final)),
            merged.eq(
                Cat(
                    Mux(
                        step.flush | (k < step.fill),
                        carry.data.word_select(k, 8),
                        turned.word_select(k, 8),
                    )
                    for k in range(line_bytes)
                )
            ),
            keep.addr.eq(step.client),
            keep.en.eq(step.valid),
            keep.data.eq(Mux(full, turned, merged)),
        ]
        m.d.sync += [
            self.beat.data.eq(merged),
            self.beat.last.eq(step.final),
            self.beat.empty.eq(Mux(step.final, -end, 0)),
            self.beat.meta.tag.eq(step.client_tag),
            self.beat.meta.status.eq(step.status),
        ]
        for index, valid in enumerate(self.beat_valid):
            m.d.sync += valid.eq(gives & (step.client == index))
