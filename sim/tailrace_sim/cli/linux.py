"""``./tailrace linux``: a Linux guest with the device in its PCIe slot."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

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
)
from tailrace_sim.cli.terminal import make_console
from tailrace_sim.fast.network.address import FORMS, check_peer, try_peer
from tailrace_sim.linux.guest import check_memory
from tailrace_sim.linux.images import prepare
from tailrace_sim.linux.session import Outcome, Session, SessionOptions
from tailrace_sim.look import Look
from tailrace_sim.run import own_run, pick_seed

__all__ = ["find_script", "linux", "scripts"]

_SCRIPTS = Path(__file__).resolve().parents[1] / "linux" / "scripts"
_PEERS = ("guest", "dpu", "none")
_RINGS = ("packed", "split")
_MOST_CPUS = 16
#: Seconds that scripts have if nobody says.
_TIME_OUT = 1800.0


def scripts() -> dict[str, Path]:
    """Our own scripts by name."""
    return {path.stem: path for path in sorted(_SCRIPTS.glob("*.sh"))}


def find_script(name: str) -> tuple[str, str]:
    """Name and text of a script: a file, or one of ours.

    Raises
    ------
    UserError
        There is no such script, or it is no text.
    """
    path = Path(name)
    if not path.is_file():
        known = scripts()
        if name not in known:
            raise UserError(f"--run {name}: no such file or script; ours are {', '.join(known)}")
        path = known[name]
    try:
        return path.stem, path.read_text()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no text: {error}") from error


def _read(names: Sequence[str]) -> dict[str, str]:
    """Text of the scripts by name; one that comes twice gets a number."""
    texts: dict[str, str] = {}
    for given in names:
        name, text = find_script(given)
        count = 1
        unique = name
        while unique in texts:
            count += 1
            unique = f"{name}-{count}"
        texts[unique] = text
    return texts


def _check(peer: str, cpus: int, rings: str, time_out: float | None) -> None:
    if peer not in _PEERS:
        try:
            check_peer(peer)
        except UserError:
            raise UserError(
                f"--peer must be {', '.join(_PEERS)}, or {FORMS}, not {peer!r}"
            ) from None
    if rings not in _RINGS:
        raise UserError(f"--rings must be {' or '.join(_RINGS)}, not {rings!r}")
    if not 1 <= cpus <= _MOST_CPUS:
        raise UserError(f"--cpus must be 1 to {_MOST_CPUS}, not {cpus}")
    if time_out is not None and not time_out > 0:
        raise UserError(f"--time-out must be above 0, not {time_out:g}")


def _look_options(look: Look) -> list[str]:
    """The same for ``plug``; a trace goes to a file, for the terminal is the guest's."""
    options = []
    if look.waves is not None:
        first, last = look.waves
        options.append(f"--waves={first}:{'' if last is None else last}")
    if look.trace:
        options.append(f"--trace={','.join(look.trace)}")
        options.append(f"--trace-file={look.trace_file or Path('out/linux/trace.txt').absolute()}")
    if look.profile:
        options.append("--profile")
    return options


def _report(console: Console, outcome: Outcome) -> None:
    for name, lines in outcome.summaries.items():
        # One that was interrupted before it had begun has nothing to say.
        console.print(f"[bold]{name}[/]{'' if lines else ' had not begun'}")
        for line in lines:
            console.out(line, highlight=False)
    for name, status in outcome.statuses.items():
        console.print(f"{name}: {'passed' if status == 0 else f'failed with status {status}'}")


def linux(
    run: Annotated[
        list[str] | None,
        typer.Option(
            "--run", metavar="SCRIPT",
            help="Run this shell script in the guest and end; a file, or the name of one of ours.",
        ),
    ] = None,
    peer: Annotated[
        str,
        typer.Option(
            "--peer",
            help=f"At the other end of the wire: guest (a second Linux with an ordinary NIC), dpu "
            f"(one with a device of its own), none, {FORMS}.",
        ),
    ] = "guest",
    rings: Annotated[
        str, typer.Option("--rings", help="What the device offers: packed or split.")
    ] = "packed",
    cpus: Annotated[int, typer.Option("--cpus", help="Of the guest.")] = 1,
    memory: Annotated[int, typer.Option("--memory", metavar="MIB", help="Of the guest.")] = 512,
    time_out: Annotated[
        float | None,
        typer.Option(
            "--time-out", metavar="SECONDS",
            help=f"End everything after so long; {_TIME_OUT:.0f} with --run.",
        ),
    ] = None,
    width: WidthOption = None,
    config: ConfigOption = None,
    waves: WavesOption = None,
    trace: TraceOption = None,
    trace_file: TraceFileOption = None,
    profile: ProfileOption = False,
    seed: SeedOption = None,
) -> None:
    """Boot Linux with the device in its slot: its own driver, our hardware."""
    check_fast("linux")
    _check(peer, cpus, rings, time_out)
    memory = check_memory(memory)
    texts = _read(run or [])
    if texts and time_out is None:
        time_out = _TIME_OUT
    settings = load_config(config, width, cipher=False)
    look = make_look(waves, trace, trace_file, profile, {"the configuration": config})
    console = make_console()
    if not texts and not console.is_terminal:
        raise UserError("a guest with a shell needs a terminal; give --run SCRIPT")
    if peer not in _PEERS:
        # Better now than behind the minutes of a build.
        try_peer(peer)
    images = prepare(console)
    build_for_user(settings, console, waves=look.waves is not None, profile=look.profile)
    plug = [f"--seed={pick_seed() if seed is None else seed}", *_look_options(look)]
    shape = [] if width is None else [f"--width={width}"]
    shape += [] if config is None else [f"--config={config}"]
    options = SessionOptions(
        scripts=texts, peer=peer, cpus=cpus, memory=memory, rings=rings, time_out=time_out,
        plug=plug, config=shape,
    )  # fmt: skip
    console.print(
        f"Linux {images.release} in QEMU {images.version}, "
        f"{'Ctrl-A X ends it at once' if not texts else ', '.join(texts)}"
    )
    with own_run("linux") as name:
        directory = build_root() / "run" / name
        session = Session(
            images, options, directory, lambda line: console.out(line, highlight=False)
        )
        try:
            outcome = session.run()
        finally:
            _report(console, session.outcome)
    if outcome.problem is not None:
        raise UserError(f"{outcome.problem}; logs are in {directory}")
    failed = [script for script, status in outcome.statuses.items() if status]
    if failed:
        raise UserError(f"failed: {', '.join(failed)}; logs are in {directory}")
