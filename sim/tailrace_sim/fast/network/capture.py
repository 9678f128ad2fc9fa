"""Captures at a port: frames from one file, into another."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tailrace.cli.errors import UserError
from tailrace_sim.fast.network.peer import Limits, Peer
from tailrace_sim.models.pcap import CapturedFrame, PcapError, PcapWriter, read_frames

__all__ = ["CapturePeer", "check_captures"]

_CYCLE_NS = 4


@contextlib.contextmanager
def _complaints(sink: Path | None) -> Iterator[None]:
    try:
        yield
    except PcapError as error:
        raise UserError(f"pcap: {error}") from None
    except OSError as error:
        raise UserError(f"pcap: {sink} cannot be written: {error.strerror}") from None


def check_captures(source: Path | None, sink: Path | None) -> None:
    """Whether the one can be read and the other written; what is in that stays.

    Raises
    ------
    UserError
        One of them cannot.
    """
    with _complaints(sink):
        if source is not None:
            read_frames(source)
        if sink is not None:
            there = sink.exists()
            sink.open("ab").close()
            if not there:
                sink.unlink()


class CapturePeer(Peer):
    """``pcap:IN[,OUT]``: the frames of IN as fast as the port takes them; what leaves goes to OUT.

    ``OUT`` is whole after every frame. Its times are simulated ones, from the start on.

    Parameters
    ----------
    source : pcap or pcapng; None: no frames
    sink : pcap; None: what leaves is counted only

    Attributes
    ----------
    playing : frames of ``source`` enter; the others wait
    """

    def __init__(self, source: Path | None, sink: Path | None, limits: Limits | None = None):
        self._writer: PcapWriter | None = None
        with _complaints(sink):
            frames = [] if source is None else read_frames(source)
            self._writer = None if sink is None else PcapWriter(sink)
        super().__init__(f"pcap:{source or ''}{'' if sink is None else f',{sink}'}", limits)
        self.playing = True
        self._frames = iter(frames)
        self._left = len(frames)

    @property
    def finished(self) -> bool:
        return self.closed or not self._left

    def _read(self) -> bytes | None:
        frame = next(self._frames, None) if self.playing else None
        if frame is None:
            return None
        self._left -= 1
        return frame.data

    def _write(self, frame: bytes, cycle: int) -> bool:
        if self._writer is not None:
            self._writer.write(CapturedFrame(frame, cycle * _CYCLE_NS))
        return True

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
