"""``./tailrace verilog`` and ``./tailrace regs``: what is generated from the gateware."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from tailrace.cli.errors import UserError
from tailrace_hw import regs_export
from tailrace_hw.config import Config, ConfigError
from tailrace_hw.emit import write_verilog
from tailrace_hw.verilog import VerilogError
from tailrace_sim.cli.terminal import make_console
from tailrace_sim.device import NO_CIPHER
from tailrace_sim.run import LARGEST_SEED

__all__ = ["ConfigOption", "SeedOption", "WidthOption", "load_config", "regs", "verilog"]

WidthOption = Annotated[
    int | None,
    typer.Option("--width", metavar="BITS", help="Datapath width: 64, 128, 256, 512 or 1024."),
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Configuration, TOML.")
]
SeedOption = Annotated[
    int | None, typer.Option("--seed", min=0, max=LARGEST_SEED, help="Replay a run.")
]


def load_config(path: Path | None, width: int | None, *, cipher: bool = True) -> Config:
    """Configuration from the options that verbs share.

    Without ``cipher`` the device has no cipher engine unless a file asks for it: with it a
    simulation takes several times as long, and these verbs are about something else.

    Raises
    ------
    UserError
        It can't be read or can't be built.
    """
    overrides: dict[str, Any] = {} if width is None else {"width": width}
    try:
        if path is not None:
            return Config.from_toml(path, **overrides)
        if not cipher:
            overrides["jobs"] = dataclasses.asdict(NO_CIPHER)
        return Config.from_dict(overrides)
    except ConfigError as error:
        raise UserError(str(error)) from error


def verilog(
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Where to write.")
    ] = Path("out/verilog"),
    width: WidthOption = None,
    config: ConfigOption = None,
) -> None:
    """Generate the Verilog of the device with its filelist."""
    console = make_console(stderr=True)
    settings = load_config(config, width)
    try:
        with console.status("elaborating the device"):
            files = write_verilog(settings, output)
    except OSError as error:
        raise UserError(f"{output}: {error.strerror}") from error
    except VerilogError as error:
        raise UserError(str(error)) from error
    for path in files:
        print(path)


def regs(
    check: Annotated[
        bool, typer.Option("--check", help="Only say what is out of date; exit code 1 if any.")
    ] = False,
) -> None:
    """Generate driver constants, C headers and register pages from SystemRDL."""
    if check:
        stale = regs_export.stale()
        if stale:
            names = ", ".join(str(path) for path in stale)
            raise UserError(f"out of date: {names}; run: ./tailrace regs")
        print("register files are up to date")
        return
    changed = regs_export.write()
    for path in changed:
        print(path)
    print(f"{len(changed)} files changed")
