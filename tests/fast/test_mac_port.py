"""The C++ core's MAC ports: the test plays the design, beat by beat."""

import random

import pytest

from tailrace_sim.run import pick_seed


@pytest.fixture(scope="module", params=["narrow", "wide"])
def library(request, probe_library):
    return probe_library(request.param)


def drive(probe, piece, lanes, last):
    """A beat that the design offers."""
    keep = (1 << len(piece)) - 1
    data = int.from_bytes(piece, "little")
    probe.drive("port0__tx", tdata=data, tkeep=keep, tlast=int(last), tvalid=1)


def broken(probe):
    return [event[5].decode() for event in probe.take(probe.lib.TR_BROKEN)]


def test_frames_out(library, probe):
    """Frames of every length leave the design; broken ones are told."""
    p = probe(library)
    lanes = p.pins["port0__tx__tdata"][1] // 8
    rng = random.Random(pick_seed())
    p.cycle()
    p.cycle()
    p.lib.tr_port_pattern(p.world, 0, 0, 1, bytes(rng.getrandbits(1) for _ in range(999)), 999)
    frames = [rng.randbytes(n) for n in [*range(1, 2 * lanes + 2, 3), 1514]]
    for frame in frames:
        for start in range(0, len(frame), lanes):
            drive(p, frame[start : start + lanes], lanes, start + lanes >= len(frame))
            p.cycle()
            while not p.peek("port0__tx__tready"):
                p.cycle()
    p.drive("port0__tx")
    p.cycle()
    p.cycle()
    assert [event[5] for event in p.take(p.lib.TR_FRAME_OUT)] == frames
    assert p.port.bytes_out == sum(map(len, frames))
    assert p.port.frames_out == len(frames)
    assert broken(p) == []
    p.drive("port0__tx", tkeep=5, tlast=1, tvalid=1)
    while p.port.frames_out == len(frames):
        p.cycle()
    assert ["holes" in text for text in broken(p)] == [True]


def test_frames_in(library, probe):
    """Frames of every length enter whole, marked on their last beat alone."""
    p = probe(library)
    lanes = p.pins["port0__rx__tdata"][1] // 8
    rng = random.Random(pick_seed())
    p.poke("x_port0__rx__tready", 1)
    frames = [(rng.randbytes(n), n % 2) for n in [*range(1, 2 * lanes + 2), 1514]]
    for data, error in frames:
        p.lib.tr_port_send(p.world, 0, 0, data, len(data), error)
    found, parts = [], b""
    while len(found) < len(frames):
        p.cycle()
        if not p.peek("port0__rx__tvalid"):
            continue
        keep = p.peek("port0__rx__tkeep")
        assert keep & (keep + 1) == 0
        raw = p.peek("port0__rx__tdata").to_bytes(lanes, "little")
        parts += raw[: keep.bit_length()]
        last, error = p.peek("port0__rx__tlast"), p.peek("port0__rx__tuser")
        assert last or (keep.bit_length() == lanes and not error)
        if last:
            found.append((parts, error))
            parts = b""
    assert found == frames
    assert broken(p) == []


def test_device_that_lets_a_frame_wait(library, probe):
    """A MAC cannot wait: a design that is not ready is reported, and the frame goes on."""
    p = probe(library)
    lanes = p.pins["port0__rx__tdata"][1] // 8
    p.lib.tr_port_send(p.world, 0, 0, bytes(100), 100, 0)
    for _ in range(20):
        p.cycle()
    assert ["tready" in text for text in broken(p)] == [True] * -(-100 // lanes)
    assert p.port.frames_in == 1


def entering(p, cycles):
    """(data, last) of the beats that the design gets in so many cycles."""
    beats = []
    for _ in range(cycles):
        p.cycle()
        if p.peek("port0__rx__tvalid"):
            count = p.peek("port0__rx__tkeep").bit_length()
            lanes = p.pins["port0__rx__tdata"][1] // 8
            data = p.peek("port0__rx__tdata").to_bytes(lanes, "little")[:count]
            beats.append((data, p.peek("port0__rx__tlast")))
    return beats


def test_a_pause_is_between_frames(library, probe):
    """What has begun goes on; nothing begins."""
    p = probe(library)
    lanes = p.pins["port0__rx__tdata"][1] // 8
    p.poke("x_port0__rx__tready", 1)
    for _ in range(2):
        p.lib.tr_port_send(p.world, 0, 0, bytes(8 * lanes), 8 * lanes, 0)
    begun = entering(p, 4)
    assert begun
    p.port.pause = 1
    rest = entering(p, 20)
    assert [last for _, last in begun + rest] == [0] * 7 + [1]
    p.port.pause = 0
    assert len(entering(p, 20)) == 8


def test_a_hold(library, probe):
    """Nothing leaves, not even the rest of a frame, and all of it afterwards."""
    p = probe(library)
    lanes = p.pins["port0__tx__tdata"][1] // 8
    frames = [random.Random(pick_seed()).randbytes(4 * lanes + 3) for _ in range(2)]
    p.cycle()
    for frame in frames:
        for start in range(0, len(frame), lanes):
            # Before the first beat of the one, in the middle of the other.
            if start == lanes * frames.index(frame):
                p.port.hold = 1
                p.cycle()
                drive(p, frame[start : start + lanes], lanes, False)
                held = [p.peek("port0__tx__tready") or p.cycle() for _ in range(20)]
                assert not any(held)
                p.port.hold = 0
            drive(p, frame[start : start + lanes], lanes, start + lanes >= len(frame))
            p.cycle()
            while not p.peek("port0__tx__tready"):
                p.cycle()
    p.drive("port0__tx")
    p.cycle()
    p.cycle()
    assert [event[5] for event in p.take(p.lib.TR_FRAME_OUT)] == frames


def test_a_reset_in_a_frame(library, probe):
    """The frame that the device saw the start of comes again, whole; one that leaves is lost."""
    p = probe(library)
    lanes = p.pins["port0__rx__tdata"][1] // 8
    frame = random.Random(pick_seed()).randbytes(6 * lanes)
    p.poke("x_port0__rx__tready", 1)
    p.lib.tr_port_send(p.world, 0, 0, frame, len(frame), 0)
    assert entering(p, 4)
    drive(p, bytes(lanes), lanes, False)
    p.cycle()
    p.drive("port0__tx")
    p.poke("port0_rst", 1)
    for _ in range(3):
        p.cycle()
    assert not p.peek("port0__rx__tvalid")
    assert not p.peek("port0__tx__tready")
    p.poke("port0_rst", 0)
    p.cycle()
    beats = entering(p, 20)
    assert b"".join(data for data, _ in beats) == frame
    assert (p.port.frames_in, p.port.frames_out) == (1, 0)
    drive(p, b"abc", lanes, True)
    p.cycle()
    p.drive("port0__tx")
    p.cycle()
    assert [event[5] for event in p.take(p.lib.TR_FRAME_OUT)] == [b"abc"]
