"""Layouts that the parts of virtio-net's data paths share."""

from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import Out

from tailrace_hw.errors import ErrorCode

__all__ = [
    "HEADER_BYTES",
    "GsoType",
    "HeaderFlag",
    "NetHeader",
    "ReceiveCounters",
    "RxChain",
    "RxFrame",
    "RxInfo",
    "RxMeta",
    "RxWrite",
    "TransmitCounters",
    "TxEntry",
    "TxFrame",
    "TxGathered",
    "TxPatch",
]


class HeaderFlag(enum.IntEnum):
    """Bits of virtio_net_hdr.flags (virtio 1.2, 5.1.6)."""

    NEEDS_CSUM = 1
    DATA_VALID = 2


class GsoType(enum.IntEnum):
    """Values of virtio_net_hdr.gso_type (5.1.6); the offloads behind the others are not offered."""

    NONE = 0


class NetHeader(data.Struct):
    """struct virtio_net_hdr (5.1.6), little-endian as everything in virtio 1.x."""

    flags: 8
    gso_type: 8
    hdr_len: 16
    gso_size: 16
    csum_start: 16
    csum_offset: 16
    num_buffers: 16


#: Bytes before every frame, in both directions, whatever was negotiated (5.1.6.1).
HEADER_BYTES = 12


class RxMeta(data.Struct):
    """Metadata of frames from the wire."""

    #: Meaningful on the last beat: the frame is not to be delivered.
    drop: 1


class RxInfo(data.Struct):
    """What is known of a received frame that waits in the buffer."""

    #: Bytes from the destination address on, without frame check sequence.
    length: 16
    #: Receive queue that its flow belongs to.
    queue: 8


class RxFrame(data.Struct):
    """Decision about a received frame."""

    #: Take it from the buffer and forget it; the other members mean nothing.
    drop: 1
    num_buffers: 16


class RxWrite(data.Struct):
    """A piece of one segment to write: ``length`` is at most the segment's."""

    address: 64
    length: 17
    #: Last piece in its descriptor chain, and of its frame.
    chain_end: 1
    frame_end: 1


class RxChain(data.Struct):
    """A chain to complete once its pieces are written."""

    queue: 8
    id: 16
    slots: 16
    written: 17
    more: 1


class TxEntry(data.Struct):
    """A chain taken for transmission."""

    queue: 8
    id: 16
    slots: 16
    #: DMA reads made for it, and the bytes of room kept for it.
    reads: 16
    reserved: 18
    #: NONE for a chain that is to be sent.
    error: ErrorCode
    #: The engine broke off in the middle: what was read is dropped, nothing is returned.
    abandoned: 1
    #: Address of a device-writable buffer, else bytes of the chain, header included.
    info: 64


class TxGathered(data.Struct):
    """Metadata of a gathered chain: header and frame."""

    queue: 8
    #: Bytes of the frame without header.
    length: 17
    #: Meaningful on the last beat: data are missing, the frame must not leave.
    bad: 1


class TxFrame(data.Struct):
    """Metadata of a frame whose header was taken off."""

    length: 17
    #: A checksum of everything from byte ``csum_start`` on is to be stored ``csum_offset`` bytes
    #: behind that place.
    needs_csum: 1
    csum_start: 16
    csum_offset: 16
    #: Meaningful on the last beat: the frame must not leave.
    drop: 1


class TxPatch(data.Struct):
    """What is known of a frame that waits to leave."""

    length: 17
    #: ``value`` goes to bytes ``position`` and ``position + 1``, high byte first.
    enable: 1
    position: 17
    value: 16


class ReceiveCounters(wiring.Signature):
    """Events of the receive direction, each a pulse of one cycle.

    Members
    -------
    delivered, bytes : a frame was written whole and returned to the driver, and its bytes (without
        virtio_net_hdr) in the same cycle
    overflow : dropped, the receive buffer had no room
    marked : dropped, the port had marked it
    not_ready : dropped, ``flush`` was set
    no_buffer : dropped, the queue had too few buffers
    too_long : dropped, longer than its buffer, or in too many pieces to be kept
    bad_direction : dropped, the queue offered a device-readable buffer
    fault : a frame was lost in the host: a write of it failed
    """

    def __init__(self):
        names = ("overflow", "marked", "not_ready", "no_buffer", "too_long", "bad_direction")
        super().__init__(
            {"delivered": Out(1), "bytes": Out(17), "fault": Out(1)}
            | {name: Out(1) for name in names}
        )


class TransmitCounters(wiring.Signature):
    """Events of the transmit direction, each a pulse of one cycle.

    Members
    -------
    sent, bytes : a frame left, and its bytes in the same cycle
    bad_chain : dropped: too short, too long or a device-writable buffer in it
    bad_header : dropped: gso_type or the checksum fields of its virtio_net_hdr are impossible
    fault : dropped: a read of it failed
    flushed : dropped, ``flush`` was set
    """

    def __init__(self):
        names = ("sent", "bad_chain", "bad_header", "fault", "flushed")
        super().__init__({"bytes": Out(17)} | {name: Out(1) for name in names})
