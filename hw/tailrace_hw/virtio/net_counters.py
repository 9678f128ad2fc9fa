"""What the management function sees of a network function: its counters, and what it offers."""

from amaranth.hdl import Cat, Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw import regs
from tailrace_hw.lib.csr import CsrSignature
from tailrace_hw.lib.csr_bank import CsrBank
from tailrace_hw.virtio.net_types import ReceiveCounters, TransmitCounters

__all__ = ["ADDRESS_WIDTH", "NetCounters"]

#: Bits of an address in the block.
ADDRESS_WIDTH = 7

#: Register of each event.
_RECEIVE = {
    "delivered": "rx_frames",
    "bytes": "rx_bytes",
    "overflow": "rx_drop_overflow",
    "marked": "rx_drop_marked",
    "not_ready": "rx_drop_not_ready",
    "no_buffer": "rx_drop_no_buffer",
    "too_long": "rx_drop_too_long",
    "bad_direction": "rx_drop_bad_direction",
    "fault": "rx_drop_fault",
}
_TRANSMIT = {
    "sent": "tx_frames",
    "bytes": "tx_bytes",
    "bad_chain": "tx_drop_bad_chain",
    "bad_header": "tx_drop_bad_header",
    "fault": "tx_drop_fault",
    "flushed": "tx_drop_flushed",
}


class NetCounters(wiring.Component):
    """Registers of ``net_regs.rdl``.

    An event is in its register 2 cycles after its pulse.

    Members
    -------
    bus : ``In(CsrSignature(ADDRESS_WIDTH))``
    receive : In(ReceiveCounters), transmit : In(TransmitCounters)
        ``bytes`` counts only in the cycle of ``delivered`` or ``sent``.
    withheld : Out(64)
        Feature bits that are not to be offered.
    """

    bus: In(CsrSignature(ADDRESS_WIDTH))
    receive: In(ReceiveCounters())
    transmit: In(TransmitCounters())
    withheld: Out(64)

    def elaborate(self, platform):
        m = Module()
        m.submodules.bank = bank = CsrBank(
            regs.load("virtio/net_regs.rdl"), address_width=ADDRESS_WIDTH
        )
        wiring.connect(m, wiring.flipped(self.bus), bank.bus)
        withheld = bank.features_withheld
        m.d.comb += self.withheld.eq(Cat(withheld.low, withheld.high))
        for events, registers, whole in (
            (self.receive, _RECEIVE, self.receive.delivered),
            (self.transmit, _TRANSMIT, self.transmit.sent),
        ):
            for event, register in registers.items():
                value = getattr(events, event)
                if event == "bytes":
                    value = Mux(whole, value, 0)
                # Registered here, because the events come from far away.
                m.d.sync += getattr(bank, register).value.eq(value)
        return m
