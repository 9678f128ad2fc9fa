"""``./tailrace serve``: the device on a network, with a host behind it that answers."""

import ipaddress
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from tailrace.cli.errors import UserError
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
from tailrace_sim.cli.terminal import make_console, print_rows
from tailrace_sim.fast.network.address import FORMS, check_peer, try_peer
from tailrace_sim.fast.pacer import check_realtime
from tailrace_sim.run import SimulationError, own_run, pick_seed, run

__all__ = ["serve"]


def _address(text: str) -> str:
    """The host's own address out of ADDRESS or ADDRESS/PREFIX."""
    try:
        return str(ipaddress.IPv4Interface(text).ip)
    except ValueError:
        raise UserError(f"--address must be an IPv4 address like 10.0.0.2, not {text!r}") from None


@contextmanager
def _summary(peer: str, told: Path | None = None) -> Iterator[None]:
    """An interrupt while this is open is told of, if the simulation has not done so itself.

    Parameters
    ----------
    peer : of the port
    told : there if it has; None: there is no simulation yet
    """
    start = time.monotonic()
    try:
        yield
    except KeyboardInterrupt:
        if told is None or not told.exists():
            when = "while the device was built" if told is None else "before the simulation ran"
            rows = [
                ("time", f"{time.monotonic() - start:.1f} s, simulated 0.000 ms"),
                ("interrupted", when),
                ("wire", f"no frame in or out; {peer} was not open"),
            ]
            print_rows(make_console(), rows)
        raise


def serve(
    port0: Annotated[str, typer.Option("--port0", metavar="PEER", help=f"What is there: {FORMS}.")],
    address: Annotated[
        str, typer.Option("--address", help="IPv4 address that the host answers ARP and ping for.")
    ] = "10.0.0.2/24",
    echo: Annotated[
        bool, typer.Option("--echo", help="The host sends every frame back instead.")
    ] = False,
    realtime: Annotated[
        float | None,
        typer.Option("--realtime", metavar="F", help="Simulated seconds in a second, at most."),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option("--seconds", help="End by itself after so long.")
    ] = None,
    width: WidthOption = None,
    config: ConfigOption = None,
    waves: WavesOption = None,
    trace: TraceOption = None,
    trace_file: TraceFileOption = None,
    profile: ProfileOption = False,
    seed: SeedOption = None,
) -> None:
    """Run the device as a network device until interrupted."""
    check_fast("serve")
    check_peer(port0)
    host = _address(address)
    if realtime is not None:
        check_realtime(realtime)
    if seconds is not None and not seconds > 0:
        raise UserError(f"--seconds must be above 0, not {seconds:g}")
    settings = load_config(config, width, cipher=False)
    look = make_look(waves, trace, trace_file, profile, {"the configuration": config})
    # Better now than behind the minutes of a build.
    try_peer(port0)
    console = make_console(stderr=True)
    with _summary(port0):
        model = build_for_user(
            settings, console, waves=look.waves is not None, profile=look.profile
        )
    with own_run("serve") as name:
        directory = build_root() / "run" / name
        complaint, summary = directory / "complaint", directory / "summary"
        for path in (complaint, summary):
            path.unlink(missing_ok=True)
        parameters = {
            "config": settings.to_dict(), "peer": port0, "address": host, "echo": echo,
            "realtime": realtime, "seconds": seconds, "cwd": str(Path.cwd()),
            "told": str(summary),
        }  # fmt: skip
        try:
            with _summary(port0, summary):
                run(
                    model, "tailrace_sim.serve_run", name=name, tests=["serve"],
                    parameters=parameters, seed=pick_seed() if seed is None else seed, look=look,
                    foreground=True,
                )  # fmt: skip
        except SimulationError as error:
            raise UserError(str(error)) from error
        finally:
            report_look(look, directory, None, model, settings, make_console())
        if complaint.exists():
            raise UserError(complaint.read_text())
