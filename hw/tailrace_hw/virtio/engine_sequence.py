"""In which order the halves of the engine start and stop a queue."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.virtio.interfaces import QueueCommand, QueueOp

__all__ = ["QueueSequencer"]


class QueueSequencer(wiring.Component):
    """Carries out the transport's commands, one at a time, in both halves.

    ENABLE: first the writing half, then the fetching half, so that a chain that can be taken can
    be completed. RESET: the fetching half stops giving chains; what is in flight comes back and is
    dropped; the writing half forgets what it has not written.

    Parameters
    ----------
    queues : :class:`int`

    Members
    -------
    command, ack : as of the engine
    fetch, used : Out(stream of QueueCommand)
    fetch_ack, used_ack : In(stream of 8-bit queue)
    queue : Out(8)
        Of the current command.
    drop : Out(1)
        ``queue`` is under reset: its completions are not for the driver any more.
    clear : Out(1)
        ``queue`` is about to be enabled, nothing of it is in flight. Held until ``cleared``.
    cleared : In(1)
    empty : In(1)
        No chain of ``queue`` is in flight.
    """

    command: In(stream.Signature(QueueCommand))
    ack: Out(stream.Signature(8))
    fetch: Out(stream.Signature(QueueCommand))
    fetch_ack: In(stream.Signature(8))
    used: Out(stream.Signature(QueueCommand))
    used_ack: In(stream.Signature(8))
    queue: Out(8)
    drop: Out(1)
    clear: Out(1)
    cleared: In(1)
    empty: In(1)

    def __init__(self, queues: int):
        self._queues = queues
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        command = Signal(QueueCommand)
        resetting = Signal()
        m.d.comb += [
            resetting.eq(command.op == QueueOp.RESET),
            self.fetch.payload.eq(command),
            self.used.payload.eq(command),
            self.ack.payload.eq(command.queue),
            self.queue.eq(command.queue),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.command.ready.eq(1)
                m.d.sync += command.eq(self.command.payload)
                with m.If(self.command.valid):
                    with m.If(self.command.payload.op == QueueOp.RESET):
                        m.d.sync += self.drop.eq(1)
                        m.next = "FETCH"
                    with m.Else():
                        m.next = "CLEAR"
            with m.State("CLEAR"):
                m.d.comb += self.clear.eq(command.queue < self._queues)
                with m.If(self.cleared | ~self.clear):
                    m.next = "USED"
            self._call(m, "FETCH", self.fetch, self.fetch_ack)
            with m.State("FETCH DONE"):
                with m.If(~resetting):
                    m.next = "ACK"
                with m.Elif(self.empty | (command.queue >= self._queues)):
                    m.next = "USED"
            self._call(m, "USED", self.used, self.used_ack)
            with m.State("USED DONE"):
                m.d.sync += self.drop.eq(0)
                with m.If(resetting):
                    m.next = "ACK"
                with m.Else():
                    m.next = "FETCH"
            with m.State("ACK"):
                m.d.comb += self.ack.valid.eq(1)
                with m.If(self.ack.ready):
                    m.next = "IDLE"
        return m

    def _call(self, m, name, request, answer):
        """Send the command to a half and wait for its answer."""
        with m.State(name):
            m.d.comb += request.valid.eq(1)
            with m.If(request.ready):
                m.next = f"{name} WAIT"
        with m.State(f"{name} WAIT"):
            m.d.comb += answer.ready.eq(1)
            with m.If(answer.valid):
                m.next = f"{name} DONE"
