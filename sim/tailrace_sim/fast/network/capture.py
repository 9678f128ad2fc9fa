"""Captures at a port: frames from one file, into another."""

from pathlib import Path

from tailrace.cli.errors import UserError
from tailrace_sim.fast.network.peer import Limits, Peer
from tailrace_sim.models.pcap import CapturedFrame, PcapError, PcapWriter, read_frames

__all__ = ["CapturePeer"]

_CYCLE_NS = 4


class CapturePeer(Peer):
    """``pcap:IN[,OUT]``: the frames of IN as fast as the port takes them; what leaves goes to OUT.

    ``OUT`` is whole after every frame. Its times are simulated ones, from the start on.

    Parameters
    ----------
    source : pcap or pcapng; None: no frames
    sink : pcap; None: what leaves is counted only
    """

    def __init__(self, source: Path | None, sink: Path | None, limits: Limits | None = None):
        self._writer: PcapWriter | None = None
        try:
            frames = [] if source is None else read_frames(source)
            self._writer = None if sink is None else PcapWriter(sink)
        except PcapError as error:
            raise UserError(f"pcap: {error}") from None
        except OSError as error:
            raise UserError(f"pcap: {sink} cannot be written: {error.strerror}") from None
        super().__init__(f"pcap:{source or ''}{'' if sink is None else f',{sink}'}", limits)
        self._frames = iter(frames)
        self._left = len(frames)

    @property
    def finished(self) -> bool:
        return self.closed or not self._left

    def _read(self) -> bytes | None:
        frame = next(self._frames, None)
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
