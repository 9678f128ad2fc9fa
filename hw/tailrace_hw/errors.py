"""The error mechanism: one shape of event, one list of sources and codes for the whole device."""

from amaranth.lib import data, enum

__all__ = ["ErrorCode", "ErrorEvent", "ErrorSource"]


class ErrorSource(enum.Enum, shape=8):
    """The block that reports."""

    NONE = 0
    DMA_READ = 1
    DMA_WRITE = 2
    COMPLETER = 3
    MSIX = 4
    MAC = 5
    VIRTIO_FETCH = 6
    VIRTIO_USED = 7
    VIRTIO_NET = 8
    VIRTIO_TRANSPORT = 9
    JOBS = 10
    CIPHER = 11


class ErrorCode(enum.Enum, shape=8):
    """What went wrong. Codes are unique over all sources, so that a counter needs only the code."""

    NONE = 0x00
    # PCIe
    DMA_UR = 0x01
    DMA_CA = 0x02
    DMA_POISONED = 0x03
    DMA_TIMEOUT = 0x04
    DMA_BUS_MASTER_OFF = 0x05
    DMA_BAD_REQUEST = 0x06
    DMA_UNEXPECTED_COMPLETION = 0x07
    COMPLETER_UNSUPPORTED = 0x08
    COMPLETER_POISONED = 0x09
    #: An interrupt for a function or vector that has no MSI-X table entry.
    MSIX_BAD_VECTOR = 0x0A
    # virtqueues: each of these sets DEVICE_NEEDS_RESET
    QUEUE_INDEX_JUMP = 0x10
    QUEUE_DESCRIPTOR_INDEX = 0x11
    QUEUE_CHAIN_TOO_LONG = 0x12
    QUEUE_ZERO_LENGTH = 0x13
    QUEUE_LENGTH_TOO_BIG = 0x14
    QUEUE_BAD_INDIRECT = 0x15
    QUEUE_BAD_DIRECTION = 0x16
    QUEUE_FETCH_FAULT = 0x17
    QUEUE_DATA_FAULT = 0x18
    QUEUE_USED_FAULT = 0x19
    QUEUE_BAD_SIZE = 0x1A
    QUEUE_BAD_ADDRESS = 0x1B
    # virtio-net: the frame is dropped and the buffer returned, no reset needed
    NET_TX_TOO_SHORT = 0x20
    NET_TX_TOO_LONG = 0x21
    NET_TX_BAD_CSUM = 0x22
    NET_TX_BAD_HEADER = 0x23
    NET_RX_NO_BUFFER = 0x24
    NET_RX_TOO_LONG = 0x25
    #: Control queue: no room for the acknowledgement or no header (5.1.6.5).
    NET_CTRL_MALFORMED = 0x26
    # MAC
    MAC_RX_RUNT = 0x30
    MAC_RX_OVERSIZE = 0x31
    MAC_RX_ERROR = 0x32
    MAC_RX_OVERFLOW = 0x33
    # job queues: each of these stops the queue, which only its reset ends
    #: A doorbell ahead of what can be.
    JOB_INDEX_JUMP = 0x38
    #: A ring of a size or at an address that can't be.
    JOB_BAD_RING = 0x39
    #: A descriptor could not be read.
    JOB_DESCRIPTOR_FAULT = 0x3A
    #: A completion could not be written.
    JOB_COMPLETION_FAULT = 0x3B
    #: The cipher engine's known-answer test has failed: it refuses all work until one passes.
    CIPHER_SELF_TEST = 0x3C


class ErrorEvent(data.Struct):
    """One error, as a block puts it on its error stream."""

    source: ErrorSource
    code: ErrorCode
    #: PCIe function it concerns.
    function: 8
    #: Queue it concerns, 0xFFFF for none.
    queue: 16
    #: Address, index or length that was wrong; the code says which.
    info: 64
