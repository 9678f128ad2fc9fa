"""Signals that end a command: heard from its first moment to its last, and told apart."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

__all__ = ["Ended", "held", "signal_ends"]

_ENDS = (signal.SIGTERM, signal.SIGHUP)


@dataclass
class Ended:
    """Which signal it was, if it was not Ctrl-C's."""

    by: signal.Signals | None = None


@contextmanager
def signal_ends() -> Iterator[Ended]:
    """SIGTERM and SIGHUP end what is inside as Ctrl-C does, where nothing else was made of them.

    Raises
    ------
    KeyboardInterrupt
        So it was ended.
    """
    ended = Ended()

    def interrupt(number: int, _: object) -> None:
        ended.by = signal.Signals(number)
        raise KeyboardInterrupt

    free = [number for number in _ENDS if signal.getsignal(number) == signal.SIG_DFL]
    with suppress(ValueError):  # signals are the main thread's
        for number in free:
            signal.signal(number, interrupt)
    try:
        yield ended
    finally:
        with suppress(ValueError):
            for number in free:
                signal.signal(number, signal.SIG_DFL)


@contextmanager
def held() -> Iterator[None]:
    """A signal that would end what is inside does so behind it.

    For what loses an exception: an import may, when it comes in a callback of the interpreter or in
    an extension module.
    """
    noted: list[int] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, *_ENDS)}
    before = {number: handler for number, handler in handlers.items() if callable(handler)}
    with suppress(ValueError):  # signals are the main thread's
        for number in before:
            signal.signal(number, lambda number, _: noted.append(number))
    try:
        yield
    finally:
        with suppress(ValueError):
            for number, handler in before.items():
                signal.signal(number, handler)
        if noted:
            signal.raise_signal(noted[0])
