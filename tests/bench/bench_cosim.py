"""Fast backend beside the cocotb backend: frames and cycles a second of CPU time.

Both run the same test on the same Verilog, one after the other in one call: frames of 1500 bytes
enter the port, the driver receives them from the packed receive rings and transmits each of them
again, and all come back at the port; every frame's content is compared. So each frame crosses the
device twice. The clock starts behind enumeration and set-up. Idle is the device with its driver up
and nothing to do. Both simulators are one thread, so the time is the CPU's, in which other work on
the machine counts less. The ratio is what counts; the seconds are those of this machine.

What each block costs, of the time outside Python, comes from a third run, on a model with a symbol
for each function, which is slower: the shares are a guide. It is there so that a block that slows
every simulation is seen.
"""

import json
from pathlib import Path

from tailrace_hw.config import Config
from tailrace_sim.device import BACKENDS, NO_CIPHER, build_device
from tailrace_sim.profile import loaded_profile
from tailrace_sim.run import run

#: Frames, and idle cycles, by backend: some seconds each.
FRAMES = {"fast": 3000, "cocotb": 150}
IDLE = {"fast": 200_000, "cocotb": 100_000}
SIZE = 1500
#: Frames of the run that is profiled, and the share below which a block is not shown.
PROFILED = 1500
LEAST_SHARE = 0.02
GOAL = 20.0


def _row(measure: str, value: float, unit: str, goal: float | None = None) -> dict:
    met = None if goal is None else value >= goal
    return {"bench": "cosim", "measure": measure, "value": round(value, 2), "unit": unit,
            "goal": goal, "met": met}  # fmt: skip


def _measure(backend: str) -> dict:
    config = Config(jobs=NO_CIPHER)
    result = run(
        build_device(config, backend=backend), "cosim_bench_cocotb", name=f"bench_cosim_{backend}",
        tests=["cosim"], seed=1,
        parameters={
            "config": config.to_dict(), "frames": FRAMES[backend], "size": SIZE,
            "idle": IDLE[backend],
        },
        python_path=[Path(__file__).parent],
    )  # fmt: skip
    return json.loads((result.directory / "cosim.json").read_text())


def measure() -> list[dict]:
    """Both backends, idle and loaded."""
    results = {backend: _measure(backend) for backend in BACKENDS}
    rows = []
    for backend, found in results.items():
        rows += [
            _row(f"{backend}, loaded", found["frames"] / found["seconds"], "frames a second"),
            _row(f"{backend}, loaded", found["cycles"] / found["seconds"], "cycles a second"),
            _row(f"{backend}, idle", found["idle_cycles"] / found["idle_seconds"],
                 "cycles a second"),
        ]  # fmt: skip
    fast, slow = (results[name]["frames"] / results[name]["seconds"] for name in BACKENDS)
    rows.append(_row(f"fast to cocotb, {SIZE} B", fast / slow, "times the frames", GOAL))
    blocks = dict(loaded_profile(Config(jobs=NO_CIPHER), frames=PROFILED, size=SIZE).blocks(2))
    model = 1 - blocks.pop("Python", 0.0)
    rows += [
        _row(f"fast, loaded: {block}", 100 * share / model, "% of the C++ time")
        for block, share in blocks.items()
        if share >= LEAST_SHARE * model
    ]
    return rows
