"""The job queues with a second engine behind them."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from stand_in_engine import STAND_IN_OPERATIONS, StandInEngine

from tailrace_hw.errors import ErrorEvent
from tailrace_hw.jobs.job_queues import JobQueues
from tailrace_hw.jobs.operations import COPY_OPERATIONS
from tailrace_hw.lib.csr import CsrSignature
from tailrace_hw.pcie.dma import DmaReadPort, DmaWritePort
from tailrace_hw.pcie.function import InterruptRequest
from tailrace_hw.pcie.functions import FlrPort

__all__ = ["JobsTop"]


class JobsTop(wiring.Component):
    """Members are those of :class:`JobQueues`, but for the engine."""

    def __init__(self, width: int, functions: int, **options):
        self._queues = JobQueues(
            width, functions, operations=COPY_OPERATIONS + STAND_IN_OPERATIONS, **options
        )
        self._width = width
        super().__init__(
            {
                "bus": In(CsrSignature(10)),
                "rings": Out(DmaReadPort(width)),
                "source": Out(DmaReadPort(width)),
                "destination": Out(DmaWritePort(width)),
                "completions": Out(DmaWritePort(width)),
                "interrupt": Out(stream.Signature(InterruptRequest)),
                "flr": In(FlrPort()).array(functions),
                "errors": Out(stream.Signature(ErrorEvent)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.queues = queues = self._queues
        m.submodules.engine = engine = StandInEngine(self._width)
        connect(m, queues.engines[0], engine.port)
        for name in self.signature.members:
            if name != "flr":
                connect(m, getattr(queues, name), flipped(getattr(self, name)))
        for index, port in enumerate(self.flr):
            connect(m, queues.flr[index], flipped(port))
        return m
