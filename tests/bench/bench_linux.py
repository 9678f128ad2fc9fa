"""A Linux guest with the device in its slot, beside the same guest with an ordinary virtio NIC.

Both talk to the same second guest over the same kind of datagram sockets, one pair after the other
in one call; all are emulated. The ordinary NIC is QEMU's virtio-net-pci at both ends, without
offloads, as the second guest always has it. The device is simulated, so each access of the driver
is one of the RTL, and each frame a few hundred cycles: the ratios say what that costs a guest.
Round trips are the mean of ping's, throughput is what iperf3's receiver says.

Cycles a second are those of the time in which the simulation does not sleep, from the boot on: with
a guest that is left alone behind its boot, and with one under load. Other work on the machine
counts in all of this; a ratio of two figures suffers less.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from tailrace.cli.errors import UserError
from tailrace_hw.config import Config
from tailrace_sim.build import build_root
from tailrace_sim.cli.bench import NotHere
from tailrace_sim.device import NO_CIPHER, build_device
from tailrace_sim.linux.images import Images, prepare
from tailrace_sim.linux.session import Session, SessionOptions
from tailrace_sim.run import SimulationError, own_run

PINGS = 100
SECONDS = 10
#: Seconds that a session may take, on a busy machine too.
TIME_OUT = 1800.0
SCRIPT = Path(__file__).with_name("linux_bench.sh")
_FIGURE = re.compile(r"figure (\w+) ([0-9.]+)")
_SPEED = re.compile(r"speed +([0-9,]+) cycles a second")
_TIME = re.compile(r"time +([0-9.]+) s, asleep ([0-9.]+) s")


@dataclass
class Found:
    """What a session has shown.

    Attributes
    ----------
    figures : of the script, by name
    speed : cycles a second while the simulation did not sleep, and the share of time that it slept
    """

    figures: dict[str, float]
    speed: float = 0.0
    asleep: float = 0.0


def _row(measure: str, value: float, unit: str) -> dict:
    return {"bench": "linux", "measure": measure, "value": round(value, 2), "unit": unit,
            "goal": None, "met": None}  # fmt: skip


def _run(make: Callable[..., Session], *, plain: bool, load: str) -> Found:
    """One session.

    Raises
    ------
    SimulationError
        It did not come to its end, or a check of its script failed.
    """
    values = {"LOAD": load, "PINGS": PINGS, "SECONDS_EACH": SECONDS}
    head = "".join(f"export {name}={value}\n" for name, value in values.items())
    lines: list[str] = []
    options = SessionOptions(
        scripts={"bench": head + SCRIPT.read_text()}, plain=plain, time_out=TIME_OUT
    )
    outcome = make(options, lines.append).run()
    if outcome.problem is not None or outcome.statuses != {"bench": 0}:
        wrong = [line for line in lines if line.startswith("FAIL")]
        raise SimulationError(f"bench linux: {outcome.problem or '; '.join(wrong)}")
    found = Found({m[1]: float(m[2]) for m in map(_FIGURE.match, lines) if m is not None})
    for line in [line for summary in outcome.summaries.values() for line in summary]:
        if (speed := _SPEED.match(line)) is not None:
            found.speed = float(speed[1].replace(",", ""))
        if (time := _TIME.match(line)) is not None:
            found.asleep = float(time[2]) / max(float(time[1]), 0.1)
    return found


def rows(device: Found, plain: Found, idle: Found) -> list[dict]:
    """The figures beside each other."""
    made = []
    for size in (56, 1400):
        ours, theirs = device.figures[f"ping_{size}"], plain.figures[f"ping_{size}"]
        made += [
            _row(f"ping, {size} B", ours, "ms"),
            _row(f"ping, {size} B, ordinary NIC", theirs, "ms"),
            _row(f"ping, {size} B, to ordinary NIC", ours / theirs, "times the round trip"),
        ]
    for name, what in (("tcp_out", "TCP out"), ("tcp_in", "TCP in")):
        ours, theirs = device.figures[name], plain.figures[name]
        made += [
            _row(what, ours / 1000, "Mbit/s"),
            _row(f"{what}, ordinary NIC", theirs / 1000, "Mbit/s"),
            _row(f"{what}, to ordinary NIC", 100 * ours / theirs, "% of the throughput"),
        ]
    return [
        *made,
        _row("idle, awake", idle.speed, "cycles a second"),
        _row("idle, asleep", 100 * idle.asleep, "% of the time"),
        _row("loaded, awake", device.speed, "cycles a second"),
        _row("loaded, asleep", 100 * device.asleep, "% of the time"),
    ]


def _images() -> Images:
    try:
        return prepare(Console(stderr=True))
    except UserError as error:
        raise NotHere(str(error)) from error


def measure() -> list[dict]:
    """Both pairs of guests, and one that is left alone."""
    images = _images()
    build_device(Config(jobs=NO_CIPHER), backend="fast")
    with own_run("bench_linux") as name:
        directory = build_root() / "run" / name

        def make(options: SessionOptions, show: Callable[[str], None]) -> Session:
            return Session(images, options, directory, show)

        return rows(
            device=_run(make, plain=False, load="busy"),
            plain=_run(make, plain=True, load="busy"),
            idle=_run(make, plain=False, load="idle"),
        )
