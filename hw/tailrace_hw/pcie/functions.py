"""Function level reset and what else of the functions' control registers concerns all blocks."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ExtendedTags", "FlrPort", "FlrSequencer"]

#: Dword of Device Control: the hard block has its PCI Express capability at 0x70.
_DEVICE_CONTROL = 0x78 // 4


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


class ExtendedTags(wiring.Component):
    """Whether 8-bit tags may be used (PCIe 5.0, 7.5.3.4, Extended Tag Field Enable).

    The hard block does not show the bit, but it reports every configuration write: the bit is
    taken from writes to Device Control. Once it is set in each function it counts as set for ever:
    a function that was reset masters the bus only after software has set it up again.

    Parameters
    ----------
    functions : :class:`int`

    Members
    -------
    register_number, function_number, write_received, write_data, write_byte_enable : inputs
        Of the configuration extend interface, see :meth:`listen`.
    enable : Out(1)
    """

    def __init__(self, functions: int):
        self._functions = functions
        super().__init__(
            {
                "register_number": In(10),
                "function_number": In(8),
                "write_received": In(1),
                "write_data": In(32),
                "write_byte_enable": In(4),
                "enable": Out(1),
            }
        )

    def listen(self, m, cfg_ext):
        """Connect the inputs to the block's interface."""
        for name in (
            "register_number", "function_number", "write_received", "write_data",
            "write_byte_enable",
        ):  # fmt: skip
            m.d.comb += getattr(self, name).eq(getattr(cfg_ext, name))

    def elaborate(self, platform):
        m = Module()
        seen = Signal(self._functions)
        here = (self.register_number == _DEVICE_CONTROL) & self.write_byte_enable[1]
        with m.If(self.write_received & here & self.write_data[8]):
            for index in range(self._functions):
                with m.If(self.function_number == index):
                    m.d.sync += seen[index].eq(1)
        m.d.sync += self.enable.eq(seen.all())
        return m
