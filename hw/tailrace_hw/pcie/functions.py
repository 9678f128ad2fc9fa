"""Function level reset: from the hard block to the blocks of the function and back."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["FlrPort", "FlrSequencer"]


class FlrPort(wiring.Signature):
    """Asks the blocks of one function to reset, as the sequencer drives it.

    ``request`` rises and stays; when everything of the function is at rest (no DMA of it
    outstanding, all its registers at their reset values) the blocks raise ``done`` and keep it;
    ``request`` falls, then ``done`` does.
    """

    def __init__(self):
        super().__init__({"request": Out(1), "done": In(1)})


class FlrSequencer(wiring.Component):
    """Runs the function level resets of all functions (PCIe 5.0, 6.6.2; PG213 cfg_flr_*).

    Functions are independent. ``hold`` keeps the function's state in reset from the cycle after
    the block's ``in_process`` until the blocks have answered and the block has gone on.

    Parameters
    ----------
    functions : :class:`int`
        1 to 4.

    Members
    -------
    in_process : In(4)
        Level, ``cfg_flr_in_process``.
    done : Out(4)
        Level, ``cfg_flr_done``: set until ``in_process`` falls.
    hold : Out(functions)
    flr : Out(FlrPort), array by function
    """

    def __init__(self, functions: int):
        self._functions = functions
        super().__init__(
            {
                "in_process": In(4),
                "done": Out(4),
                "hold": Out(functions),
                "flr": Out(FlrPort()).array(functions),
            }
        )

    def elaborate(self, platform):
        m = Module()
        for index, port in enumerate(self.flr):
            with m.FSM(name=f"flr{index}"):
                with m.State("IDLE"):
                    with m.If(self.in_process[index]):
                        m.d.sync += self.hold[index].eq(1)
                        m.next = "ASK"
                with m.State("ASK"):
                    m.d.comb += port.request.eq(1)
                    with m.If(port.done):
                        m.next = "RELEASE"
                with m.State("RELEASE"):
                    with m.If(~port.done):
                        m.next = "TELL"
                with m.State("TELL"):
                    m.d.comb += self.done[index].eq(1)
                    with m.If(~self.in_process[index]):
                        m.d.sync += self.hold[index].eq(0)
                        m.next = "IDLE"
        return m
