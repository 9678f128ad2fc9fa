"""Starts the process of a fast simulation, and sees to its end."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

__all__ = ["HELD", "INTERRUPTED", "LOG", "hold_signals", "launch"]

#: Signals that end a simulation; a process of one starts with them blocked.
HELD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Exit status of a process that an interrupt has ended, as shells have it.
INTERRUPTED = 130
#: With this in its environment, the process logs there instead of to standard output.
LOG = "TAILRACE_LOG"
#: Seconds that the simulation has to start, on a machine with much to do, to come to the end of its
#: stride and to close its files.
_PATIENCE = 60


def launch(
    arguments: Sequence[str], directory: Path, environment: dict[str, str], log: Path | None
) -> None:
    """Run :mod:`tailrace_sim.fast.process` to its end, whatever happens to this process.

    Parameters
    ----------
    log : where its output goes; None: it is in the foreground, with our terminal, and Ctrl-C is
        its own affair

    Raises
    ------
    RuntimeError
        It ended with another status than 0.
    KeyboardInterrupt
        An interrupt has ended it.
    """
    command = [sys.executable, "-m", "tailrace_sim.fast.process", *arguments]
    with contextlib.ExitStack() as stack:
        output: IO[str] | None = None
        if log is not None:
            output = stack.enter_context(open(log, "w"))
        with _noted() as interrupts:
            child = subprocess.Popen(
                command, cwd=directory, env={**os.environ, **environment},
                stdin=subprocess.DEVNULL if output else None, stdout=output,
                stderr=subprocess.STDOUT if output else None, preexec_fn=hold_signals,
            )  # fmt: skip
            stack.enter_context(_ended(child))
        if output is None:
            stack.enter_context(_passed_on(child))
        if interrupts:
            if interrupts[0] != signal.SIGINT:
                signal.raise_signal(interrupts[0])
            if output is not None:
                raise KeyboardInterrupt
            # It may have come before there was a child to hear it.
            child.send_signal(signal.SIGINT)
        status = child.wait()
    if status == INTERRUPTED:
        raise KeyboardInterrupt
    if status:
        raise RuntimeError(f"exit status {status}")


def hold_signals() -> None:
    """In the child before it starts: a Ctrl-C waits until the child can answer it.

    What comes while Python starts and cocotb is imported would end it with a crash or with nothing.
    :func:`tailrace_sim.fast.process.main` lets the signals in.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD)


@contextlib.contextmanager
def _noted() -> Iterator[list[int]]:
    """Ctrl-C is noted, to be obeyed later: between a fork and its end nobody could.

    A child would run our handler, and we would not know the child. So it is with the other signals,
    where they have handlers.
    """
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield noted  # signals are the main thread's
        return
    before = {number: signal.getsignal(number) for number in HELD}
    for number, handler in list(before.items()):
        if number == signal.SIGINT or callable(handler):
            signal.signal(number, lambda number, _: noted.append(number))
        else:
            del before[number]
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _ended(child: subprocess.Popen) -> Iterator[None]:
    """The process has ended when this is left: by itself if it can."""
    try:
        yield
    finally:
        if child.poll() is None:
            try:
                # Not the signal of Ctrl-C: a second one of those means at once.
                child.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(_PATIENCE)
            finally:
                child.kill()
                child.wait()


@contextlib.contextmanager
def _passed_on(child: subprocess.Popen) -> Iterator[None]:
    """Ctrl-C is the child's affair: it has it from the terminal, or from us if we alone do."""

    def pass_on(*_: object) -> None:
        if not _at_terminal():
            child.send_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, pass_on)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _at_terminal() -> bool:
    """Whether Ctrl-C at our terminal would reach us, and a child with us."""
    try:
        with open("/dev/tty", "rb", buffering=0) as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False
