"""DMA requests into pieces that one TLP can carry."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from tailrace_hw.pcie.dma import MAX_DMA_LENGTH, DmaReadRequest, DmaStatus
from tailrace_hw.pcie.function import FunctionState

__all__ = [
    "MAX_PIECE",
    "MAX_PIECE_CODE",
    "DmaSplitter",
    "is_bad_request",
    "may_master",
    "piece_layout",
]

#: Longest piece in bytes; larger Max_Payload_Size and Max_Read_Request_Size are not made use of.
MAX_PIECE = 512
#: The same as an encoding of Max_Payload_Size (PCIe 5.0, 7.5.3.4).
MAX_PIECE_CODE = 2


def piece_layout(width: int) -> data.StructLayout:
    """Layout of a piece of a request.

    Members
    -------
    function, tag : the request's
    address : of the piece's first byte
    length : 1 to MAX_PIECE; all that is left of the request when ``status`` is not OK
    offset : bytes of the request before this piece, modulo the bytes of a beat
    last : the request's last piece
    status : not OK: this piece must not go out, and no other follows
    """
    return data.StructLayout(
        {
            "function": 8,
            "tag": 16,
            "address": 64,
            "length": 17,
            "offset": ceil_log2(width // 8),
            "last": 1,
            "status": DmaStatus,
        }
    )


def may_master(functions, index):
    """Whether function ``index`` (8 bits, of any value) may send requests now."""
    states = [f.bus_master & ~f.reset for f in functions]
    return Array([*states, Const(0)])[Mux(index < len(states), index, len(states))]


def is_bad_request(request):
    """Whether a request has a length or an address that no request may have."""
    end = request.address + request.length
    return (request.length == 0) | (request.length > MAX_DMA_LENGTH) | (end > Const(1 << 64))


class DmaSplitter(wiring.Component):
    """Cuts requests at multiples of the function's Max_Payload_Size or Max_Read_Request_Size.

    So no piece is longer than the limit (capped at 512 bytes), none crosses 4 KiB (PCIe 5.0,
    2.2.7), and every piece but the first starts at a multiple of the limit. A request with a
    length of 0 or above 64 KiB, or whose end is above 2**64, gives one piece with BAD_REQUEST;
    from the moment its function may not master the bus a request gives one piece with
    BUS_MASTER_OFF for all that is left.

    One cycle from a request to its first piece, one piece a cycle, also across requests.
    ``i.ready`` comes from a register. ``o`` is valid until taken, but its status may change to
    BUS_MASTER_OFF while it waits. A limit that changes holds for the requests that come after.

    Parameters
    ----------
    width : :class:`int`
        Datapath bits, for ``offset``.
    limit : :class:`str`
        Member of :class:`FunctionState` with the limit: ``max_payload`` or ``max_read``.
    functions : :class:`int`
        Count of functions; a request for another one is refused as BUS_MASTER_OFF.

    Members
    -------
    functions : In(FunctionState) of each function
    i : In(stream of DmaReadRequest)
        Write requests have the same layout.
    o : Out(stream of piece_layout(width))
    """

    def __init__(self, width: int, limit: str, functions: int):
        self._width = width
        self._limit = limit
        self._layout = data.StructLayout(
            {
                "request": DmaReadRequest,
                #: One less than the limit, which is a power of two.
                "mask": range(MAX_PIECE),
                "bad": 1,
            }
        )
        super().__init__(
            {
                "functions": In(FunctionState).array(functions),
                "i": In(stream.Signature(DmaReadRequest)),
                "o": Out(stream.Signature(piece_layout(width))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        #: What came while the last request was not yet through: so ready is a register.
        kept, kept_valid = Signal(self._layout), Signal()
        offered = Signal(self._layout)
        current = Signal(self._layout)
        request = current.request
        moves = Signal()
        offset = Signal(piece_layout(self._width)["offset"].shape)
        last, length = Signal(), Signal(range(MAX_PIECE + 1))
        piece = self.o.payload
        taken = Signal()
        m.d.comb += [
            offered.request.eq(self.i.payload),
            offered.mask.eq(self._mask(self.i.payload.function)),
            offered.bad.eq(is_bad_request(self.i.payload)),
            self.i.ready.eq(~kept_valid),
            moves.eq(~self.o.valid | (self.o.ready & piece.last)),
            length.eq((current.mask & ~request.address[: len(current.mask)]) + 1),
            last.eq(request.length <= length),
            taken.eq(self.o.valid & self.o.ready),
            piece.function.eq(request.function),
            piece.tag.eq(request.tag),
            piece.address.eq(request.address),
            piece.offset.eq(offset),
        ]
        with m.If(current.bad):
            m.d.comb += piece.status.eq(DmaStatus.BAD_REQUEST)
        with m.Elif(~may_master(self.functions, request.function)):
            m.d.comb += piece.status.eq(DmaStatus.BUS_MASTER_OFF)
        with m.If(piece.status == DmaStatus.OK):
            m.d.comb += [piece.length.eq(Mux(last, request.length, length)), piece.last.eq(last)]
        with m.Else():
            m.d.comb += [piece.length.eq(request.length), piece.last.eq(1)]
        with m.If(taken):
            m.d.sync += [
                request.address.eq(request.address + length),
                request.length.eq(request.length - length),
                offset.eq(offset + length),
            ]
        with m.If(moves):
            m.d.sync += [
                self.o.valid.eq(self.i.valid | kept_valid),
                kept_valid.eq(0),
                current.eq(Mux(kept_valid, kept, offered)),
                offset.eq(0),
            ]
        with m.Elif(self.i.valid):
            m.d.sync += kept_valid.eq(1)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += kept.eq(offered)
        return m

    def _mask(self, function):
        """The limit of a function, less one: an address's bits within a piece."""
        code = Array(getattr(f, self._limit) for f in self.functions)[function]
        return Mux(code < MAX_PIECE_CODE, Cat(Const(0x7F, 7), code[0], 0), MAX_PIECE - 1)
