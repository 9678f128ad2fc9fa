"""The ordering point of posted writes: which requests have passed it."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.lib.fifo import SyncFifo
from tailrace_hw.pcie.dma import DmaStatus
from tailrace_hw.pcie.dma_splitter import may_master
from tailrace_hw.pcie.function import FunctionState
from tailrace_hw.pcie.usp import SEQ_NUM_WIDTH

__all__ = ["WriteOrder"]

_NUMBERS = 1 << SEQ_NUM_WIDTH


class WriteOrder(wiring.Component):
    """Numbers the last TLP of each request and waits for the block to give the number back.

    The block returns ``pcie_rq_seq_num`` when a request has entered the transmit pipeline, where
    nothing sent later can overtake it (PG213). Writes stay in order, so when a later number comes
    back first the earlier TLP was dropped, which the block does while Bus Master Enable is 0.
    Number 0 is given to every TLP that nobody waits for. A number that does not come back within
    ``timeout`` cycles (a sixteenth of it when the function may not master the bus) counts as lost.
    One request a cycle; one cycle from the return of the oldest number to ``ordered_valid``.

    Parameters
    ----------
    clients, functions, timeout : as in :class:`DmaWriteEngine`

    Members
    -------
    functions : In(FunctionState) of each function
    seq_num_valid, seq_num : In(1), In(6), two of each
        ``pcie_rq_seq_num_vld0``, ``pcie_rq_seq_num0`` and those of number 1.
    ready : Out(1), number : Out(6)
        A number can be had.
    take : In(1), client, function : In
        It is given to a TLP of this client.
    ordered_valid : Out(1) of each client, ordered_status : Out(DmaStatus)
    busy : Out(1)
        Numbers are under way.
    """

    def __init__(self, clients: int, functions: int, timeout: int):
        self.timeout = timeout
        super().__init__(
            {
                "functions": In(FunctionState).array(functions),
                "seq_num_valid": In(1).array(2),
                "seq_num": In(SEQ_NUM_WIDTH).array(2),
                "ready": Out(1),
                "number": Out(SEQ_NUM_WIDTH, init=1),
                "take": In(1),
                "client": In(range(clients)),
                "function": In(8),
                "ordered_valid": Out(1).array(clients),
                "ordered_status": Out(DmaStatus),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        clients = len(self.ordered_valid)
        shape = data.StructLayout(
            {"number": SEQ_NUM_WIDTH, "client": range(clients), "function": 8}
        )
        m.submodules.waiting = waiting = SyncFifo(shape, _NUMBERS - 1)
        out, back = Signal(_NUMBERS), Signal(_NUMBERS)
        head = waiting.o.payload
        returned, lost, pop = Signal(), Signal(), Signal()
        overdue = self._timer(m, waiting.o.valid & ~pop, may_master(self.functions, head.function))
        given = Mux(self.take, 1 << self.number, 0)
        popped = Mux(pop, 1 << head.number, 0)
        arrived = Mux(self.seq_num_valid[0], 1 << self.seq_num[0], 0) | Mux(
            self.seq_num_valid[1], 1 << self.seq_num[1], 0
        )
        m.d.comb += [
            self.ready.eq(waiting.i.ready),
            waiting.i.valid.eq(self.take),
            waiting.i.payload.number.eq(self.number),
            waiting.i.payload.client.eq(self.client),
            waiting.i.payload.function.eq(self.function),
            returned.eq(Array(back)[head.number] | self._returns(head.number)),
            lost.eq(back.any() | overdue),
            pop.eq(waiting.o.valid & (returned | lost)),
            waiting.o.ready.eq(pop),
            self.busy.eq(out.any()),
        ]
        m.d.sync += [
            out.eq((out & ~popped) | given),
            back.eq((back | (arrived & out)) & ~popped),
        ]
        with m.If(self.take):
            m.d.sync += self.number.eq(Mux(self.number == _NUMBERS - 1, 1, self.number + 1))
        with m.If(returned):
            m.d.sync += self.ordered_status.eq(DmaStatus.OK)
        with m.Elif(may_master(self.functions, head.function)):
            m.d.sync += self.ordered_status.eq(DmaStatus.TIMEOUT)
        with m.Else():
            m.d.sync += self.ordered_status.eq(DmaStatus.BUS_MASTER_OFF)
        for index, valid in enumerate(self.ordered_valid):
            m.d.sync += valid.eq(pop & (head.client == index))
        return m

    def _returns(self, number):
        """Whether ``number`` comes back in this cycle."""
        return Cat(
            valid & (came == number)
            for valid, came in zip(self.seq_num_valid, self.seq_num, strict=True)
        ).any()

    def _timer(self, m, running, alive):
        """Whether the oldest number has been out for too long."""
        age = Signal(range(self.timeout + 1))
        overdue = Signal()
        with m.If(running):
            m.d.sync += age.eq(age + ~overdue)
        with m.Else():
            m.d.sync += age.eq(0)
        m.d.comb += overdue.eq(age >= Mux(alive, self.timeout, self.timeout // 16))
        return overdue
