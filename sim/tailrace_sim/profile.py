"""Where the time of a simulation on the fast backend goes.

The core samples the program counter by a timer of CPU time. What lies in the library belongs to a
Verilog module, and Amaranth names those by their place in the hierarchy: to the samples of a block
belong those of all that is in it. Equal instances share a module with the name of the first, and
count there. What lies outside is Python.
"""

import bisect
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tailrace_hw.config import Config
from tailrace_sim.build import Model, build_root
from tailrace_sim.device import build_device, device_verilog
from tailrace_sim.fast.library import Library, code_map
from tailrace_sim.fast.process import PROFILE
from tailrace_sim.look import Look
from tailrace_sim.run import own_run, run
from tailrace_sim.traffic import generate, save_frames

__all__ = ["PYTHON", "Profile", "loaded_profile", "read_profile"]

#: Bytes of code that count as one, as in ``core/profile.hpp``.
_GRAIN = 16
#: What is not of a block of the device, by the name in ``code_map``.
_OTHERS = {"core": "C++ models at the pins", "model": "Verilator's own", "": "libraries"}
PYTHON = "Python"


@dataclass(frozen=True)
class Profile:
    """Samples of a run.

    Attributes
    ----------
    modules : samples by Verilog module, and by what else there is
    """

    modules: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.modules.values())

    def share(self, name: str) -> float:
        """Of all samples, those of a module itself."""
        return self.modules.get(name, 0) / max(self.total, 1)

    def blocks(self, depth: int = 2) -> list[tuple[str, float]]:
        """(block, share), the most expensive first; together they are 1.

        Parameters
        ----------
        depth : levels of the hierarchy below the top that are told apart
        """
        found: Counter[str] = Counter()
        for module, count in self.modules.items():
            top, _, path = module.partition(".")
            found[".".join(path.split(".")[:depth]) or top] += count
        return [(name, count / max(self.total, 1)) for name, count in found.most_common()]


def read_profile(directory: Path, model: Model, verilog: Path) -> Profile | None:
    """What a run left in its directory; None if it left nothing.

    Parameters
    ----------
    model : that it ran, built with ``profile``
    verilog : that the model was built from
    """
    path = directory / PROFILE
    if not path.exists():
        return None
    samples = json.loads(path.read_text())
    places = code_map(Library(path=model.path, pins=(), waves=model.waves), verilog)
    starts = [address for address, _ in places]
    modules: Counter[str] = Counter()
    for place, count in samples["library"].items():
        # The grain's last byte: its first may still be of the function before.
        index = bisect.bisect_right(starts, _GRAIN * int(place) + _GRAIN - 1) - 1
        name = places[index][1] if index >= 0 else ""
        modules[_OTHERS.get(name, name)] += count
    modules[PYTHON] += samples["elsewhere"]
    return Profile(dict(modules))


def loaded_profile(config: Config, *, frames: int = 2000, size: int = 1500) -> Profile:
    """What a device costs that is busy in both directions: the demo's loop, with one size of frame.

    Builds the model with ``profile`` if it is not there yet, which takes minutes.
    """
    model = build_device(config, profile=True, backend="fast")
    with own_run("profile") as name:
        work = build_root() / "run" / name
        work.mkdir(parents=True, exist_ok=True)
        save_frames(work / "input.txt", generate(frames, size, 1))
        parameters = {"ring": "packed", "config": config.to_dict(), "work": str(work)}
        look = Look(profile=True)
        run(model, "tailrace_sim.demo_run", name=name, tests=["demo"], parameters=parameters,
            seed=1, look=look)  # fmt: skip
        profile = read_profile(work, model, device_verilog(config))
    assert profile is not None
    return profile
