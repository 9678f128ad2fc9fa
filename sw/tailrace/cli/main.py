"""Entry point of ``./tailrace``: collects the verbs and turns errors into one clear line.

Verbs are entry points of the group ``tailrace.verbs``: the driver package knows nothing of the
gateware or the simulator, yet their commands appear here beside its own.
"""

import sys
import warnings
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, cast

from tailrace.cli.errors import UserError
from tailrace.cli.signals import held, signal_ends

if TYPE_CHECKING:
    import typer

__all__ = ["main"]

#: Exit code after a signal, as shells have it, without the signal's number; and after Ctrl-C.
_SIGNALLED = 128
_INTERRUPTED = 130
#: Order in ``--help``: the main job first.
_ORDER = [
    "demo", "shell", "serve", "plug", "linux", "crypto", "test", "bench", "info", "verilog",
    "synth", "board", "regs",
]  # fmt: skip

#: Options whose value may be left out, which Typer has not: the value that they have then.
_BARE = {"--waves": "all"}


def _arguments(given: list[str]) -> list[str]:
    """Arguments with those values written out."""
    arguments = []
    for index, argument in enumerate(given):
        arguments.append(argument)
        if argument in _BARE and (given[index + 1 :] or ["-"])[0].startswith("-"):
            arguments.append(_BARE[argument])
    return arguments


def _rank(entry: EntryPoint) -> tuple[int, str]:
    known = entry.name in _ORDER
    return (_ORDER.index(entry.name) if known else len(_ORDER), entry.name)


def _application() -> "typer.Typer":
    import typer
    from typer.core import TyperGroup

    entries = sorted(entry_points(group="tailrace.verbs"), key=_rank)
    # Loading a verb may load a simulator: only the one that is asked for, if any.
    asked = [entry for entry in entries if entry.name in sys.argv[1:2]] or entries

    class InOrder(TyperGroup):
        """Typer puts verbs that have verbs of their own behind all others."""

        def list_commands(self, ctx: Any) -> list[str]:
            return [entry.name for entry in asked]

    app = typer.Typer(
        cls=InOrder,
        help="Tailrace, an open data processing unit: run it, test it, generate it.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    for entry in asked:
        verb = entry.load()
        if isinstance(verb, typer.Typer):
            app.add_typer(verb, name=entry.name)
        else:
            app.command(entry.name)(verb)

    @app.callback()
    def root() -> None:
        """Tailrace, an open data processing unit: run it, test it, generate it."""

    return app


def _complain(message: str) -> None:
    print(f"tailrace: {' '.join(message.split())}", file=sys.stderr)


def main() -> None:
    """Run the command line; exit code 0 only if the verb did what it was asked."""
    with signal_ends() as ended:
        status = _status()
    if status == _INTERRUPTED:
        # What was cut off half made is not worth a warning.
        warnings.simplefilter("ignore")
        _complain("interrupted" if ended.by is None else f"ended by {ended.by.name}")
        if ended.by is not None:
            status = _SIGNALLED + ended.by
    sys.exit(status)


def _status() -> int:
    """The exit code; what is to be said has been said, but of an interrupt."""
    try:
        with held():
            import typer

            # Typer brings its own click or uses the one installed, so its exceptions are found
            # through the one that it exports.
            click_exception = cast(type[Exception], typer.BadParameter.__mro__[2])
            command = typer.main.get_command(_application())
        # Typer turns an interrupt into an exit code.
        status = command.main(
            _arguments(sys.argv[1:]), prog_name="./tailrace", standalone_mode=False
        )
    except KeyboardInterrupt:
        return _INTERRUPTED
    except UserError as error:
        _complain(str(error))
        return 1
    except OSError as error:
        # A full disk, a folder of somebody else: nothing a verb can do about it.
        _complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return 1
    except click_exception as error:
        context: Any = getattr(error, "ctx", None)
        path = context.command_path if context else "./tailrace"
        message = cast(Any, error).format_message()
        # Without a verb the help has been shown, and there is nothing to complain of.
        if message:
            _complain(f"{message.rstrip('.')}; see {path} --help")
        return 2
    except typer.Abort:
        return _INTERRUPTED
    return status if isinstance(status, int) else 0


if __name__ == "__main__":
    main()
