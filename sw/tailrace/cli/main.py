"""Entry point of ``./tailrace``: collects the verbs and turns errors into one clear line.

Verbs are entry points of the group ``tailrace.verbs``: the driver package knows nothing of the
gateware or the simulator, yet their commands appear here beside its own.
"""

import sys
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

import typer

from tailrace.cli.errors import UserError

__all__ = ["main"]

#: Typer brings its own click or uses the one installed, so its exceptions are found through the one
#: that it exports.
_ClickException = cast(type[Exception], typer.BadParameter.__mro__[2])

#: Exit code after Ctrl-C, as shells have it: 128 and the signal's number.
_INTERRUPTED = 130
#: Order in ``--help``: the main job first.
_ORDER = [
    "demo", "shell", "serve", "plug", "linux", "test", "bench", "info", "verilog", "synth", "board",
    "regs",
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


def _application() -> typer.Typer:
    app = typer.Typer(
        help="Tailrace, an open data processing unit: run it, test it, generate it.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    entries = sorted(entry_points(group="tailrace.verbs"), key=_rank)
    # Loading a verb may load a simulator: only the one that is asked for, if any.
    asked = [entry for entry in entries if entry.name in sys.argv[1:2]]
    for entry in asked or entries:
        app.command(entry.name)(entry.load())

    @app.callback()
    def root() -> None:
        """Tailrace, an open data processing unit: run it, test it, generate it."""

    return app


def _complain(message: str) -> None:
    print(f"tailrace: {' '.join(message.split())}", file=sys.stderr)


def main() -> None:
    """Run the command line; exit code 0 only if the verb did what it was asked."""
    try:
        command = typer.main.get_command(_application())
        status = command.main(
            _arguments(sys.argv[1:]), prog_name="./tailrace", standalone_mode=False
        )
        # Typer turns an interrupt into an exit code.
        if status == _INTERRUPTED:
            _complain("interrupted")
    except UserError as error:
        _complain(str(error))
        sys.exit(1)
    except OSError as error:
        # A full disk, a folder of somebody else: nothing a verb can do about it.
        _complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        sys.exit(1)
    except _ClickException as error:
        context: Any = getattr(error, "ctx", None)
        path = context.command_path if context else "./tailrace"
        message = cast(Any, error).format_message()
        # Without a verb the help has been shown, and there is nothing to complain of.
        if message:
            _complain(f"{message.rstrip('.')}; see {path} --help")
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        _complain("interrupted")
        sys.exit(_INTERRUPTED)
    sys.exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
