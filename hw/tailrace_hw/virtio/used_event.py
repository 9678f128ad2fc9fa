"""Decides after each change of a used ring whether the driver wants to be told."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from tailrace_hw.pcie.dma import DmaReadPort, DmaStatus
from tailrace_hw.pcie.function import InterruptRequest
from tailrace_hw.virtio.interfaces import NO_VECTOR, QueueCommand
from tailrace_hw.virtio.used_need import NeedCheck
from tailrace_hw.virtio.used_pick import QueuePick
from tailrace_hw.virtio.used_types import SLOT_COUNT_BITS, UsedFault, UsedShown

__all__ = ["UsedEvents"]


class _Context(data.Struct):
    """What of a queue's context is needed to find and read its event suppression area."""

    driver: 64
    size: 16
    vector: 16
    packed_ring: 1
    event_idx: 1


class _Shown(data.Struct):
    """How far the driver can see: the position, and a running count of descriptors."""

    position: 16
    wrap: 1
    count: SLOT_COUNT_BITS


class _Asked(data.Struct):
    """The state that the latest read of the event suppression area decides about."""

    shown: _Shown
    #: Descriptors shown since the decision before.
    since: SLOT_COUNT_BITS


class UsedEvents(wiring.Component):
    """Reads the driver's event suppression area when elements have become visible, and decides.

    The area is read after the elements' write is ordered, so that either the driver, which looks
    at the ring again after it has changed the area, sees the elements, or this sees the change
    (virtio 1.2, 2.7.7.1, 2.8.7). A queue has at most one read outstanding; elements that become
    visible meanwhile cause another read. A decision counts from the read before it: the "old" of
    2.7.10.1 is the used position for which the last read was made.

    Read: split without EVENT_IDX ``flags`` (2 bytes at the driver area), with it ``used_event``
    (2 bytes after the ring, 2.7.6); packed the driver event suppression structure (4 bytes,
    2.8.10). The rules are in :class:`NeedCheck`.

    Latency 3 cycles from ``shown`` to the request, 2 from the data to ``interrupt``; a decision
    every 3 cycles. ``interrupt`` that is not taken holds up further decisions, not ``shown``.

    Parameters
    ----------
    queues : :class:`int`
    width : :class:`int`
        Of the DMA port.

    Members
    -------
    configure, context, active : as in :class:`UsedCollector`
    function : In(8)
        PCIe function of requests and interrupts.
    busy : Out(queues)
        A read, a decision or an interrupt of the queue is under way.
    shown : In(stream of UsedShown)
        Taken in every cycle in which ``configure`` is not set.
    event : Out(DmaReadPort)
    interrupt : Out(stream of InterruptRequest)
        Not for a queue with NO_VECTOR, nor for one that ceased to be active.
    isr : Out(1)
        Pulses when a queue interrupt is due, also for a queue with NO_VECTOR: for the queue bit of
        the ISR status (4.1.4.5).
    fault : Out(stream of UsedFault)
        The read failed.
    """

    def __init__(self, queues: int, width: int):
        self._queues = queues
        super().__init__(
            {
                "configure": In(1),
                "context": In(QueueCommand),
                "active": In(queues),
                "function": In(8),
                "busy": Out(queues),
                "shown": In(stream.Signature(UsedShown)),
                "event": Out(DmaReadPort(width)),
                "interrupt": Out(stream.Signature(InterruptRequest)),
                "isr": Out(1),
                "fault": Out(stream.Signature(UsedFault)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        queues = self._queues
        m.submodules.contexts = self._contexts = memory.Memory(
            shape=_Context, depth=queues, init=[]
        )
        m.submodules.states = self._states = memory.Memory(shape=_Shown, depth=queues, init=[])
        m.submodules.asked = self._asked = memory.Memory(shape=_Asked, depth=queues, init=[])
        #: Elements became visible since the last read was made.
        self._due = Signal(queues)
        self._newly_due = Signal(queues)
        self._begun = Signal(queues)
        self._ended = Signal(queues)
        m.d.sync += [
            self._due.eq((self._due & ~self._begun | self._newly_due) & self.active),
            self.busy.eq(self.busy & ~self._ended | self._begun),
        ]
        self._store_context(m)
        self._note(m)
        self._ask(m)
        self._decide(m)
        return m

    def _store_context(self, m):
        write = self._contexts.write_port()
        m.d.comb += [write.addr.eq(self.context.queue), write.en.eq(self.configure)]
        m.d.comb += [
            getattr(write.data, name).eq(getattr(self.context, name))
            for name in ("driver", "size", "vector", "packed_ring", "event_idx")
        ]

    def _note(self, m):
        """Add what became visible to the queue's state."""
        write = self._states.write_port()
        read = self._states.read_port(domain="comb")
        shown = self.shown.payload
        m.d.comb += [
            self.shown.ready.eq(~self.configure),
            read.addr.eq(shown.queue),
            write.addr.eq(shown.queue),
            write.data.position.eq(shown.position),
            write.data.wrap.eq(shown.wrap),
            write.data.count.eq(read.data.count + shown.slots),
            write.en.eq(self.shown.valid),
        ]
        with m.If(self.configure):
            m.d.comb += [
                write.addr.eq(self.context.queue),
                write.data.eq(0),
                write.en.eq(1),
            ]
        with m.Elif(self.shown.valid):
            m.d.comb += self._newly_due.bit_select(self._narrow(shown.queue), 1).eq(1)

    def _narrow(self, queue):
        return queue[: ceil_log2(self._queues)]

    def _ask(self, m):
        """Make the read for a queue that is due, and store what it is about."""
        m.submodules.pick = pick = QueuePick(self._queues)
        contexts = self._contexts.read_port(domain="comb")
        states = self._states.read_port(domain="comb")
        asked = self._asked.read_port(domain="comb")
        write = self._asked.write_port()
        wants = self._due & ~self.busy
        request = self.event.request
        queue = Signal(8)
        context = contexts.data
        used_event = Signal(64)
        m.d.comb += [
            pick.wants.eq(wants),
            contexts.addr.eq(queue),
            states.addr.eq(queue),
            asked.addr.eq(queue),
            write.addr.eq(queue),
            write.data.shown.eq(states.data),
            write.data.since.eq(states.data.count - asked.data.shown.count),
            # avail: flags, idx and ring come first (2.7.6).
            used_event.eq(context.driver + 4 + (context.size << 1)),
        ]
        with m.If(self.configure):
            # A queue that is being configured has no read under way, so this one is of no use.
            m.d.comb += [write.addr.eq(self.context.queue), write.data.eq(0), write.en.eq(1)]
        with m.FSM():
            with m.State("PICK"):
                m.d.sync += queue.eq(pick.queue)
                with m.If(pick.valid & wants.bit_select(pick.queue, 1)):
                    m.d.comb += [
                        pick.take.eq(1),
                        self._begun.bit_select(pick.queue, 1).eq(1),
                    ]
                    m.next = "STORE"
            with m.State("STORE"):
                m.d.sync += [
                    request.payload.function.eq(self.function),
                    request.payload.tag.eq(queue),
                    request.payload.address.eq(
                        Mux(context.event_idx & ~context.packed_ring, used_event, context.driver)
                    ),
                    request.payload.length.eq(Mux(context.packed_ring, 4, 2)),
                ]
                with m.If(~self.configure):
                    m.d.comb += write.en.eq(1)
                    m.d.sync += request.valid.eq(1)
                    m.next = "ASK"
            with m.State("ASK"):
                with m.If(request.ready):
                    m.d.sync += request.valid.eq(0)
                    m.next = "PICK"

    def _decide(self, m):
        """Take the area's content and compare."""
        m.submodules.need = need = NeedCheck()
        contexts = self._contexts.read_port(domain="comb")
        asked = self._asked.read_port(domain="comb")
        beat = self.event.data
        queue = Signal(8)
        #: The queue whose context is looked up: that of the data that come, or have come.
        looked_up = Signal(8)
        status = Signal(DmaStatus)
        ended = Signal()
        #: Its vector, and whether it has one: known from JUDGE on.
        vector = Signal(16)
        routed = Signal()
        active = self.active.bit_select(self._narrow(queue), 1)
        m.d.comb += [
            looked_up.eq(queue),
            contexts.addr.eq(looked_up),
            asked.addr.eq(looked_up),
            # Four bytes are one beat; what comes in more is a read that failed.
            need.area.eq(beat.payload.data),
            need.packed_ring.eq(contexts.data.packed_ring),
            need.event_idx.eq(contexts.data.event_idx),
            need.size.eq(contexts.data.size),
            need.position.eq(asked.data.shown.position),
            need.wrap.eq(asked.data.shown.wrap),
            need.since.eq(asked.data.since),
            self._ended.bit_select(self._narrow(queue), 1).eq(ended),
            self.fault.payload.queue.eq(queue),
            self.fault.payload.status.eq(status),
            self.fault.payload.reading.eq(1),
            self.fault.payload.position.eq(asked.data.shown.position),
            self.interrupt.payload.function.eq(self.function),
            self.interrupt.payload.vector.eq(vector),
        ]
        m.d.sync += [
            vector.eq(contexts.data.vector),
            routed.eq(contexts.data.vector != NO_VECTOR),
        ]
        with m.FSM():
            with m.State("DATA"):
                m.d.comb += [beat.ready.eq(1), looked_up.eq(beat.payload.meta.tag)]
                with m.If(beat.valid):
                    m.d.sync += [
                        queue.eq(beat.payload.meta.tag),
                        status.eq(beat.payload.meta.status),
                    ]
                with m.If(beat.valid & beat.payload.last):
                    m.next = "COMPARE"
            with m.State("COMPARE"):
                with m.If(status == DmaStatus.OK):
                    m.next = "JUDGE"
                with m.Else():
                    m.next = "FAULT"
            with m.State("JUDGE"):
                m.d.comb += self.isr.eq(need.needed & active)
                with m.If(need.needed & active & routed):
                    m.d.comb += self.interrupt.valid.eq(1)
                    with m.If(self.interrupt.ready):
                        m.d.comb += ended.eq(1)
                        m.next = "DATA"
                    with m.Else():
                        m.next = "INTERRUPT"
                with m.Else():
                    m.d.comb += ended.eq(1)
                    m.next = "DATA"
            with m.State("INTERRUPT"):
                m.d.comb += self.interrupt.valid.eq(1)
                with m.If(self.interrupt.ready):
                    m.d.comb += ended.eq(1)
                    m.next = "DATA"
            with m.State("FAULT"):
                m.d.comb += self.fault.valid.eq(1)
                with m.If(self.fault.ready):
                    m.d.comb += ended.eq(1)
                    m.next = "DATA"
