"""Puts virtio_net_hdr before each received frame."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import enum, stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.lib.packet import PacketSignature
from tailrace_hw.virtio.net_types import HEADER_BYTES, HeaderFlag, NetHeader, RxFrame

__all__ = ["RxPrepend"]


class _Phase(enum.Enum, shape=2):
    #: Beats that hold nothing but header (width 64).
    HEAD = 0
    BODY = 1
    #: What is left of the frame's last beat.
    TAIL = 2


class RxPrepend(wiring.Component):
    """Joins each decision with its frame: header and frame leave as one packet, or nothing does.

    virtio 1.2, 5.1.6.4: ``flags`` is VIRTIO_NET_HDR_F_DATA_VALID, when the verdict is 1 and
    ``guest_csum`` is set, or 0; ``num_buffers`` as decided, the rest 0 (no segmentation offload, no
    NEEDS_CSUM from this device). A frame waits for its decision and its verdict, also when it is
    dropped.

    Combinational from input to output; one output beat a cycle, in which every byte counts, or one
    beat of a dropped frame a cycle. Order kept.

    Parameters
    ----------
    width : :class:`int`
        Datapath width in bits.

    Members
    -------
    frames : In(stream of RxFrame)
    verdict : In(stream of 1 bit)
    guest_csum : In(1)
    i : In(PacketSignature(width))
    o : Out(PacketSignature(width))
    """

    def __init__(self, width: int):
        self._width = width
        self._octets = width // 8
        super().__init__(
            {
                "frames": In(stream.Signature(RxFrame)),
                "verdict": In(stream.Signature(1)),
                "guest_csum": In(1),
                "i": In(PacketSignature(width)),
                "o": Out(PacketSignature(width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        octets = self._octets
        whole, shift = divmod(HEADER_BYTES, octets)
        decision = self.frames.payload
        #: Decision and verdict are there; ``done`` with the frame that they are for.
        decided, done = Signal(), Signal()
        header = Signal(NetHeader)
        m.d.comb += [
            decided.eq(self.frames.valid & self.verdict.valid),
            self.frames.ready.eq(done),
            self.verdict.ready.eq(done),
            header.flags.eq(
                Mux(self.verdict.payload & self.guest_csum, HeaderFlag.DATA_VALID.value, 0)
            ),
            header.num_buffers.eq(decision.num_buffers),
        ]
        bits = header.as_value()
        first = _Phase.HEAD if whole else _Phase.BODY
        phase = Signal(_Phase, init=first)
        start = Signal(init=1)
        carry = Signal(8 * shift)
        tail_bytes = Signal(range(octets + 1))
        beat = self.i.payload
        used = octets - beat.empty

        front = Mux(start, bits[8 * octets * whole :], carry)
        out = self.o.payload
        taken = self.o.valid & self.o.ready
        with m.Switch(phase):
            with m.Case(_Phase.HEAD):
                # One beat is enough: a header has less than two.
                m.d.comb += [
                    self.o.valid.eq(decided & ~decision.drop & self.i.valid),
                    out.data.eq(bits[: 8 * octets]),
                ]
                with m.If(taken | (decided & decision.drop)):
                    m.d.sync += phase.eq(_Phase.BODY)
            with m.Case(_Phase.BODY):
                keep = ~decision.drop
                overhang = used > octets - shift
                m.d.comb += [
                    self.o.valid.eq(decided & self.i.valid & keep),
                    self.i.ready.eq(decided & (self.o.ready | ~keep)),
                    out.data.eq(Cat(front, beat.data[: 8 * (octets - shift)])),
                    out.last.eq(beat.last & ~overhang),
                    out.empty.eq(Mux(out.last, octets - shift - used, 0)),
                ]
                with m.If(self.i.valid & self.i.ready):
                    m.d.sync += [
                        start.eq(beat.last),
                        carry.eq(beat.data[8 * (octets - shift) :]),
                        tail_bytes.eq(used - (octets - shift)),
                    ]
                    with m.If(beat.last):
                        with m.If(keep & overhang):
                            m.d.sync += phase.eq(_Phase.TAIL)
                        with m.Else():
                            m.d.comb += done.eq(1)
                            m.d.sync += phase.eq(first)
            with m.Case(_Phase.TAIL):
                m.d.comb += [
                    self.o.valid.eq(1),
                    out.data.eq(Cat(carry, Const(0, 8 * (octets - shift)))),
                    out.last.eq(1),
                    out.empty.eq(octets - tail_bytes),
                    done.eq(self.o.ready),
                ]
                with m.If(taken):
                    m.d.sync += phase.eq(first)
        return m
