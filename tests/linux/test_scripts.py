"""Functions of the guest's scripts, on this machine's shell with fake tools."""

import os
import subprocess
from pathlib import Path

import pytest

import tailrace_sim.linux

LIB = Path(tailrace_sim.linux.__file__).with_name("guest") / "lib.sh"
SCRIPTS = sorted(LIB.parents[1].glob("scripts/*.sh"))
#: Sends all it was told to, and says that so many came back; the rest comes later.
PING = """#!/bin/sh
echo "$2 packets transmitted, $IN_TIME received"
echo "$IN_TIME" >>count
(sleep 0.5; echo "$LATE" >>count) >/dev/null &
"""


@pytest.mark.parametrize(("in_time", "late"), [(5, 0), (3, 2), (0, 5)])
def test_answers_that_ping_does_not_wait_for(tmp_path, in_time, late):
    """The kernel counts them, also those that come when ping has given up."""
    ping = tmp_path / "ping"
    ping.write_text(PING)
    ping.chmod(0o755)
    (tmp_path / "count").write_text("40\n")
    script = f"""
. {LIB}
answers() {{ awk '{{ sum += $1 }} END {{ print sum }}' count; }}
PEER=10.9.0.1
answered 5 -i 0.2
"""
    done = subprocess.run(
        ["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "IN_TIME": str(in_time),
             "LATE": str(late)},
    )  # fmt: skip
    assert done.stdout == "5\n"
    assert done.stderr == ""


def test_no_script_trusts_the_count_of_ping():
    """On a busy machine it is too small, with nothing lost."""
    assert SCRIPTS
    for path in SCRIPTS:
        for words in ("received.*", "bytes from"):
            assert words not in path.read_text(), f"{path.name} takes ping's own count"


@pytest.mark.parametrize("path", [LIB, *SCRIPTS], ids=lambda path: path.name)
def test_syntax(path):
    subprocess.run(["sh", "-n", path], check=True)
