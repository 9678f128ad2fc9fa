"""What the verbs print on and write to."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tailrace.cli.errors import UserError

__all__ = ["check_apart", "check_writable", "make_console", "print_rows", "working", "writing"]

#: Of output that is no terminal: scripts read lines, so none is broken.
_UNBROKEN = 1000


def make_console(*, stderr: bool = False) -> Console:
    """A console that breaks lines at the terminal's width, and not at all where there is none."""
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=_UNBROKEN)


def working(console: Console, what: str) -> AbstractContextManager[object]:
    """Says what takes so long: a moving line on a terminal, else one that stays."""
    if console.is_terminal:
        return console.status(what)
    console.print(what)
    return nullcontext()


def print_rows(console: Console, rows: Iterable[tuple[str, object]]) -> None:
    """Names and values, a line each."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in rows:
        table.add_row(name, str(value))
    console.print(table)


def check_apart(written: Path, option: str, others: Mapping[str, Path | None]) -> None:
    """What is written must not take the place of what is read, nor of something else written.

    Parameters
    ----------
    option : names ``written``
    others : files by what they are, as "the input"; None: there is none

    Raises
    ------
    UserError
        Two are one file, whatever their names are.
    """
    for what, other in others.items():
        if other is None:
            continue
        there = written.exists() and other.exists()
        if written.samefile(other) if there else written.resolve() == other.resolve():
            raise UserError(f"{written} is {what} too; choose another file with {option}")


def check_writable(path: Path) -> None:
    """Make the file and its folder, if need be, before minutes are spent on what goes into it.

    Raises
    ------
    UserError
        It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}") from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Name the file, which the system does not do for a disk that is full.

    Raises
    ------
    UserError
        Something in here could not be written.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
