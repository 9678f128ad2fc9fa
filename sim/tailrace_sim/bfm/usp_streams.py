"""The DMA side's stream agents of the integrated block, on whole integers.

The library's agents take every dword of every TLP apart, several times and with parity; a DMA test
spends most of its time there. These move the same beats (PG213) by shifting long integers. Parity
is not driven and not looked at.
"""

from dataclasses import dataclass

from cocotbext.pcie.xilinx.us.interface import RcSource, RqSink, UsPcieFrame
from cocotbext.pcie.xilinx.us.tlp import Tlp_us

__all__ = ["IntegerRcSource", "IntegerRqSink", "completion_packet"]

_HEADER = 4
_COMPLETION_HEADER = 3


@dataclass
class _Packet:
    """Dwords of a TLP on a stream, descriptor first, dword 0 in the low bits."""

    value: int = 0
    dwords: int = 0
    #: Byte enables, 4 bits a dword.
    enables: int = 0
    first_be: int = 0
    last_be: int = 0
    seq_num: int = 0
    discontinue: bool = False

    def __len__(self) -> int:
        return self.dwords


def _completion(tlp: Tlp_us) -> _Packet:
    """Requester completion with its descriptor."""
    data, tlp.data = tlp.data, bytearray()
    header = tlp.pack_us_rc()
    tlp.data = data
    value = sum(dword << 32 * k for k, dword in enumerate(header.data))
    count = len(data) // 4
    enables = 0
    if count:
        offset = tlp.lower_address & 3
        used = min(tlp.byte_count, 4 * count - offset)
        enables = ((1 << used) - 1) << offset
    return _Packet(
        value | int.from_bytes(data, "little") << 32 * _COMPLETION_HEADER,
        _COMPLETION_HEADER + count,
        enables << 4 * _COMPLETION_HEADER,
        discontinue=tlp.discontinue,
    )


def completion_packet(tlp: Tlp_us) -> tuple[int, int, bool]:
    """Dwords of a requester completion as one integer, their number, and whether it is bad."""
    packet = _completion(tlp)
    return packet.value, packet.dwords, packet.discontinue


class IntegerRcSource(RcSource):
    """Requester completions; :meth:`send` takes TLPs."""

    async def send(self, frame: Tlp_us):
        while self.full():
            self.dequeue_event.clear()
            await self.dequeue_event.wait()
        packet = _completion(frame)
        self.queue.put_nowait(packet)
        self.idle_event.clear()
        self.queue_occupancy_bytes += len(packet)
        self.queue_occupancy_frames += 1

    async def _run(self):
        lanes = self.seg_byte_lanes
        wide = self.width == 512
        while True:
            packet = await self._get_frame()
            done = 0
            while packet is not None:
                beat = self._transaction_obj()
                starts = ends = 0
                for segment in range(self.seg_count):
                    if packet is None:
                        if self.empty():
                            break
                        packet = self._get_frame_nowait()
                        done = 0
                    first = segment * lanes
                    if done == 0:
                        beat.tuser |= 1 << (64 if wide else 32) + starts
                        if wide:
                            beat.tuser |= first // 4 << 68 + 2 * starts
                        starts += 1
                    count = min(lanes, packet.dwords - done)
                    mask = (1 << 32 * count) - 1
                    beat.tdata |= (packet.value >> 32 * done & mask) << 32 * first
                    mask = (1 << 4 * count) - 1
                    beat.tuser |= (packet.enables >> 4 * done & mask) << 4 * first
                    beat.tkeep |= ((1 << count) - 1) << first
                    done += count
                    if done == packet.dwords:
                        bit = 76 + ends if wide else 34 + 4 * ends
                        place = 80 + 4 * ends if wide else 35 + 4 * ends
                        beat.tuser |= 1 << bit | (first + count - 1) << place
                        ends += 1
                        beat.tlast |= self.seg_count == 1
                        beat.tuser |= packet.discontinue << self.discontinue_offset
                        packet = None
                await self._drive(beat)


class IntegerRqSink(RqSink):
    """Requester requests; :meth:`recv_tlp` gives TLPs.

    Raises AssertionError on framing that the block does not allow.
    """

    async def recv_tlp(self) -> Tlp_us:
        """The next request."""
        packet = await self.recv()
        header = UsPcieFrame()
        header.data = [packet.value >> 32 * k & 0xFFFFFFFF for k in range(_HEADER)]
        header.first_be, header.last_be = packet.first_be, packet.last_be
        header.seq_num, header.discontinue = packet.seq_num, packet.discontinue
        tlp = Tlp_us.unpack_us_rq(header)
        count = packet.dwords - _HEADER
        tlp.data = bytearray((packet.value >> 32 * _HEADER).to_bytes(4 * count, "little"))
        assert count == (tlp.length if tlp.has_data() else 0), f"payload of another length: {tlp!r}"
        return tlp

    async def _run(self):
        self.active = False
        packet = None
        while True:
            while not self.sample_obj:
                self.sample_sync.clear()
                await self.sample_sync.wait()
            sample, self.sample_obj = self.sample_obj, None
            packet = self._beat(packet, sample)
            self.active = packet is not None

    def _beat(self, packet, sample):
        """Take one beat; returns the packet that it leaves open."""
        data, user = int(sample.tdata), int(sample.tuser)
        starts, ends = self._framing(packet, sample, user)
        pieces = [(0, packet)] if packet is not None else []
        pieces += [(lane, self._start(user, index)) for index, lane in enumerate(starts)]
        assert pieces, "a beat in which no TLP is"
        for index, (lane, piece) in enumerate(pieces):
            last = index == len(pieces) - 1
            assert ends or last, "a TLP starts before the last one ended"
            end = ends.pop(0) if ends else self.byte_lanes - 1 if last else lane
            assert end >= lane, "a TLP ends before it starts"
            count = end - lane + 1
            piece.value |= (data >> 32 * lane & (1 << 32 * count) - 1) << 32 * piece.dwords
            piece.dwords += count
            piece.discontinue |= bool(user >> self.discontinue_offset & 1)
        assert not ends, "a TLP ends that never started"
        return self._finish(pieces, user, sample)

    def _framing(self, packet, sample, user):
        """Lanes on which TLPs start and end in this beat."""
        if self.seg_count == 1:
            keep = int(sample.tkeep)
            starts = [] if packet is not None else [0]
            return starts, [keep.bit_length() - 1] if int(sample.tlast) else []
        starts = [4 * (user >> 22 + 2 * k & 3) for k in range(2) if user >> 20 + k & 1]
        return starts, [user >> 28 + 4 * k & 15 for k in range(2) if user >> 26 + k & 1]

    def _finish(self, pieces, user, sample):
        ended = int(sample.tlast) if self.seg_count == 1 else (user >> 26 & 3).bit_count()
        for _, piece in pieces[:ended]:
            self._sink_frame(piece)
        left = pieces[ended:]
        return left[0][1] if left else None

    def _start(self, user, index):
        if self.width == 512:
            return _Packet(
                first_be=user >> 4 * index & 15,
                last_be=user >> 8 + 4 * index & 15,
                seq_num=user >> 61 + 6 * index & 63,
            )
        seq_num = user >> 24 & 15
        if len(self.bus.tuser) == 62:
            seq_num |= (user >> 60 & 3) << 4
        return _Packet(first_be=user & 15, last_be=user >> 4 & 15, seq_num=seq_num)
