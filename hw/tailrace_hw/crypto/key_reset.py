"""Function level reset of what a function has in the look-aside engine."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from tailrace_hw.lib.arbiter import RoundRobinArbiter
from tailrace_hw.pcie.functions import FlrPort

__all__ = ["KeyReset"]


class KeyReset(wiring.Component):
    """Resets a function's queues, then has its keys forgotten, then says that it is done.

    In this order: while a queue of the function has jobs in flight, one of them may install a key.

    Parameters
    ----------
    functions : :class:`int`

    Members
    -------
    flr : In(FlrPort), array by function
    queues : Out(FlrPort), array by function
        The function's queues.
    forget : Out(stream of 8 bits)
        A function; taken when none of its keys is left.
    """

    def __init__(self, functions: int):
        super().__init__(
            {
                "flr": In(FlrPort()).array(functions),
                "queues": Out(FlrPort()).array(functions),
                "forget": Out(stream.Signature(8)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.arbiter = arbiter = RoundRobinArbiter(8, len(self.flr))
        connect(m, arbiter.o, flipped(self.forget))
        for function, (port, queues) in enumerate(zip(self.flr, self.queues, strict=True)):
            asked, done = Signal(name=f"asked{function}"), Signal(name=f"done{function}")
            request = arbiter.i[function]
            m.d.comb += [
                queues.request.eq(port.request),
                port.done.eq(done),
                request.payload.eq(function),
                request.valid.eq(port.request & queues.done & ~asked),
            ]
            with m.If(~port.request):
                m.d.sync += [asked.eq(0), done.eq(0)]
            with m.Else():
                with m.If(request.valid & request.ready):
                    m.d.sync += asked.eq(1)
                # Taken from the arbiter: the keys are gone.
                forgotten = arbiter.o.valid & arbiter.o.ready & (arbiter.o.payload == function)
                with m.If(asked & forgotten):
                    m.d.sync += done.eq(1)
        return m
