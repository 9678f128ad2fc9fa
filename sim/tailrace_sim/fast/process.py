"""The process of a fast simulation: ``python -m tailrace_sim.fast.process LIBRARY TOP [DEVICES]``.

Started by :func:`tailrace_sim.run.run` with the environment that cocotb's runner would give to a
simulator: which tests of which module, the seed, where the results go. What is to be seen of it is
in the environment too, see :mod:`tailrace_sim.look`.
"""

import ctypes
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from tailrace_sim.fast import gpi
from tailrace_sim.fast.kernel import Kernel
from tailrace_sim.fast.launch import HELD, INTERRUPTED, LOG
from tailrace_sim.look import Look

__all__ = ["PROFILE", "main", "running"]

#: File in the run's directory.
PROFILE = "profile.json"
_SAMPLES = 997  # a second; no divisor of what else happens in a second
_ALWAYS = (1 << 64) - 1
_PERIOD = 4000  # ps of the core's clock
#: Seconds that an interrupt may wait for the end of a stride.
_PATIENCE = 3
_PR_SET_PDEATHSIG = 1

_kernel: Kernel | None = None


def running() -> Kernel | None:
    """The kernel of this process; None if it is no process of the fast backend."""
    return _kernel


def _obey_signals(kernel: Kernel) -> None:
    """An interrupt ends a stride, not a line of Python; one that comes when another has waited for
    that in vain does not wait. Impatient fingers are nothing in vain.

    A parent that dies, however it does, counts as one: nobody would end us.
    """

    first = 0.0

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if not kernel.interrupted:
            first = time.monotonic()
        in_vain = kernel.interrupted and time.monotonic() - first > _PATIENCE
        if kernel.raise_interrupt or (in_vain and number == signal.SIGINT):
            raise KeyboardInterrupt
        kernel.interrupted = True

    for number in HELD:
        signal.signal(number, interrupt)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _start_looking(kernel: Kernel, look: Look) -> None:
    if look.waves is not None:
        # Absolute: a test may go to another folder.
        first, last = look.waves
        end = _ALWAYS if last is None else last * _PERIOD
        for device in range(kernel.devices):
            path = str(Path(f"waves{device or ''}.fst").absolute())
            kernel.lib.tr_waves(kernel.world, device, path.encode(), first * _PERIOD, end)
    if look.profile:
        kernel.lib.tr_profile(_SAMPLES)


def _stop_looking(kernel: Kernel, look: Look, directory: Path) -> None:
    if look.profile:
        kernel.lib.tr_profile(0)
        counts, elsewhere = kernel.ffi.new("const uint32_t **"), kernel.ffi.new("uint64_t *")
        number = kernel.lib.tr_samples(counts, elsewhere)
        found = kernel.ffi.unpack(counts[0], number)
        places = {index: count for index, count in enumerate(found) if count}
        (directory / PROFILE).write_text(json.dumps({"library": places, "elsewhere": elsewhere[0]}))


def _run(kernel: Kernel, simulator: gpi._Simulator) -> int:
    # Imports cocotb, which needs its simulator.
    from pygpi.entry import load_entry

    if log := os.environ.get(LOG):
        # What has a handler is left alone by cocotb.
        logging.getLogger().addHandler(logging.FileHandler(log, mode="w"))
    load_entry()
    kernel.after_events = gpi.resume_tasks
    kernel.on_error = gpi.raise_in_task
    if not kernel.run() and simulator.ended is not None:
        simulator.ended()
    return INTERRUPTED if kernel.was_interrupted else 0


def main(arguments: list[str]) -> int:
    """Run the tests that the environment names."""
    global _kernel
    library, top = Path(arguments[0]), arguments[1]
    devices = int(arguments[2]) if arguments[2:] else 1
    # Writes take effect when the kernel says, which is what cocotb's own queue is for.
    os.environ["COCOTB_TRUST_INERTIAL_WRITES"] = "1"
    seed = int(os.environ["COCOTB_RANDOM_SEED"])
    look, directory = Look.from_environment(), Path.cwd()
    _kernel = Kernel(library, devices=devices, seed=seed)
    simulator = gpi.install(_kernel, top)
    _obey_signals(_kernel)
    try:
        _start_looking(_kernel, look)
        return _run(_kernel, simulator)
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        _stop_looking(_kernel, look, directory)
        _kernel.close()


if __name__ == "__main__":
    # Run under its own name, so that the module others import is this one.
    from tailrace_sim.fast.process import main as _main

    sys.exit(_main(sys.argv[1:]))
