"""Errors of a port, from its counters."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.errors import ErrorCode, ErrorEvent, ErrorSource
from tailrace_hw.mac.types import RxCounters

__all__ = ["MacErrors"]

#: Counter: code. One pending event each.
_CODES = {
    "rx_drop_runt": ErrorCode.MAC_RX_RUNT,
    "rx_drop_oversize": ErrorCode.MAC_RX_OVERSIZE,
    "rx_drop_error": ErrorCode.MAC_RX_ERROR,
    "rx_drop_overflow": ErrorCode.MAC_RX_OVERFLOW,
}


class MacErrors(wiring.Component):
    """Reports dropped frames. Frames dropped while an event of the same kind waits are merged into
    it: the port's counters have them all.

    Members
    -------
    counters : In(RxCounters)
    length : In(17)
        Of the frame that is counted in this cycle; the event's ``info``.
    errors : Out(stream of ErrorEvent)
    """

    counters: In(RxCounters)
    length: In(17)
    errors: Out(stream.Signature(ErrorEvent))

    def elaborate(self, platform):
        m = Module()
        free = Signal()
        m.d.comb += free.eq(~self.errors.valid | self.errors.ready)
        with m.If(self.errors.ready):
            m.d.sync += self.errors.valid.eq(0)
        m.d.sync += [
            self.errors.payload.source.eq(ErrorSource.MAC),
            self.errors.payload.queue.eq(0xFFFF),
        ]
        chosen = free
        for name, code in _CODES.items():
            waits = Signal(name=f"{name}_waits")
            info = Signal(17, name=f"{name}_info")
            with m.If(chosen & waits):
                m.d.sync += [
                    waits.eq(0),
                    self.errors.valid.eq(1),
                    self.errors.payload.code.eq(code),
                    self.errors.payload.info.eq(info),
                ]
            with m.If(getattr(self.counters, name) != 0):
                m.d.sync += waits.eq(1)
                with m.If(~waits):
                    m.d.sync += info.eq(self.length)
            chosen = chosen & ~waits
        return m
