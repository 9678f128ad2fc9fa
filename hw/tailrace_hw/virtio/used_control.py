"""Starts and stops queues of the used-ring writer, and reports their faults."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from tailrace_hw.errors import ErrorCode, ErrorEvent, ErrorSource
from tailrace_hw.lib.arbiter import RoundRobinArbiter
from tailrace_hw.virtio.interfaces import QueueCommand, QueueOp
from tailrace_hw.virtio.used_types import UsedFault

__all__ = ["UsedControl"]


class UsedControl(wiring.Component):
    """Takes the transport's commands, one at a time, and decides which queues are active.

    Either command makes the queue inactive and waits until nothing of it is under way (``busy``);
    ENABLE then hands the context to all parts and makes the queue active. Then the command is
    answered. A command for a queue that does not exist changes nothing and is answered.

    A fault makes its queue inactive and is reported, the first one since the queue was enabled:
    source VIRTIO_USED, code QUEUE_USED_FAULT, ``info`` bits 15:0 the used position, bits 18:16 the
    DMA status (OK for a group that was too long), bit 19 set for a read of the event suppression
    area. Faults of queues that are not active are dropped.

    While ``halt`` is set no queue is active.

    Parameters
    ----------
    queues, sources : :class:`int`
        Sources of faults.

    Members
    -------
    command : In(stream of QueueCommand)
    ack : Out(stream of 8-bit queue)
    halt, function : In
    busy : In(queues)
    active : Out(queues)
        Changes one cycle after its cause.
    configure : Out(1)
    context : Out(QueueCommand)
    faults : In(stream of UsedFault), array of sources
    errors : Out(stream of ErrorEvent)
    """

    def __init__(self, queues: int, *, sources: int):
        self._queues = queues
        self._sources = sources
        super().__init__(
            {
                "command": In(stream.Signature(QueueCommand)),
                "ack": Out(stream.Signature(8)),
                "halt": In(1),
                "function": In(8),
                "busy": In(queues),
                "active": Out(queues),
                "configure": Out(1),
                "context": Out(QueueCommand),
                "faults": In(stream.Signature(UsedFault)).array(sources),
                "errors": Out(stream.Signature(ErrorEvent)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        #: Enabled and without fault.
        running = Signal(self._queues)
        start = Signal(self._queues)
        stop = Signal(self._queues)
        fail = Signal(self._queues)
        m.d.sync += running.eq((running | start) & ~stop & ~fail)
        m.d.sync += self.active.eq((running & ~stop & ~fail) & ~self.halt.replicate(self._queues))
        self._obey(m, start, stop)
        self._report(m, running, fail)
        return m

    def _obey(self, m, start, stop):
        command = self.context
        known = command.queue < self._queues
        queue = command.queue[: ceil_log2(self._queues)]
        #: The parts see the queue inactive, and say whether they are busy, some cycles later.
        settled = Signal(range(4))
        m.d.comb += self.ack.payload.eq(command.queue)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.command.ready.eq(1)
                m.d.sync += [command.eq(self.command.payload), settled.eq(0)]
                with m.If(self.command.valid):
                    m.next = "STOP"
            with m.State("STOP"):
                m.d.sync += settled.eq(settled + 1)
                with m.If(known):
                    m.d.comb += stop.bit_select(queue, 1).eq(1)
                with m.If(settled == 3):
                    m.next = "WAIT"
            with m.State("WAIT"):
                with m.If(~known):
                    m.next = "ACK"
                with m.Elif(~self.busy.bit_select(queue, 1)):
                    m.next = "CONFIGURE"
            with m.State("CONFIGURE"):
                with m.If(known & (command.op == QueueOp.ENABLE)):
                    m.d.comb += [self.configure.eq(1), start.bit_select(queue, 1).eq(1)]
                m.next = "ACK"
            with m.State("ACK"):
                m.d.comb += self.ack.valid.eq(1)
                with m.If(self.ack.ready):
                    m.next = "IDLE"

    def _report(self, m, running, fail):
        m.submodules.arbiter = arbiter = RoundRobinArbiter(UsedFault, self._sources)
        for source, sink in zip(self.faults, arbiter.i, strict=True):
            wiring.connect(m, wiring.flipped(source), sink)
        fault = arbiter.o
        event = self.errors.payload
        fresh = Signal()
        report = Signal()
        m.d.comb += [
            fresh.eq(running.bit_select(fault.payload.queue[: ceil_log2(self._queues)], 1)),
            # One of a stopped queue doesn't wait for its turn: the queue may be started again.
            fault.ready.eq(~self.errors.valid | ~fresh),
            report.eq(fault.valid & fresh & ~self.errors.valid),
        ]
        for k in range(self._queues):
            m.d.comb += fail[k].eq(report & (fault.payload.queue == k))
        with m.If(report):
            m.d.sync += [
                self.errors.valid.eq(1),
                event.source.eq(ErrorSource.VIRTIO_USED),
                event.code.eq(ErrorCode.QUEUE_USED_FAULT),
                event.function.eq(self.function),
                event.queue.eq(fault.payload.queue),
                event.info.eq(
                    Cat(
                        fault.payload.position,
                        fault.payload.status,
                        fault.payload.reading,
                    )
                ),
            ]
        with m.Elif(self.errors.ready):
            m.d.sync += self.errors.valid.eq(0)
