"""A network port: between a MAC and the core."""

import dataclasses

from amaranth.hdl import DomainRenamer, Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from tailrace_hw import regs
from tailrace_hw.errors import ErrorEvent
from tailrace_hw.lib.axis import AxisSignature
from tailrace_hw.lib.csr import CsrSignature
from tailrace_hw.lib.csr_bank import CsrBank
from tailrace_hw.lib.fifo import AsyncFifo
from tailrace_hw.lib.packet import PacketSignature
from tailrace_hw.mac.errors import MacErrors
from tailrace_hw.mac.rx_capture import RxCapture
from tailrace_hw.mac.rx_check import RxCheck
from tailrace_hw.mac.tx_path import TxPath
from tailrace_hw.mac.types import MacCounters, RxStatus, captured_layout

__all__ = ["ADDRESS_WIDTH", "MacPort"]

#: Bits of an address on the port's register bus.
ADDRESS_WIDTH = 6


def _registers(min_length: int, max_length: int) -> regs.RegisterMap:
    """The port's registers with the limits that hold after reset."""
    port = regs.load("mac/regs.rdl")
    resets = {"min_length": min_length, "max_length": max_length}
    limits = dataclasses.replace(
        port["limits"],
        fields=tuple(
            dataclasses.replace(field, reset=resets[field.name]) for field in port["limits"].fields
        ),
    )
    registers = tuple(limits if r.name == "limits" else r for r in port.registers)
    return dataclasses.replace(port, registers=registers)


class MacPort(wiring.Component):
    """Joins a MAC's AXI4-Stream, in the MAC's clock domain, to packet streams in ``sync``.

    Receive: the MAC never waits. Every frame it gives appears on ``o``, bad ones with ``drop`` and
    the reason on their last beat: marked by the MAC, shorter or longer than the limits in the
    registers (too long ones are cut off), or damaged because ``o`` was not taken in time and the
    queue of ``depth`` beats ran over. Frames that were lost whole appear together with a damaged
    one, as one packet. All are counted. About 8 cycles from the MAC to ``o``, one beat a cycle.

    Transmit: see :class:`~tailrace_hw.mac.tx_path.TxPath`.

    A reset of the MAC's clock domain alone may join what arrived of a frame before it to the frame
    after it, and loses what was being sent; in the first 8 cycles after it, frames are lost (and
    counted as overflow).

    Parameters
    ----------
    width : :class:`int`
        Datapath width in bits, here and at the MAC.
    domain : :class:`str`
        The MAC's clock domain.
    min_length, max_length : :class:`int`
        Limits after reset, in bytes without FCS. The default minimum is the Ethernet header: a MAC
        or a network card in between may have taken the padding off.
    depth : :class:`int`
        Beats of the receive queue.

    Members
    -------
    rx : In(AxisSignature(width, user=1)), in ``domain``
        ``tready`` is always 1. ``tuser`` with ``tlast``: bad frame.
    tx : Out(AxisSignature(width, user=1)), in ``domain``
    link : In(1)
        The MAC has a link; from any clock domain.
    o : Out(PacketSignature(width, RxStatus))
    i : In(PacketSignature(width))
    link_up : Out(1)
    bus : In(CsrSignature(6))
        Registers of ``regs.rdl``.
    counters : Out(MacCounters)
        What the registers count.
    errors : Out(stream of ErrorEvent)
    """

    def __init__(
        self,
        width: int,
        *,
        domain: str = "mac",
        min_length: int = 14,
        max_length: int = 9238,
        depth: int = 64,
    ):
        if not 1 <= min_length <= max_length <= 0xFFFF:
            raise ValueError("limits must be 1 <= min_length <= max_length <= 65535")
        self._width = width
        self._domain = domain
        self._max_length = max_length
        self._depth = depth
        self._map = _registers(min_length, max_length)
        super().__init__(
            {
                "rx": In(AxisSignature(width, user=1)),
                "tx": Out(AxisSignature(width, user=1)),
                "link": In(1),
                "o": Out(PacketSignature(width, RxStatus)),
                "i": In(PacketSignature(width)),
                "link_up": Out(1),
                "bus": In(CsrSignature(ADDRESS_WIDTH)),
                "counters": Out(MacCounters),
                "errors": Out(stream.Signature(ErrorEvent)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.bank = bank = CsrBank(self._map, address_width=ADDRESS_WIDTH)
        m.submodules.link = FFSynchronizer(self.link, self.link_up)
        wiring.connect(m, wiring.flipped(self.bus), bank.bus)
        check = self._receive(m, bank)
        m.submodules.transmit = transmit = TxPath(
            self._width, domain=self._domain, max_length=self._max_length
        )
        wiring.connect(m, wiring.flipped(self.i), transmit.i)
        wiring.connect(m, transmit.o, wiring.flipped(self.tx))
        m.submodules.reporter = reporter = MacErrors()
        wiring.connect(m, reporter.errors, wiring.flipped(self.errors))
        m.d.comb += [
            bank.status.link_up.eq(self.link_up),
            reporter.counters.eq(self.counters.rx),
            reporter.length.eq(check.length),
        ]
        for side, counters in ((check, self.counters.rx), (transmit, self.counters.tx)):
            m.d.comb += counters.eq(side.counters)
            for name, _ in data.Layout.cast(counters.shape()):
                m.d.comb += getattr(bank, name).value.eq(getattr(counters, name))
        return m

    def _receive(self, m, bank):
        capture = RxCapture(self._width)
        m.submodules.capture = DomainRenamer(self._domain)(capture)
        m.submodules.crossing = crossing = AsyncFifo(
            captured_layout(self._width), self._depth, i_domain=self._domain, o_domain="sync"
        )
        m.submodules.check = check = RxCheck(self._width)
        wiring.connect(m, wiring.flipped(self.rx), capture.i)
        wiring.connect(m, crossing.o, check.i)
        wiring.connect(m, check.o, wiring.flipped(self.o))
        m.d.comb += [
            crossing.i.valid.eq(capture.write),
            crossing.i.payload.eq(capture.beat),
            capture.room.eq(crossing.i.ready),
            check.min_length.eq(bank.limits.min_length),
            check.max_length.eq(bank.limits.max_length),
        ]
        return check
