"""The virtqueue engine: everything between the rings in host memory and a device's chains."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.errors import ErrorEvent
from tailrace_hw.lib.arbiter import RoundRobinArbiter
from tailrace_hw.pcie.dma import DmaReadPort, DmaWritePort
from tailrace_hw.pcie.function import InterruptRequest
from tailrace_hw.virtio.engine_flight import ChainsInFlight
from tailrace_hw.virtio.engine_sequence import QueueSequencer
from tailrace_hw.virtio.fetch import DescriptorFetch
from tailrace_hw.virtio.interfaces import ChainPort, QueueCommand, QueueNotify
from tailrace_hw.virtio.used import UsedWriter

__all__ = ["VirtqueueEngine"]


class VirtqueueEngine(wiring.Component):
    """Serves ``queues`` virtqueues, split or packed (virtio 1.2, 2.7, 2.8), of one PCIe function.

    :class:`DescriptorFetch` reads what the driver makes available and gives it to the device as
    chains of segments; :class:`UsedWriter` gives completed chains back and interrupts the driver.
    The engine joins them, knows which chains the device holds, and orders starts and resets:

    RESET stops the fetching; TAKEs are answered ``none`` from then on; the engine waits until all
    chains of the queue that the device took are completed or rolled back, and drops these
    completions; then the writing stops and the command is answered. From the answer on nothing of
    the queue is under way: no DMA request, no segment, no interrupt. Commands are carried out one
    at a time; other queues go on all the while.

    Parameters
    ----------
    queues : :class:`int`
    width : :class:`int`
        Of the DMA ports.
    cache_depth, max_queue_size : see :class:`DescriptorFetch`
    coalesce_cycles, idle_cycles, max_group : see :class:`UsedWriter`

    Members
    -------
    command : In(stream of QueueCommand)
    ack : Out(stream of 8-bit queue)
        One for each command, in order.
    notify : In(stream of QueueNotify)
    chains : In(ChainPort)
        The device's way to the queues.
    expected : In(1)
        The device is at work on chains that it will complete: used elements may wait for them up to
        ``coalesce_cycles``. A hint.
    ring, chain, used_event : Out(DmaReadPort)
        Reads of descriptors and available rings, of indirect tables and the rest of chains, and of
        the driver's event suppression area.
    avail_event, used : Out(DmaWritePort)
        Writes of the device's event suppression area, and of used elements. Interrupts must not
        overtake what was written on ``used``.
    interrupt : Out(stream of InterruptRequest)
    isr : Out(1)
        Pulses with each queue interrupt, also when it has no vector.
    errors : Out(stream of ErrorEvent)
        Of both halves, in turn.
    function : In(8)
    halt : In(1)
        The device needs a reset: nothing is begun any more, completions are taken and dropped.
    """

    def __init__(
        self,
        queues: int,
        width: int = 512,
        *,
        cache_depth: int = 128,
        max_queue_size: int = 32768,
        coalesce_cycles: int = 16,
        idle_cycles: int = 5,
        max_group: int = 32,
    ):
        self._queues = queues
        self._fetch = DescriptorFetch(queues, width, cache_depth, max_queue_size)
        self._used = UsedWriter(
            queues,
            width,
            coalesce_cycles=coalesce_cycles,
            idle_cycles=idle_cycles,
            max_group=max_group,
        )
        super().__init__(
            {
                "command": In(stream.Signature(QueueCommand)),
                "ack": Out(stream.Signature(8)),
                "notify": In(stream.Signature(QueueNotify)),
                "chains": In(ChainPort(queues)),
                "expected": In(1),
                "ring": Out(DmaReadPort(width)),
                "chain": Out(DmaReadPort(width)),
                "used_event": Out(DmaReadPort(width)),
                "avail_event": Out(DmaWritePort(width)),
                "used": Out(DmaWritePort(width)),
                "interrupt": Out(stream.Signature(InterruptRequest)),
                "isr": Out(1),
                "errors": Out(stream.Signature(ErrorEvent)),
                "function": In(8),
                "halt": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.fetch = fetch = self._fetch
        m.submodules.used = used = self._used
        m.submodules.flight = flight = ChainsInFlight(self._queues)
        m.submodules.sequencer = sequencer = QueueSequencer(self._queues)
        m.submodules.errors = errors = RoundRobinArbiter(ErrorEvent, 2)
        m.d.comb += [
            flight.available.eq(fetch.available),
            flight.queue.eq(sequencer.queue),
            flight.drop.eq(sequencer.drop),
            flight.clear.eq(sequencer.clear),
            sequencer.cleared.eq(flight.cleared),
            sequencer.empty.eq(flight.empty),
            self.isr.eq(used.isr),
            used.expected.eq(self.expected),
        ]
        for half in (fetch, used):
            m.d.comb += [half.function.eq(self.function), half.halt.eq(self.halt)]
        for source, sink in (
            (flight.take, fetch.take),
            (fetch.segments, flight.segments),
            (flight.complete, used.complete),
            (sequencer.fetch, fetch.command),
            (fetch.ack, sequencer.fetch_ack),
            (sequencer.used, used.command),
            (used.ack, sequencer.used_ack),
            (fetch.errors, errors.i[0]),
            (used.errors, errors.i[1]),
        ):
            wiring.connect(m, source, sink)
        for ours, inner in (
            (self.command, sequencer.command),
            (self.ack, sequencer.ack),
            (self.notify, fetch.notify),
            (self.chains, flight.chains),
            (self.ring, fetch.ring),
            (self.chain, fetch.chain),
            (self.avail_event, fetch.event),
            (self.used_event, used.event),
            (self.used, used.ring),
            (self.interrupt, used.interrupt),
            (self.errors, errors.o),
        ):
            wiring.connect(m, wiring.flipped(ours), inner)
        return m
