"""Predicts with the golden models what comes out, and compares."""

from collections import Counter

from pyuvm import uvm_analysis_port, uvm_scoreboard, uvm_subscriber

from tailrace.virtio import spec
from tailrace_sim.models import virtio_net
from tailrace_sim.models.net_offload import receive_queue
from tailrace_sim.models.scoreboard import Scoreboard, ScoreboardError
from tailrace_sim.uvm.config import net_config
from tailrace_sim.uvm.items import Delivered, Matched, ReceiveItem, TransmitItem

__all__ = ["CoverageCollector", "NetScoreboard", "queue_of"]

#: Byte of a transmitted frame that says through which queue it was sent: end of the source address.
_MARK = 11
#: Bins of the drops that the golden model names by their error code.
_FATES = {"NET_TX_TOO_SHORT": "short", "NET_TX_BAD_CSUM": "bad csum"}
#: Registers that count drops, and the drops that they count.
_DROP_COUNTERS = {
    ("port0", "rx_drop_error"): ("receive", "bad"),
    ("port0", "rx_drop_runt"): ("receive", "runt"),
    ("port0", "rx_drop_oversize"): ("receive", "oversize"),
    ("virtio_net0", "tx_drop_bad_chain"): ("transmit", "short"),
    ("virtio_net0", "tx_drop_bad_header"): ("transmit", "bad csum"),
}


def queue_of(frame: bytes) -> int:
    """Transmit queue of a frame that the sequences made."""
    return frame[_MARK]


class _Port(uvm_subscriber):
    """An analysis export that calls a method of the scoreboard."""

    def __init__(self, name, parent, write):
        self.write = write
        super().__init__(name, parent)


class NetScoreboard(uvm_scoreboard):
    """In order within each queue and direction.

    Receive: header, data and queue as :mod:`tailrace_sim.models` has them. Transmit: the frame with
    its checksum filled in. Frames that must be dropped are predicted by reason, for the comparison
    with the device's counters, and must not come out.

    Attributes
    ----------
    sent_in, sent_out, delivered, on_wire : analysis exports of the four streams
    matched : :class:`Matched`, for coverage
    receive, transmit : the boards
    dropped : predicted drops, by direction and fate
    bytes : of compared frames, by direction
    """

    def build_phase(self):
        self.config = net_config(self)
        self.receive = Scoreboard("receive")
        self.transmit = Scoreboard("transmit")
        self.dropped: Counter[tuple[str, str]] = Counter()
        self.bytes: Counter[str] = Counter()
        self.matched = uvm_analysis_port("matched", self)
        self._points: dict[tuple[str, int], list[tuple[str, ...] | None]] = {}
        for name, write in (
            ("sent_in", self.predict_receive),
            ("sent_out", self.predict_transmit),
            ("delivered", self.check_delivered),
            ("on_wire", self.check_on_wire),
        ):
            setattr(self, name, _Port(name, self, write).analysis_export)

    # Receive -------------------------------------------------------------------------------------

    def predict_receive(self, item: ReceiveItem) -> None:
        fate = self.config.fate(item.data, item.error)
        if fate != "delivered":
            self.dropped["receive", fate] += 1
            return
        header = virtio_net.receive_header(
            item.data,
            guest_csum=spec.Feature.NET_GUEST_CSUM in self.config.net.features,
            buffers=self.config.geometry.buffers(len(item.data)),
        )
        queue = receive_queue(item.data, self.config.queue_pairs)
        self.receive.expect(header + item.data, queue)
        self._points.setdefault(("receive", queue), []).append(item.point)

    def check_delivered(self, frame: Delivered) -> None:
        self.receive.receive(frame.header + frame.data, frame.queue)
        self._match("receive", frame.queue, len(frame.data), "delivered")

    # Transmit ------------------------------------------------------------------------------------

    def predict_transmit(self, item: TransmitItem) -> None:
        frame = item.frame
        flags, start, offset = 0, 0, 0
        if frame.csum is not None:
            flags = int(spec.CsumFlag.NEEDS_CSUM)
            start, offset = frame.csum
        header = spec.NET_HDR.pack(flags, spec.GSO_NONE, 0, 0, start, offset, 0)
        outcome = virtio_net.transmit(
            header + frame.data,
            csum=spec.Feature.NET_CSUM in self.config.net.features,
            max_frame=self.config.system.config.virtio_net.max_frame,
        )
        if outcome.frame is None:
            self.dropped["transmit", _FATES[outcome.error]] += 1
            return
        self.transmit.expect(outcome.frame, item.queue)
        self._points.setdefault(("transmit", item.queue), []).append(item.point)

    def check_on_wire(self, frame: bytes) -> None:
        queue = queue_of(frame)
        self.transmit.receive(frame, queue)
        self._match("transmit", queue, len(frame), "sent")

    # Both ----------------------------------------------------------------------------------------

    def expected_counts(self) -> dict[tuple[str, str], int]:
        """By how much each counter of frames, bytes and drops must have moved, by (block, name)."""
        expected = {
            (block, f"{way}_{what}"): value
            for block in ("port0", "virtio_net0")
            for way, board, direction in (
                ("rx", self.receive, "receive"),
                ("tx", self.transmit, "transmit"),
            )
            for what, value in (("frames", board.compared), ("bytes", self.bytes[direction]))
        }
        # The port hands what it drops on as marked, so that the path behind it lets go of it too.
        marked = sum(count for (way, _), count in self.dropped.items() if way == "receive")
        expected["virtio_net0", "rx_drop_marked"] = marked
        return expected | {key: self.dropped[fate] for key, fate in _DROP_COUNTERS.items()}

    def check_counts(self, moved: dict[tuple[str, str], int]) -> None:
        """Compare with the device's own counters; drops that agree are covered.

        Parameters
        ----------
        moved : by how much each frame, byte and drop counter has moved, by (block, name)

        Raises
        ------
        ScoreboardError
            A counter says something else.
        """
        expected = self.expected_counts()
        wrong = [
            f"{block}.{name} moved by {value}, {expected.get((block, name), 0)} expected"
            for (block, name), value in moved.items()
            if value != expected.get((block, name), 0)
        ]
        missing = [f"{block}.{name} was not read" for block, name in expected.keys() - moved.keys()]
        if wrong or missing:
            raise ScoreboardError("; ".join(wrong + missing))
        for (direction, fate), count in self.dropped.items():
            for _ in range(count):
                self.matched.write(Matched(f"{direction} fate", (self.config.ring.name, fate)))

    def _match(self, direction: str, queue: int, size: int, fate: str) -> None:
        self.bytes[direction] += size
        point = self._points[direction, queue].pop(0)
        self.matched.write(Matched(f"{direction} fate", (self.config.ring.name, fate)))
        if point is not None:
            self.matched.write(Matched(direction, point))

    @property
    def pending(self) -> int:
        """Frames that must still come."""
        return self.receive.pending + self.transmit.pending

    def check_phase(self):
        for board in (self.receive, self.transmit):
            board.finish()

    def report_phase(self):
        self.logger.info(
            f"{self.config.ring.name}, buffers of {self.config.geometry.buffer} in"
            f" {self.config.geometry.pieces}: {self.receive.compared} received,"
            f" {self.transmit.compared} sent, {self.dropped.total()} dropped as they should"
        )


class CoverageCollector(uvm_subscriber):
    """Samples what the scoreboard has compared; nothing else counts as covered."""

    def build_phase(self):
        self.coverage = net_config(self).run.coverage

    def write(self, matched: Matched) -> None:
        self.coverage[matched.group].sample(matched.point)
