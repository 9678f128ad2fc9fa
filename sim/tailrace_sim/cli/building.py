"""A device for a verb that has a user in front of it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from rich.console import Console

from tailrace.cli.errors import UserError
from tailrace_hw.config import Config
from tailrace_sim.build import BuildError, Model, announcing
from tailrace_sim.cli.terminal import working
from tailrace_sim.device import build_device, default_backend

__all__ = ["build_for_user", "check_fast"]

_TEXT = "building the device (Verilog, then Verilator; some minutes, once)"


@contextmanager
def _saying_so(console: Console) -> Iterator[None]:
    """From the moment on in which there is something to build."""
    with ExitStack() as stack:
        said = False

        def say() -> None:
            nonlocal said
            if not said:
                said = True
                stack.enter_context(working(console, _TEXT))

        with announcing(say):
            yield


def build_for_user(
    config: Config,
    console: Console,
    *,
    waves: bool = False,
    profile: bool = False,
    backend: str | None = None,
) -> Model:
    """The device, see :func:`build_device`; says that it builds if it does.

    Raises
    ------
    UserError
        It cannot be built.
    """
    try:
        with _saying_so(console):
            return build_device(config, waves=waves, profile=profile, backend=backend)
    except BuildError as error:
        raise UserError(str(error)) from error


def check_fast(verb: str) -> None:
    """Refuse a verb that another backend is asked for with.

    Raises
    ------
    UserError
        So it is.
    """
    if default_backend() != "fast":
        raise UserError(f"{verb} runs on the fast backend only; unset TAILRACE_BACKEND")
