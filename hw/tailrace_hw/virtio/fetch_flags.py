"""The flags of every queue, and who may change them."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.virtio.fetch_types import FlagOp, Flags, TableRead, Touch
from tailrace_hw.virtio.interfaces import QueueNotify

__all__ = ["QueueFlags"]


class QueueFlags(wiring.Component):
    """Flags of all queues in registers, for they are searched all at once.

    Changes asked for in one cycle are seen in the next. When two parts change the same flag of a
    queue at once, setting wins: a flag that is set means work to do, which must not get lost. An
    operation on ``replace`` (enabling, resetting) overrides all others.

    Parameters
    ----------
    queues : 1 to 33

    Members
    -------
    replace : ``In(FlagOp)``
        Sets ``set`` and clears every other flag.
    ops : array of 3 ``In(FlagOp)``
    touches : array of 2 ``In(Touch)``
        Set ``ready``.
    notify : ``In(stream(QueueNotify))``
        Always ready. Sets ``pending`` of an enabled queue; of another it is dropped.
    looks : array of 4 ``In(TableRead)``
        The flags of one queue.
    halt : ``In(1)``
    streaming, streaming_queue : ``In(1)``, ``In(8)``
        The queue whose oversize chain is being given.
    event_idle : ``In(1)``
        An avail_event can be written.
    want : ``Out(queues)``
        A read or a write could be issued for this queue.
    usable : ``Out(queues)``
        Enabled, and the device is not halted.
    oversize : ``Out(queues)``
        A chain longer than the cache can be given.
    """

    def __init__(self, queues: int):
        self._queues = queues
        super().__init__(
            {
                "replace": In(FlagOp()),
                "ops": In(FlagOp()).array(3),
                "touches": In(Touch()).array(2),
                "notify": In(stream.Signature(QueueNotify)),
                "looks": Out(TableRead(Flags).flip()).array(4),
                "halt": In(1),
                "streaming": In(1),
                "streaming_queue": In(8),
                "event_idle": In(1),
                "want": Out(queues),
                "usable": Out(queues),
                "oversize": Out(queues),
            }
        )

    def elaborate(self, platform):
        m = Module()
        rows = [Signal(Flags, name=f"flags{q}") for q in range(self._queues)]
        for queue, row in enumerate(rows):
            self._change(m, queue, row)
            self._search(m, queue, row)
        m.d.comb += self.notify.ready.eq(1)

        raw = Array([row.as_value() for row in rows])
        for look in self.looks:
            with m.If(look.queue < self._queues):
                m.d.comb += look.value.as_value().eq(raw[look.queue])
        return m

    def _change(self, m, queue, row):
        bits = row.as_value()
        to_set, to_clear = Signal(Flags), Signal(Flags)
        for op in self.ops:
            with m.If(op.valid & (op.queue == queue)):
                op_set, op_clear = op.set.as_value(), op.clear.as_value()
                # Statements below see only one operation; the masks are joined bit by bit.
                self._join(m, to_set, op_set)
                self._join(m, to_clear, op_clear)
        with m.If(self.notify.valid & (self.notify.payload.queue == queue) & row.enabled):
            m.d.comb += to_set.pending.eq(1)
        for touch in self.touches:
            with m.If(touch.valid & (touch.queue == queue)):
                m.d.comb += to_set.ready.eq(1)
        m.d.sync += bits.eq((bits & ~to_clear.as_value()) | to_set.as_value())
        with m.If(self.replace.valid & (self.replace.queue == queue)):
            m.d.sync += bits.eq(self.replace.set)

    def _join(self, m, mask, bits):
        for number, bit in enumerate(bits):
            with m.If(bit):
                m.d.comb += mask.as_value()[number].eq(1)

    def _search(self, m, queue, row):
        work = row.active | (
            (row.pending | (row.due & self.event_idle)) & ~row.polling & ~row.writing
        )
        streamed = self.streaming & (self.streaming_queue == queue)
        m.d.comb += [
            self.usable[queue].eq(row.enabled & ~self.halt),
            self.oversize[queue].eq(row.enabled & ~self.halt & ~row.failed & row.oversize),
            self.want[queue].eq(
                row.enabled
                & ~row.failed
                & ~self.halt
                & row.ready
                & work
                & Mux(row.oversize, streamed, 1)
            ),
        ]
