"""virtio-net's receive direction: from the wire to the driver's buffers."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from tailrace_hw.errors import ErrorCode, ErrorEvent, ErrorSource
from tailrace_hw.lib.arbiter import RoundRobinArbiter
from tailrace_hw.lib.fifo import SyncFifo
from tailrace_hw.lib.packet import PacketSignature
from tailrace_hw.lib.packet_cut import PacketCut
from tailrace_hw.lib.stage import ReadyStage
from tailrace_hw.pcie.dma import DmaWritePort, DmaWriteRequest
from tailrace_hw.virtio.interfaces import ChainPort, Segment
from tailrace_hw.virtio.net_rx_buffer import RxBuffer
from tailrace_hw.virtio.net_rx_chains import RxChains, RxDrop
from tailrace_hw.virtio.net_rx_complete import RxComplete
from tailrace_hw.virtio.net_rx_prepend import RxPrepend
from tailrace_hw.virtio.net_types import ReceiveCounters, RxFrame, RxMeta

__all__ = ["NetReceive"]


class NetReceive(wiring.Component):
    """Delivers frames from a port to the receive queues of one virtio-net device (virtio 1.2,
    5.1.6.3 and 5.1.6.4).

    A frame is stored and analysed (:class:`RxBuffer`), gets chains of the queue that its flow hash
    names (:class:`RxChains`), gets its virtio_net_hdr (:class:`RxPrepend`) and is cut to the
    chains' segments (:class:`PacketCut`): one DMA write a segment used. When all writes of a
    chain are answered the chain is completed (:class:`RxComplete`). The stages work on different
    frames at once: at width 512 a 64-byte frame every 4 cycles and 64 bytes a cycle for long ones.

    VIRTIO_NET_HDR_F_DATA_VALID is set, if GUEST_CSUM was negotiated, for frames whose checksums
    are all right (:class:`RxAnalyse`); others are delivered as they are, without it. Queues are
    chosen by flow hash over ``active_pairs``; frames that are not IP go to queue 0.

    Dropped, counted, and (but for frames marked by the port or dropped by ``flush``) reported: see
    :class:`ReceiveCounters`, :class:`RxBuffer`, :class:`RxChains`. MAC_RX_OVERFLOW events are
    themselves lost, unlike their count, while one waits on ``errors``. Every chain that was
    committed is completed, also when its writes fail.

    Parameters
    ----------
    pairs : :class:`int`
        Receive queues, 1 to 16.
    width : :class:`int`
        Datapath width in bits.
    depth : :class:`int`
        Receive buffer in bytes, a power of two; the longest frame that can be received.
    max_segments : :class:`int`
        Segments that one frame may be spread over, a power of two.

    Members
    -------
    frames : In(PacketSignature(width, RxMeta))
        Never waits.
    chains : Out(ChainPort(pairs))
    dma : Out(DmaWritePort(width))
        Tag bit 0 marks a chain's last write.
    errors : Out(stream of ErrorEvent)
        ``queue`` counts receive queues from 0.
    mrg_rxbuf, guest_csum : In(1)
        VIRTIO_NET_F_MRG_RXBUF and VIRTIO_NET_F_GUEST_CSUM as negotiated.
    active_pairs : In(5)
        Queues in use (VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET), 1 to ``pairs``.
    flush : In(1)
        The device is not DRIVER_OK, or is being reset: frames are dropped (counted as
        ``not_ready``), except those that have their chains already.
    function : In(8)
    working : Out(1)
        Frames wait for chains, or have chains that are not completed.
    counters : Out(ReceiveCounters())
    """

    def __init__(self, pairs: int, width: int, *, depth: int = 32768, max_segments: int = 128):
        if not 1 <= pairs <= 16:
            raise ValueError(f"1 to 16 queue pairs, not {pairs}")
        self._width = width
        self._depth = depth
        self._max_segments = max_segments
        super().__init__(
            {
                "frames": In(PacketSignature(width, RxMeta)),
                "chains": Out(ChainPort(pairs)),
                "dma": Out(DmaWritePort(width)),
                "errors": Out(stream.Signature(ErrorEvent)),
                "mrg_rxbuf": In(1),
                "guest_csum": In(1),
                "active_pairs": In(5, init=1),
                "flush": In(1),
                "function": In(8),
                "working": Out(1),
                "counters": Out(ReceiveCounters()),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.buffer = self._buffer = RxBuffer(self._width, self._depth)
        m.submodules.planner = self._planner = RxChains(self._width, self._max_segments)
        m.submodules.prepend = prepend = RxPrepend(self._width)
        m.submodules.cut = self._cut = PacketCut(self._width)
        m.submodules.complete = self._complete = RxComplete()
        buffer, planner, complete = self._buffer, self._planner, self._complete

        connect(m, flipped(self.frames), buffer.i)
        connect(m, buffer.info, planner.info)
        connect(m, buffer.o, prepend.i)
        # The cutter's ready would go on through the decisions' queues.
        m.submodules.decisions = decisions = ReadyStage(RxFrame)
        m.submodules.verdicts = verdicts = ReadyStage(1)
        connect(m, planner.frames, decisions.i)
        connect(m, decisions.o, prepend.frames)
        connect(m, buffer.verdict, verdicts.i)
        connect(m, verdicts.o, prepend.verdict)
        connect(m, prepend.o, self._cut.i)
        connect(m, self._cut.o, flipped(self.dma.data))
        connect(m, planner.take, flipped(self.chains.take))
        # The planner's ready would go on through the engine to the fetch.
        m.submodules.segments = segments = ReadyStage(Segment)
        connect(m, flipped(self.chains.segments), segments.i)
        connect(m, segments.o, planner.segments)
        connect(m, planner.chains, complete.chains)
        connect(m, flipped(self.dma.response), complete.response)
        connect(m, complete.complete, flipped(self.chains.complete))
        m.d.comb += [
            buffer.active_pairs.eq(self.active_pairs),
            planner.mrg_rxbuf.eq(self.mrg_rxbuf),
            prepend.guest_csum.eq(self.guest_csum),
            planner.flush.eq(self.flush),
            planner.function.eq(self.function),
            complete.function.eq(self.function),
            self.working.eq(planner.working),
        ]
        self._distribute_writes(m)
        self._collect_errors(m)
        self._count(m)
        return m

    def _distribute_writes(self, m):
        """Each planned write is a DMA request and a cut; requests may run ahead of the data."""
        m.submodules.requests = requests = SyncFifo(DmaWriteRequest, 4)
        cuts = self._cut.cuts
        writes = self._planner.writes
        #: The request of the write whose data are being cut is on its way.
        asked = Signal()
        m.d.comb += [
            writes.ready.eq(cuts.ready & (asked | requests.i.ready)),
            requests.i.valid.eq(writes.valid & ~asked),
            requests.i.payload.function.eq(self.function),
            requests.i.payload.address.eq(writes.payload.address),
            requests.i.payload.length.eq(writes.payload.length),
            requests.i.payload.tag.eq(writes.payload.chain_end),
            cuts.valid.eq(writes.valid & (asked | requests.i.ready)),
            cuts.payload.length.eq(writes.payload.length),
            cuts.payload.frame_end.eq(writes.payload.frame_end),
        ]
        with m.If(writes.valid):
            m.d.sync += asked.eq((asked | requests.i.ready) & ~writes.ready)
        connect(m, requests.o, flipped(self.dma.request))

    def _collect_errors(self, m):
        m.submodules.reports = reports = RoundRobinArbiter(ErrorEvent, 3)
        connect(m, self._planner.errors, reports.i[0])
        connect(m, self._complete.errors, reports.i[1])
        overflow = Signal()
        with m.If(self._buffer.overflow):
            m.d.sync += overflow.eq(1)
        with m.Elif(reports.i[2].ready):
            m.d.sync += overflow.eq(0)
        event = reports.i[2].payload
        m.d.comb += [
            reports.i[2].valid.eq(overflow),
            event.source.eq(ErrorSource.VIRTIO_NET),
            event.code.eq(ErrorCode.MAC_RX_OVERFLOW),
            event.function.eq(self.function),
            event.queue.eq(0xFFFF),
        ]
        connect(m, reports.o, flipped(self.errors))

    def _count(self, m):
        c = self.counters
        dropped = self._planner.dropped
        m.d.comb += [
            c.overflow.eq(self._buffer.overflow),
            c.marked.eq(self._buffer.marked),
            c.not_ready.eq(dropped == RxDrop.NOT_READY),
            c.no_buffer.eq(dropped == RxDrop.NO_BUFFER),
            c.too_long.eq(dropped == RxDrop.TOO_LONG),
            c.bad_direction.eq(dropped == RxDrop.BAD_DIRECTION),
            c.fault.eq(self._complete.fault),
            c.delivered.eq(self._complete.delivered),
            c.bytes.eq(self._complete.bytes),
        ]
