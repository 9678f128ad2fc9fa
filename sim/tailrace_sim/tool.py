"""Programs that do something for us, and that end with us: with all that they have started."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

__all__ = ["run_tool", "tool"]

#: Seconds that a program has to tidy up when it is not wanted any more.
_PATIENCE = 5.0


@contextlib.contextmanager
def tool(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen]:
    """A running program; whoever leaves this by an exception ends it, and its children.

    It is in a group of its own: Ctrl-C reaches us alone.

    Parameters
    ----------
    options : of :class:`subprocess.Popen`
    """
    options.setdefault("stdin", subprocess.DEVNULL)
    with subprocess.Popen(command, process_group=0, **options) as process:
        try:
            yield process
        except BaseException:
            _end(process)
            raise


def _end(process: subprocess.Popen) -> None:
    """Ask the group, insist if it does not end; nobody of it is left."""
    try:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        # Not reaped yet, so that the group's number stays its own.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def run_tool(
    command: Sequence[str], *, timeout: float | None = None, **options: Any
) -> subprocess.CompletedProcess:
    """As :func:`subprocess.run`, of whose options there are those of :class:`subprocess.Popen`.

    Raises
    ------
    subprocess.TimeoutExpired
        It did not end in ``timeout`` seconds.
    """
    with tool(command, **options) as process:
        out, errors = process.communicate(timeout=timeout)
    return subprocess.CompletedProcess(command, process.returncode, out, errors)
