"""Device status and reset."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.virtio.spec import DeviceStatus

__all__ = ["StatusMachine"]

#: Bits that the driver sets by writing them and that have no condition.
_PLAIN = DeviceStatus.ACKNOWLEDGE | DeviceStatus.DRIVER | DeviceStatus.FAILED


class StatusMachine(wiring.Component):
    """The device status field (virtio 1.2, 2.1), and when the device is in reset.

    A bit that is set stays set until reset. FEATURES_OK is set only when the features are
    acceptable (3.1.1); DRIVER_OK only with FEATURES_OK. Writing 0 starts a reset (2.4), as does
    ``flr``; until it is complete the field reads not 0 (its last value with ACKNOWLEDGE), writes
    and faults are ignored.

    Members
    -------
    write, value : In(1), In(8)
        The driver writes the field.
    acceptable : In(1)
        The driver's features may be accepted.
    fault : In(1)
        The device met an error: DEVICE_NEEDS_RESET is set.
    flr : In(1)
        Function level reset, high until ``flr_done``.
    flr_done : Out(1)
        The reset is complete; high until ``flr`` falls.
    reset_done : In(1)
        What had to end has ended; looked at while ``resetting``.
    resetting : Out(1)
        From the cycle after the cause of the reset until it is complete.
    clear : Out(1)
        Last cycle of ``resetting``: everything goes back to its state after reset.
    shown : Out(8)
        The field as the driver reads it.
    features_ok, driver_ok : Out(1)
        Low while ``resetting``.
    halt : Out(1)
        The device needs reset, or the driver gave up.
    changed : Out(1)
        One cycle: DEVICE_NEEDS_RESET was set after DRIVER_OK, which the driver is told by a
        configuration change notification (2.1.2).
    """

    write: In(1)
    value: In(8)
    acceptable: In(1)
    fault: In(1)
    flr: In(1)
    flr_done: Out(1)
    reset_done: In(1)
    resetting: Out(1)
    clear: Out(1)
    shown: Out(8)
    features_ok: Out(1)
    driver_ok: Out(1)
    halt: Out(1)
    changed: Out(1)

    def elaborate(self, platform):
        m = Module()
        field = Signal(8)
        features_ok, driver_ok, needs_reset, failed = (
            field[bit.bit_length() - 1]
            for bit in (
                DeviceStatus.FEATURES_OK,
                DeviceStatus.DRIVER_OK,
                DeviceStatus.NEEDS_RESET,
                DeviceStatus.FAILED,
            )
        )
        m.d.comb += [
            self.shown.eq(field | Mux(self.resetting, DeviceStatus.ACKNOWLEDGE, 0)),
            self.features_ok.eq(features_ok & ~self.resetting),
            self.driver_ok.eq(driver_ok & ~self.resetting),
            self.halt.eq(needs_reset | failed),
            self.clear.eq(self.resetting & self.reset_done),
        ]
        m.d.sync += self.changed.eq(0)
        with m.If(self.resetting):
            with m.If(self.reset_done):
                m.d.sync += [self.resetting.eq(0), field.eq(0)]
        with m.Elif(self.write & (self.value == 0)):
            m.d.sync += self.resetting.eq(1)
        with m.Else():
            with m.If(self.write):
                m.d.sync += field.eq(field | self._settable(m, features_ok))
            with m.If(self.fault):
                m.d.sync += [needs_reset.eq(1), self.changed.eq(driver_ok & ~needs_reset)]
        self._function_level_reset(m)
        return m

    def _settable(self, m, features_ok):
        """Bits of the written value that become set."""
        accepted = Signal()
        m.d.comb += accepted.eq(features_ok | (self.value[3] & self.acceptable))
        conditional = Cat(0, 0, self.value[2] & accepted, accepted)
        return (self.value & _PLAIN) | conditional

    def _function_level_reset(self, m):
        """A reset that the driver had under way when ``flr`` rose serves both."""
        served = Signal()
        m.d.comb += self.flr_done.eq(self.flr & served)
        with m.If(~self.flr):
            m.d.sync += served.eq(0)
        with m.Elif(self.clear):
            m.d.sync += served.eq(1)
        with m.Elif(~served):
            m.d.sync += self.resetting.eq(1)
