"""Frames that are too short for Ethernet."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.lib.axis import AxisSignature

__all__ = ["MINIMUM", "MacPad"]

#: Bytes of the shortest frame without its FCS (IEEE 802.3, 4A.4.2).
MINIMUM = 60


class MacPad(wiring.Component):
    """Fills frames up to 60 bytes with zeros, for a MAC that does not.

    Drivers hand frames over as they are, an ARP request of 42 bytes for one, and rely on the device
    for the padding. Latency 1 cycle, one beat a cycle, order kept, nothing dropped, no gap where
    there was none; ``i.tready`` depends on ``o.tready`` in the same cycle. Frames of 60 bytes and
    more pass as they are.

    Parameters
    ----------
    width : :class:`int`
        Datapath width in bits; one beat holds the shortest frame, so at least 512.

    Members
    -------
    i : In(AxisSignature(width, user=1))
    o : Out(AxisSignature(width, user=1))
    """

    def __init__(self, width: int):
        if width < 512:
            raise ValueError(f"a beat must hold {MINIMUM} bytes, {width} bits do not")
        self._width = width
        axis = AxisSignature(width, user=1)
        super().__init__({"i": In(axis), "o": Out(axis)})

    def elaborate(self, platform):
        m = Module()
        taken = Signal()
        #: In the middle of a frame: it has a full beat already.
        inside = Signal()
        keep = self.i.tkeep
        padded = Cat(keep[k] | ~inside if k < MINIMUM else keep[k] for k in range(self._width // 8))
        # Whatever stood in the bytes behind the frame must not leave the device.
        data = Cat(Mux(keep[k], self.i.tdata.word_select(k, 8), 0) for k in range(self._width // 8))
        m.d.comb += [
            self.i.tready.eq(~self.o.tvalid | self.o.tready),
            taken.eq(self.i.tvalid & self.i.tready),
        ]
        with m.If(self.i.tready):
            m.d.sync += self.o.tvalid.eq(self.i.tvalid)
        with m.If(taken):
            m.d.sync += [
                inside.eq(~self.i.tlast),
                self.o.tdata.eq(data),
                self.o.tkeep.eq(padded),
                self.o.tlast.eq(self.i.tlast),
                self.o.tuser.eq(self.i.tuser),
            ]
        return m
