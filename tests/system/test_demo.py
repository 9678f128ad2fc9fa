"""The main job as a user runs it, on the device that the other tests have built."""

import dataclasses
import re
import sys
from pathlib import Path

import pytest

from tailrace.cli.main import main
from tailrace_hw.config import Config
from tailrace_sim.demo_crypto import Sealed, sealed_rows
from tailrace_sim.demo_report import Outcome, write_report
from tailrace_sim.device import NO_CIPHER, default_backend
from tailrace_sim.models.pcap import read_frames, write_pcap
from tailrace_sim.traffic import MAX_SIZE, MIN_SIZE, generate

pytestmark = pytest.mark.large
ROOT = Path(__file__).resolve().parents[2]
#: Rows of the README's table, and how many of them, the first, have no cycles in them: those are
#: same on both backends.
ROWS, WITHOUT_CYCLES = 14, 3
#: The first of the cipher engine's rows.
CIPHER = "AES-GCM by job queue"


def demo(monkeypatch, capsys, *arguments):
    """Standard output's lines, blanks joined: columns are as wide as their content."""
    monkeypatch.setattr(sys, "argv", ["tailrace", "demo", *map(str, arguments)])
    with pytest.raises(SystemExit) as status:
        main()
    out, err = capsys.readouterr()
    assert status.value.code == 0, err
    return [" ".join(line.split()) for line in out.splitlines()]


def test_the_readme_shows_what_happens(monkeypatch, capsys, tmp_path):
    """The README's table is this run's: a replay of a capture has nothing random in it.

    Its cycles are those of the fast backend.
    """
    rows = ROWS if default_backend() == "fast" else WITHOUT_CYCLES
    lines = demo(monkeypatch, capsys, "-o", tmp_path)
    first = next(n for n, line in enumerate(lines) if line.startswith("frames in, out"))
    readme = [" ".join(line.split()) for line in (ROOT / "README.md").read_text().splitlines()]
    at = next(n for n, line in enumerate(readme) if line.startswith("frames in, out"))
    assert readme[at : at + rows] == lines[first : first + rows]
    assert lines[-1] == "all 20 frames came back identical, in order within each queue"
    assert lines[-1] in readme
    assert sum(line.startswith(CIPHER) for line in readme) == 1
    report = (tmp_path / "report.html").read_text()
    assert CIPHER in report
    assert "AUTHENTICATION_FAILED, 0 B written" in report
    capture = read_frames(ROOT / "tests" / "data" / "arp_ping_virtio.pcap")
    returned = read_frames(tmp_path / "output.pcap")
    assert sorted(f.data for f in returned) == sorted(f.data for f in capture)
    times = [frame.time_ns for frame in returned]
    assert times == sorted(times)
    assert times[0] > 0


def test_the_longest_frame_comes_back(monkeypatch, capsys, tmp_path):
    """What the port takes, the driver can send: two tags beside the MTU, both ways."""
    assert Config().virtio_net.max_frame == MAX_SIZE
    write_pcap(tmp_path / "in.pcap", [*generate(2, MAX_SIZE, 1), *generate(1, MIN_SIZE, 2)])
    lines = demo(monkeypatch, capsys, "--pcap", tmp_path / "in.pcap", "-o", tmp_path)
    assert lines[-1].startswith("all 3 frames came back identical")


SEALED = Sealed(
    messages=3, bytes=300, keys=[128, 256], seal_cycles=100, open_cycles=150, sealed=3, opened=3,
    damaged="AUTHENTICATION_FAILED", written=0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, None),
        ({"sealed": 2}, "1 messages are not sealed as `cryptography` does"),
        ({"opened": 0}, "3 messages did not come out as they went in"),
        ({"damaged": "OK"}, "a damaged message ended with OK"),
        ({"written": 5}, "5 bytes of a damaged message were written"),
    ],
)
def test_what_the_cipher_engine_did_wrong_is_said(change, words):
    assert dataclasses.replace(SEALED, **change).wrong() == words


def test_rows_of_the_cipher_engine(tmp_path, outcome):
    assert dict(sealed_rows(SEALED, Config())) == {
        CIPHER: "3 frames, 300 B, keys of 128 and 256 bits in turn",
        "sealed": "100 cycles, 3.0 B a cycle, 6.00 Gb/s at 250 MHz",
        "opened again": "150 cycles, 2.0 B a cycle, 4.00 Gb/s at 250 MHz",
        "a damaged message": "AUTHENTICATION_FAILED, 0 B written",
    }
    without = Config(jobs=NO_CIPHER)
    [row] = sealed_rows(None, without)
    assert row == ("cipher engine", "none in this configuration (jobs.keys = 0)")
    write_report(tmp_path / "x.html", outcome, without, [])
    assert "none in this configuration (jobs.keys = 0)" in (tmp_path / "x.html").read_text()


@pytest.fixture
def outcome():
    """A run of four frames over two queues in which all went well."""
    frames = [b"a0", b"b0", b"a1", b"b0"]
    return Outcome(
        inputs=frames,
        outputs=[b"b0", b"a0", b"a1", b"b0"],
        entered=[(0, 1)] * 4,
        left=[(2, 3)] * 4,
        delivered=[2] * 4,
        delivered_frames=[0, 2, 1, 3],
        queues=[0, 0, 1, 1],
        depth=[],
        drops={},
        cycles=3,
        interrupts=0,
        dma_read=0,
        dma_written=0,
        seed=1,
    )


def test_queues_may_overtake_each_other(outcome):
    assert outcome.difference() is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"outputs": []}, "nothing came back"),
        ({"outputs": [b"b0", b"a0", b"a1"]}, "1 frames missing, 0"),
        ({"outputs": [b"b0", b"a0", b"a1", b"xx"]}, "1 frames missing, 1 that were not sent"),
        ({"outputs": [b"a1", b"a0", b"b0", b"b0"]}, "frame 0 of queue 0 was overtaken .* the port"),
        ({"delivered_frames": [2, 0, 1, 3]}, "frame 0 of queue 0 was overtaken .* the driver"),
        ({"delivered_frames": [0, None, 1, 3]}, "the driver saw a frame"),
    ],
)
def test_what_went_wrong_is_said(outcome, change, words):
    wrong = dataclasses.replace(outcome, **change).difference()
    assert wrong is not None
    assert re.search(words, wrong), wrong
