"""The process of a fast simulation: ``python -m tailrace_sim.fast.process LIBRARY TOP ...``.

Started by :func:`tailrace_sim.run.run` with the environment that cocotb's runner would give to a
simulator: which tests of which module, the seed, where the results go.
"""

import os
import sys
from pathlib import Path

from tailrace_sim.fast import gpi
from tailrace_sim.fast.kernel import Kernel

__all__ = ["main", "running"]

_ALWAYS = (1 << 64) - 1

_kernel: Kernel | None = None


def running() -> Kernel | None:
    """The kernel of this process; None if it is no process of the fast backend."""
    return _kernel


def main(arguments: list[str]) -> int:
    """Run the tests that the environment names."""
    global _kernel
    library, top = Path(arguments[0]), arguments[1]
    devices = int(arguments[2]) if arguments[2:] else 1
    # Writes take effect when the kernel says, which is what cocotb's own queue is for.
    os.environ["COCOTB_TRUST_INERTIAL_WRITES"] = "1"
    seed = int(os.environ["COCOTB_RANDOM_SEED"])
    _kernel = Kernel(library, devices=devices, seed=seed)
    for index, path in enumerate(arguments[3:]):
        _kernel.lib.tr_waves(_kernel.world, index, path.encode(), 0, _ALWAYS)
    simulator = gpi.install(_kernel, top)

    # Imports cocotb, which needs the above.
    from pygpi.entry import load_entry

    load_entry()
    _kernel.after_events = gpi.resume_tasks
    _kernel.on_error = gpi.raise_in_task
    try:
        if not _kernel.run() and simulator.ended is not None:
            simulator.ended()
    finally:
        _kernel.close()
    return 0


if __name__ == "__main__":
    # Run under its own name, so that the module others import is this one.
    from tailrace_sim.fast.process import main as _main

    sys.exit(_main(sys.argv[1:]))
