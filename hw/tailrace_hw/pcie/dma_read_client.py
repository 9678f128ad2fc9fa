"""One client's share of the DMA read engine: its requests in pieces, its pieces in order."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.lib.fifo import SyncFifo
from tailrace_hw.lib.packet import beat_layout
from tailrace_hw.pcie.dma import DmaReadMeta, DmaReadPort, DmaStatus
from tailrace_hw.pcie.dma_splitter import MAX_PIECE, DmaSplitter, piece_layout
from tailrace_hw.pcie.function import FunctionState

__all__ = ["EPOCH_WIDTH", "ReadClient", "read_job_layout"]

#: Bits of the count of a function's resets, by which a read knows that it was made before one.
EPOCH_WIDTH = 4


def read_job_layout(width: int) -> data.StructLayout:
    """Layout of a piece that has been asked for.

    Members
    -------
    tag : the link's
    first_byte : of the piece in the tag's slot
    length : 1 to MAX_PIECE
    offset : bytes of the request before the piece, modulo the bytes of a beat
    last : the request's last piece
    client_tag : the request's tag
    status : not OK: the piece was not asked for
    function, epoch : who asked, and after how many resets
    """
    offset = piece_layout(width)["offset"].shape
    return data.StructLayout(
        {
            "tag": 8,
            "first_byte": range(MAX_PIECE),
            "length": range(MAX_PIECE + 1),
            "offset": offset,
            "last": 1,
            "client_tag": 16,
            "status": DmaStatus,
            "function": 8,
            "epoch": EPOCH_WIDTH,
        }
    )


class ReadClient(wiring.Component):
    """Cuts a client's requests into pieces, keeps the pieces' order and buffers their data.

    A piece becomes a job when its tag is done and the output buffer has room for all its beats, so
    that a client that takes no data stops nobody else. Of the tags the client may always hold
    ``reserve``, and more only while ``plenty`` says that enough are left for the others.

    Parameters
    ----------
    width, functions : as in :class:`DmaReadEngine`
    tags : :class:`int`
        Tags on the link.
    reserve : :class:`int`
        Tags that are this client's own.

    Members
    -------
    client : In(DmaReadPort(width))
    functions : In(FunctionState) of each function
    plenty : In(1)
    piece : Out(stream of piece_layout(width))
    placed_valid, placed : In(1), In(read_job_layout(width))
        A piece of this client got its tag; there is always room for it.
    done : In(tags)
        Tags whose data (or failure) is complete.
    job : Out(stream of read_job_layout(width))
        Pieces in order, ready to be read out.
    beat_valid, beat : In(1), In(beat)
        Data of the jobs; there is always room for it.
    """

    def __init__(self, width: int, functions: int, tags: int, reserve: int):
        self._width = width
        self._tags = tags
        self._reserve = reserve
        job = read_job_layout(width)
        super().__init__(
            {
                "client": In(DmaReadPort(width)),
                "functions": In(FunctionState).array(functions),
                "plenty": In(1),
                "piece": Out(stream.Signature(piece_layout(width))),
                "placed_valid": In(1),
                "placed": In(job),
                "done": In(tags),
                "job": Out(stream.Signature(job)),
                "beat_valid": In(1),
                "beat": In(beat_layout(width, DmaReadMeta)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.splitter = splitter = DmaSplitter(
            self._width, "max_read", len(self.functions)
        )
        m.submodules.order = order = SyncFifo(read_job_layout(self._width), self._tags)
        for mine, theirs in zip(splitter.functions, self.functions, strict=True):
            m.d.comb += mine.eq(theirs)
        wiring.connect(m, wiring.flipped(self.client.request), splitter.i)

        #: Pieces that have, or are about to get, a tag and are not yet read out.
        held = Signal(range(self._tags + 1))
        allowed = Signal()
        piece_taken = Signal()
        job_taken = Signal()
        m.d.comb += [
            allowed.eq((held < self._reserve) | (self.plenty & (held != self._tags))),
            self.piece.valid.eq(splitter.o.valid & allowed),
            self.piece.payload.eq(splitter.o.payload),
            splitter.o.ready.eq(self.piece.ready & allowed),
            piece_taken.eq(self.piece.valid & self.piece.ready),
            job_taken.eq(self.job.valid & self.job.ready),
            order.i.valid.eq(self.placed_valid),
            order.i.payload.eq(self.placed),
        ]
        with m.If(piece_taken != job_taken):
            m.d.sync += held.eq(held + Mux(job_taken, -1, 1))
        self._offer_job(m, order)
        return m

    def _offer_job(self, m, order):
        """Move the oldest piece to ``job`` once its data is there and has somewhere to go."""
        beat_bytes = self._width // 8
        beats_max = MAX_PIECE // beat_bytes + 1
        depth = 2 * beats_max + 14
        m.submodules.buffer = buffer = SyncFifo(beat_layout(self._width, DmaReadMeta), depth)
        wiring.connect(m, buffer.o, wiring.flipped(self.client.data))
        head = order.o.payload
        space = Signal(range(depth + 1), init=depth)
        beats = Signal(range(beats_max + 1))
        load = Signal()
        end = head.offset + head.length
        m.d.comb += [
            buffer.i.valid.eq(self.beat_valid),
            buffer.i.payload.eq(self.beat),
            beats.eq(Mux(head.last, end + beat_bytes - 1, end) // beat_bytes),
            load.eq(
                order.o.valid
                & (~self.job.valid | self.job.ready)
                & Array(self.done)[head.tag]
                & (space >= beats_max)
            ),
            order.o.ready.eq(load),
        ]
        m.d.sync += space.eq(
            space - Mux(load, beats, 0) + (self.client.data.valid & self.client.data.ready)
        )
        with m.If(load):
            m.d.sync += [self.job.valid.eq(1), self.job.payload.eq(head)]
        with m.Elif(self.job.ready):
            m.d.sync += self.job.valid.eq(0)
