"""Captures are read whole or refused with one line."""

import gzip
import struct
from pathlib import Path

import pytest

from tailrace_sim.models.pcap import CapturedFrame, PcapError, read_frames, write_pcap

DATA = Path(__file__).resolve().parents[1] / "data"

#: Frames in each sample.
SAMPLES = {
    "arp_ping_e1000e.pcap": 21,
    "arp_ping_virtio.pcap": 20,
    "nvme_tcp.pcap": 401,
    "two_sections.pcapng": 8,
}

#: Broken samples and what is said about each.
BROKEN = {
    "broken_empty.pcap": "is empty",
    "broken_truncated.pcap": "is cut off in the middle of the record at byte",
    "broken_header.pcap": "is cut off in its file header",
    "broken_truncated.pcapng": "is cut off in the middle of the record at byte",
    "broken_linktype.pcap": "is not an Ethernet capture: link type 101 (raw IP)",
    "broken_linktype.pcapng": "is not an Ethernet capture: link type 113 (Linux cooked)",
    "broken_text.pcap": "is not a capture",
    "broken_length.pcap": "is damaged: a frame of",
    "broken_no_frames.pcap": "has no frame in it",
}


@pytest.mark.parametrize(("name", "count"), SAMPLES.items())
def test_samples_are_read(name, count):
    frames = read_frames(DATA / name)
    assert len(frames) == count
    assert all(14 <= len(frame.data) <= 1514 for frame in frames)
    times = [frame.time_ns for frame in frames]
    assert times == sorted(times)
    assert times[0] > 1_700_000_000 * 10**9
    assert len(read_frames(DATA / name, limit=3)) == 3


def test_pcapng_says_the_same_as_pcap():
    assert read_frames(DATA / "two_sections.pcapng") == read_frames(
        DATA / "arp_ping_virtio.pcap", limit=8
    )


@pytest.mark.parametrize(("name", "words"), BROKEN.items())
def test_broken_files_are_refused_with_one_line(name, words):
    with pytest.raises(PcapError) as caught:
        read_frames(DATA / name)
    message = str(caught.value)
    assert words in message
    assert message.startswith(str(DATA / name))
    assert "\n" not in message


def _block(kind: int, body: bytes, end: int | None = None) -> bytes:
    length = 12 + len(body)
    return struct.pack("<II", kind, length) + body + struct.pack("<I", end or length)


def _packet(data: bytes, *, interface: int = 0, captured: int | None = None) -> bytes:
    size = len(data) if captured is None else captured
    return _block(6, struct.pack("<IIIII", interface, 0, 0, size, size) + data)


_SECTION = _block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
_INTERFACE = _block(1, struct.pack("<HHI", 1, 0, 65535))
_GOOD = _packet(bytes(60))


@pytest.mark.parametrize(
    ("blocks", "words"),
    [
        ([_GOOD], "is of interface 0, of 0"),
        ([_INTERFACE, _GOOD, _packet(bytes(60), interface=5), _GOOD], "is of interface 5, of 1"),
        ([_INTERFACE, _GOOD, _block(6, bytes(80), end=80), _GOOD], "does not end with its length"),
        ([_INTERFACE, _GOOD, _block(6, b"")], "has 12 bytes, 32 at least"),
        ([_INTERFACE, _packet(bytes(60), captured=5000)], "60 bytes for a frame of 5000"),
        ([_INTERFACE, _GOOD, _SECTION, _GOOD], "is of interface 0, of 0"),
        ([_block(3, bytes(64))], "is of interface 0, of 0"),
    ],
)
def test_no_block_of_a_pcapng_is_left_out(tmp_path, blocks, words):
    """A reader that steps over a bad block would replay another capture than the file's."""
    path = tmp_path / "x.pcapng"
    path.write_bytes(b"".join([_SECTION, *blocks]))
    with pytest.raises(PcapError, match="is damaged: the block at byte") as caught:
        read_frames(path)
    assert words in str(caught.value)


def test_the_blocks_of_the_bad_files_are_good_otherwise(tmp_path):
    path = tmp_path / "x.pcapng"
    path.write_bytes(_SECTION + _INTERFACE + _GOOD + _GOOD)
    assert [frame.data for frame in read_frames(path)] == [bytes(60)] * 2


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(PcapError, match="does not exist"):
        read_frames(tmp_path / "none.pcap")
    with pytest.raises(PcapError, match="cannot be read"):
        read_frames(tmp_path)


def test_gzip(tmp_path):
    raw = (DATA / "arp_ping_virtio.pcap").read_bytes()
    whole, cut = tmp_path / "a.pcap.gz", tmp_path / "b.pcap.gz"
    whole.write_bytes(gzip.compress(raw))
    cut.write_bytes(gzip.compress(raw)[:-20])
    assert read_frames(whole) == read_frames(DATA / "arp_ping_virtio.pcap")
    with pytest.raises(PcapError, match="gzip"):
        read_frames(cut)


def test_every_cut_of_a_file_is_refused(tmp_path):
    """Wherever a file ends too early, nothing is silently left out."""
    for name in ("arp_ping_virtio.pcap", "two_sections.pcapng"):
        raw = (DATA / name).read_bytes()
        all_frames = read_frames(DATA / name)
        path = tmp_path / name
        for length in range(0, len(raw), 37):
            path.write_bytes(raw[:length])
            try:
                frames = read_frames(path)
            except PcapError:
                continue
            assert frames == all_frames[: len(frames)]
            assert frames


def test_written_frames_are_read_back(tmp_path):
    frames = [CapturedFrame(bytes([n]) * (14 + n), n * 1_000_000_007) for n in range(1, 50)]
    path = tmp_path / "x.pcap"
    assert write_pcap(path, frames) == 49
    assert read_frames(path) == frames
    assert write_pcap(path, [frame.data for frame in frames]) == 49
    assert [f.data for f in read_frames(path)] == [f.data for f in frames]
