"""``./tailrace demo --dpus 2`` as a user runs it."""

import dataclasses
import sys

import pytest

from tailrace.cli.main import main
from tailrace_sim.cli.demo_dpus import Outcome
from tailrace_sim.models.pcap import read_frames

pytestmark = pytest.mark.large

def demo(monkeypatch, capsys, *arguments, status=0):
    """Lines of standard output, of standard error if the exit status is to be another.

    Two devices are the fast backend's affair, whatever the other tests run on.
    """
    monkeypatch.delenv("TAILRACE_BACKEND", raising=False)
    monkeypatch.setattr(sys, "argv", ["tailrace", "demo", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert ended.value.code == status, err
    return [" ".join(line.split()) for line in (err if status else out).splitlines()]


def test_capture_to_the_other_host_and_back(monkeypatch, capsys, tmp_path):
    lines = demo(monkeypatch, capsys, "--dpus", 2, "--delay", 500, "-o", tmp_path)
    assert lines[-1] == "all 20 frames came back identical, in order within each queue"
    rows = "\n".join(lines)
    assert "frames sent by host A, at host B, back at A 20, 20, 20" in rows
    assert "cable from DPU 0 to DPU 1 20 frames in, 20 out" in rows
    assert "dropped by the devices none" in rows
    assert len(read_frames(tmp_path / "output.pcap")) == 20


def test_a_trace_of_both(monkeypatch, capsys, tmp_path):
    """Each of 20 frames leaves a port and enters the other, twice."""
    lines = demo(monkeypatch, capsys, "--dpus", 2, "--trace", "frames", "-o", tmp_path)
    for dpu in range(2):
        for way in ("out", "in"):
            assert sum(f" dpu {dpu} port 0 {way} " in line for line in lines) == 20


def test_every_fault_is_accounted_for(monkeypatch, capsys, tmp_path):
    shares = ["--loss", 0.05, "--reorder", 0.1, "--duplicate", 0.05, "--corrupt", 0.05]
    lines = demo(
        monkeypatch, capsys, "--dpus", 2, *shares, "--frames", 300, "--ring", "split",
        "-o", tmp_path, "--seed", 7,
    )  # fmt: skip
    rows = "\n".join(lines)
    for word in ("lost", "duplicated", "corrupted", "reordered", "DPU 1 rx_drop_error"):
        assert word in rows
    assert lines[-1].endswith("frames came back of 300 sent; all accounted for")
    back = len(read_frames(tmp_path / "output.pcap"))
    assert lines[-1].startswith(f"{back} frames")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--loss", "0.1"], "--loss is of the cable between two DPUs: add --dpus 2"),
        (["--dpus", "2", "--loss", "1.5"], "--loss is a share of the frames from 0 to 1, not 1.5"),
        (["--dpus", "2", "--corrupt", "nan"], "--corrupt is a share"),
        (["--dpus", "2", "--delay", "-1"], "--delay must be 0 to 1000000 nanoseconds"),
        (["--dpus", "2", "--backend", "cocotb"], "need the fast backend"),
        (["--dpus", "2", "--profile"], "--waves and --profile show one device"),
    ],
)
def test_what_cannot_be(monkeypatch, capsys, arguments, complaint):
    (line,) = demo(monkeypatch, capsys, *arguments, status=1)
    assert complaint in line


@pytest.fixture
def outcome():
    """Three frames there and back, one more lost on its way back."""
    link = dict.fromkeys(("lost", "duplicated", "corrupted", "reordered", "in_flight"), 0)
    return Outcome(
        inputs=[b"a", b"b", b"c", b"d"],
        outputs=[b"a", b"b", b"d"],
        posted=[0, 1, 2, 3],
        returned=[10, 11, 12],
        queues=[0, 0, 0],
        arrived=4,
        links=[
            {**link, "taken": 4, "delivered": 4},
            {**link, "taken": 4, "delivered": 3, "lost": 1},
        ],
        drops=[{"rx_drop_error": 0}, {"rx_drop_error": 0}],
        interrupts=[0, 0],
        seed=1,
    )


def test_a_difference_is_found(outcome):
    assert outcome.difference() is None
    assert "back at host A" in dataclasses.replace(outcome, outputs=[b"a"]).difference()
    assert "at host B" in dataclasses.replace(outcome, arrived=3).difference()
    assert "not sent" in dataclasses.replace(outcome, outputs=[b"a", b"b", b"x"]).difference()
    assert (
        "dropped by DPU 1"
        in dataclasses.replace(
            outcome, drops=[{"rx_drop_error": 0}, {"rx_drop_error": 1}]
        ).difference()
    )


def test_order_counts_on_a_clean_cable(outcome):
    link = {**outcome.links[0]}
    clean = dataclasses.replace(
        outcome, outputs=[b"a", b"c", b"b", b"d"], links=[link, link],
        returned=[1, 2, 3, 4], queues=[0, 0, 1, 0],
    )  # fmt: skip
    assert clean.is_clean()
    assert clean.difference() is None, "queues may overtake each other"
    overtaken = dataclasses.replace(clean, queues=[0, 0, 0, 0])
    assert overtaken.difference() == "frame 1 of queue 0 was overtaken"
    twice = dataclasses.replace(clean, outputs=[b"a", b"c", b"b", b"b"])
    assert twice.difference() == "what came back is not what was sent"
