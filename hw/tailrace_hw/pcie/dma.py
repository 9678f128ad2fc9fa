"""What an engine sees of PCIe: read and write requests to host memory, never TLPs.

Every request names the PCIe function it is made for. Clients know nothing of tags on the link,
4 KiB boundaries, Max_Payload_Size or Max_Read_Request_Size.
"""

from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.lib.packet import PacketSignature

__all__ = [
    "MAX_DMA_LENGTH",
    "DmaReadMeta",
    "DmaReadPort",
    "DmaReadRequest",
    "DmaStatus",
    "DmaWritePort",
    "DmaWriteRequest",
    "DmaWriteResponse",
]

#: Longest request in bytes.
MAX_DMA_LENGTH = 65536


class DmaStatus(enum.Enum, shape=3):
    """How a DMA request ended. PCIe Base Specification 5.0, 2.2.9 (completion status)."""

    OK = 0
    #: Unsupported Request.
    UR = 1
    #: Completer Abort (or a reserved completion status, which 2.3.2 treats alike).
    CA = 2
    #: The completion's data was marked poisoned (EP bit).
    POISONED = 3
    #: No completion within the time-out.
    TIMEOUT = 4
    #: The function may not master the bus: Bus Master Enable is 0 or it is in reset.
    BUS_MASTER_OFF = 5
    #: Length of 0 or above MAX_DMA_LENGTH, an address that wraps, or data that disagrees with the
    #: request's length.
    BAD_REQUEST = 6


class DmaReadRequest(data.Struct):
    """Asks for ``length`` bytes of host memory at ``address`` (any alignment)."""

    function: 8
    address: 64
    #: 1 to MAX_DMA_LENGTH.
    length: 17
    #: Returned with the data; the engine does not look at it.
    tag: 16


class DmaReadMeta(data.Struct):
    """Metadata of a read's data packet."""

    #: The request's tag, on every beat.
    tag: 16
    #: Meaningful on the last beat only. A request that fails ends with one last beat whose status
    #: is not OK; how many beats come before it is not defined, and their data is to be dropped.
    status: DmaStatus


class DmaReadPort(wiring.Signature):
    """Read port as the client sees it: requests out, one data packet a request in, same order."""

    def __init__(self, width: int):
        self.width = width
        super().__init__(
            {
                "request": Out(stream.Signature(DmaReadRequest)),
                "data": In(PacketSignature(width, DmaReadMeta)),
            }
        )

    def __eq__(self, other) -> bool:
        return isinstance(other, DmaReadPort) and self.width == other.width


class DmaWriteRequest(data.Struct):
    """Announces a write of ``length`` bytes to host memory at ``address`` (any alignment)."""

    function: 8
    address: 64
    #: 1 to MAX_DMA_LENGTH.
    length: 17
    #: Returned with the response; the engine does not look at it.
    tag: 16


class DmaWriteResponse(data.Struct):
    """The write is ordered: whatever is posted from now on arrives in host memory after it."""

    tag: 16
    status: DmaStatus


class DmaWritePort(wiring.Signature):
    """Write port as the client sees it.

    The n-th packet on ``data`` is the payload of the n-th ``request``; a request may come before,
    with or after its data's first beat, but the engine takes no data before the request. Each
    request gets one ``response``, in request order.
    """

    def __init__(self, width: int):
        self.width = width
        super().__init__(
            {
                "request": Out(stream.Signature(DmaWriteRequest)),
                "data": Out(PacketSignature(width)),
                "response": In(stream.Signature(DmaWriteResponse)),
            }
        )

    def __eq__(self, other) -> bool:
        return isinstance(other, DmaWritePort) and self.width == other.width
