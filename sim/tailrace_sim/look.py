"""What a user wants to see of a simulation: waves, transactions, where the time goes.

The verbs have options for it; any other run takes it from the environment, so that a test that
fails can be looked at as it is: ``TAILRACE_TRACE=pcie,frames ./tailrace test system``.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from tailrace.cli.errors import UserError

__all__ = ["TRACES", "Look", "parse_trace", "parse_window"]

#: Kinds of transactions that a trace can have.
TRACES = ("pcie", "frames", "errors")
_WAVES, _TRACE, _FILE, _PROFILE = (
    "TAILRACE_WAVES", "TAILRACE_TRACE", "TAILRACE_TRACE_FILE", "TAILRACE_PROFILE",
)  # fmt: skip
_ALL = "all"


def parse_window(text: str, what: str = "--waves") -> tuple[int, int | None]:
    """First cycle and the one behind the last of ``FROM:TO``; either may be left out.

    Raises
    ------
    UserError
        It is none; ``what`` says where it was asked for.
    """
    if text == _ALL:
        return 0, None
    first, colon, last = text.partition(":")
    wrong = UserError(
        f"{what} must be FROM:TO in clock cycles, as 1000:2000, or {_ALL}, not {text!r}"
    )
    if not colon or not all(part == "" or part.isdecimal() for part in (first, last)):
        raise wrong
    window = int(first or 0), int(last) if last else None
    if window[1] is not None and window[1] <= window[0]:
        raise UserError(f"{what} {text} is empty: TO must be above FROM")
    return window


def parse_trace(text: str, what: str = "--trace") -> tuple[str, ...]:
    """Kinds of transactions, from a list with commas.

    Raises
    ------
    UserError
        There is no such kind.
    """
    kinds = tuple(kind.strip() for kind in text.split(","))
    for kind in kinds:
        if kind not in TRACES:
            raise UserError(f"{what}: no kind {kind!r}; there are {', '.join(TRACES)}")
    return kinds


@dataclass(frozen=True)
class Look:
    """What to show of a run on the fast backend.

    Attributes
    ----------
    waves : cycles of the core's clock to write FST of, in ``waves.fst`` of the run's directory:
        first, and the one behind the last (None: to the end)
    trace : kinds of :data:`TRACES`
    trace_file : where the trace goes; None: ``trace.txt`` of the run's directory, or standard
        output of a run in the foreground
    profile : leave ``profile.json``, see :mod:`tailrace_sim.profile`
    """

    waves: tuple[int, int | None] | None = None
    trace: tuple[str, ...] = ()
    trace_file: Path | None = None
    profile: bool = False

    def __bool__(self) -> bool:
        return self != Look()

    @classmethod
    def from_environment(cls) -> "Look":
        """As ``TAILRACE_WAVES``, ``_TRACE``, ``_TRACE_FILE`` and ``_PROFILE`` say."""
        waves, trace = os.environ.get(_WAVES), os.environ.get(_TRACE)
        path = os.environ.get(_FILE)
        return cls(
            waves=parse_window(waves, _WAVES) if waves else None,
            trace=parse_trace(trace, _TRACE) if trace else (),
            trace_file=Path(path) if path else None,
            profile=bool(os.environ.get(_PROFILE)),
        )

    def check_backend(self, backend: str) -> None:
        """Whether this can be had of a backend.

        Raises
        ------
        UserError
            It can't.
        """
        wanted = [name for name, on in (("trace", self.trace), ("profile", self.profile)) if on]
        if self.waves not in (None, (0, None)):
            wanted.append("window of waves")
        if backend != "fast" and wanted:
            raise UserError(f"a {' or a '.join(wanted)} needs the fast backend, not {backend}")

    def fitting(self, *, backend: str, waves: bool) -> "Look":
        """This for a model: one with waves writes all of them, if nobody says which.

        Raises
        ------
        UserError
            It can't be had of this model.
        """
        self.check_backend(backend)
        if self.waves is not None and not waves:
            raise UserError("this model was built without waves")
        return replace(self, waves=(0, None)) if waves and self.waves is None else self

    def environment(self) -> dict[str, str]:
        """What :meth:`from_environment` makes this of."""
        first, last = self.waves or (0, None)
        end = "" if last is None else last
        return {
            _WAVES: "" if self.waves is None else f"{first}:{end}",
            _TRACE: ",".join(self.trace),
            _FILE: "" if self.trace_file is None else str(self.trace_file.absolute()),
            _PROFILE: "1" if self.profile else "",
        }
