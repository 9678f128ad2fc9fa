"""Captures: read pcap and pcapng, write pcap. Ethernet only.

scapy's readers do the parsing. They stop without a word at a record that is cut off, so that the
records are walked before, and every file that is no whole capture is refused with one line.
"""

import gzip
import io
import itertools
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, cast

from scapy.error import Scapy_Exception
from scapy.utils import RawPcapNgReader, RawPcapReader, RawPcapWriter

__all__ = ["CapturedFrame", "PcapError", "PcapWriter", "read_frames", "write_pcap"]

_ETHERNET = 1
_LINK_NAMES = {0: "BSD loopback", 101: "raw IP", 105: "802.11", 113: "Linux cooked", 276: "SLL2"}
#: Magic numbers as they stand in the file: byte order and, for pcap, nanoseconds.
_PCAP = {
    b"\xd4\xc3\xb2\xa1": ("<", False),
    b"\xa1\xb2\xc3\xd4": (">", False),
    b"\x4d\x3c\xb2\xa1": ("<", True),
    b"\xa1\xb2\x3c\x4d": (">", True),
}
_PCAPNG = b"\x0a\x0d\x0d\x0a"
_PCAPNG_ORDER = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
#: pcapng block types, and the fewest bytes of those that are read.
_INTERFACE, _SIMPLE_PACKET, _ENHANCED_PACKET = 1, 3, 6
_SHORTEST = {_INTERFACE: 20, _SIMPLE_PACKET: 16, _ENHANCED_PACKET: 32}
_GZIP = b"\x1f\x8b"
_SNAPLEN = 262_144
_NS = 1_000_000_000


class PcapError(Exception):
    """A file that is no usable capture; the message is one line."""


class CapturedFrame(NamedTuple):
    """A frame of a capture.

    Attributes
    ----------
    data : from the destination address on
    time_ns : since the epoch
    """

    data: bytes
    time_ns: int


def read_frames(path: Path | str, *, limit: int | None = None) -> list[CapturedFrame]:
    """The frames of a pcap or pcapng file (also gzipped), at most ``limit``.

    Raises
    ------
    PcapError
        Missing, empty, not a capture, cut off, not Ethernet, or without a frame.
    """
    path = Path(path)
    raw = _load(path)
    magic = raw[:4]
    try:
        if magic in _PCAP:
            _walk_pcap(raw, path)
            frames = _parse_pcap(raw, path, limit)
        elif magic == _PCAPNG:
            frames = []
            for section in _sections(raw, path):
                left = None if limit is None else limit - len(frames)
                frames += _parse_pcapng(section, path, left)
        else:
            raise PcapError(f"{path} is not a capture: it is neither pcap nor pcapng")
    except (Scapy_Exception, struct.error, EOFError) as error:
        raise PcapError(f"{path} is damaged: {error}") from None
    if not frames:
        raise PcapError(f"{path} has no frame in it")
    return frames


def _load(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise PcapError(f"{path} does not exist") from None
    except OSError as error:
        raise PcapError(f"{path} cannot be read: {error.strerror}") from None
    if raw[:2] == _GZIP:
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error):
            raise PcapError(f"{path} is damaged: its gzip stream is not whole") from None
    if not raw:
        raise PcapError(f"{path} is empty")
    return raw


def _truncated(path: Path, at: int) -> PcapError:
    return PcapError(f"{path} is cut off in the middle of the record at byte {at}")


def _walk_pcap(raw: bytes, path: Path) -> None:
    """Every record of a pcap file is whole."""
    order, _ = _PCAP[raw[:4]]
    if len(raw) < 24:
        raise PcapError(f"{path} is cut off in its file header")
    _check_linktype(struct.unpack_from(order + "I", raw, 20)[0] & 0xFFFF, path)
    at = 24
    while at < len(raw):
        if at + 16 > len(raw):
            raise _truncated(path, at)
        length = struct.unpack_from(order + "I", raw, at + 8)[0]
        if length > _SNAPLEN:
            raise PcapError(f"{path} is damaged: a frame of {length} bytes at byte {at}")
        if at + 16 + length > len(raw):
            raise _truncated(path, at)
        at += 16 + length


