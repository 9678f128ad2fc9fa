"""Waves of a window, traces and profiles, and an interrupt at any moment."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tailrace.cli.errors import UserError
from tailrace_hw.config import Config, VirtioNetConfig
from tailrace_sim.build import build_root
from tailrace_sim.device import NO_CIPHER, build_device
from tailrace_sim.fast import launch
from tailrace_sim.fast.launch import hold_signals
from tailrace_sim.fast.process import _start_looking
from tailrace_sim.look import Look, parse_trace, parse_window
from tailrace_sim.profile import PYTHON, Profile, loaded_profile
from tailrace_sim.run import run

HERE = Path(__file__).parent
CONFIG = Config(width=64, virtio_net=VirtioNetConfig(queue_pairs=2), jobs=NO_CIPHER)
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


def _hear() -> None:
    """In a child: a shell that has put us into the background has made us deaf to Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


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
            text=True, start_new_session=True, preexec_fn=_hear,
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


def test_trace(tmp_path):
    """Registers, DMA, interrupts, frames and the record of an error, each in its line."""
    look = Look(trace=("pcie", "frames", "errors"), trace_file=tmp_path / "trace.txt")
    run(
        build_device(CONFIG, backend="fast"), "look_cocotb", name="look-trace", tests=["frames"],
        parameters={"config": CONFIG.to_dict()}, python_path=[HERE], look=look, seed=1,
    )  # fmt: skip
    lines = (tmp_path / "trace.txt").read_text().splitlines()
    cycles = [int(line.split()[0]) for line in lines]
    assert all(later - earlier > -2000 for earlier, later in itertools.pairwise(cycles))
    for pattern in (
        r"pcie  host>device  MRd  f1 tag \w\w  BAR0\+0x0014 +1 B",
        r"pcie  device>host  CplD f1 tag \w\w +1 B  0\w",
        r"pcie  host>device  MWr  f1 +BAR0\+0x3000 +2 B  00 00",
        r"pcie  device>host  MWr  f1 +0x\w+ +112 B  00 00 00 00 00 00 00 00",
        r"pcie  device>host  MRd  f1 tag \w\w  0x\w+ +\d+ B",
        r"pcie  host>device  CplD f1 tag \w\w +\d+ B  \w\w \w\w \w\w",
        r"pcie  device>host  MSI  f1 +0xfee\w+ +4 B  data 0x",
        r"port 0 in    100 B  06:07:08:09:0a:0b > 00:01:02:03:04:05",
        r"port 0 out   100 B  06:07:08:09:0a:0b > 00:01:02:03:04:05",
        r"port 0 in     80 B",
        r"error MAC_RX_ERROR from MAC, function 0, info 0x50",
    ):
        assert any(re.search(pattern, line) for line in lines), (pattern, lines)
    check_reads(lines)


def check_reads(lines: list[str]) -> None:
    """Each read of the device is followed by completions with all of its bytes."""
    pattern = r"(device>host  MRd |host>device  CplD) f(\d) tag (\w\w).*? +(\d+) B(.*)"
    open_reads: dict[tuple[str, str], int] = {}
    pieces = 0
    for line in lines:
        if not (found := re.search(pattern, line)):
            continue
        way, *key, size, rest = found.groups()
        read = (key[0], key[1])
        if way.startswith("device"):
            assert read not in open_reads, line
            open_reads[read] = int(size)
            continue
        open_reads[read] -= int(size)
        if "more to come" in rest:
            pieces += 1
            assert open_reads[read] > 0, line
        else:
            assert open_reads.pop(read) == 0, line
    assert not open_reads
    assert pieces > 0, "completions are split at 64 bytes"


def test_what_is_asked_for():
    assert parse_window("10:20") == (10, 20)
    assert parse_window(":20") == (0, 20)
    assert parse_window("10:") == (10, None)
    assert parse_window("all") == (0, None)
    for text in ("", "10", "a:b", "20:10", "5:5", "-3:4", "1:2:3", "1.5:2"):
        with pytest.raises(UserError, match="--waves"):
            parse_window(text)
    assert parse_trace("pcie,errors") == ("pcie", "errors")
    for text in ("", "pcie,", "dma"):
        with pytest.raises(UserError, match="there are pcie, frames, errors"):
            parse_trace(text)


def test_the_environment_says_the_same(monkeypatch, tmp_path):
    for look in (
        Look(),
        Look((3, None), ("pcie",), tmp_path / "x", True),
        Look((0, 9), ("frames", "errors")),
    ):
        for name, value in look.environment().items():
            monkeypatch.setenv(name, value)
        assert Look.from_environment() == look


def test_what_a_backend_has_not():
    look = Look(waves=(5, 10), trace=("pcie",))
    with pytest.raises(UserError, match="a trace or a window of waves needs the fast backend"):
        look.check_backend("cocotb")
    with pytest.raises(UserError, match="built without waves"):
        look.fitting(backend="fast", waves=False)
    assert Look().fitting(backend="fast", waves=True).waves == (0, None)


@pytest.mark.parametrize(("window", "end"), [((100, 200), 800_000), ((100, None), 2**64 - 1)])
def test_a_window_of_cycles_is_one_of_picoseconds(window, end):
    calls = []
    lib = SimpleNamespace(tr_waves=lambda *arguments: calls.append(arguments))
    kernel = SimpleNamespace(lib=lib, world="world", devices=2)
    _start_looking(kernel, Look(waves=window))
    paths = [str(Path(name).absolute()).encode() for name in ("waves.fst", "waves1.fst")]
    assert calls == [("world", n, path, 400_000, end) for n, path in enumerate(paths)]


