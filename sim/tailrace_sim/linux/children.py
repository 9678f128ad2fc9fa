"""Processes that end with us: however we end, none of them is left behind."""

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Sequence
from typing import Any

__all__ = ["PATIENCE", "die_with_parent", "spawn", "stop"]

#: Seconds that a process has to end after it was asked to.
PATIENCE = 20.0
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def die_with_parent() -> None:
    """In the child before it starts: SIGTERM if the parent dies without stopping it."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def spawn(command: Sequence[str], **options: Any) -> subprocess.Popen:
    """Start a process in a group of its own, so that Ctrl-C reaches us alone.

    Parameters
    ----------
    options : of :class:`subprocess.Popen`
    """
    return subprocess.Popen(command, preexec_fn=_before, **options)


def _before() -> None:
    os.setpgid(0, 0)
    die_with_parent()


def stop(process: subprocess.Popen, number: int) -> int:
    """Ask a process of :func:`spawn` to end, insist after a while; its exit status."""
    if process.poll() is None:
        process.send_signal(number)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    return process.wait()
