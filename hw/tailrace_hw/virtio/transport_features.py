"""Feature negotiation."""

from functools import reduce
from operator import and_

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.virtio.spec import REQUIRES, Feature
from tailrace_hw.virtio.transport_access import RegisterAccess, merge, word_of

__all__ = ["FeatureNegotiation"]


class FeatureNegotiation(wiring.Component):
    """The four feature registers of the common configuration (virtio 1.2, 2.2, 4.1.4.3).

    Parameters
    ----------
    could_offer : :class:`int`
        Feature bits offered if none is withheld, with VERSION_1.

    Members
    -------
    access : In(RegisterAccess)
    lock : In(1)
        FEATURES_OK is set: the driver's features no longer change (3.1.1).
    clear : In(1)
        Back to the state after reset.
    withheld : In(64)
        Feature bits not to be offered, and with each those that require it (5.1.3.1); VERSION_1
        always is. What it is when ``clear`` comes holds until the next ``clear``.
    offered : Out(64)
        What is offered.
    driver : Out(64)
        What the driver has written.
    acceptable : Out(1)
        ``driver`` may be accepted: nothing that was not offered, VERSION_1 (6.1), and no feature
        without those it requires (5.1.3.1).
    """

    def __init__(self, could_offer: int):
        if not could_offer >> Feature.VERSION_1 & 1:
            raise ValueError("a modern device offers VERSION_1 (virtio 1.2, 6.1)")
        self._could_offer = could_offer
        super().__init__(
            {
                "access": In(RegisterAccess()),
                "lock": In(1),
                "clear": In(1),
                "withheld": In(64),
                "offered": Out(64, init=could_offer),
                "driver": Out(64),
                "acceptable": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        access = self.access
        offered = self.offered
        device_select = Signal(32)
        driver_select = Signal(32)
        shown = Signal(32)
        with m.Switch(access.address[2:]):
            with m.Case(word_of("device_feature_select")):
                m.d.comb += access.value.eq(device_select)
                with m.If(access.write):
                    m.d.sync += device_select.eq(merge(device_select, access))
            with m.Case(word_of("device_feature")):
                m.d.comb += access.value.eq(self._word(offered, device_select))
            with m.Case(word_of("driver_feature_select")):
                m.d.comb += access.value.eq(driver_select)
                with m.If(access.write):
                    m.d.sync += driver_select.eq(merge(driver_select, access))
            with m.Case(word_of("driver_feature")):
                m.d.comb += [
                    shown.eq(self._word(self.driver, driver_select)),
                    access.value.eq(shown),
                ]
                with m.If(access.write & ~self.lock & (driver_select[1:] == 0)):
                    half = self.driver.word_select(driver_select[0], 32)
                    m.d.sync += half.eq(merge(shown, access))
        with m.If(self.clear):
            m.d.sync += [
                device_select.eq(0),
                driver_select.eq(0),
                self.driver.eq(0),
                offered.eq(self._allowed()),
            ]
        required = [
            ~self.driver[feature] | self.driver[other] for feature, other in REQUIRES.items()
        ]
        m.d.comb += self.acceptable.eq(
            ~(self.driver & ~offered).any()
            & self.driver[Feature.VERSION_1]
            & reduce(and_, required)
        )
        return m

    def _allowed(self):
        """What may be offered of what could be."""
        kept = [~bit for bit in self.withheld]
        kept[Feature.VERSION_1] = Const(1)
        for feature, other in REQUIRES.items():
            kept[feature] = kept[feature] & kept[other]
        return Cat(*kept) & self._could_offer

    @staticmethod
    def _word(features, select):
        return Mux(select[1:] == 0, Mux(select[0], features[32:], features[:32]), 0)
