"""Brings a 100G MAC up (PG203, core bring-up)."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["MacStart"]


class MacStart(wiring.Component):
    """Switches a MAC's transmitter on when its receiver is aligned, and off when it no longer is.

    Until the receiver is aligned the transmitter sends remote fault; while the partner reports a
    remote fault it sends idle; only then frames. In the MAC's clock domain. All outputs come from
    registers, one cycle behind the inputs.

    Members
    -------
    aligned : In(1), ``stat_rx_aligned``
    remote_fault : In(1), ``stat_rx_remote_fault``
    rx_enable : Out(1), ``ctl_rx_enable``
    tx_enable : Out(1), ``ctl_tx_enable``
        Frames pass both ways: the link state too.
    send_rfi : Out(1), ``ctl_tx_send_rfi``
    send_idle : Out(1), ``ctl_tx_send_idle``
    """

    aligned: In(1)
    remote_fault: In(1)
    rx_enable: Out(1)
    tx_enable: Out(1)
    send_rfi: Out(1, init=1)
    send_idle: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.d.sync += [
            self.rx_enable.eq(1),
            self.send_rfi.eq(~self.aligned),
            self.send_idle.eq(self.aligned & self.remote_fault),
            self.tx_enable.eq(self.aligned & ~self.remote_fault),
        ]
        return m
