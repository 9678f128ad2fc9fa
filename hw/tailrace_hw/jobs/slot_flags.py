"""A bit for each job in flight."""

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["SlotFlags", "SlotPulse"]


class SlotPulse(data.Struct):
    """Something happens to a job in this cycle."""

    valid: 1
    slot: 8


class SlotFlags(wiring.Component):
    """What has happened to the jobs in flight: bits that are set by number and stay until cleared.

    A bit shows the cycle after it is set. Set and cleared in one cycle: it is set.

    Parameters
    ----------
    jobs : :class:`int`
        Jobs in flight at most.
    setters : :class:`int`
        Places that may set a bit in the same cycle.

    Members
    -------
    set : In(SlotPulse), array of setters
    clear : In(SlotPulse)
        The slot is given to a new job.
    flags : Out(jobs)
    """

    def __init__(self, jobs: int, setters: int = 1):
        super().__init__(
            {
                "set": In(SlotPulse).array(setters),
                "clear": In(SlotPulse),
                "flags": Out(jobs),
            }
        )

    def elaborate(self, platform):
        m = Module()
        for slot in range(len(self.flags)):
            with m.If(self.clear.valid & (self.clear.slot == slot)):
                m.d.sync += self.flags[slot].eq(0)
            for pulse in self.set:
                with m.If(pulse.valid & (pulse.slot == slot)):
                    m.d.sync += self.flags[slot].eq(1)
        return m
