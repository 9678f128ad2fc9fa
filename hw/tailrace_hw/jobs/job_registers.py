"""The registers of the job queues."""

from amaranth.hdl import Cat, Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from tailrace_hw.errors import ErrorCode
from tailrace_hw.jobs.types import LENGTH_BITS, QueueContext
from tailrace_hw.lib.csr import CsrSignature
from tailrace_hw.lib.csr_bank import CsrBank
from tailrace_hw.regs import load

__all__ = ["ADDRESS_WIDTH", "MAX_QUEUES", "JobRegisters"]

MAX_QUEUES = 4
ADDRESS_WIDTH = 10


class JobRegisters(wiring.Component):
    """Serves regs.rdl; those of queues that don't exist read as they do after reset, and what is
    written there has no effect.

    Parameters
    ----------
    queues : :class:`int`
        1 to 4.

    Members
    -------
    bus : In(CsrSignature(10))
    start, reset : Out(queues)
    setup : Out(QueueContext), array by queue
    tail, head : Out(16), arrays by queue
    running, resetting, stopped : In(queues)
    in_flight : In(8), error : In(ErrorCode), position, written : In(16), arrays by queue
    done, failed, dropped : In(queues)
        Pulses to count.
    bytes : In(LENGTH_BITS)
        With ``done``.
    """

    def __init__(self, queues: int):
        if not 1 <= queues <= MAX_QUEUES:
            raise ValueError(f"1 to {MAX_QUEUES} queues, not {queues}")
        self._queues = queues
        super().__init__(
            {
                "bus": In(CsrSignature(ADDRESS_WIDTH)),
                "start": Out(queues),
                "reset": Out(queues),
                "setup": Out(QueueContext).array(queues),
                "tail": Out(16).array(queues),
                "head": Out(16).array(queues),
                "running": In(queues),
                "resetting": In(queues),
                "stopped": In(queues),
                "in_flight": In(8).array(queues),
                "error": In(ErrorCode).array(queues),
                "position": In(16).array(queues),
                "written": In(16).array(queues),
                "done": In(queues),
                "failed": In(queues),
                "dropped": In(queues),
                "bytes": In(LENGTH_BITS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.bank = bank = CsrBank(load("jobs/regs.rdl"), address_width=ADDRESS_WIDTH)
        connect(m, flipped(self.bus), bank.bus)
        for queue in range(self._queues):
            setup = self.setup[queue]
            m.d.comb += [
                self.start[queue].eq(bank.control[queue].start),
                self.reset[queue].eq(bank.control[queue].reset),
                setup.ring.eq(Cat(bank.ring[queue].low, bank.ring[queue].high)),
                setup.completions.eq(
                    Cat(bank.completions[queue].low, bank.completions[queue].high)
                ),
                setup.ring_log2.eq(bank.setup[queue].ring_log2),
                setup.completions_log2.eq(bank.setup[queue].completions_log2),
                setup.function.eq(bank.owner[queue].function),
                setup.vector.eq(bank.owner[queue].vector),
                self.tail[queue].eq(bank.tail[queue].index),
                self.head[queue].eq(bank.head[queue].index),
                bank.state[queue].running.eq(self.running[queue]),
                bank.state[queue].resetting.eq(self.resetting[queue]),
                bank.state[queue].stopped.eq(self.stopped[queue]),
                bank.state[queue].in_flight.eq(self.in_flight[queue]),
                bank.state[queue].error.eq(self.error[queue]),
                bank.position[queue].taken.eq(self.position[queue]),
                bank.position[queue].written.eq(self.written[queue]),
                bank.done[queue].value.eq(self.done[queue]),
                bank.failed[queue].value.eq(self.failed[queue]),
                bank.dropped[queue].value.eq(self.dropped[queue]),
                bank.bytes[queue].value.eq(Mux(self.done[queue], self.bytes, 0)),
            ]
        return m
