"""The scoreboard finds what is wrong, and does not pass on nothing."""

import pytest

from tailrace_sim.models.scoreboard import Scoreboard, ScoreboardError, hexdiff


def test_right_frames_in_order_pass():
    board = Scoreboard()
    for number in range(5):
        board.expect(bytes([number]), number % 2)
    for number in (0, 2, 1, 3, 4):  # order holds within a stream
        board.receive(bytes([number]), number % 2)
    assert board.pending == 0
    board.finish(count=5)
    with pytest.raises(ScoreboardError, match="5 frames compared, not 6"):
        board.finish(count=6)


def test_nothing_compared_fails():
    with pytest.raises(ScoreboardError, match="nothing was compared"):
        Scoreboard().finish()


def test_leftovers_fail():
    board = Scoreboard("rx")
    board.expect(b"a")
    board.expect(b"bc")
    board.receive(b"a")
    assert board.pending == 1
    with pytest.raises(ScoreboardError, match="rx: stream 0: 1 frames did not come"):
        board.finish()


def test_a_mismatch_shows_where():
    board = Scoreboard()
    board.expect(bytes(40))
    with pytest.raises(ScoreboardError, match="frame 0 is wrong") as caught:
        board.receive(bytes(20) + b"\x01" + bytes(19))
    text = str(caught.value)
    assert " - 0010  00 00 00 00 00" in text
    assert " + 0010  00 00 00 00 01" in text
    assert text.splitlines()[-1].endswith("^^")
    assert " 0000  " not in text  # equal lines are not shown


def test_wrong_order_and_surplus_fail():
    board = Scoreboard()
    board.expect(b"a")
    board.expect(b"b")
    with pytest.raises(ScoreboardError, match="wrong"):
        board.receive(b"b")
    board = Scoreboard()
    with pytest.raises(ScoreboardError, match="not expected"):
        board.receive(b"b")


def test_optional_frames_may_be_missing():
    board = Scoreboard()
    board.expect(b"a")
    board.expect(b"b", optional=True)
    board.expect(b"c")
    board.receive(b"a")
    board.receive(b"c")
    board.finish()
    assert board.skipped == 1
    board.expect(b"d")
    assert board.make_optional() == 1
    board.finish(count=2)


def test_a_long_difference_is_cut():
    assert hexdiff(bytes(1000), b"").splitlines()[-1].strip() == "..."
