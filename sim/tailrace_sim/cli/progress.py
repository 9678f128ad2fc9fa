"""A bar that follows a simulation, which is another process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

__all__ = ["following"]


def _follow(path: Path, progress: Progress, task: Any, finished: threading.Event) -> None:
    """Move the bar as the simulation writes how many frames are back."""
    over = False
    while not over:
        over = finished.wait(0.2)
        with suppress(OSError, ValueError):
            progress.update(task, completed=int(path.read_text()))


@contextmanager
def following(console: Console, marker: Path, total: int) -> Iterator[None]:
    """Show a bar while this is open; ``marker`` is where the simulation writes its progress."""
    marker.unlink(missing_ok=True)
    finished = threading.Event()
    columns = (TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=total)
        follower = threading.Thread(target=_follow, args=(marker, progress, task, finished))
        follower.start()
        try:
            yield
        finally:
            finished.set()
            follower.join()
