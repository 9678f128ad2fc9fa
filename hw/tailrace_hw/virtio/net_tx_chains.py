"""Turns transmit chains into DMA reads, and refuses those that cannot be a frame."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from tailrace_hw.errors import ErrorCode
from tailrace_hw.lib.fifo import SyncFifo
from tailrace_hw.pcie.dma import DmaReadRequest
from tailrace_hw.virtio.interfaces import Segment
from tailrace_hw.virtio.net_types import HEADER_BYTES, TxEntry

__all__ = ["SHORTEST_FRAME", "TxChains"]

#: Two addresses and a type: less is no Ethernet frame.
SHORTEST_FRAME = 14


class TxChains(wiring.Component):
    """Reads each segment as it comes and writes an entry for each chain when it ends.

    A chain is refused (its entry's ``error``) when

    * a segment is device-writable: QUEUE_BAD_DIRECTION. virtio 1.2, 5.1.6.2 puts header and frame
      in device-readable buffers and transmission writes nothing, so such a chain is not merely
      odd: a driver that builds it has lost count of its descriptors;
    * header and frame are longer than ``max_frame`` allows: NET_TX_TOO_LONG. Nothing from the
      segment on that exceeds it is read;
    * there are fewer bytes than virtio_net_hdr and an Ethernet header: NET_TX_TOO_SHORT.

    A chain that the engine breaks off (``none`` after its first segment: its queue failed or is
    being reset) is neither sent nor returned.

    Room for the data is kept from the take on: ``allowed`` is set while the longest frame has room
    in the store besides all that is under way, so ``segments`` waits only for the DMA engine to
    take requests, never for frames to leave. Latency 1 cycle; one segment a cycle.

    Parameters
    ----------
    width : :class:`int`
        Datapath width in bits.
    depth : :class:`int`
        Bytes in the store.
    max_frame : :class:`int`
        Longest frame in bytes, without virtio_net_hdr.
    frames : :class:`int`
        Chains under way at once.

    Members
    -------
    taking : In(1)
        A chain is being asked for.
    allowed : Out(1)
        Another one may be. Follows ``taking`` a cycle late: chains are not asked for in two cycles
        running.
    segments : In(stream of Segment)
    request : Out(stream of DmaReadRequest)
        One for each segment read.
    entries : Out(stream of TxEntry)
        One for each chain, in order. Taking it says that its data have all arrived.
    level : In(range(depth in beats + 1))
        Beats in the store.
    function : In(8)
    working : Out(1)
        Chains are under way.
    """

    #: Beats that may be on their way from the gatherer into the store.
    _SLACK = 16

    def __init__(self, width: int, depth: int, max_frame: int, frames: int):
        octets = width // 8
        #: Room for a frame: its bytes, and a beat that it may fill in part.
        self._longest = max_frame + HEADER_BYTES + octets
        self._limit = depth - self._SLACK * octets
        if self._longest > self._limit:
            raise ValueError(f"frames of {max_frame} bytes do not fit a store of {depth} bytes")
        if self._longest > 65536:
            raise ValueError(f"a frame of {max_frame} bytes is longer than a DMA request")
        self._octets = octets
        self._max_bytes = max_frame + HEADER_BYTES
        self._frames = frames
        super().__init__(
            {
                "taking": In(1),
                "allowed": Out(1),
                "segments": In(stream.Signature(Segment)),
                "request": Out(stream.Signature(DmaReadRequest)),
                "entries": Out(stream.Signature(TxEntry)),
                "level": In(range(depth // octets + 1)),
                "function": In(8),
                "working": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.ended = ended = SyncFifo(TxEntry, self._frames)
        connect(m, ended.o, flipped(self.entries))
        segment = self.segments.payload
        entry = ended.i.payload
        fresh = Signal(init=1)
        length = Signal(34)
        reads = Signal(16)
        reserved = Signal(18)
        error = Signal(ErrorCode)
        info = Signal(64)

        request_free = ~self.request.valid | self.request.ready
        step = Signal()
        #: The whole answer is that there is no chain.
        nothing = Signal()
        m.d.comb += [
            nothing.eq(fresh & segment.none),
            self.segments.ready.eq(request_free & ended.i.ready),
            step.eq(self.segments.valid & self.segments.ready),
        ]
        # The chain with this segment.
        length_now = Signal(34)
        fault = Signal(ErrorCode)
        error_now = Signal(ErrorCode)
        info_now = Signal(64)
        read = Signal()
        m.d.comb += [
            length_now.eq(Mux(fresh, 0, length) + segment.length),
            error_now.eq(Mux(fresh, ErrorCode.NONE, error)),
            info_now.eq(info),
        ]
        with m.If(segment.writable):
            m.d.comb += fault.eq(ErrorCode.QUEUE_BAD_DIRECTION)
        with m.Elif(length_now > self._max_bytes):
            m.d.comb += fault.eq(ErrorCode.NET_TX_TOO_LONG)
        with m.Elif(segment.last & (length_now < HEADER_BYTES + SHORTEST_FRAME)):
            m.d.comb += fault.eq(ErrorCode.NET_TX_TOO_SHORT)
        with m.If(fresh | (error == ErrorCode.NONE)):
            m.d.comb += [
                error_now.eq(fault),
                info_now.eq(Mux(segment.writable, segment.address, length_now)),
                read.eq((fault == ErrorCode.NONE) & ~segment.none),
            ]
        reads_now = Signal(16)
        reserved_now = Signal(18)
        m.d.comb += [
            reads_now.eq(Mux(fresh, 0, reads) + read),
            reserved_now.eq(Mux(fresh, self._octets, reserved) + Mux(read, segment.length[:17], 0)),
            entry.queue.eq(segment.queue),
            entry.id.eq(segment.id),
            entry.slots.eq(segment.slots),
            entry.reads.eq(reads_now),
            entry.reserved.eq(reserved_now),
            entry.error.eq(error_now),
            entry.info.eq(info_now),
            entry.abandoned.eq(segment.none),
            # A chain that was not even begun leaves no trace.
            ended.i.valid.eq(self.segments.valid & request_free & segment.last & ~nothing),
        ]
        with m.If(request_free):
            m.d.sync += [
                self.request.valid.eq(step & read),
                self.request.payload.function.eq(self.function),
                self.request.payload.address.eq(segment.address),
                self.request.payload.length.eq(segment.length),
            ]
        with m.If(step):
            m.d.sync += [
                fresh.eq(segment.last),
                length.eq(length_now),
                reads.eq(reads_now),
                reserved.eq(reserved_now),
                error.eq(error_now),
                info.eq(info_now),
            ]
        self._keep_room(m, step, nothing, reserved_now)
        return m

    def _keep_room(self, m, step, nothing, reserved_now):
        """Count the room and the chains that are spoken for."""
        segment = self.segments.payload
        kept = Signal(range(self._limit + self._longest + 1))
        chains = Signal(range(self._frames + 1))
        answered = Signal()
        empty = Signal()
        returned = Signal()
        # What comes free, a cycle late: until then it only counts as taken.
        surplus = Signal(18)
        spent = Signal(18)
        m.d.comb += [
            answered.eq(step & segment.last),
        ]
        m.d.sync += [
            empty.eq(answered & nothing),
            surplus.eq(Mux(answered, self._longest - Mux(nothing, 0, reserved_now), 0)),
            returned.eq(self.entries.valid & self.entries.ready),
            spent.eq(
                Mux(self.entries.valid & self.entries.ready, self.entries.payload.reserved, 0)
            ),
            kept.eq(kept + Mux(self.taking, self._longest, 0) - surplus - spent),
            chains.eq(chains + self.taking - empty - returned),
        ]
        m.d.comb += self.working.eq(chains != returned + empty)
        m.d.sync += self.allowed.eq(
            (kept + self.level * self._octets + self._longest <= self._limit)
            & (chains != self._frames)
        )
