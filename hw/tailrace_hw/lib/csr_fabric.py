"""One initiator of register accesses, several register banks."""

from collections.abc import Mapping
from dataclasses import dataclass

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.lib.csr import CsrResponse, CsrSignature, csr_request_layout

__all__ = ["CsrFabric", "CsrRange"]


@dataclass(frozen=True)
class CsrRange:
    """Where a target lies: ``2 ** address_width`` bytes from ``base``, a multiple of that."""

    base: int
    address_width: int

    @property
    def end(self) -> int:
        """First address behind it."""
        return self.base + (1 << self.address_width)


class CsrFabric(wiring.Component):
    """Decodes addresses and hands each access to the target it is for.

    One access at a time, answered in order. An access to an address that belongs to no target is
    answered with ``error`` and reaches nobody. Latency 3 cycles beside the target's own (2 for an
    unmapped address): request, response and every target's request are registers, so that targets
    can lie far apart.

    Parameters
    ----------
    address_width : :class:`int`
        Bits of the initiator's byte address.
    ranges : mapping of name to :class:`CsrRange`
        Aligned, inside the address space, not overlapping. A target sees the address within its
        range.

    Members
    -------
    initiator : In(CsrSignature(address_width))
    *name* : Out(CsrSignature(range.address_width)), one for each of ``ranges``

    Raises
    ------
    ValueError
        The ranges cannot be decoded; the message names the one at fault.
    """

    def __init__(self, address_width: int, ranges: Mapping[str, CsrRange]):
        _check_ranges(address_width, ranges)
        self._address_width = address_width
        self._ranges = dict(ranges)
        targets = {name: Out(CsrSignature(r.address_width)) for name, r in ranges.items()}
        super().__init__({"initiator": In(CsrSignature(address_width)), **targets})

    def elaborate(self, platform):
        m = Module()
        initiator = self.initiator
        targets = [getattr(self, name) for name in self._ranges]
        access = Signal(csr_request_layout(self._address_width))
        answer = Signal(CsrResponse)
        m.d.comb += initiator.response.payload.eq(answer)
        for target in targets:
            m.d.comb += [
                target.request.payload.address.eq(access.address),
                target.request.payload.write.eq(access.write),
                target.request.payload.data.eq(access.data),
                target.request.payload.strobe.eq(access.strobe),
            ]

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += initiator.request.ready.eq(1)
                m.d.sync += access.eq(initiator.request.payload)
                with m.If(initiator.request.valid):
                    m.next = "DECODE"
            with m.State("DECODE"):
                m.d.sync += [answer.data.eq(0), answer.error.eq(1)]
                m.next = "ANSWER"
                for target, where in zip(targets, self._ranges.values(), strict=True):
                    selects = access.address[where.address_width :] == (
                        where.base >> where.address_width
                    )
                    with m.If(selects):
                        m.d.sync += target.request.valid.eq(1)
                        m.next = "WAIT"
            with m.State("WAIT"):
                self._wait(m, targets, answer)
            with m.State("ANSWER"):
                m.d.comb += initiator.response.valid.eq(1)
                with m.If(initiator.response.ready):
                    m.next = "IDLE"
        return m

    def _wait(self, m, targets, answer):
        """Take the response of the one target that has been asked."""
        for target in targets:
            m.d.comb += target.response.ready.eq(1)
            with m.If(target.request.ready):
                m.d.sync += target.request.valid.eq(0)
            with m.If(target.response.valid):
                m.d.sync += answer.eq(target.response.payload)
                m.next = "ANSWER"


def _check_ranges(address_width: int, ranges: Mapping[str, CsrRange]) -> None:
    previous = None
    for name, where in sorted(ranges.items(), key=lambda item: item[1].base):
        if where.base % (1 << where.address_width):
            raise ValueError(f"{name} at {where.base:#x} is not aligned to its size")
        if where.base < 0 or where.end > 1 << address_width:
            raise ValueError(f"{name} ends at {where.end:#x}, outside {address_width} address bits")
        if previous and where.base < ranges[previous].end:
            raise ValueError(f"{name} at {where.base:#x} overlaps {previous}")
        previous = name
