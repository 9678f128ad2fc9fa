"""virtio-net: frame rates and latency of the whole device on a packed ring, width 512.

Rates are taken while everything is busy: rings of 1024 filled before the first frame, frames
entering the port back to back (those the device cannot take yet wait in its receive buffer), one
notification for all frames to send. Time runs from the used element (receive) or the last beat at
the port (transmit) of a frame after the ramp to that of the last frame; both ways at once, only as
long as both are busy. Every frame's content is compared.

The yardstick for 1500 bytes is the smaller of the datapath, a whole beat a cycle, and the PCIe link
(``sim/tailrace_sim/pcie_limit.py``): for each frame the TLPs of its data with virtio_net_hdr, of
its descriptor (read 8 at a time) and of its used element (written 4 at a time), requests and
completions, each in its direction. Interrupts and the driver's event suppression area are not
counted. Both ways at once, transmission is taken to run at its limit, and what it leaves of the
upstream direction is the limit of reception.

Latency is that of a single frame in an idle device, from its last beat at the port to the last beat
of the MSI-X write on the requester interface, less the time that the one read on its way (the
driver's event suppression area) spends outside the device: from its request's last beat to the
first beat of its completion. The device stores a frame before it writes it, for a frame may turn
out bad with its last beat. So a frame of 1500 bytes adds the 26 cycles that its six TLPs take on
the requester interface.
"""

import json
import statistics
from pathlib import Path

from tailrace_hw.config import Config
from tailrace_sim.device import NO_CIPHER, build_device
from tailrace_sim.pcie_limit import (
    completion_bytes,
    link_bytes_per_cycle,
    read_request_bytes,
    write_bytes,
)
from tailrace_sim.run import run

MAX_PAYLOAD = 256
MAX_READ = 512
#: Host memory's latency beside that of the models, in cycles.
LATENCY = 60
#: Frame size, frames, and those of the ramp.
LOADS = ((64, 1000, 200), (1500, 160, 30))
CYCLES_GOAL = 4
SHARE_GOAL = 95.0
LATENCY_GOAL = 120
_HEADER = 12
#: Descriptors in a read, used elements in a write, 16 bytes each.
_DESCRIPTORS = 8
_USED = 4


def limit(config: Config, size: int) -> dict[str, float]:
    """Cycles that a frame takes at least, by direction and for both at once."""
    link = link_bytes_per_cycle(config.clock_hz)
    length = size + _HEADER
    descriptors = 16 * _DESCRIPTORS
    used = write_bytes(0, 16 * _USED, MAX_PAYLOAD) / _USED
    asking = read_request_bytes(0, descriptors, MAX_READ) / _DESCRIPTORS
    answer = completion_bytes(0, descriptors, MAX_PAYLOAD) / _DESCRIPTORS
    receive = write_bytes(0, length, MAX_PAYLOAD) + used + asking
    request = read_request_bytes(0, length, MAX_READ) + used + asking
    data = completion_bytes(0, length, MAX_PAYLOAD) + answer
    bus = size / (config.width // 8)
    transmit = max(bus, data / link)
    return {
        "receive": max(bus, receive / link),
        "transmit": transmit,
        "receive, both ways": max(bus, receive / (link - request / transmit)),
        "transmit, both ways": transmit,
    }


def _row(measure: str, value: float, unit: str, goal: float | None, met: bool | None) -> dict:
    return {
        "bench": "virtio_net",
        "measure": measure,
        "value": round(value, 2),
        "unit": unit,
        "goal": goal,
        "met": met,
    }


def _rates(config: Config, size: int, results: dict) -> list[dict]:
    rows = []
    limits = limit(config, size)
    for ways in ("receive", "transmit", "receive_transmit"):
        for way, cycles in results[f"{ways}_{size}"]["cycles"].items():
            name = f"{way}, both ways" if way != ways else way
            if size == 64:
                met = cycles <= CYCLES_GOAL
                rows.append(_row(f"{name}, 64 B", cycles, "cycles a frame", CYCLES_GOAL, met))
            else:
                share = 100 * limits[name] / cycles
                met = share >= SHARE_GOAL
                rows.append(_row(f"{name}, {size} B", share, "% of the limit", SHARE_GOAL, met))
                rows.append(_row(f"{name}, {size} B", cycles, "cycles a frame", None, None))
    both = results[f"receive_transmit_{size}"]
    for key, name in (("interrupts", "interrupts"), ("writes", "DMA writes"), ("reads", "reads")):
        rows.append(_row(f"both ways, {size} B, {name}", both[key], "a frame", None, None))
    return rows


def _latency(size: int, result: dict) -> list[dict]:
    inside = result["inside"]
    median = statistics.median(inside)
    measure = f"frame end to MSI-X, {size} B"
    return [
        _row(measure, median, "cycles", LATENCY_GOAL, median <= LATENCY_GOAL),
        _row(f"{measure}, least", min(inside), "cycles", None, None),
        _row(f"{measure}, most", max(inside), "cycles", None, None),
        _row(
            f"{measure}, outside beside it", statistics.median(result["outside"]), "cycles",
            None, None,
        ),
    ]  # fmt: skip


def measure() -> list[dict]:
    """Rates of both directions alone and together, and latency, at 64 and 1500 bytes."""
    config = Config(jobs=NO_CIPHER)
    result = run(
        build_device(config, backend="cocotb"), "virtio_net_bench_cocotb", name="bench_virtio_net",
        tests=["virtio_net"], seed=1,
        parameters={
            "config": config.to_dict(), "latency": LATENCY, "loads": LOADS,
            "max_payload": MAX_PAYLOAD, "max_read": MAX_READ,
        },
        python_path=[Path(__file__).parent],
    )  # fmt: skip
    results = json.loads((result.directory / "virtio_net.json").read_text())
    rows = []
    for size, _, _ in LOADS:
        rows += _rates(config, size, results)
        rows += _latency(size, results[f"latency_{size}"])
    return rows