def _sections(raw: bytes, path: Path) -> list[bytes]:
    """The sections of a pcapng file, all of their blocks whole.

    Each section counts its interfaces anew; scapy's reader does not, and so gets one at a time.
    """
    at, order = 0, "<"
    starts: list[int] = []
    interfaces = 0
    while at < len(raw):
        if at + 12 > len(raw):
            raise _truncated(path, at)
        if raw[at : at + 4] == _PCAPNG:
            found = _PCAPNG_ORDER.get(raw[at + 8 : at + 12])
            if found is None:
                raise PcapError(f"{path} is not a capture: its section has no byte order")
            order = found
            interfaces = 0
            starts.append(at)
        length = struct.unpack_from(order + "I", raw, at + 4)[0]
        if length < 12 or length % 4:
            raise PcapError(f"{path} is damaged: a block of {length} bytes at byte {at}")
        if at + length > len(raw):
            raise _truncated(path, at)
        interfaces += _check_block(raw[at : at + length], order, interfaces, path, at)
        at += length
    return [raw[a:b] for a, b in itertools.pairwise([*starts, len(raw)])]


def _check_block(block: bytes, order: str, interfaces: int, path: Path, at: int) -> bool:
    """Whether a whole pcapng block describes an interface; refuses what a reader would leave out.

    Layouts: draft-ietf-opsawg-pcapng, 4.2 to 4.4.
    """
    kind, length = struct.unpack_from(order + "II", block)
    shortest = _SHORTEST.get(kind, 12)
    wrong = None
    if struct.unpack_from(order + "I", block, length - 4)[0] != length:
        wrong = "does not end with its length"
    elif length < shortest:
        wrong = f"has {length} bytes, {shortest} at least"
    elif kind == _ENHANCED_PACKET:
        interface, _, _, captured = struct.unpack_from(order + "IIII", block, 8)
        if interface >= interfaces:
            wrong = f"is of interface {interface}, of {interfaces}"
        elif captured > length - shortest:
            wrong = f"has {length - shortest} bytes for a frame of {captured}"
    elif kind == _SIMPLE_PACKET and not interfaces:
        wrong = "is of interface 0, of 0"
    if wrong:
        raise PcapError(f"{path} is damaged: the block at byte {at} {wrong}")
    return kind == _INTERFACE


def _check_linktype(linktype: int, path: Path) -> None:
    if linktype != _ETHERNET:
        name = _LINK_NAMES.get(linktype, "unknown")
        raise PcapError(f"{path} is not an Ethernet capture: link type {linktype} ({name})")


def _parse_pcap(raw: bytes, path: Path, limit: int | None) -> list[CapturedFrame]:
    _, nano = _PCAP[raw[:4]]
    frames: list[CapturedFrame] = []
    reader: Any = RawPcapReader(cast(Any, io.BytesIO(raw)))
    with reader:
        while limit is None or len(frames) < limit:
            try:
                data, meta = reader._read_packet(_SNAPLEN)
            except EOFError:
                break
            fraction = meta.usec if nano else 1000 * meta.usec
            frames.append(CapturedFrame(bytes(data), meta.sec * _NS + fraction))
    return frames


def _parse_pcapng(raw: bytes, path: Path, limit: int | None) -> list[CapturedFrame]:
    frames: list[CapturedFrame] = []
    reader: Any = RawPcapNgReader(cast(Any, io.BytesIO(raw)))
    with reader:
        while limit is None or len(frames) < limit:
            try:
                data, meta = reader._read_packet(_SNAPLEN)
            except EOFError:
                break
            _check_linktype(meta.linktype, path)
            # A simple packet block carries no time.
            stamp = 0 if meta.tshigh is None else meta.tshigh << 32 | meta.tslow
            frames.append(CapturedFrame(bytes(data), stamp * _NS // meta.tsresol))
    return frames


class PcapWriter:
    """A pcap file with nanosecond times that grows frame by frame, and is whole after each."""

    def __init__(self, path: Path | str):
        self._writer = RawPcapWriter(str(path), linktype=_ETHERNET, nano=True, snaplen=_SNAPLEN)
        self._writer.write_header(None)
        self._writer.flush()

    def write(self, frame: CapturedFrame) -> None:
        seconds, fraction = divmod(frame.time_ns, _NS)
        self._writer.write_packet(frame.data, sec=seconds, usec=fraction)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def write_pcap(path: Path | str, frames: Iterable[CapturedFrame | bytes]) -> int:
    """Write a pcap file with nanosecond times; how many frames. Bare bytes have time 0."""
    count = 0
    with RawPcapWriter(str(path), linktype=_ETHERNET, nano=True, snaplen=_SNAPLEN) as writer:
        writer.write_header(None)
        for frame in frames:
            data, time_ns = frame if isinstance(frame, CapturedFrame) else (frame, 0)
            writer.write_packet(data, sec=time_ns // _NS, usec=time_ns % _NS)
            count += 1
    return count
