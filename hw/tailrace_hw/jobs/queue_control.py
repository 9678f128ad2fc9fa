"""Whether a queue runs: start, reset, function level reset, errors."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.errors import ErrorCode, ErrorEvent, ErrorSource
from tailrace_hw.jobs.types import COMPLETION_BYTES, RING_ALIGNMENT, QueueContext
from tailrace_hw.lib.arbiter import RoundRobinArbiter
from tailrace_hw.pcie.functions import FlrPort

__all__ = ["QueueControl", "QueueFault", "QueueState"]


class QueueState(enum.Enum, shape=2):
    """Life of a queue."""

    IDLE = 0
    RUNNING = 1
    #: An error has ended it.
    STOPPED = 2
    #: What is in flight comes to its end.
    RESETTING = 3


class QueueFault(data.Struct):
    """A queue must stop; a pulse."""

    valid: 1
    queue: 4
    code: ErrorCode
    info: 64


class QueueControl(wiring.Component):
    """State of every queue.

    ``start`` takes an idle queue's setup over and makes it RUNNING, or STOPPED (JOB_BAD_RING) if a
    ring has a size of less than 2 entries or an address that is not aligned; while its
    function is being reset, ``start`` has no effect. A fault makes a running queue STOPPED and is
    reported, once: its function is in the event, and the queue. ``reset``, or the function level
    reset of its function, makes a queue RESETTING, and IDLE when none of its jobs is in flight.

    Parameters
    ----------
    queues, functions : :class:`int`
    faults : :class:`int`
        Places that find faults.

    Members
    -------
    start, reset : In(queues)
        Pulses.
    setup : In(QueueContext), array by queue
    taken, ended : In(queues)
        A job of the queue begins, has ended.
    faults : In(QueueFault), array
    flr : In(FlrPort), array by function
    context : Out(QueueContext), array by queue
    clear : Out(queues)
        The queue begins: its indices are to be 0. In the cycle before it is ``running``.
    running, stopped, resetting : Out(queues)
        Levels, one or none of a queue's three.
    in_flight : Out(8), array by queue
    error : Out(ErrorCode), array by queue
        What stopped it last.
    errors : Out(stream of ErrorEvent)
        An event that finds an earlier one of its queue waiting is lost.
    """

    def __init__(self, queues: int, functions: int, faults: int):
        super().__init__(
            {
                "start": In(queues),
                "reset": In(queues),
                "setup": In(QueueContext).array(queues),
                "taken": In(queues),
                "ended": In(queues),
                "faults": In(QueueFault).array(faults),
                "flr": In(FlrPort()).array(functions),
                "context": Out(QueueContext).array(queues),
                "clear": Out(queues),
                "running": Out(queues),
                "stopped": Out(queues),
                "resetting": Out(queues),
                "in_flight": Out(8).array(queues),
                "error": Out(ErrorCode).array(queues),
                "errors": Out(stream.Signature(ErrorEvent)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        queues, functions = len(self.setup), len(self.flr)
        m.submodules.events = events = RoundRobinArbiter(ErrorEvent, queues)
        wiring.connect(m, events.o, wiring.flipped(self.errors))
        #: By function, a 0 behind the last one for all that don't exist.
        asked = Array([*(port.request for port in self.flr), Const(0)])
        owned = [[] for _ in range(functions)]
        for queue in range(queues):
            context = self.context[queue]
            state = Signal(QueueState, name=f"state_{queue}")
            self._queue(m, queue, state, asked, events.i[queue])
            busy = state != QueueState.IDLE
            for function in range(functions):
                owned[function].append(busy & (context.function == function))
        for function, port in enumerate(self.flr):
            m.d.sync += port.done.eq(port.request & ~Cat(owned[function]).any())
        return m

    def _queue(self, m, queue, state, asked, event):
        setup, context = self.setup[queue], self.context[queue]
        in_flight = self.in_flight[queue]
        functions = len(self.flr)
        resets = self.reset[queue] | asked[_limit(context.function, functions)]
        may_start = ~asked[_limit(setup.function, functions)]
        bad_ring = (setup.ring_log2 == 0) | (setup.ring % RING_ALIGNMENT != 0)
        bad_completions = (setup.completions_log2 == 0) | (
            setup.completions % COMPLETION_BYTES != 0
        )
        m.d.comb += [
            self.running[queue].eq(state == QueueState.RUNNING),
            self.stopped[queue].eq(state == QueueState.STOPPED),
            self.resetting[queue].eq(state == QueueState.RESETTING),
        ]
        m.d.sync += in_flight.eq(in_flight + self.taken[queue] - self.ended[queue])
        stop = Signal(name=f"stop_{queue}")
        code = Signal(ErrorCode, name=f"code_{queue}")
        info = Signal(64, name=f"info_{queue}")
        with m.Switch(state):
            with m.Case(QueueState.IDLE):
                with m.If(self.start[queue] & may_start):
                    m.d.comb += [
                        self.clear[queue].eq(1),
                        stop.eq(bad_ring | bad_completions),
                        code.eq(ErrorCode.JOB_BAD_RING),
                        info.eq(Mux(bad_ring, setup.ring, setup.completions)),
                    ]
                    m.d.sync += [context.eq(setup), state.eq(QueueState.RUNNING)]
            with m.Case(QueueState.RUNNING):
                for fault in reversed(list(self.faults)):
                    with m.If(fault.valid & (fault.queue == queue)):
                        m.d.comb += [stop.eq(1), code.eq(fault.code), info.eq(fault.info)]
            with m.Case(QueueState.RESETTING):
                with m.If(in_flight == 0):
                    m.d.sync += state.eq(QueueState.IDLE)
        with m.If(event.ready):
            m.d.sync += event.valid.eq(0)
        with m.If(stop):
            m.d.sync += [state.eq(QueueState.STOPPED), self.error[queue].eq(code)]
            with m.If(~event.valid):
                m.d.sync += [
                    event.valid.eq(1),
                    event.payload.source.eq(ErrorSource.JOBS),
                    event.payload.code.eq(code),
                    event.payload.function.eq(
                        Mux(self.clear[queue], setup.function, context.function)
                    ),
                    event.payload.queue.eq(queue),
                    event.payload.info.eq(info),
                ]
        with m.If(resets & (self.running[queue] | self.stopped[queue])):
            m.d.sync += state.eq(QueueState.RESETTING)


def _limit(function, functions):
    """Index of a function, or of the place behind the last one."""
    return Mux(function < functions, function, functions)
