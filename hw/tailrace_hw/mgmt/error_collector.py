"""One place for all errors: counts per code, first of each code, interrupt."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw import regs
from tailrace_hw.errors import ErrorEvent
from tailrace_hw.lib.arbiter import RoundRobinArbiter
from tailrace_hw.lib.csr import CsrSignature
from tailrace_hw.lib.csr_bank import CsrBank
from tailrace_hw.pcie.function import InterruptRequest

__all__ = ["CODES", "ErrorCollector"]

#: Codes the collector tells apart; :class:`~tailrace_hw.errors.ErrorCode` stays below.
CODES = 64


class _First(data.Struct):
    """What is kept of the first error of a code."""

    event: ErrorEvent
    cycle: 64


class ErrorCollector(wiring.Component):
    """Takes the error streams of all blocks, round robin.

    Throughput is one event every 2 cycles; a block must hold or merge events meanwhile and may not
    stall its datapath for them. An event is visible in the registers 2 cycles after it was taken.
    The 32-bit counters stay at their maximum. Codes of 64 and above count as code 0.

    Parameters
    ----------
    sources : :class:`int`
        Number of error streams.

    Members
    -------
    events : array of ``sources`` streams of :class:`~tailrace_hw.errors.ErrorEvent`, in
    bus : ``In(CsrSignature(6))``, registers of ``errors.rdl``
    cycle : 64 bits in, the device's cycle counter
    interrupt : stream of :class:`InterruptRequest` out: function 0, vector 0, when a code becomes
        pending
    """

    def __init__(self, sources: int):
        self.sources = sources
        self._map = regs.load("mgmt/errors.rdl")
        #: Events of each code; what it holds of codes that are not pending means nothing.
        self.counts = memory.Memory(shape=32, depth=CODES, init=[])
        super().__init__(
            {
                "events": In(stream.Signature(ErrorEvent)).array(sources),
                "bus": In(CsrSignature(6)),
                "cycle": In(64),
                "interrupt": Out(stream.Signature(InterruptRequest)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.bank = bank = CsrBank(self._map, address_width=6)
        wiring.connect(m, wiring.flipped(self.bus), bank.bus)
        counts = m.submodules.counts = self.counts
        m.submodules.firsts = firsts = memory.Memory(shape=_First, depth=CODES, init=[])
        count_read, count_write = counts.read_port(domain="comb"), counts.write_port()
        shown_count = counts.read_port(domain="comb")
        first_read, first_write = firsts.read_port(domain="comb"), firsts.write_port()
        pending = Signal(CODES)

        event = self._pick(m)
        code = Signal(range(CODES))
        selected = bank.code_select.code
        m.d.comb += [
            bank.pending.codes.eq(pending),
            shown_count.addr.eq(selected),
            first_read.addr.eq(selected),
            count_read.addr.eq(code),
            count_write.addr.eq(code),
            first_write.addr.eq(code),
            first_write.data.event.eq(event),
            first_write.data.cycle.eq(self.cycle),
        ]
        raised = Signal()
        m.d.comb += [self.interrupt.valid.eq(raised), self.interrupt.payload.eq(0)]
        with m.If(raised & self.interrupt.ready):
            m.d.sync += raised.eq(0)

        clear_wanted = Signal()
        with m.If(bank.clear.selected):
            m.d.sync += clear_wanted.eq(1)
        with m.If(self._taken):
            raw = event.code.as_value()
            m.d.comb += code.eq(Mux(raw < CODES, raw, 0))
            m.d.comb += [
                count_write.en.eq(1),
                count_write.data.eq(
                    Mux(
                        ~pending.bit_select(code, 1),
                        1,
                        count_read.data + (count_read.data != 0xFFFF_FFFF),
                    )
                ),
                first_write.en.eq(~pending.bit_select(code, 1)),
                bank.total.value.eq(1),
            ]
            m.d.sync += pending.bit_select(code, 1).eq(1)
            with m.If(~pending.bit_select(code, 1)):
                m.d.sync += raised.eq(1)
        with m.Elif(clear_wanted):
            m.d.sync += [pending.bit_select(selected, 1).eq(0), clear_wanted.eq(0)]

        is_pending = pending.bit_select(selected, 1)
        first = first_read.data
        with m.If(is_pending):
            m.d.comb += [
                bank.count.value.eq(shown_count.data),
                bank.first_who.source.eq(first.event.source.as_value()),
                bank.first_who.function_number.eq(first.event.function),
                bank.first_who.queue.eq(first.event.queue),
                bank.first_info.value.eq(first.event.info),
                bank.first_when.cycle.eq(first.cycle),
            ]
        return m

    def _pick(self, m):
        """Take one event into a register; ``_taken`` is high in the cycle it is recorded."""
        m.submodules.arbiter = arbiter = RoundRobinArbiter(ErrorEvent, self.sources)
        for source, port in zip(self.events, arbiter.i, strict=True):
            wiring.connect(m, wiring.flipped(source), port)
        event = Signal(ErrorEvent)
        self._taken = Signal()
        m.d.comb += arbiter.o.ready.eq(~self._taken)
        m.d.sync += self._taken.eq(arbiter.o.valid & arbiter.o.ready)
        with m.If(arbiter.o.valid & arbiter.o.ready):
            m.d.sync += event.eq(arbiter.o.payload)
        return event
