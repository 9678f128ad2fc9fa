"""Entry point of ``./tailrace``: collects the verbs and turns errors into one clear line.

Verbs are entry points of the group ``tailrace.verbs``: the driver package knows nothing of the
gateware or the simulator, yet their commands appear here beside its own.
"""

import sys
from importlib.metadata import EntryPoint, entry_points

import click
import typer

from tailrace.cli.errors import UserError

__all__ = ["main"]

#: Order in ``--help``: the main job first.
_ORDER = ["demo", "test", "bench", "info", "verilog", "regs"]


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
    for entry in sorted(entry_points(group="tailrace.verbs"), key=_rank):
        app.command(entry.name)(entry.load())

    @app.callback()
    def root() -> None:
        """Tailrace, an open data processing unit: run it, test it, generate it."""

    return app


def _complain(message: str) -> None:
    print(f"tailrace: {' '.join(message.split())}", file=sys.stderr)


def main() -> None:
    """Run the command line; exit code 0 only if the verb did what it was asked."""
    command = typer.main.get_command(_application())
    try:
        status = command.main(prog_name="./tailrace", standalone_mode=False)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "./tailrace"
        _complain(f"{error.format_message()} See: {path} --help")
        sys.exit(2)
    except (UserError, click.ClickException) as error:
        _complain(str(error))
        sys.exit(1)
    except (KeyboardInterrupt, click.Abort):
        _complain("interrupted")
        sys.exit(130)
    sys.exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
