"""Returns receive chains to the driver once their data are written."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.errors import ErrorCode, ErrorEvent, ErrorSource
from tailrace_hw.pcie.dma import DmaStatus, DmaWriteResponse
from tailrace_hw.virtio.interfaces import ChainCompletion
from tailrace_hw.virtio.net_types import HEADER_BYTES, RxChain

__all__ = ["RxComplete"]


class RxComplete(wiring.Component):
    """Pairs write responses with planned chains, both in order.

    Bit 0 of a response's tag says that it is the chain's last one. A chain of which a write failed
    is completed all the same, with ``written`` 0, after an error event QUEUE_DATA_FAULT (info: the
    DMA status). One response a cycle while nothing fails; latency 1 cycle.

    Members
    -------
    response : In(stream of DmaWriteResponse)
    chains : In(stream of RxChain)
        The chain's item comes before its last response.
    complete : Out(stream of ChainCompletion)
    errors : Out(stream of ErrorEvent)
    function : In(8)
    delivered, fault : Out(1)
        One cycle for each frame: it arrived whole, or did not.
    bytes : Out(17)
        With ``delivered``: length of the frame without its header.
    """

    response: In(stream.Signature(DmaWriteResponse))
    chains: In(stream.Signature(RxChain))
    complete: Out(stream.Signature(ChainCompletion))
    errors: Out(stream.Signature(ErrorEvent))
    function: In(8)
    delivered: Out(1)
    fault: Out(1)
    bytes: Out(17)

    def elaborate(self, platform):
        m = Module()
        chain = self.chains.payload
        response = self.response.payload
        failed = Signal()
        chain_failed = Signal()
        frame_failed = Signal()
        total = Signal(17)
        failed_now = Signal()
        chain_end = Signal()
        step = Signal()
        complete_free = ~self.complete.valid | self.complete.ready
        # An event is rare: that it leaves in this cycle need not count.
        errors_free = ~self.errors.valid
        m.d.comb += [
            failed.eq(response.status != DmaStatus.OK),
            chain_end.eq(response.tag[0]),
            failed_now.eq(failed | chain_failed),
            step.eq(self.response.valid & self.chains.valid & complete_free & errors_free),
            self.response.ready.eq(step),
            self.chains.ready.eq(step & chain_end),
        ]
        with m.If(self.complete.ready):
            m.d.sync += self.complete.valid.eq(0)
        with m.If(self.errors.ready):
            m.d.sync += self.errors.valid.eq(0)
        with m.If(step & failed):
            m.d.sync += self.errors.valid.eq(1)
        with m.If(errors_free):
            m.d.sync += [
                self.errors.payload.source.eq(ErrorSource.VIRTIO_NET),
                self.errors.payload.code.eq(ErrorCode.QUEUE_DATA_FAULT),
                self.errors.payload.function.eq(self.function),
                self.errors.payload.queue.eq(chain.queue),
                self.errors.payload.info.eq(response.status),
            ]
        m.d.sync += [self.delivered.eq(0), self.fault.eq(0)]
        with m.If(step):
            m.d.sync += chain_failed.eq(failed_now & ~chain_end)
            with m.If(chain_end):
                m.d.sync += [
                    self.complete.valid.eq(1),
                    self.complete.payload.queue.eq(chain.queue),
                    self.complete.payload.id.eq(chain.id),
                    self.complete.payload.slots.eq(chain.slots),
                    self.complete.payload.written.eq(Mux(failed_now, 0, chain.written)),
                    self.complete.payload.more.eq(chain.more),
                    frame_failed.eq((frame_failed | failed_now) & chain.more),
                    total.eq(Mux(chain.more, total + chain.written, 0)),
                ]
                with m.If(~chain.more):
                    m.d.sync += [
                        self.delivered.eq(~(frame_failed | failed_now)),
                        self.fault.eq(frame_failed | failed_now),
                        self.bytes.eq(total + chain.written - HEADER_BYTES),
                    ]
        return m
