"""Enables and resets queues of the descriptor fetcher."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.errors import ErrorCode
from tailrace_hw.virtio.fetch_types import (
    Fault,
    FlagOp,
    Init,
    QueueConfig,
    TableRead,
    TableWrite,
)
from tailrace_hw.virtio.interfaces import QueueCommand, QueueOp

__all__ = ["QueueCommander"]

#: Largest ring: 32768 entries in either format (2.7, 2.8.10.1).
MAX_SIZE = 32768


class QueueCommander(wiring.Component):
    """Serves one command at a time; each is answered.

    Either command first stops the queue: no new read is begun, and the command waits until none is
    in flight, no cache slot is held by one, no avail_event write is under way and no TAKE is being
    answered. Then all the queue had is forgotten. ENABLE goes on with the new configuration. A
    size of 0, above 32768 or above ``max_queue_size``, or for a split ring not a power of two,
    gives QUEUE_BAD_SIZE and leaves the queue failed. A queue number that does not exist is only
    answered.

    Members
    -------
    command : ``In(stream(QueueCommand))``
    ack : ``Out(stream(8))``
    tables_ready : ``In(1)``
        No command is taken before.
    issue_quiet : ``In(1)``
        No read is being prepared.
    taker_busy, segment_valid, event_busy, each with its queue : ``In``
        A TAKE is being answered, a segment offered, an avail_event written.
    fault_pending : ``In(1)``
        A failure of some queue is on its way: it must not hit a queue enabled anew.
    issued, done : ``Out(TableRead)``
    config : ``Out(TableWrite(QueueConfig))``
    flags : ``Out(FlagOp)``
    inits : array of 3 ``Out(Init)``
    fault : ``Out(stream(Fault))``
    """

    def __init__(self, queues: int, progress, max_queue_size: int):
        self._queues = queues
        self._max_size = min(max_queue_size, MAX_SIZE)
        super().__init__(
            {
                "command": In(stream.Signature(QueueCommand)),
                "ack": Out(stream.Signature(8)),
                "tables_ready": In(1),
                "issue_quiet": In(1),
                "taker_busy": In(1),
                "taker_queue": In(8),
                "fault_pending": In(1),
                "segment_valid": In(1),
                "segment_queue": In(8),
                "event_busy": In(1),
                "event_queue": In(8),
                "issued": Out(TableRead(progress)),
                "done": Out(TableRead(progress)),
                "config": Out(TableWrite(QueueConfig)),
                "flags": Out(FlagOp()),
                "inits": Out(Init()).array(3),
                "fault": Out(stream.Signature(Fault)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        command = Signal(QueueCommand)
        queue = command.queue
        started = Signal(3)
        bad_size = Signal()
        m.d.comb += [
            self.ack.payload.eq(queue),
            self.issued.queue.eq(queue),
            self.done.queue.eq(queue),
            self.flags.queue.eq(queue),
            self.config.queue.eq(queue),
            self.fault.payload.queue.eq(queue),
            self.fault.payload.code.eq(ErrorCode.QUEUE_BAD_SIZE),
            self.fault.payload.info.eq(command.size),
        ]
        for name in ("size", "desc", "driver", "device", "packed_ring", "event_idx", "indirect"):
            m.d.comb += self.config.value[name].eq(command[name])
        in_flight = (
            (self.issued.value.reads != self.done.value.reads)
            | (self.issued.value.slots != self.done.value.slots)
            | (self.event_busy & (self.event_queue == queue))
            | (self.taker_busy & (self.taker_queue == queue))
            | self.fault_pending
            | (self.segment_valid & (self.segment_queue == queue))
        )
        not_a_power = (command.size & (command.size - 1)[:16]) != 0

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.command.ready.eq(self.tables_ready)
                m.d.sync += started.eq(0)
                with m.If(self.command.valid & self.command.ready):
                    m.d.sync += command.eq(self.command.payload)
                    m.next = "STOP"
            with m.State("STOP"):
                m.d.comb += self.flags.valid.eq(1)
                m.d.sync += bad_size.eq(
                    (command.size == 0)
                    | (command.size > self._max_size)
                    | (~command.packed_ring & not_a_power)
                )
                with m.If(queue < self._queues):
                    m.next = "SETTLE"
                with m.Else():
                    m.next = "ACK"
            with m.State("SETTLE"):
                # A read that was being prepared when the queue was stopped is counted after this.
                with m.If(self.issue_quiet):
                    m.next = "DRAIN"
            with m.State("DRAIN"):
                with m.If(~in_flight):
                    m.next = "START"
            with m.State("START"):
                self._start(m, command, started)
                with m.If(started.all()):
                    m.next = "ACK"
                    with m.If(command.op == QueueOp.ENABLE):
                        m.next = "ENABLE"
            with m.State("ENABLE"):
                m.d.comb += [
                    self.flags.valid.eq(1),
                    self.flags.set.enabled.eq(1),
                    self.flags.set.ready.eq(1),
                    self.flags.set.packed_ring.eq(command.packed_ring),
                    self.config.valid.eq(1),
                ]
                m.next = "ACK"
                with m.If(bad_size):
                    m.next = "FAULT"
            with m.State("FAULT"):
                m.d.comb += self.fault.valid.eq(1)
                with m.If(self.fault.ready):
                    m.next = "ACK"
            with m.State("ACK"):
                m.d.comb += self.ack.valid.eq(1)
                with m.If(self.ack.ready):
                    m.next = "IDLE"
        return m

    def _start(self, m, command, started):
        for number, init in enumerate(self.inits):
            m.d.comb += [
                init.valid.eq(~started[number]),
                init.queue.eq(command.queue),
                init.packed_ring.eq(command.packed_ring),
            ]
            with m.If(init.valid & init.ready):
                m.d.sync += started[number].eq(1)
