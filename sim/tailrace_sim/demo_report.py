"""What a demo run found, as table rows and pictures."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from tailrace_hw.config import Config
from tailrace_sim.demo_crypto import Sealed, sealed_rows
from tailrace_sim.pcie_limit import link_bytes_per_cycle
from tailrace_sim.report import Report, depth_figure, histogram_figure, throughput_figure

__all__ = ["Outcome", "match", "percentile", "summary_rows", "write_report"]


def match(inputs: list[bytes], frames: list[bytes]) -> list[int | None]:
    """Index into ``inputs`` of each frame, None for a foreign one; equal ones in their order."""
    waiting: dict[bytes, list[int]] = defaultdict(list)
    for index, frame in enumerate(inputs):
        waiting[frame].append(index)
    return [waiting[frame].pop(0) if waiting[frame] else None for frame in frames]


def percentile(values: list[int], share: float) -> int:
    """Smallest value that at least ``share`` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1))]


@dataclass(frozen=True)
class Outcome:
    """Everything that a run measured.

    Attributes
    ----------
    inputs, outputs : frames that entered and left at the port, in order
    entered, left : (first, last) cycle of each of them, cycles from the first frame on
    delivered : cycle in which the driver had each received frame, in the driver's order
    delivered_frames : index into ``inputs`` of each of ``delivered``, None of a foreign frame
    queues : receive queue of each of ``delivered``
    depth : (cycle, frames inside the device or the host) samples
    drops : frames lost, by reason, from the device's counters
    cycles : from the first frame's first beat to the last frame's last beat
    interrupts : MSI-X messages
    dma_read, dma_written : bytes
    seed : of the run
    sealed : what the cipher engine did with the frames; None if there is none
    """

    inputs: list[bytes]
    outputs: list[bytes]
    entered: list[tuple[int, int]]
    left: list[tuple[int, int]]
    delivered: list[int]
    delivered_frames: list[int | None]
    queues: list[int]
    depth: list[tuple[int, int]]
    drops: dict[str, int]
    cycles: int
    interrupts: int
    dma_read: int
    dma_written: int
    seed: int
    sealed: Sealed | None = None

    def difference(self) -> str | None:
        """What is wrong with the output, None if every frame came back exactly once and in order.

        Order is that of each receive queue: the flow hash spreads frames over the queues, which
        the driver serves independently (virtio 1.2, 5.1.6.5.5), so that frames of different queues
        may overtake each other, and frames of one flow may not.
        """
        missing = Counter(self.inputs) - Counter(self.outputs)
        extra = Counter(self.outputs) - Counter(self.inputs)
        if not self.outputs:
            return "nothing came back"
        if missing or extra:
            return f"{missing.total()} frames missing, {extra.total()} that were not sent"
        return self._overtaken("driver", self.delivered_frames) or self._overtaken(
            "port", match(self.inputs, self.outputs)
        )

    def _overtaken(self, place: str, arrived: list[int | None]) -> str | None:
        """The first frame that came to a place before one of its queue that was sent earlier."""
        queue_of = dict(zip(self.delivered_frames, self.queues, strict=True))
        latest: dict[int | None, int] = {}
        for index in arrived:
            queue = queue_of.get(index)
            if index is None or queue is None:
                return f"the {place} saw a frame that the driver was not given"
            if index < latest.get(queue, -1):
                return f"frame {index} of queue {queue} was overtaken on its way to the {place}"
            latest[queue] = index
        return None

    def host_latencies(self) -> list[int]:
        """Cycles from a frame's last beat on the wire to the driver having it."""
        return [
            cycle - self.entered[index][1]
            for cycle, index in zip(self.delivered, self.delivered_frames, strict=True)
            if index is not None
        ]

    def wire_latencies(self) -> list[int]:
        """Cycles from a frame's last beat in to its last beat out."""
        came_in = match(self.inputs, self.outputs)
        return [
            end - self.entered[index][1]
            for index, (_, end) in zip(came_in, self.left, strict=True)
            if index is not None
        ]


def _spread(values: list[int]) -> str:
    if not values:
        return "none measured"
    return (
        f"{min(values)} / {percentile(values, 0.5)} / {percentile(values, 0.99)} / {max(values)}"
    )


def summary_rows(outcome: Outcome, config: Config) -> list[tuple[str, str]]:
    """The table a demo ends with."""
    size = sum(map(len, outcome.outputs))
    cycles = max(outcome.cycles, 1)
    limit = link_bytes_per_cycle(config.clock_hz) * cycles
    drops = ", ".join(f"{name} {count}" for name, count in outcome.drops.items() if count)
    return [
        ("frames in, out", f"{len(outcome.inputs)}, {len(outcome.outputs)}"),
        ("bytes in, out", f"{sum(map(len, outcome.inputs))}, {size}"),
        ("drops", drops or "none"),
        ("core clock cycles", f"{outcome.cycles}"),
        ("packets per cycle", f"{len(outcome.outputs) / cycles:.4f} each way"),
        (
            f"Gb/s at {config.clock_hz / 1e6:g} MHz",
            f"{size * 8 * config.clock_hz / cycles / 1e9:.2f} each way",
        ),
        (
            "latency wire to driver",
            f"{_spread(outcome.host_latencies())} cycles (min/median/p99/max)",
        ),
        (
            "latency wire to wire",
            f"{_spread(outcome.wire_latencies())} cycles (min/median/p99/max)",
        ),
        ("interrupts", f"{outcome.interrupts}"),
        (
            "DMA read, written",
            f"{outcome.dma_read} B ({outcome.dma_read / limit:.1%} of the PCIe limit), "
            f"{outcome.dma_written} B ({outcome.dma_written / limit:.1%})",
        ),
    ]


def write_report(
    path: Path, outcome: Outcome, config: Config, rows: list[tuple[str, str]]
) -> None:
    """Write the page with the table and the pictures."""
    report = Report(
        "Tailrace demo",
        f"width {config.width}, {config.virtio_net.queue_pairs} queue pairs, "
        f"seed {outcome.seed}; all times are core clock cycles",
    )
    report.table("Result", rows)
    report.table("Cipher engine", sealed_rows(outcome.sealed, config))
    if outcome.outputs:
        report.figure(
            "Latency, wire to driver",
            histogram_figure(outcome.host_latencies(), "cycles"),
            "From a frame's last beat at the port to the driver finding it in the used ring.",
        )
        report.figure("Latency, wire to wire", histogram_figure(outcome.wire_latencies(), "cycles"))
        series = {
            "wire to host": [
                (end, len(frame))
                for frame, (_, end) in zip(outcome.inputs, outcome.entered, strict=True)
            ],
            "host to wire": [
                (end, len(frame))
                for frame, (_, end) in zip(outcome.outputs, outcome.left, strict=True)
            ],
        }
        report.figure(
            "Throughput over time",
            throughput_figure(series, cycles=outcome.cycles, clock_hz=config.clock_hz),
        )
        report.figure(
            "Queue depth",
            depth_figure({"frames between wire in and wire out": outcome.depth}),
            "Frames that have entered and not left: in the device's buffers, rings or the host.",
        )
    report.write(path)
