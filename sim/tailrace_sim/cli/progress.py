"""A bar that follows a simulation, which is another process."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

__all__ = ["following", "told_how_far"]

#: What is counted unless somebody says otherwise.
_FRAMES = "frames were back"


def _follow(
    path: Path, trace: Path | None, progress: Progress, task: Any, finished: threading.Event
) -> None:
    """Move the bar as the simulation writes how far it is; show its trace above."""
    with open(trace or os.devnull) as lines:
        over = False
        while not over:
            over = finished.wait(0.2)
            with suppress(OSError, ValueError):
                progress.update(task, completed=int(path.read_text()))
            if text := lines.read():
                progress.console.out(text, end="", highlight=False)


@contextmanager
def told_how_far(
    console: Console, total: int, marker: Path | None = None, *, what: str = _FRAMES
) -> Iterator[None]:
    """An interrupt while this is open says how far it came.

    Parameters
    ----------
    total : frames, or what else there is
    marker : where the simulation writes their number; None: there is no simulation yet
    what : is counted
    """
    try:
        yield
    except KeyboardInterrupt:
        back = marker.read_text() if marker is not None and marker.exists() else ""
        note = "" if back else "; the driver was not up yet"
        console.print(f"{back or 0} of {total} {what}{note}")
        raise


@contextmanager
def following(
    console: Console, marker: Path, total: int, trace: Path | None = None, *,
    doing: str = "replaying", what: str = _FRAMES,
) -> Iterator[None]:  # fmt: skip
    """Show a bar while this is open; an interrupt says how far it came.

    Parameters
    ----------
    marker : where the simulation writes its progress
    total : frames, or what else there is
    trace : file whose lines are shown as they come
    doing, what : is done, and is counted
    """
    if trace is not None:
        trace.write_text("")
    marker.unlink(missing_ok=True)
    finished = threading.Event()
    columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=total)
        follower = threading.Thread(target=_follow, args=(marker, trace, progress, task, finished))
        follower.start()
        try:
            with told_how_far(console, total, marker, what=what):
                yield
        finally:
            finished.set()
            follower.join()