def test_profile_blocks():
    """Samples of a module belong to the blocks that it is in."""
    profile = Profile({"top": 1, "top.net.rx.fifo": 4, "top.net.rx": 3, "top.net": 1, PYTHON: 1})
    assert profile.blocks(1) == [("net", 0.8), ("top", 0.1), (PYTHON, 0.1)]
    assert profile.blocks(2) == [("net.rx", 0.7), ("top", 0.1), ("net", 0.1), (PYTHON, 0.1)]
    assert sum(share for _, share in profile.blocks(3)) == pytest.approx(1)


@pytest.mark.soak
def test_waves_of_a_window():
    """A build of its own: minutes. The file has the window's cycles and the Verilog's names."""
    model = build_device(CONFIG, waves=True, backend="fast")
    result = run(
        model, "look_cocotb", name="look-waves", tests=["frames"],
        parameters={"config": CONFIG.to_dict()}, python_path=[HERE], look=Look(waves=(100, 200)),
    )  # fmt: skip
    data = (result.directory / "waves.fst").read_bytes()
    # The header block: kind, length, first and last time (gtkwave's FST, section 3.1).
    start, end = (int.from_bytes(data[at : at + 8], "big") for at in (9, 17))
    assert 100 * 4000 <= start < 101 * 4000
    assert 199 * 4000 <= end < 200 * 4000


@pytest.mark.soak
def test_profile_of_a_run():
    """A build of its own: minutes."""
    profile = loaded_profile(CONFIG, frames=500)
    blocks = dict(profile.blocks(1))
    assert profile.total > 500
    assert {"net", "pcie", "port", "core"} & set(blocks)
    assert blocks["net"] > 0.05
    assert sum(blocks.values()) == pytest.approx(1)


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


def test_ctrl_c_while_it_starts(tmp_path):
    """It waits until the simulation can answer it; Python's start and cocotb's never see it."""
    model = build_device(CONFIG, backend="fast")
    environment = {
        "COCOTB_TOPLEVEL": model.top, "COCOTB_TEST_MODULES": "look_cocotb",
        "COCOTB_TEST_FILTER": "frames", "COCOTB_RANDOM_SEED": "1",
        "TAILRACE_PARAMETERS": json.dumps({"config": CONFIG.to_dict()}), "TAILRACE_SEED": "1",
        "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]),
    }  # fmt: skip
    child = subprocess.Popen(
        [sys.executable, "-m", "tailrace_sim.fast.process", str(model.path), model.top],
        cwd=tmp_path, env={**os.environ, **environment}, preexec_fn=hold_signals, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=PATIENCE)
    assert child.returncode == 130, out
    assert "Fatal" not in out
    assert "Traceback" not in out


@pytest.mark.parametrize("when", ["at once", "on its way"])
def test_ctrl_c_in_a_demo(tmp_path, when):
    """It says how far it came; exit code 130, one line of complaint, nobody left."""
    config = tmp_path / "narrow.toml"
    config.write_text("width = 64\n[virtio_net]\nqueue_pairs = 2\n[jobs]\nkeys = 0\n")
    demo = subprocess.Popen(
        [sys.executable, "-m", "tailrace.cli.main", "demo", "--frames", "5000", "--size", "64",
         "--config", str(config), "-o", str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"}, cwd=HERE.parents[1], preexec_fn=_hear,
    )  # fmt: skip
    try:
        while " log " not in (line := demo.stdout.readline()):
            assert line, demo.stderr.read()
        progress = Path(line.rpartition(" log ")[2].strip()).with_name("progress")
        if when == "on its way":
            wait_for(lambda: progress.exists() and progress.read_text() not in ("", "0"))
        wait_for(lambda: children(demo.pid))
        (simulation,) = children(demo.pid)
        os.killpg(demo.pid, signal.SIGINT)
        out, errors = demo.communicate(timeout=PATIENCE)
    finally:
        if demo.poll() is None:
            os.killpg(demo.pid, signal.SIGKILL)
            demo.communicate()
    assert (demo.returncode, errors) == (130, "tailrace: interrupted\n")
    note = "; the driver was not up yet" if when == "at once" else ""
    assert re.search(rf"^\d+ of 5000 frames were back{note}$", out, re.MULTILINE)
    assert "Traceback" not in out
    assert gone(simulation)


def test_a_simulation_that_does_not_end(monkeypatch):
    """It is killed, and what the user did is what the caller hears of."""
    monkeypatch.setattr(launch, "_PATIENCE", 0.5)
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True)"
    child = subprocess.Popen(
        [sys.executable, "-c", f"{code}; time.sleep(3600)"], stdout=subprocess.PIPE, text=True
    )
    with child.stdout:
        child.stdout.readline()
        with pytest.raises(KeyboardInterrupt), launch._ended(child):
            raise KeyboardInterrupt
    assert child.returncode == -signal.SIGKILL


@pytest.mark.parametrize("log", ["log", None], ids=["background", "foreground"])
def test_ctrl_c_while_the_process_is_made(monkeypatch, tmp_path, log):
    """Before there is a child to hear it: it is heard of all the same, and nobody is left."""
    made = []
    hears = "import signal; signal.pthread_sigmask(signal.SIG_UNBLOCK, [2, 15]); signal.pause()"

    class Child(subprocess.Popen):
        def __init__(self, command, **options):
            os.kill(os.getpid(), signal.SIGINT)
            super().__init__([sys.executable, "-c", hears], **options)
            made.append(self)

    monkeypatch.setattr(launch.subprocess, "Popen", Child)
    # A child that Ctrl-C ends is not one of ours, which say 130.
    expected = RuntimeError if log is None else KeyboardInterrupt
    with pytest.raises(expected):
        launch.launch([], tmp_path, {}, tmp_path / log if log else None)
    assert made[0].returncode in (-signal.SIGINT, -signal.SIGTERM, 1)


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
