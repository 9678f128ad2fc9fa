"""Interrupts: queue vectors, configuration changes, the ISR status."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from tailrace_hw.lib.arbiter import RoundRobinArbiter
from tailrace_hw.pcie.function import InterruptRequest
from tailrace_hw.virtio.interfaces import NO_VECTOR
from tailrace_hw.virtio.transport_access import RegisterAccess, merge, word_of

__all__ = ["InterruptMap"]


class InterruptMap(wiring.Component):
    """Gives interrupt requests their MSI-X vectors, and keeps the ISR status.

    The engines' requests carry the queue's slot as vector; here they get the vector that the
    driver set for that queue last, so that it may change at any time (virtio 1.2, 4.1.5.1.2). A
    request of a queue without a vector still sets the ISR bit and goes no further. Requests leave
    3 cycles after they came, up to one in two cycles; order kept for each engine. Configuration
    changes that come while one waits are merged.

    Parameters
    ----------
    slots : :class:`int`
        Queues.
    vectors : :class:`int`
        Size of the function's MSI-X table; other vectors read back as NO_VECTOR (4.1.5.1.2.1).

    Members
    -------
    access : In(RegisterAccess)
        Serves ``config_msix_vector`` and the ISR status.
    slot : In(range(slots)), vector_write : In(1), vector : Out(16)
        The vector of a queue: ``vector`` follows ``slot`` by one cycle; ``vector_write`` writes
        the upper half of ``access.data``.
    sweep : In(1)
        ``slot``'s vector becomes NO_VECTOR.
    clear : In(1)
        Configuration vector and ISR go back to their state after reset.
    function : In(8)
    requests : In(stream of InterruptRequest), array of 2
        From the receive and the transmit engine.
    changed : In(1)
        The configuration or the device status changed.
    interrupt : Out(stream of InterruptRequest)
    """

    def __init__(self, slots: int, vectors: int):
        self._slots = slots
        self._vectors = vectors
        super().__init__(
            {
                "access": In(RegisterAccess()),
                "slot": In(range(slots)),
                "vector_write": In(1),
                "vector": Out(16),
                "sweep": In(1),
                "clear": In(1),
                "function": In(8),
                "requests": In(stream.Signature(InterruptRequest)).array(2),
                "changed": In(1),
                "interrupt": Out(stream.Signature(InterruptRequest)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.table = table = memory.Memory(
            shape=16, depth=self._slots, init=[NO_VECTOR] * self._slots
        )
        self._registers(m, table)
        self._config_vector = Signal(16, init=NO_VECTOR)
        queue_pulse = self._requests(m, table)
        self._config_and_isr(m, queue_pulse)
        return m

    def _valid(self, vector):
        return Mux(vector < self._vectors, vector, NO_VECTOR)

    def _registers(self, m, table):
        write = table.write_port()
        read = table.read_port()
        m.d.comb += [
            read.addr.eq(self.slot),
            read.en.eq(1),
            self.vector.eq(read.data),
            write.addr.eq(self.slot),
            write.en.eq(self.vector_write | self.sweep),
            write.data.eq(Mux(self.sweep, NO_VECTOR, self._valid(self.access.data[16:]))),
        ]

    def _requests(self, m, table):
        """Look up each request's vector; returns a pulse for each queue interrupt."""
        m.submodules.arbiter = arbiter = RoundRobinArbiter(InterruptRequest, 2)
        for index, request in enumerate(self.requests):
            wiring.connect(m, wiring.flipped(request), arbiter.i[index])
        lookup = table.read_port()
        m.d.comb += lookup.addr.eq(arbiter.o.payload.vector[: ceil_log2(self._slots)])
        looked_up = Signal()
        config_waits = Signal()
        queue_pulse = Signal()
        free = Signal()
        m.d.comb += free.eq(~self.interrupt.valid | self.interrupt.ready)
        with m.If(self.interrupt.ready):
            m.d.sync += self.interrupt.valid.eq(0)
        with m.If(self.changed):
            m.d.sync += config_waits.eq(1)
        with m.If(looked_up):
            with m.If(free):
                m.d.sync += [
                    looked_up.eq(0),
                    self.interrupt.valid.eq(lookup.data != NO_VECTOR),
                    self.interrupt.payload.vector.eq(lookup.data),
                ]
        with m.Else():
            m.d.comb += [
                arbiter.o.ready.eq(1),
                lookup.en.eq(1),
                queue_pulse.eq(arbiter.o.valid),
            ]
            m.d.sync += looked_up.eq(arbiter.o.valid)
            with m.If(free & config_waits):
                m.d.sync += [
                    config_waits.eq(self.changed),
                    self.interrupt.valid.eq(self._config_vector != NO_VECTOR),
                    self.interrupt.payload.vector.eq(self._config_vector),
                ]
        with m.If(free):
            m.d.sync += self.interrupt.payload.function.eq(self.function)
        with m.If(self.clear):
            m.d.sync += config_waits.eq(0)
        return queue_pulse

    def _config_and_isr(self, m, queue_pulse):
        access = self.access
        isr = Signal(2)
        read_isr = Signal()
        set_isr = Signal(2)
        old = Signal(32)
        merged = Signal(32)
        m.d.comb += [
            set_isr.eq(Cat(queue_pulse, self.changed)),
            old.eq(self._config_vector),
            merged.eq(merge(old, access)),
        ]
        with m.Switch(access.address[2:]):
            with m.Case(word_of("config_msix_vector")):
                m.d.comb += access.value.eq(self._config_vector)
                with m.If(access.write & access.strobe[:2].any()):
                    m.d.sync += self._config_vector.eq(self._valid(merged[:16]))
            with m.Case(word_of("isr_status")):
                m.d.comb += [
                    access.value.eq(isr),
                    read_isr.eq(access.read & access.strobe[0]),
                ]
        # What happens in the cycle of the read is kept for the next one.
        m.d.sync += isr.eq(Mux(read_isr, 0, isr) | set_isr)
        with m.If(self.clear):
            m.d.sync += [isr.eq(0), self._config_vector.eq(NO_VECTOR)]
