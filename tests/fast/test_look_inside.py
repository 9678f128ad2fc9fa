"""Waves of a window, traces and profiles, and an interrupt at any moment."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tailrace_hw.config import Config, VirtioNetConfig
from tailrace_sim.build import build_root
from tailrace_sim.device import build_device

HERE = Path(__file__).parent
CONFIG = Config(width=64, virtio_net=VirtioNetConfig(queue_pairs=2))
#: A machine with much to do is slow, and nothing here waits for long without need.
PATIENCE = 120


def children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def gone(pid: int) -> bool:
    """The process is no more; one that nobody has waited for counts as such."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def wait_for(condition) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)


@pytest.fixture
def endless(tmp_path):
    """Starts a process that runs an endless simulation: it, the simulation's pid, its folder."""
    build_device(CONFIG, backend="fast")
    directory = build_root() / "run" / f"endless-{os.getpid()}"
    started = []

    def start() -> tuple[subprocess.Popen[str], int, Path]:
        for name in ("running", "closed"):
            (directory / name).unlink(missing_ok=True)
        code = (
            "import pathlib, tailrace_sim.run, tailrace_sim.device, tailrace_hw.config as c\n"
            f"config = c.Config.from_dict({CONFIG.to_dict()!r})\n"
            "model = tailrace_sim.device.build_device(config, backend='fast')\n"
            f"tailrace_sim.run.run(model, 'look_cocotb', name={directory.name!r},"
            " tests=['endless'], parameters={'config': config.to_dict()},"
            f" python_path=[pathlib.Path({str(HERE)!r})])\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, start_new_session=True,
        )  # fmt: skip
        started.append(process)
        wait_for((directory / "running").exists)
        (simulation,) = children(process.pid)
        return process, simulation, directory

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_ctrl_c(endless):
    """The terminal tells all processes: the simulation ends by itself, and nobody is left."""
    process, simulation, directory = endless()
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    assert errors.splitlines()[-1] == "KeyboardInterrupt"
    assert gone(simulation)
    assert (directory / "closed").exists()
    assert "Traceback" not in (directory / "simulation.log").read_text()


def test_the_parent_alone_is_interrupted(endless):
    process, simulation, directory = endless()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert gone(simulation)
    assert (directory / "closed").exists()


def test_the_parent_is_killed(endless):
    """Not even then is there an orphan."""
    process, simulation, directory = endless()
    process.kill()
    process.communicate(timeout=PATIENCE)
    wait_for(lambda: gone(simulation))
    assert (directory / "closed").exists()
