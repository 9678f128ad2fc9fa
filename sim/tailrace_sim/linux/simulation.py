"""The device for a guest: ``./tailrace plug`` in another process."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from tailrace.cli.errors import UserError
from tailrace_sim.fast.launch import INTERRUPTED
from tailrace_sim.linux.children import spawn, stop

__all__ = ["Simulation"]

_PLUG = (sys.executable, "-m", "tailrace.cli.main", "plug")
#: It says so when its sockets listen.
_READY = "Ctrl-C ends it"
#: Seconds that it may take to start: what is slow is built before.
_START = 300.0
#: Seconds that it may take for an access; QEMU has to wait for longer.
_ACCESS = 300.0
#: Seconds that it may take for its end once the guest is gone.
_END = 60.0
_SOON = 1.0


class Simulation:
    """A device with the functions of ``sockets``, until their guest has gone.

    Parameters
    ----------
    name : for messages
    sockets : where it listens, by the number of the function
    port0 : what is at its port, as ``plug`` takes it; None: nothing
    options : further ones of ``plug``
    command : instead of ``plug``, for a test
    """

    def __init__(
        self,
        name: str,
        sockets: dict[int, Path],
        port0: str | None,
        options: Sequence[str] = (),
        command: Sequence[str] = _PLUG,
    ):
        self.name = name
        self._sockets = sockets
        arguments = [f"--function={number}={path}" for number, path in sockets.items()]
        arguments += ["--once", f"--patience={_ACCESS}"]
        if port0 is not None:
            arguments.append(f"--port0={port0}")
        self._ready = threading.Event()
        self._lines: list[str] = []
        self._process = spawn(
            [*command, *arguments, *options], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line.rstrip())
            if _READY in line:
                self._lines.clear()
                self._ready.set()

    @property
    def running(self) -> bool:
        """Whether it is there."""
        return self._process.poll() is None

    def wait_ready(self) -> None:
        """Wait until a guest can be started.

        Raises
        ------
        UserError
            It ended before, or does not come to it.
        """
        end = time.monotonic() + _START
        while not self._ready.wait(0.1):
            if not self.running:
                self._reader.join()
                raise UserError(self.complaint())
            if time.monotonic() > end:
                raise UserError(f"{self.name} did not listen within {_START:.0f} s")

    def complaint(self) -> str:
        """Why it ended, in one line."""
        self._reader.join()
        marked = [line for line in self._lines if line.startswith("tailrace: ")]
        said = [line for line in self._lines if line.strip()]
        if marked:
            return f"{self.name}: {marked[-1].removeprefix('tailrace: ')}"
        status = self._process.poll()
        if status is not None and status < 0:
            return f"{self.name} ended with signal {-status}"
        return f"{self.name} ended: {said[-1] if said else 'no reason given'}"

    def stop(self, *, hurry: bool = False) -> list[str]:
        """Its last lines, once it has ended: by itself if the guest is gone, else interrupted.

        ``hurry``: something went wrong, and it may never have had a guest.
        """
        try:
            self._process.wait(_SOON if hurry else _END)
        except subprocess.TimeoutExpired:
            stop(self._process, signal.SIGINT)
        finally:
            stop(self._process, signal.SIGTERM)
            self._reader.join()
            assert self._process.stdout is not None
            self._process.stdout.close()
        return self._lines

    @property
    def failed(self) -> bool:
        """It has ended, and not as it should."""
        return self._process.poll() not in (None, 0, INTERRUPTED)
