"""Errors of a network function: all parts in one stream, and which of them need a reset."""

from amaranth.hdl import Module, Mux
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from tailrace_hw.errors import ErrorCode, ErrorEvent
from tailrace_hw.lib.arbiter import RoundRobinArbiter

__all__ = ["FunctionErrors"]

#: Codes that mean DEVICE_NEEDS_RESET, see :class:`ErrorCode`.
_FATAL = [code for code in ErrorCode if 0x10 <= code.value < 0x20]
_NO_QUEUE = 0xFFFF


class FunctionErrors(wiring.Component):
    """Merges the error streams of a function's parts, round robin.

    The engines and data paths number their queues from 0; in the merged events ``queue`` is the
    virtqueue's index (virtio 1.2, 5.1.2). One event a cycle; combinational from in to out.

    Parameters
    ----------
    pairs : :class:`int`
        Queue pairs of the function.

    Members
    -------
    receive, transmit : array of 2 streams of :class:`ErrorEvent`, in
        From an engine and its data path: queue n is receive or transmit queue n, and transmit
        queue ``pairs`` the control queue.
    other : array of 2 streams of :class:`ErrorEvent`, in
        With virtqueue indices, or none.
    control_queue : In(16)
        Index of the control queue.
    o : stream of :class:`ErrorEvent`, out
    fault : Out(1)
        Pulses in the cycle after an event was handed on that the driver can mend by a reset only.
    """

    def __init__(self, pairs: int):
        self._pairs = pairs
        events = In(stream.Signature(ErrorEvent)).array(2)
        super().__init__(
            {
                "receive": events,
                "transmit": events,
                "other": events,
                "control_queue": In(16),
                "o": Out(stream.Signature(ErrorEvent)),
                "fault": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.arbiter = arbiter = RoundRobinArbiter(ErrorEvent, 6)
        sources = [*self.receive, *self.transmit, *self.other]
        for index, (source, port) in enumerate(zip(sources, arbiter.i, strict=True)):
            connect(m, flipped(source), port)
            queue = source.payload.queue
            if index < 2:
                renamed = queue << 1
            elif index < 4:
                renamed = Mux(queue == self._pairs, self.control_queue, queue << 1 | 1)
            else:
                renamed = queue
            m.d.comb += port.payload.queue.eq(Mux(queue == _NO_QUEUE, queue, renamed))
        connect(m, arbiter.o, flipped(self.o))
        m.d.sync += self.fault.eq(0)
        with m.If(self.o.valid & self.o.ready):
            with m.Switch(self.o.payload.code):
                with m.Case(*_FATAL):
                    m.d.sync += self.fault.eq(1)
        return m
