"""Receive side of a port in the MAC's clock domain."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.lib.axis import AxisSignature
from tailrace_hw.lib.axis_adapter import AxisToPacket
from tailrace_hw.mac.types import LOST_WIDTH, captured_layout

__all__ = ["RxCapture"]


class RxCapture(wiring.Component):
    """Puts what a MAC receives into a queue that may be full, and keeps the framing whatever comes.

    The MAC cannot wait: ``i.tready`` is always 1. When a beat finds no room, its frame is damaged:
    the rest of it is dropped, and as soon as there is room one beat ends it, marked ``overflow``.
    Frames that begin before that beat is written are lost whole and only counted, in that beat; so
    each loss, however long, takes one place in the queue. A damaged frame of which nothing was
    written yet appears as that beat alone.

    Latency 1 cycle, one beat a cycle.

    Parameters
    ----------
    width : :class:`int`
        Datapath width in bits.

    Members
    -------
    i : In(AxisSignature(width, user=1))
        ``tuser`` on a frame's last beat: it is bad.
    room : In(1)
        The queue takes a beat in this cycle.
    write, beat : Out
        The beat to put into the queue; ``write`` only with ``room``. This is no stream: what
        cannot be written does not wait.
    """

    def __init__(self, width: int):
        self._width = width
        super().__init__(
            {
                "i": In(AxisSignature(width, user=1)),
                "room": In(1),
                "write": Out(1),
                "beat": Out(captured_layout(width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.adapter = adapter = AxisToPacket(self._width, user=1)
        wiring.connect(m, wiring.flipped(self.i), adapter.i)
        arrived = adapter.o
        m.d.comb += arrived.ready.eq(1)

        #: In the middle of an arriving frame.
        inside = Signal()
        lost = Signal(LOST_WIDTH)
        lost_now = Signal(LOST_WIDTH)
        begins = arrived.valid & ~inside
        with m.If(arrived.valid):
            m.d.sync += inside.eq(~arrived.payload.last)
        m.d.comb += [
            self.beat.data.eq(arrived.payload.data),
            self.beat.empty.eq(arrived.payload.empty),
            self.beat.last.eq(arrived.payload.last),
            self.beat.meta.error.eq(arrived.payload.meta.error),
            lost_now.eq(lost + (begins & ~lost.all())),
        ]
        with m.FSM():
            with m.State("Pass"):
                m.d.comb += self.write.eq(arrived.valid & self.room)
                m.d.sync += lost.eq(0)
                with m.If(arrived.valid & ~self.room):
                    m.next = "Lose"
            with m.State("Lose"):
                m.d.comb += [
                    self.write.eq(self.room),
                    self.beat.data.eq(lost_now),
                    self.beat.empty.eq(self._width // 8 - 1),
                    self.beat.last.eq(1),
                    self.beat.meta.overflow.eq(1),
                ]
                m.d.sync += lost.eq(lost_now)
                with m.If(self.room):
                    continues = Mux(arrived.valid, ~arrived.payload.last, inside)
                    with m.If(continues):
                        m.next = "Skip"
                    with m.Else():
                        m.next = "Pass"
            with m.State("Skip"):
                with m.If(arrived.valid & arrived.payload.last):
                    m.next = "Pass"
                m.d.sync += lost.eq(0)
        return m
