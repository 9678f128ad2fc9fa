"""Children that are asked to end."""

import signal
import sys

import pytest

from tailrace_sim.linux import children

#: Leaves SIGINT to its child, as ``plug`` in the foreground does, and ends when that one has.
DEAF = """
import signal, subprocess, sys
signal.signal(signal.SIGINT, lambda *_: None)
child = subprocess.Popen([sys.executable, "-c", "import signal; print(flush=True); signal.pause()"])
sys.exit(7 if child.wait() else 8)
"""


@pytest.mark.parametrize(("group", "status"), [(True, 7), (False, -signal.SIGKILL)])
def test_a_group_is_asked_as_a_whole(monkeypatch, group, status):
    monkeypatch.setattr(children, "PATIENCE", 20.0 if group else 0.5)
    process = children.spawn([sys.executable, "-c", DEAF], stdout=-1, stderr=-3)
    assert process.stdout is not None
    process.stdout.readline()
    assert children.stop(process, signal.SIGINT, group=group) == status
    process.stdout.close()
