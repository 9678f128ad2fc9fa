"""Children that are asked to end, and programs whose end is ours."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tailrace_sim import tool
from tailrace_sim.linux import children

PATIENCE = 60
#: Does not hear SIGINT, and has a child; says its number.
DEAF = """
import signal, subprocess, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "1000"])
print(child.pid, flush=True)
child.wait()
"""


def gone(pid):
    """Whether a process has ended, by itself or otherwise, within a while."""
    stat = Path(f"/proc/{pid}/stat")
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            if stat.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


def test_one_that_does_not_listen(monkeypatch):
    """It is killed, with its children."""
    monkeypatch.setattr(children, "PATIENCE", 0.5)
    process = children.spawn([sys.executable, "-c", DEAF], stdout=-1, stderr=-3)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    assert children.stop(process, signal.SIGINT) == -signal.SIGKILL
    process.stdout.close()
    assert gone(child)


@pytest.mark.parametrize("deaf", ["", "trap '' TERM; "])
def test_a_program_that_is_not_wanted_any_more(monkeypatch, tmp_path, deaf):
    """Its children, who have not the pipe alone, end too."""
    monkeypatch.setattr(tool, "_PATIENCE", 0.5)
    script = f"{deaf}sleep 1000 & echo $! >{tmp_path}/pid; wait; sleep 1000"
    with pytest.raises(subprocess.TimeoutExpired):
        tool.run_tool(["sh", "-c", script], timeout=1, stdout=subprocess.PIPE)
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_program_that_ends():
    done = tool.run_tool(["sh", "-c", "echo out; echo errors >&2; exit 3"], text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "errors\n")
