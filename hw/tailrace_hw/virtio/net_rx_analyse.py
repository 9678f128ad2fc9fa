"""Length, checksum verdict and receive queue of each frame, while it is being stored."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.lib.packet import beat_layout
from tailrace_hw.virtio.net_rx_headers import HASH_BITS, WINDOW, HeaderParser
from tailrace_hw.virtio.net_sum import RangeSum, byte_range, place_in_beat, sum_latency
from tailrace_hw.virtio.net_types import RxInfo

__all__ = ["RxAnalyse"]


class RxAnalyse(wiring.Component):
    """Watches the frames that enter the receive buffer and describes each that was kept.

    Takes a beat in every cycle in which ``valid`` is set, never waits. A fixed number of cycles
    after a frame's last beat its description appears on ``o``, and some cycles later the verdict
    on its checksums on ``verdict`` (:attr:`description_latency`, :attr:`verdict_latency`), unless
    ``lost`` was set: both in the order of the frames. ``ready`` of either must be 1 whenever
    something comes (the buffer behind has room for as many as beats); what finds no room is
    dropped.

    ``verdict`` is 1 when the frame is unfragmented TCP or UDP over IPv4 or IPv6 without
    extension headers, behind at most two VLAN tags, its IPv4 header checksum is right, and its TCP
    or UDP checksum over pseudo header and data is there and right. Ethernet padding is not part of
    the data.

    ``queue`` is ``(hash * active_pairs) >> 16`` of the flow hash's top 16 bits (see
    :class:`HeaderParser`): 0 for frames that are not IP or shorter than their IP header says.

    Parameters
    ----------
    width : :class:`int`
        Datapath width in bits.

    Members
    -------
    valid : In(1)
    beat : In(beat_layout(width))
    lost : In(1)
        The cycle after a frame's last beat: the frame was not kept.
    active_pairs : In(5)
        Queue pairs to spread flows over, at least 1.
    o : Out(stream of RxInfo)
    verdict : Out(stream of 1 bit)
        Every checksum that the frame carries was verified and is right.
    """

    def __init__(self, width: int):
        self._width = width
        self._octets = width // 8
        self._slots = -(-WINDOW // self._octets)
        super().__init__(
            {
                "valid": In(1),
                "beat": In(beat_layout(width)),
                "lost": In(1),
                "active_pairs": In(5),
                "o": Out(stream.Signature(RxInfo)),
                "verdict": Out(stream.Signature(1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        layout = data.StructLayout(
            {
                "valid": 1,
                "last": 1,
                "kept": 1,
                "base": 16,
                "length": 16,
                "data": self._width,
            }
        )
        captured = Signal(layout)
        window = self._capture(m, captured)
        m.submodules.parser = parser = HeaderParser()
        m.d.comb += parser.window.eq(window)
        located = Signal(layout)
        parsed = Signal(layout)
        m.d.sync += [
            located.eq(captured),
            located.kept.eq(~self.lost),
            parsed.eq(located),
        ]
        self._judge(m, parsed, parser.summary, layout)
        return m

    def _capture(self, m, captured):
        """Collect the frame's first bytes, each beat in its slot."""
        base = Signal(16)
        used = self._octets - self.beat.empty
        slots = [Signal(self._width, name=f"slot_{k}") for k in range(self._slots)]
        m.d.sync += [
            captured.valid.eq(self.valid),
            captured.last.eq(self.beat.last),
            captured.base.eq(base),
            captured.length.eq(base + used),
            captured.data.eq(self.beat.data),
        ]
        with m.If(self.valid):
            m.d.sync += base.eq(Mux(self.beat.last, 0, base + self._octets))
            for index, slot in enumerate(slots):
                with m.If(base == index * self._octets):
                    m.d.sync += slot.eq(self.beat.data)
        return Cat(slots)[: 8 * WINDOW]

    def _judge(self, m, parsed, summary, layout):
        """Turn offsets into byte ranges of the beat, sum both checksums, compare."""

        bounds = data.StructLayout(
            {
                name: range(self._octets + 1)
                for name in ("network", "transport", "end", "address_first", "address_last")
            }
        )
        at = Signal(bounds)
        ranged = Signal(layout)
        m.d.sync += ranged.eq(parsed)
        m.d.sync += [
            at[name].eq(place_in_beat(m, summary[name], parsed.base, self._octets))
            for name in ("network", "transport", "end", "address_first", "address_last")
        ]
        long_enough = parsed.length >= summary.end
        facts = Signal(data.StructLayout({"ipv4": 1, "checkable": 1, "pseudo": 18, "hash": 16}))
        m.d.sync += [
            facts.ipv4.eq(summary.ipv4),
            facts.checkable.eq(summary.checkable & long_enough),
            facts.pseudo.eq(summary.pseudo),
            facts.hash.eq(Mux(summary.ip & long_enough, summary.hash, 0)),
        ]

        m.submodules.header_sum = header_sum = RangeSum(self._width)
        m.submodules.data_sum = data_sum = RangeSum(self._width)
        count = self._octets
        m.d.comb += [
            header_sum.enable.eq(byte_range(at.network, at.transport, count)),
            data_sum.enable.eq(
                byte_range(at.transport, at.end, count)
                | byte_range(at.address_first, at.address_last, count)
            ),
            data_sum.extra.eq(facts.pseudo),
        ]
        for adder in (header_sum, data_sum):
            m.d.comb += [
                adder.valid.eq(ranged.valid),
                adder.last.eq(ranged.last),
                adder.data.eq(ranged.data),
            ]
        self._describe(m, ranged, facts)
        self._report(m, ranged, facts, header_sum, data_sum)

    def _describe(self, m, ranged, facts):
        """Length and queue do not wait for the sums: the frame's buffers can be found meanwhile."""
        m.d.sync += [
            self.o.valid.eq(ranged.valid & ranged.last & ranged.kept),
            self.o.payload.length.eq(ranged.length),
            self.o.payload.queue.eq((facts.hash * self.active_pairs) >> HASH_BITS),
        ]

    def _report(self, m, ranged, facts, header_sum, data_sum):
        """Keep what is known until the sums are, then judge."""
        waiting = Cat(ranged.kept, facts.checkable, facts.ipv4)
        for stage in range(sum_latency(self._width)):
            register = Signal(len(waiting), name=f"waiting_{stage}")
            m.d.sync += register.eq(waiting)
            waiting = register
        kept, checkable, ipv4 = waiting
        right = checkable & (data_sum.sum == 0xFFFF) & (~ipv4 | (header_sum.sum == 0xFFFF))
        m.d.sync += [self.verdict.valid.eq(data_sum.done & kept), self.verdict.payload.eq(right)]

    @property
    def description_latency(self) -> int:
        """Cycles from a frame's last beat to its description."""
        return 5

    @property
    def verdict_latency(self) -> int:
        """Cycles from a frame's last beat to its verdict."""
        return 5 + sum_latency(self._width)
