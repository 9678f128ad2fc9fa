"""The used-ring half of the virtqueue engine: gives chains back to the driver."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.errors import ErrorEvent
from tailrace_hw.pcie.dma import DmaReadPort, DmaWritePort
from tailrace_hw.pcie.function import InterruptRequest
from tailrace_hw.virtio.interfaces import ChainCompletion, QueueCommand
from tailrace_hw.virtio.used_collect import UsedCollector
from tailrace_hw.virtio.used_control import UsedControl
from tailrace_hw.virtio.used_emit import UsedEmitter
from tailrace_hw.virtio.used_event import UsedEvents

__all__ = ["UsedWriter"]


class UsedWriter(wiring.Component):
    """Writes completed chains to the used rings of all queues and interrupts the driver.

    Split (virtio 1.2, 2.7.7, 2.7.8, 2.7.10) and packed (2.8.9, 2.8.10) rings, by queue. Used
    elements that fall in one 64-byte line of the ring are written with one DMA write while more
    come: an element waits at most ``coalesce_cycles``, and ``idle_cycles`` after the last one when
    no more are expected.
    All elements of a group (``more``) become visible to the driver at once. Then the driver's event
    suppression area is read and an interrupt requested if the driver wants one: none is ever lost.

    The parts tell the details: :class:`UsedCollector` (order, coalescing, groups),
    :class:`UsedEmitter` (what is written), :class:`UsedEvents` (interrupts), :class:`UsedControl`
    (commands, faults, halt).

    Rate: bursts of one completion a cycle, sustained one in 2 cycles with one queue and one in 4
    whatever the queues are, as long as the DMA ports take a request each 3 cycles. Latency of a
    lone completion with an idle pipeline: ``idle_cycles`` + 9 cycles to the write request, split
    2 more to that of the index; 4 from the response to the read request; 2 from the data to the
    interrupt.

    Parameters
    ----------
    queues : :class:`int`
        1 to 33: 32 and a control queue.
    width : :class:`int`
        Of the DMA ports.
    coalesce_cycles, idle_cycles : :class:`int`
    max_group : :class:`int`
        Most completions in one group, a power of two and at least 8. A longer group is a fault.

    Members
    -------
    command : In(stream of QueueCommand)
    ack : Out(stream of 8-bit queue)
        Answers in the order of the commands. RESET drops what is not yet written and is answered
        when no write, read or interrupt of the queue is under way.
    complete : In(stream of ChainCompletion)
        Completions for a queue that is not enabled, has failed, is halted or does not exist are
        taken and dropped.
    expected : In(1)
        See :class:`UsedCollector`.
    ring : Out(DmaWritePort)
    event : Out(DmaReadPort)
    interrupt : Out(stream of InterruptRequest)
    isr : Out(1)
        Pulses with each decision for an interrupt, also for a queue with NO_VECTOR.
    errors : Out(stream of ErrorEvent)
        QUEUE_USED_FAULT when a DMA request fails or a group is too long; the queue stops until it
        is enabled again.
    function : In(8)
    halt : In(1)
        While set, nothing is begun and what comes is dropped; queues go on with what comes after.
    """

    def __init__(
        self,
        queues: int,
        width: int,
        *,
        coalesce_cycles: int = 16,
        idle_cycles: int = 5,
        max_group: int = 32,
    ):
        if not 1 <= queues <= 33:
            raise ValueError(f"queues must be 1 to 33, not {queues}")
        self._queues = queues
        self._width = width
        self._coalesce_cycles = coalesce_cycles
        self._idle_cycles = idle_cycles
        self._max_group = max_group
        super().__init__(
            {
                "command": In(stream.Signature(QueueCommand)),
                "ack": Out(stream.Signature(8)),
                "complete": In(stream.Signature(ChainCompletion)),
                "expected": In(1),
                "ring": Out(DmaWritePort(width)),
                "event": Out(DmaReadPort(width)),
                "interrupt": Out(stream.Signature(InterruptRequest)),
                "isr": Out(1),
                "errors": Out(stream.Signature(ErrorEvent)),
                "function": In(8),
                "halt": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.collect = collect = UsedCollector(
            self._queues,
            depth=self._max_group,
            coalesce_cycles=self._coalesce_cycles,
            idle_cycles=self._idle_cycles,
        )
        m.submodules.emit = emit = UsedEmitter(self._queues, self._width)
        m.submodules.events = events = UsedEvents(self._queues, self._width)
        m.submodules.control = control = UsedControl(self._queues, sources=3)
        for part in (collect, emit, events):
            m.d.comb += [
                part.configure.eq(control.configure),
                part.context.eq(control.context),
                part.active.eq(control.active),
            ]
        m.d.comb += [
            collect.expected.eq(self.expected),
            emit.function.eq(self.function),
            events.function.eq(self.function),
            control.function.eq(self.function),
            control.halt.eq(self.halt),
            control.busy.eq(collect.busy | emit.busy | events.busy),
            self.isr.eq(events.isr),
        ]
        wiring.connect(m, collect.run, emit.run)
        wiring.connect(m, emit.shown, events.shown)
        for part, source in zip((collect, emit, events), control.faults, strict=True):
            wiring.connect(m, part.fault, source)
        for ours, inner in (
            (self.command, control.command),
            (self.complete, collect.complete),
            (self.ack, control.ack),
            (self.errors, control.errors),
            (self.ring, emit.ring),
            (self.event, events.event),
            (self.interrupt, events.interrupt),
        ):
            wiring.connect(m, wiring.flipped(ours), inner)
        return m
