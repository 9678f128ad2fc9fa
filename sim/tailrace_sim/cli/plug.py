"""``./tailrace plug``: the device in the slot of another program, as QEMU."""

from pathlib import Path
from typing import Annotated

import typer

from tailrace.cli.errors import UserError
from tailrace_hw.top import identities
from tailrace_sim.build import build_root
from tailrace_sim.cli.building import build_for_user, check_fast
from tailrace_sim.cli.generate import ConfigOption, SeedOption, WidthOption, load_config
from tailrace_sim.cli.looking import (
    ProfileOption,
    TraceFileOption,
    TraceOption,
    WavesOption,
    make_look,
    report_look,
)
from tailrace_sim.cli.terminal import make_console
from tailrace_sim.fast.network.address import FORMS, check_peer, try_peer
from tailrace_sim.fast.pacer import check_realtime
from tailrace_sim.fast.vfio.client import PATIENCE
from tailrace_sim.fast.vfio.sockets import check_socket
from tailrace_sim.run import SimulationError, own_run, pick_seed, run

__all__ = ["plug"]


def _sockets(texts: list[str], functions: int) -> dict[int, str]:
    """Path by function number."""
    sockets: dict[int, str] = {}
    for text in texts:
        number, equals, path = text.partition("=")
        if not equals or not path or not (number.isascii() and number.isdigit()):
            raise UserError(f"--function must be NUMBER=SOCKET, as 1=/tmp/dpu, not {text!r}")
        if int(number) >= functions:
            raise UserError(
                f"--function {text}: the device has functions 0 to {functions - 1}; 0 is management"
            )
        absolute = str(Path(path).absolute())
        if int(number) in sockets or absolute in sockets.values():
            raise UserError(f"--function {text}: one socket a function, and one function a socket")
        sockets[int(number)] = absolute
    for path in sockets.values():
        check_socket(Path(path))
    return sockets


def _control(text: str, sockets: dict[int, str]) -> str:
    """Path of the control socket."""
    path = str(Path(text).absolute())
    if path in sockets.values():
        raise UserError(f"--control {text}: a function has this socket; choose another path")
    check_socket(Path(path))
    return path


def plug(
    function: Annotated[
        list[str],
        typer.Option("--function", metavar="N=SOCKET", help="Function N listens at this path."),
    ],
    port0: Annotated[
        str | None, typer.Option("--port0", metavar="PEER", help=f"What is there: {FORMS}.")
    ] = None,
    control: Annotated[
        str | None,
        typer.Option(
            "--control", metavar="SOCKET",
            help="Take orders at this path, a datagram each: link down, link up.",
        ),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="End when every client that came has gone.")
    ] = False,
    realtime: Annotated[
        float | None,
        typer.Option("--realtime", metavar="F", help="Simulated seconds in a second, at most."),
    ] = None,
    patience: Annotated[
        float,
        typer.Option(
            "--patience", metavar="SECONDS",
            help="That a read of a client may take until it gets all ones. QEMU's own is "
            "x-msg-timeout, 5 s if it is not told otherwise: this has to be less.",
        ),
    ] = PATIENCE,
    width: WidthOption = None,
    config: ConfigOption = None,
    waves: WavesOption = None,
    trace: TraceOption = None,
    trace_file: TraceFileOption = None,
    profile: ProfileOption = False,
    seed: SeedOption = None,
) -> None:
    """Put the device into a slot of another program, as QEMU's vfio-user-pci."""
    check_fast("plug")
    if port0 is not None:
        check_peer(port0)
    if realtime is not None:
        check_realtime(realtime)
    if not patience > 0:
        raise UserError(f"--patience must be above 0, not {patience:g}")
    settings = load_config(config, width, cipher=False)
    sockets = _sockets(function, len(identities(settings)))
    orders = None if control is None else _control(control, sockets)
    look = make_look(waves, trace, trace_file, profile, {"the configuration": config})
    if port0 is not None:
        # Better now than behind the minutes of a build.
        try_peer(port0)
    model = build_for_user(
        settings, make_console(stderr=True), waves=look.waves is not None, profile=look.profile
    )
    with own_run("plug") as name:
        directory = build_root() / "run" / name
        complaint = directory / "complaint"
        complaint.unlink(missing_ok=True)
        parameters = {
            "config": settings.to_dict(), "peer": port0, "functions": sockets,
            "control": orders, "once": once, "realtime": realtime, "patience": patience,
            "cwd": str(Path.cwd()),
        }  # fmt: skip
        try:
            run(
                model, "tailrace_sim.plug_run", name=name, tests=["plug"], parameters=parameters,
                seed=pick_seed() if seed is None else seed, look=look, foreground=True,
            )  # fmt: skip
        except SimulationError as error:
            raise UserError(str(error)) from error
        finally:
            report_look(look, directory, None, model, settings, make_console())
        if complaint.exists():
            raise UserError(complaint.read_text())
