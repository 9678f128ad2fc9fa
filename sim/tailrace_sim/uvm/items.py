"""What sequences send and monitors see."""

from typing import NamedTuple

from pyuvm import uvm_sequence_item

from tailrace.virtio.net_types import TxFrame

__all__ = ["Delivered", "Matched", "ReceiveItem", "TransmitItem"]


class ReceiveItem(uvm_sequence_item):
    """A frame that enters the device at its port.

    Attributes
    ----------
    data : without FCS
    error : the MAC marks it as bad
    point : bins of the "receive" coverage that it shows when it is delivered; None: not sampled
    """

    def __init__(self, data: bytes, *, error: bool = False, point: tuple[str, ...] | None = None):
        super().__init__("receive")
        self.data = data
        self.error = error
        self.point = point


class TransmitItem(uvm_sequence_item):
    """A frame that the driver sends.

    Attributes
    ----------
    frame : with its checksum request, cuts and shift
    queue : transmit queue, which is also the last byte of its source address
    kick : publish and notify now, with all frames posted before
    point : bins of the "transmit" coverage that it shows when it is sent; None: not sampled
    """

    def __init__(
        self,
        frame: TxFrame,
        *,
        queue: int = 0,
        kick: bool = True,
        point: tuple[str, ...] | None = None,
    ):
        super().__init__("transmit")
        self.frame = frame
        self.queue = queue
        self.kick = kick
        self.point = point


class Delivered(NamedTuple):
    """A frame as the driver got it: virtio_net_hdr and data, from a receive queue."""

    header: bytes
    data: bytes
    queue: int


class Matched(NamedTuple):
    """What the scoreboard has compared: the group of coverage it belongs to, and its bins."""

    group: str
    point: tuple[str, ...]
