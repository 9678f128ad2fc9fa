"""``./tailrace demo --dpus 2``: from one host to another and back, over a cable with faults."""

import dataclasses
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from rich.console import Console

from tailrace.cli.errors import UserError
from tailrace_hw.config import Config
from tailrace_sim import traffic
from tailrace_sim.build import Model, build_root
from tailrace_sim.cli.progress import following
from tailrace_sim.cli.terminal import print_rows, writing
from tailrace_sim.demo_report import match, percentile
from tailrace_sim.look import Look
from tailrace_sim.models.pcap import CapturedFrame, write_pcap
from tailrace_sim.run import TRACE, SimulationError, own_run, run

__all__ = ["LinkOptions", "demo_dpus"]

_CAPTURE = "output.pcap"


@dataclasses.dataclass(frozen=True)
class LinkOptions:
    """What the user wants to happen on the cable, each None if nothing was said.

    Attributes
    ----------
    delay : ns
    loss, reorder, duplicate, corrupt : shares from 0 to 1
    """

    delay: float | None
    loss: float | None
    reorder: float | None
    duplicate: float | None
    corrupt: float | None

    def given(self) -> list[str]:
        """Options that were said."""
        values = dataclasses.asdict(self)
        return [f"--{name}" for name, value in values.items() if value is not None]

    def check(self, dpus: int, backend: str) -> None:
        """Refuse what makes no sense.

        Raises
        ------
        UserError
            There is no cable, or a value is none.
        """
        if dpus == 1:
            if self.given():
                raise UserError(f"{self.given()[0]} is of the cable between two DPUs: add --dpus 2")
            return
        if backend != "fast":
            raise UserError("two DPUs in one simulation need the fast backend: --backend fast")
        for name, value in dataclasses.asdict(self).items():
            if name != "delay" and value is not None and not 0 <= value <= 1:
                raise UserError(f"--{name} is a share of the frames from 0 to 1, not {value:g}")
        if self.delay is not None and not 0 <= self.delay <= 1e6:
            raise UserError(f"--delay must be 0 to 1000000 nanoseconds, not {self.delay:g}")

    def faults(self) -> dict[str, float]:
        """Parameters of ``tailrace_sim.fast.link.Faults``."""
        values = {name: value or 0 for name, value in dataclasses.asdict(self).items()}
        return {"delay_ns": values.pop("delay"), **values}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What ``tailrace_sim.demo_dpus_run`` found.

    Attributes
    ----------
    inputs, outputs : frames that host A sent and received
    posted, returned : cycle of each of them
    queues : receive queue of each of ``outputs``
    arrived : frames that host B received
    links : counters of the cable's directions, from A to B and from B to A
    drops : of the devices, by reason
    interrupts : of the devices
    """

    inputs: list[bytes]
    outputs: list[bytes]
    posted: list[int]
    returned: list[int]
    queues: list[int]
    arrived: int
    links: list[dict[str, int]]
    drops: list[dict[str, int]]
    interrupts: list[int]
    seed: int

    def difference(self) -> str | None:
        """What is not accounted for; None if every frame is."""
        there, back = self.links
        marked = [drops["rx_drop_error"] for drops in self.drops]
        pairs = (
            ("frames left DPU 0, of those sent", there["taken"], len(self.inputs)),
            ("frames still on the cable", there["in_flight"] + back["in_flight"], 0),
            ("frames at host B", self.arrived, there["delivered"] - there["corrupted"]),
            ("frames left DPU 1, of those at host B", back["taken"], self.arrived),
            ("frames back at host A", len(self.outputs), back["delivered"] - back["corrupted"]),
            ("corrupted frames dropped by DPU 1", marked[1], there["corrupted"]),
            ("corrupted frames dropped by DPU 0", marked[0], back["corrupted"]),
        )
        for what, found, wanted in pairs:
            if found != wanted:
                return f"{what}: {found} instead of {wanted}"
        if foreign := set(self.outputs) - set(self.inputs):
            return f"{len(foreign)} frames came back that were not sent"
        return self._clean_difference() if self.is_clean() else None

    def is_clean(self) -> bool:
        """Nothing happened on the cable."""
        names = ("lost", "duplicated", "corrupted", "reordered")
        return not any(link[name] for link in self.links for name in names)

    def _clean_difference(self) -> str | None:
        if Counter(self.inputs) != Counter(self.outputs):
            return "what came back is not what was sent"
        latest: dict[int, int] = defaultdict(lambda: -1)
        for index, queue in zip(match(self.inputs, self.outputs), self.queues, strict=True):
            if index is None or index < latest[queue]:
                return f"frame {index} of queue {queue} was overtaken"
            latest[queue] = index
        return None

    def round_trips(self) -> list[int]:
        """Cycles from the driver of A having a frame to send, to it having it back."""
        indices = match(self.inputs, self.outputs)
        return [
            cycle - self.posted[index]
            for index, cycle in zip(indices, self.returned, strict=True)
            if index is not None
        ]


def _link_row(link: dict[str, int]) -> str:
    events = ("lost", "duplicated", "corrupted", "reordered")
    told = [f"{link[name]} {name}" for name in events if link[name]]
    return ", ".join([f"{link['taken']} frames in, {link['delivered']} out", *told])


def _rows(outcome: Outcome, config: Config) -> list[tuple[str, str]]:
    drops = Counter[str]()
    for index, counts in enumerate(outcome.drops):
        drops += Counter({f"DPU {index} {name}": count for name, count in counts.items()})
    trips = outcome.round_trips()
    spread = [f"{percentile(trips, share)}" for share in (0, 0.5, 0.99, 1)] if trips else ["none"]
    cycles = max(outcome.returned, default=0)
    return [
        ("frames sent by host A, at host B, back at A",
         f"{len(outcome.inputs)}, {outcome.arrived}, {len(outcome.outputs)}"),
        ("cable from DPU 0 to DPU 1", _link_row(outcome.links[0])),
        ("cable from DPU 1 to DPU 0", _link_row(outcome.links[1])),
        ("dropped by the devices",
         ", ".join(f"{count} {name}" for name, count in drops.items()) or "none"),
        ("round trip min / median / 99 % / max", f"{' / '.join(spread)} cycles"),
        ("time", f"{cycles} cycles = {1e6 * cycles / config.clock_hz:.1f} µs"),
        ("interrupts", " + ".join(map(str, outcome.interrupts))),
    ]  # fmt: skip


def demo_dpus(
    model: Model, inputs: list[bytes], config: Config, *, ring: str, link: LinkOptions, seed: int,
    output: Path, console: Console, look: Look,
) -> None:  # fmt: skip
    """Run it, show what came of it, leave the frames that came back in ``output``.

    Raises
    ------
    UserError
        The simulation failed, or a frame is not accounted for.
    """
    settings: dict[str, Any] = {"ring": ring, "config": config.to_dict(), "faults": link.faults()}
    with own_run("demo") as name:
        work = build_root() / "run" / name
        work.mkdir(parents=True, exist_ok=True)
        traffic.save_frames(work / "input.txt", inputs)
        shown = work / TRACE if look.trace and look.trace_file is None else None
        with following(console, work / "progress", len(inputs), shown):
            try:
                run(
                    model, "tailrace_sim.demo_dpus_run", name=name, tests=["demo_dpus"],
                    parameters={**settings, "work": str(work)}, seed=seed, devices=2,
                    look=look,
                )  # fmt: skip
            except SimulationError as error:
                raise UserError(str(error)) from error
        values = json.loads((work / "outcome.json").read_text())
        outputs = traffic.load_frames(work / "output.txt")
    outcome = Outcome(inputs=inputs, outputs=outputs, **values)
    print_rows(console, _rows(outcome, config))
    nanoseconds = 1e9 / config.clock_hz
    frames = zip(outputs, outcome.returned, strict=True)
    with writing(output / _CAPTURE):
        write_pcap(
            output / _CAPTURE,
            [CapturedFrame(frame, round(cycle * nanoseconds)) for frame, cycle in frames],
        )
    console.print(f"{output / _CAPTURE}, seed {seed}")
    if difference := outcome.difference():
        raise UserError(f"not accounted for: {difference}; replay with --seed {seed}")
    if outcome.is_clean():
        console.print(f"all {len(inputs)} frames came back identical, in order within each queue")
    else:
        console.print(f"{len(outputs)} frames came back of {len(inputs)} sent; all accounted for")
