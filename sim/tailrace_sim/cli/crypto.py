"""``./tailrace crypto``: the cipher engine's self-test, and files through it."""

import json
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

from tailrace.cli.errors import UserError
from tailrace.crypto.cipher import Fault
from tailrace.regs.codes import ErrorCode
from tailrace_hw.config import Config
from tailrace_sim.build import Model, build_root
from tailrace_sim.cli.bench import FIGURES, FiguresOption, PageOption
from tailrace_sim.cli.bench import bench as run_bench
from tailrace_sim.cli.building import build_for_user
from tailrace_sim.cli.crypto_files import (
    MAX_FILE,
    SUFFIX,
    look_at,
    new_file,
    read_key,
    sealed_name,
    unsealed_name,
)
from tailrace_sim.cli.generate import ConfigOption, SeedOption, WidthOption, load_config
from tailrace_sim.cli.looking import (
    TraceFileOption,
    TraceOption,
    WavesOption,
    make_look,
    report_look,
)
from tailrace_sim.cli.progress import following, told_how_far
from tailrace_sim.cli.terminal import check_apart, make_console, print_rows, working
from tailrace_sim.device import check_backend, default_backend
from tailrace_sim.look import Look
from tailrace_sim.run import TRACE, SimulationError, own_run, pick_seed, run

__all__ = ["crypto"]

crypto = typer.Typer(
    help="Use the cipher engine: its self-test, files, its benchmark.", no_args_is_help=True
)

BackendOption = Annotated[
    str | None, typer.Option("--backend", help="fast (default) or cocotb.")
]
KeyFileOption = Annotated[
    Path | None,
    typer.Option("--key-file", metavar="FILE", help="Has the key: bytes, or hex digits."),
]
KeyOption = Annotated[
    str | None,
    typer.Option("--key", metavar="HEX", help="The key itself; other users can see it in ps."),
]
FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help=f"At most {MAX_FILE >> 20} MiB.")
]


class _Device(NamedTuple):
    """What a subcommand simulates, and where it prints."""

    config: Config
    backend: str
    seed: int
    look: Look
    console: Console


def _device(
    width: int | None, config: Path | None, backend: str | None, seed: int | None, look: Look
) -> _Device:
    """From the options that the subcommands share.

    Raises
    ------
    UserError
        One of them is wrong, or there is no cipher engine.
    """
    chosen = default_backend() if backend is None else check_backend(backend)
    look.check_backend(chosen)
    settings = load_config(config, width)
    if not settings.jobs.keys:
        raise UserError(
            f"{config} is a device without cipher engine: give it keys = 1024 below [jobs]"
        )
    return _Device(settings, chosen, pick_seed() if seed is None else seed, look, make_console())


def _build(device: _Device) -> Model:
    waves = device.look.waves is not None
    return build_for_user(device.config, device.console, waves=waves, backend=device.backend)


def _run(device: _Device, model: Model, test: str, work: Path, **parameters: Any) -> dict[str, Any]:
    """What a test of :mod:`tailrace_sim.crypto_run` leaves."""
    try:
        result = run(
            model,
            "tailrace_sim.crypto_run",
            name=work.name,
            tests=[test],
            parameters={"config": device.config.to_dict(), "work": str(work), **parameters},
            seed=device.seed,
            look=device.look,
        )
    except SimulationError as error:
        raise UserError(str(error)) from error
    report_look(device.look, result.directory, None, model, device.config, device.console)
    outcome: dict[str, Any] = json.loads((work / "outcome.json").read_text())
    return outcome


def _work(name: str) -> Path:
    """Folder of a run, for what is in it before."""
    work = build_root() / "run" / name
    work.mkdir(parents=True, exist_ok=True)
    return work


# Self-test ---------------------------------------------------------------------------------------


def _selftest_rows(outcome: dict[str, Any]) -> list[tuple[list[str], bool]]:
    """For each run of the self-test, what the table says and whether it is as it must be."""
    rows = []
    for done in outcome["runs"]:
        fault = done["fault"]
        right = (done["passed"], done["job"]) == ((True, "OK") if fault is None else
                                                  (False, "SELF_TEST"))  # fmt: skip
        rows.append((
            [
                "none" if fault is None else fault.replace("_", " ").lower(),
                "passed" if done["passed"] else "failed",
                str(done["cycles"]),
                done["job"],
                "yes" if right else "[bold red]no[/]",
            ],
            right,
        ))  # fmt: skip
    return rows


def _selftest_wrong(outcome: dict[str, Any]) -> list[str]:
    """What is not as it must be."""
    wrong = [f"run {n}" for n, (_, right) in enumerate(_selftest_rows(outcome), 1) if not right]
    runs = [done["fault"] for done in outcome["runs"]]
    if runs != [None, *(fault.name for fault in Fault), None]:
        wrong.append("a run is missing")
    if outcome["refused"] != len(Fault):
        wrong.append(f"{outcome['refused']} jobs counted as refused in place of {len(Fault)}")
    # That a test has failed is told to whoever reads the error collector, and it is all there is.
    errors = dict(outcome["errors"])
    if errors.pop(ErrorCode.CIPHER_SELF_TEST.name, None) is None:
        wrong.append("the error collector was not told that a test has failed")
    return wrong + list(errors.values())


