"""Writes used elements and used indices to host memory."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from tailrace_hw.lib.fifo import SyncFifo
from tailrace_hw.pcie.dma import DmaStatus, DmaWritePort
from tailrace_hw.virtio.interfaces import QueueCommand
from tailrace_hw.virtio.used_types import LINE_BITS, UsedFault, UsedRun, UsedShown

__all__ = ["UsedEmitter"]

_LINE_BYTES = LINE_BITS // 8
#: Offsets in a split ring's device area (virtio 1.2, 2.7.8).
_IDX_OFFSET = 2
_RING_OFFSET = 4

_Written = data.StructLayout({"shown": UsedShown, "visible": 1})


class UsedEmitter(wiring.Component):
    """Makes one DMA write of each run, and in a split ring one more of the used index.

    Split (virtio 1.2, 2.7.8): elements ``{id, len}`` at the device area, then, after a run that is
    ``visible``, the 16-bit ``idx``. Packed (2.8.9, 2.8.13): descriptors with address 0, length,
    buffer ID, and flags AVAIL and USED equal to the wrap counter; WRITE when bytes were written.
    The writes are posted in the order of the runs, so that the driver sees the index after the
    elements.

    ``shown`` tells of a visible run when its last write's response has come; ``fault`` of a write
    that failed. A run for a queue that is not active is dropped; a run that has been begun is
    finished.

    Rate: a run takes 2 cycles, in a split ring 4, and at widths below 512 one more for each further
    beat. Latency 1 cycle from a run to its request. At most ``outstanding`` writes wait for their
    responses.

    Parameters
    ----------
    queues : :class:`int`
    width : :class:`int`
        Of the DMA port.
    outstanding : :class:`int`

    Members
    -------
    configure, context, active : as in :class:`UsedCollector`
    function : In(8)
        PCIe function of the requests.
    busy : Out(queues)
        A run of the queue is being written, a response is missing, or a fault was not taken.
    run : In(stream of UsedRun)
    ring : Out(DmaWritePort)
    shown : Out(stream of UsedShown)
    fault : Out(stream of UsedFault)
    """

    def __init__(self, queues: int, width: int, *, outstanding: int = 32):
        self._queues = queues
        self._width = width
        self._outstanding = outstanding
        super().__init__(
            {
                "configure": In(1),
                "context": In(QueueCommand),
                "active": In(queues),
                "function": In(8),
                "busy": Out(queues),
                "run": In(stream.Signature(UsedRun)),
                "ring": Out(DmaWritePort(width)),
                "shown": Out(stream.Signature(UsedShown)),
                "fault": Out(stream.Signature(UsedFault)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.written = self._written = SyncFifo(_Written, self._outstanding)
        run = self._run = Signal(UsedRun)
        #: A run is being written; ``run`` is it.
        working = Signal()
        #: What is on its way to the port: bytes that remain, from the lowest bit on.
        self._line = Signal(LINE_BITS)
        self._left = Signal(range(_LINE_BYTES + 1))
        self._address = Signal(64)
        self._length = Signal(range(_LINE_BYTES + 1))
        self._is_index = Signal()
        offered = self.run.payload
        wanted = self.active.bit_select(self._narrow(offered.queue), 1)
        based = Signal(8)
        base = self._base(m, based)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [
                    self.run.ready.eq(self._written.i.ready | ~wanted),
                    based.eq(offered.queue),
                ]
                m.d.sync += [run.eq(offered), self._is_index.eq(0)]
                self._load_elements(m, offered, base)
                with m.If(self.run.valid & wanted):
                    m.d.sync += working.eq(self._written.i.ready)
                    self._announce(m, offered, offered.visible & offered.packed_ring)
            with m.State("INDEX"):
                m.d.comb += based.eq(run.queue)
                m.d.sync += self._is_index.eq(1)
                self._load(m, run.position, 2, base + _IDX_OFFSET)
                self._announce(m, run, 1)
            with m.State("WRITE"):
                sent = self._send(m)
                with m.If(sent & ~self._is_index & run.visible & ~run.packed_ring):
                    m.next = "INDEX"
                with m.Elif(sent):
                    m.d.sync += working.eq(0)
                    m.next = "IDLE"
        self._respond(m, working)
        return m

    def _narrow(self, queue):
        return queue[: ceil_log2(self._queues)]

    def _base(self, m, queue):
        """Keep where each queue's used elements go; returns that of ``queue``."""
        m.submodules.bases = bases = memory.Memory(shape=64, depth=self._queues, init=[])
        write = bases.write_port()
        read = bases.read_port(domain="comb")
        context = self.context
        m.d.comb += [
            write.addr.eq(context.queue),
            write.data.eq(Mux(context.packed_ring, context.desc, context.device)),
            write.en.eq(self.configure),
            read.addr.eq(queue),
        ]
        return read.data

    def _load(self, m, line, length, address):
        m.d.sync += [
            self._line.eq(line),
            self._length.eq(length),
            self._left.eq(length),
            self._address.eq(address),
        ]

    def _load_elements(self, m, run, base):
        flags = Cat(Const(0, 7), run.wrap, Const(0, 7), run.wrap)
        packed_line = Cat(
            Cat(Const(0, 64), e.written, e.id, flags | Cat(Const(0, 1), e.written.any()))
            for e in (run.elements[k] for k in range(_LINE_BYTES // 16))
        )
        split_line = Cat(
            Cat(e.id, Const(0, 16), e.written)
            for e in (run.elements[k] for k in range(_LINE_BYTES // 8))
        )
        offset = Mux(run.packed_ring, run.index << 4, (run.index << 3) + _RING_OFFSET)
        self._load(
            m,
            Mux(run.packed_ring, packed_line, split_line),
            Mux(run.packed_ring, run.count << 4, run.count << 3),
            base + offset,
        )

    def _announce(self, m, run, visible):
        """Note the write that comes next, for its response."""
        note = self._written.i
        m.d.comb += [
            note.valid.eq(1),
            note.payload.visible.eq(visible),
            note.payload.shown.queue.eq(run.queue),
            note.payload.shown.position.eq(run.position),
            note.payload.shown.wrap.eq(run.position_wrap),
            note.payload.shown.slots.eq(run.slots),
        ]
        with m.If(note.ready):
            m.next = "WRITE"

    def _send(self, m):
        """Put request and data on the port; returns when both are through."""
        request, beat = self.ring.request, self.ring.data
        width_bytes = self._width // 8
        asked = Signal()
        given = Signal()
        sent = Signal()
        last = Signal()
        m.d.comb += [
            last.eq(self._left <= width_bytes),
            request.valid.eq(~asked),
            request.payload.function.eq(self.function),
            request.payload.address.eq(self._address),
            request.payload.length.eq(self._length),
            beat.valid.eq(~given),
            beat.payload.data.eq(self._line[: min(self._width, LINE_BITS)]),
            beat.payload.last.eq(last),
            beat.payload.empty.eq(Mux(last, width_bytes - self._left, 0)),
            sent.eq(
                (asked | request.ready) & (given | (beat.ready & last)),
            ),
        ]
        with m.If(request.ready):
            m.d.sync += asked.eq(1)
        with m.If(beat.ready & ~given):
            m.d.sync += [
                given.eq(last),
                self._line.eq(self._line >> self._width),
                self._left.eq(self._left - width_bytes),
            ]
        with m.If(sent):
            m.d.sync += [asked.eq(0), given.eq(0)]
        return sent

    def _respond(self, m, working):
        """Match responses with what was written, and tell what came of it."""
        response, note, fault = self.ring.response, self._written.o, self.fault
        failed = response.payload.status != DmaStatus.OK
        over = Signal()
        valid = response.valid & note.valid
        m.d.comb += [
            self.shown.valid.eq(valid & ~failed & note.payload.visible),
            self.shown.payload.eq(note.payload.shown),
            # A fault is kept in a register: whose turn it is must not reach the DMA engine.
            over.eq(valid & Mux(failed, ~fault.valid, self.shown.ready | ~note.payload.visible)),
            response.ready.eq(over),
            note.ready.eq(over),
        ]
        with m.If(fault.ready):
            m.d.sync += fault.valid.eq(0)
        with m.If(~fault.valid):
            m.d.sync += [
                fault.valid.eq(valid & failed),
                fault.payload.queue.eq(note.payload.shown.queue),
                fault.payload.status.eq(response.payload.status),
                fault.payload.position.eq(note.payload.shown.position),
            ]

        begun = self._written.i.valid & self._written.i.ready
        for k in range(self._queues):
            #: Writes of queue ``k`` without response.
            missing = Signal(range(self._outstanding + 1), name=f"missing_{k}")
            m.d.sync += missing.eq(
                missing
                + (begun & (self._written.i.payload.shown.queue == k))
                - (over & (note.payload.shown.queue == k))
            )
            m.d.comb += self.busy[k].eq(
                (missing != 0)
                | (working & (self._run.queue == k))
                | (fault.valid & (fault.payload.queue == k)),
            )
