"""virtio-net's transmit direction: from the driver's buffers to the wire."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from tailrace_hw.errors import ErrorEvent
from tailrace_hw.lib.arbiter import RoundRobinArbiter
from tailrace_hw.lib.packet import PacketSignature
from tailrace_hw.pcie.dma import DmaReadPort
from tailrace_hw.virtio.interfaces import ChainPort
from tailrace_hw.virtio.net_tx_chains import TxChains
from tailrace_hw.virtio.net_tx_gather import TxGather
from tailrace_hw.virtio.net_tx_schedule import TxSchedule
from tailrace_hw.virtio.net_tx_store import TxStore
from tailrace_hw.virtio.net_tx_strip import TxStrip
from tailrace_hw.virtio.net_types import TransmitCounters

__all__ = ["NetTransmit"]


class NetTransmit(wiring.Component):
    """Sends the frames of one virtio-net device's transmit queues (virtio 1.2, 5.1.6.2).

    Queues are served in turn (:class:`TxSchedule`); each chain's segments become DMA reads, many
    in flight (:class:`TxChains`); their data are joined to one packet (:class:`TxGather`), which
    loses its virtio_net_hdr (:class:`TxStrip`) and waits until it is whole and its checksum known
    (:class:`TxStore`). The stages work on different frames at once: at width 512 a 64-byte frame
    every 4 cycles and 64 bytes a cycle for long ones. Frames of a queue leave in order; those of
    different queues in the order of their takes.

    A chain is completed, with nothing written, as soon as its data have arrived, whatever becomes
    of its frame. Frames that do not leave are counted and reported by reason (see the parts):
    NET_TX_TOO_SHORT, NET_TX_TOO_LONG, NET_TX_BAD_HEADER, NET_TX_BAD_CSUM, QUEUE_BAD_DIRECTION,
    QUEUE_DATA_FAULT. Later frames are unaffected.

    Parameters
    ----------
    pairs : :class:`int`
        Transmit queues.
    width : :class:`int`
        Datapath width in bits.
    depth : :class:`int`
        Store in bytes, a power of two: frames that are being read or wait to leave. It bounds the
        reads in flight.
    max_frame : :class:`int`
        Longest frame in bytes, without virtio_net_hdr and frame check sequence.
    max_chains : :class:`int`
        Chains under way at once.

    Members
    -------
    chains : Out(ChainPort(pairs))
    dma : Out(DmaReadPort(width))
    frames : Out(PacketSignature(width))
    errors : Out(stream of ErrorEvent)
        ``queue`` counts transmit queues from 0.
    csum : In(1)
        VIRTIO_NET_F_CSUM as negotiated.
    flush : In(1)
        The device is not DRIVER_OK, or is being reset: nothing is taken. What was taken is
        completed, but frames that are not yet whole do not leave (counted as ``flushed``).
    function : In(8)
    working : Out(1)
        Chains have been asked for and are not completed.
    counters : Out(TransmitCounters())
    """

    def __init__(
        self,
        pairs: int,
        width: int,
        *,
        depth: int = 65536,
        max_frame: int = 9022,
        max_chains: int = 128,
    ):
        self._pairs = pairs
        self._width = width
        self._depth = depth
        self._max_frame = max_frame
        self._max_chains = max_chains
        super().__init__(
            {
                "chains": Out(ChainPort(pairs)),
                "dma": Out(DmaReadPort(width)),
                "frames": Out(PacketSignature(width)),
                "errors": Out(stream.Signature(ErrorEvent)),
                "csum": In(1),
                "flush": In(1),
                "function": In(8),
                "working": Out(1),
                "counters": Out(TransmitCounters()),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.schedule = schedule = TxSchedule(self._pairs)
        m.submodules.planner = planner = TxChains(
            self._width, self._depth, self._max_frame, self._max_chains
        )
        m.submodules.gather = gather = TxGather(self._width)
        m.submodules.strip = strip = TxStrip(self._width)
        m.submodules.store = store = TxStore(self._width, self._depth)
        m.submodules.reports = reports = RoundRobinArbiter(ErrorEvent, 2)

        connect(m, schedule.take, flipped(self.chains.take))
        connect(m, flipped(self.chains.segments), planner.segments)
        connect(m, planner.request, flipped(self.dma.request))
        connect(m, planner.entries, gather.entries)
        connect(m, flipped(self.dma.data), gather.data)
        connect(m, gather.complete, flipped(self.chains.complete))
        connect(m, gather.o, strip.i)
        connect(m, strip.o, store.i)
        connect(m, store.o, flipped(self.frames))
        connect(m, gather.errors, reports.i[0])
        connect(m, strip.errors, reports.i[1])
        connect(m, reports.o, flipped(self.errors))
        c = self.counters
        m.d.comb += [
            schedule.available.eq(self.chains.available),
            schedule.allowed.eq(planner.allowed & ~self.flush),
            planner.taking.eq(schedule.taking),
            planner.level.eq(store.level),
            planner.function.eq(self.function),
            self.working.eq(planner.working),
            gather.function.eq(self.function),
            strip.function.eq(self.function),
            strip.csum.eq(self.csum),
            store.flush.eq(self.flush),
            c.sent.eq(store.sent),
            c.bytes.eq(store.bytes),
            c.flushed.eq(store.flushed),
            c.bad_chain.eq(gather.bad_chain),
            c.fault.eq(gather.fault),
            c.bad_header.eq(strip.bad_header),
        ]
        return m