@crypto.command()
def selftest(
    width: WidthOption = None,
    config: ConfigOption = None,
    waves: WavesOption = None,
    trace: TraceOption = None,
    trace_file: TraceFileOption = None,
    backend: BackendOption = None,
    seed: SeedOption = None,
) -> None:
    """Run the known-answer test, with a fault of each kind in the engine, and once more."""
    look = make_look(waves, trace, trace_file, False, {"the configuration": config})
    device = _device(width, config, backend, seed, look)
    model = _build(device)
    with own_run("crypto-selftest") as name, working(device.console, "asking the engine"):
        outcome = _run(device, model, "selftest", _work(name))
    table = Table("fault", "self-test", "cycles", "a job then", "as it must be")
    for row, _ in _selftest_rows(outcome):
        table.add_row(*row)
    device.console.print(table)
    wrong = _selftest_wrong(outcome)
    if wrong:
        raise UserError(f"the self-test is not as it must be: {'; '.join(wrong)}")
    device.console.print(
        f"passed; {len(Fault)} faults were found, and jobs were refused until it passed again"
    )


# Files -------------------------------------------------------------------------------------------


def _files(
    file: Path, key_file: Path | None, config: Path | None, output: Path
) -> dict[str, Path | None]:
    """What a trace must not overwrite.

    Raises
    ------
    UserError
        The output would: a key that is gone opens nothing any more.
    """
    read = {"the input": file, "the key file": key_file, "the configuration": config}
    check_apart(output, "-o", read)
    return {**read, "the output": output}


def _file(device: _Device, file: Path, output: Path, key: bytes, *, encrypts: bool) -> None:
    """Seal or open a file, all checked but what only the engine can say."""
    size, chunks = look_at(file, encrypts=encrypts)
    verb, doing, what = (
        ("encrypt", "sealing", "chunks were sealed") if encrypts else
        ("decrypt", "opening", "chunks were opened")
    )  # fmt: skip
    with new_file(output) as part:
        with told_how_far(device.console, chunks, what=what):
            model = _build(device)
        with own_run(f"crypto-{verb}") as name:
            work = _work(name)
            shown = work / TRACE if device.look.trace and device.look.trace_file is None else None
            with following(
                device.console, work / "progress", chunks, shown, doing=doing, what=what
            ):
                outcome = _run(
                    device, model, verb, work,
                    source=str(file.resolve()), sink=str(part), key=key.hex(),
                )  # fmt: skip
        if outcome["complaint"]:
            raise UserError(f"{file}: {outcome['complaint']}")
        if outcome["errors"]:
            reasons = "; ".join(outcome["errors"].values())
            raise UserError(f"the device reported an error: {reasons}")
        written = part.stat().st_size
    rate = size / max(outcome["cycles"], 1)
    print_rows(device.console, [
        ("bytes in, out", f"{file.stat().st_size}, {written}"),
        ("chunks", str(chunks)),
        ("key", f"AES-{8 * len(key)}, deleted again"),
        ("core clock cycles", str(outcome["cycles"])),
        ("bytes per cycle", f"{rate:.2f}"),
        (f"Gb/s at {device.config.clock_hz / 1e6:g} MHz",
         f"{8 * rate * device.config.clock_hz / 1e9:.2f}"),
        ("output", str(output)),
    ])  # fmt: skip


@crypto.command()
def encrypt(
    file: FileArgument,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help=f"Default: FILE{SUFFIX}."),
    ] = None,
    key_file: KeyFileOption = None,
    key: KeyOption = None,
    width: WidthOption = None,
    config: ConfigOption = None,
    waves: WavesOption = None,
    trace: TraceOption = None,
    trace_file: TraceFileOption = None,
    backend: BackendOption = None,
    seed: SeedOption = None,
) -> None:
    """Seal a file with AES-GCM in the simulated device, chunk by chunk."""
    material = read_key(key, key_file)
    output = sealed_name(file) if output is None else output
    look = make_look(waves, trace, trace_file, False, _files(file, key_file, config, output))
    device = _device(width, config, backend, seed, look)
    _file(device, file, output, material, encrypts=True)


@crypto.command()
def decrypt(
    file: FileArgument,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help=f"Default: FILE without {SUFFIX}."),
    ] = None,
    key_file: KeyFileOption = None,
    key: KeyOption = None,
    width: WidthOption = None,
    config: ConfigOption = None,
    waves: WavesOption = None,
    trace: TraceOption = None,
    trace_file: TraceFileOption = None,
    backend: BackendOption = None,
    seed: SeedOption = None,
) -> None:
    """Open a sealed file; one that is damaged, or another key's, leaves no output."""
    material = read_key(key, key_file)
    output = unsealed_name(file) if output is None else output
    look = make_look(waves, trace, trace_file, False, _files(file, key_file, config, output))
    device = _device(width, config, backend, seed, look)
    _file(device, file, output, material, encrypts=False)


# Benchmark ---------------------------------------------------------------------------------------


@crypto.command()
def bench(output: FiguresOption = FIGURES, page_file: PageOption = None) -> None:
    """Measure the engine through the job queues: ./tailrace bench crypto."""
    run_bench(["crypto"], output, page_file)
