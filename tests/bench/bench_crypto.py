"""crypto: jobs of the cipher engine through PCIe and a job queue, width 512, 1,024 keys.

One queue of 512 jobs, filled before the first of them is begun; each job has another key than the
one before. Time runs between two completions in host memory, without the first and the last quarter
of the jobs. Every output and tag is compared with `cryptography`.

The yardstick is the smaller of the datapath, 64 bytes a cycle, and the PCIe link
(``sim/tailrace_sim/pcie_limit.py``): for each job the TLPs of its descriptor, its data both ways
and its completion, requests and completions, each in its direction. Interrupts and doorbells are
not counted.

Latency is that of a single job of 64 bytes in an idle device, from the doorbell to the completion
in host memory: four passes through the link and the host's memory, 60 cycles each beside the
models' own, are in it. The rate of installations is that of a driver that waits for each.

What the engine itself takes, without queue and link, is measured by
``./tailrace test crypto --soak -k "wide and rates"``; docs/crypto.md has the figures.
"""

import json
from pathlib import Path

from tailrace_hw.config import Config
from tailrace_sim.device import build_device
from tailrace_sim.pcie_limit import (
    completion_bytes,
    link_bytes_per_cycle,
    read_request_bytes,
    write_bytes,
)
from tailrace_sim.run import run

MAX_PAYLOAD, MAX_READ = 256, 512
#: Host memory's latency beside that of the models, in cycles.
LATENCY = 60
DESCRIPTOR, COMPLETION = 192, 32
#: Operation, bytes, jobs.
LOADS = (
    ("GCM_ENCRYPT", 64, 400), ("GCM_ENCRYPT", 256, 400), ("GCM_ENCRYPT", 1024, 300),
    ("GCM_ENCRYPT", 4096, 200), ("GCM_ENCRYPT", 16384, 60), ("GCM_DECRYPT", 4096, 200),
    ("XTS_ENCRYPT", 4096, 200), ("COPY", 4096, 200),
)  # fmt: skip
SHARE_GOAL, JUDGED = 90.0, 4096


def limit(config: Config, size: int) -> float:
    """Cycles that a job takes at least."""
    link = link_bytes_per_cycle(config.clock_hz)
    upstream = (
        read_request_bytes(0, DESCRIPTOR, MAX_READ) + read_request_bytes(0, size, MAX_READ)
        + write_bytes(0, size, MAX_PAYLOAD) + write_bytes(0, COMPLETION, MAX_PAYLOAD)
    )  # fmt: skip
    downstream = completion_bytes(0, DESCRIPTOR, MAX_PAYLOAD) + completion_bytes(
        0, size, MAX_PAYLOAD
    )
    return max(size / (config.width // 8), upstream / link, downstream / link)


def _row(measure: str, value: float, unit: str, goal: float | None = None) -> dict:
    met = None if goal is None else value >= goal
    return {"bench": "crypto", "measure": measure, "value": round(value, 2), "unit": unit,
            "goal": goal, "met": met}  # fmt: skip


def measure() -> list[dict]:
    """Rates by operation and size, latency, installations."""
    config = Config()
    result = run(
        build_device(config, backend="fast"), "crypto_bench_cocotb", name="bench_crypto",
        tests=["crypto"], seed=1,
        parameters={
            "config": config.to_dict(), "latency": LATENCY, "loads": LOADS,
            "max_payload": MAX_PAYLOAD, "max_read": MAX_READ,
        },
        python_path=[Path(__file__).parent],
    )  # fmt: skip
    found = json.loads((result.directory / "crypto.json").read_text())
    rows = []
    for name, size, _ in LOADS:
        cycles = found["rate"][f"{name} {size}"]
        rows.append(_row(f"{name}, {size} B", cycles, "cycles a job"))
        rows.append(_row(f"{name}, {size} B", size / cycles, "bytes a cycle"))
        share = 100 * limit(config, size) / cycles
        goal = SHARE_GOAL if size == JUDGED else None
        rows.append(_row(f"{name}, {size} B", share, "% of the limit", goal))
    for name, cycles in found["latency"].items():
        rows.append(_row(f"{name}, 64 B, doorbell to completion", cycles, "cycles"))
    rows.append(_row("installation of a key, and its completion", found["install"], "cycles"))
    return rows
