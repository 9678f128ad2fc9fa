"""Compares what came with what was to come, and notices when nothing was compared."""

from collections import deque
from collections.abc import Hashable

__all__ = ["Scoreboard", "ScoreboardError", "hexdiff"]


class ScoreboardError(AssertionError):
    """A mismatch, something left over, or nothing compared at all."""


def hexdiff(expected: bytes, received: bytes, *, lines: int = 12) -> str:
    """The lines of 16 bytes that differ, expected (-) over received (+), marked below (^)."""
    out = [f"expected {len(expected)} bytes, received {len(received)}"]
    shown = 0
    for at in range(0, max(len(expected), len(received)), 16):
        want, got = expected[at : at + 16], received[at : at + 16]
        if want == got:
            continue
        if shown == lines:
            out.append("   ...")
            break
        shown += 1
        marks = [
            "^^" if want[i : i + 1] != got[i : i + 1] else "  "
            for i in range(max(len(want), len(got)))
        ]
        out.append(f" - {at:04x}  {want.hex(' ')}")
        out.append(f" + {at:04x}  {got.hex(' ')}")
        out.append(f"         {' '.join(marks)}".rstrip())
    return "\n".join(out)


class Scoreboard:
    """Expected and received frames, in order within each stream.

    A stream is anything that has an order of its own: a queue, a port, a flow. Frames that may be
    lost (a reset in the middle of traffic) are expected with ``optional``: later ones may come
    instead of them.

    Parameters
    ----------
    name : for the messages

    Attributes
    ----------
    compared : frames that came and were right
    skipped : optional ones that did not come
    """

    def __init__(self, name: str = "frames"):
        self.name = name
        self.compared = 0
        self.skipped = 0
        self._expected: dict[Hashable, deque[tuple[bytes, bool]]] = {}
        self._received: dict[Hashable, int] = {}

    def expect(self, frame: bytes, stream: Hashable = 0, *, optional: bool = False) -> None:
        self._expected.setdefault(stream, deque()).append((bytes(frame), optional))

    def make_optional(self, stream: Hashable = 0) -> int:
        """Everything still expected of a stream may be lost now; how many that are."""
        queue = self._expected.get(stream, deque())
        self._expected[stream] = deque((frame, True) for frame, _ in queue)
        return len(queue)

    def receive(self, frame: bytes, stream: Hashable = 0) -> None:
        """Compare a frame with the next one expected of its stream."""
        frame = bytes(frame)
        queue = self._expected.setdefault(stream, deque())
        number = self._received.get(stream, 0)
        self._received[stream] = number + 1
        while queue and queue[0][1] and queue[0][0] != frame:
            queue.popleft()
            self.skipped += 1
        if not queue:
            raise ScoreboardError(
                f"{self.name}: stream {stream}: frame {number} was not expected\n"
                + hexdiff(b"", frame)
            )
        expected, _ = queue.popleft()
        if expected != frame:
            raise ScoreboardError(
                f"{self.name}: stream {stream}: frame {number} is wrong\n"
                + hexdiff(expected, frame)
            )
        self.compared += 1

    @property
    def pending(self) -> int:
        """Frames that must still come."""
        return sum(not optional for queue in self._expected.values() for _, optional in queue)

    def finish(self, *, count: int | None = None) -> None:
        """The end: nothing is left over, something was compared, and ``count`` frames if given."""
        for stream, queue in self._expected.items():
            left = [frame for frame, optional in queue if not optional]
            if left:
                raise ScoreboardError(
                    f"{self.name}: stream {stream}: {len(left)} frames did not come, the first:\n"
                    + hexdiff(left[0], b"")
                )
        if not self.compared:
            raise ScoreboardError(f"{self.name}: nothing was compared")
        if count is not None and self.compared != count:
            raise ScoreboardError(f"{self.name}: {self.compared} frames compared, not {count}")
