"""The packet stream: how every frame, DMA payload and descriptor block moves between components."""

from amaranth.hdl import Shape
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

__all__ = ["WIDTHS", "NoMeta", "PacketInterface", "PacketSignature", "beat_layout"]

#: Datapath widths in bits that a packet-moving component accepts.
WIDTHS = (64, 128, 256, 512, 1024)

#: Metadata layout of a packet stream that carries none.
NoMeta = data.StructLayout({})


def beat_layout(width: int, meta=NoMeta) -> data.StructLayout:
    """Layout of one beat of a packet stream.

    Parameters
    ----------
    width : :class:`int`
        Data bits a beat, one of :data:`WIDTHS`.
    meta : shape-like
        Block-defined metadata.

    Members
    -------
    data : ``width`` bits
        Byte 0 of the packet is in bits 7:0 of the first beat.
    empty : ``log2(width / 8)`` bits
        Count of unused bytes at the top of the last beat; 0 on every other beat, so all beats but
        the last are full. A packet has at least one byte.
    last : 1 bit
        Set on the packet's last beat.
    meta : ``meta``
        Valid and constant for the whole packet, unless the stream's owner says that a member is
        meaningful on the last beat only.
    """
    if width not in WIDTHS:
        raise ValueError(f"width must be one of {WIDTHS}, not {width}")
    return data.StructLayout(
        {"data": width, "empty": exact_log2(width // 8), "last": 1, "meta": meta}
    )


class PacketSignature(wiring.Signature):
    """Stream signature whose payload is a beat (see :func:`beat_layout`).

    It has the members of Amaranth's ``stream.Signature(beat_layout(width, meta))`` and connects to
    it both ways; it is a class of its own because that one is final, and says nothing of what it
    carries. Ready/valid follow Amaranth RFC 61: ``valid`` and ``payload`` hold until taken, and
    ``valid`` never waits for ``ready``.
    """

    def __init__(self, width: int, meta=NoMeta):
        self._width = width
        self._meta = meta
        super().__init__(
            {"payload": Out(beat_layout(width, meta)), "valid": Out(1), "ready": In(1)}
        )

    @property
    def width(self) -> int:
        """Data bits a beat."""
        return self._width

    @property
    def meta(self):
        """Shape of the metadata."""
        return self._meta

    def create(self, *, path=None, src_loc_at=0) -> "PacketInterface":
        return PacketInterface(self, path=path, src_loc_at=1 + src_loc_at)

    def __eq__(self, other) -> bool:
        return (
            isinstance(other, PacketSignature)
            and self._width == other._width
            and self._meta == other._meta
        )

    def __repr__(self) -> str:
        return f"PacketSignature({self._width}, {Shape.cast(self._meta).width}-bit meta)"


class PacketInterface(wiring.PureInterface):
    """A packet stream; ``p`` is its payload, as in Amaranth's ``stream.Interface``."""

    @property
    def p(self):
        return self.payload
