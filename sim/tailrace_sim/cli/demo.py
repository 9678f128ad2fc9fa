"""``./tailrace demo``: frames from the wire to host memory and back, through the whole device."""

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tailrace.cli.errors import UserError
from tailrace_hw.config import Config
from tailrace_sim import traffic
from tailrace_sim.build import Model, build_root, repository
from tailrace_sim.cli.building import build_for_user
from tailrace_sim.cli.demo_dpus import LinkOptions, demo_dpus
from tailrace_sim.cli.generate import ConfigOption, SeedOption, WidthOption, load_config
from tailrace_sim.cli.looking import (
    ProfileOption,
    TraceFileOption,
    TraceOption,
    WavesOption,
    make_look,
    report_look,
)
from tailrace_sim.cli.progress import following, told_how_far
from tailrace_sim.cli.terminal import check_writable, make_console, print_rows, writing
from tailrace_sim.demo_crypto import Sealed, sealed_rows
from tailrace_sim.demo_report import Outcome, summary_rows, write_report
from tailrace_sim.device import check_backend, default_backend
from tailrace_sim.look import Look
from tailrace_sim.models.pcap import CapturedFrame, PcapError, read_frames, write_pcap
from tailrace_sim.run import TRACE, SimulationError, own_run, pick_seed, run

__all__ = ["demo"]

#: The default input: a Linux interface coming up, ARP and pings, captured on the wire.
DEFAULT_CAPTURE = Path("tests/data/arp_ping_virtio.pcap")
#: Generated frames at most: their simulation takes an hour.
MAX_FRAMES = 100_000
#: What a run leaves in the output folder.
_CAPTURE, _REPORT = "output.pcap", "report.html"
_SIZE_HELP = f"Bytes of each generated frame, {traffic.MIN_SIZE} to {traffic.MAX_SIZE}."


def _load(pcap: Path | None, frames: int | None, size: int | None, seed: int) -> list[bytes]:
    """Input frames from a capture or a generator, whichever was asked for."""
    if pcap is not None and (frames is not None or size is not None):
        raise UserError("--pcap and --frames/--size exclude each other; give one of them")
    if frames is None and size is None:
        source = pcap or repository() / DEFAULT_CAPTURE
        try:
            return [frame.data for frame in read_frames(source)]
        except PcapError as error:
            raise UserError(str(error)) from error
    if size is not None and not traffic.MIN_SIZE <= size <= traffic.MAX_SIZE:
        raise UserError(
            f"--size must be {traffic.MIN_SIZE} to {traffic.MAX_SIZE} bytes, not {size}"
        )
    return traffic.generate(frames or 500, size, seed)


def _check_fit(inputs: list[bytes], config: Config, *, generated: bool) -> None:
    """Refuse frames that the configured device would drop, before hours are spent on them."""
    longest, shortest = max(map(len, inputs)), min(map(len, inputs))
    if longest > config.virtio_net.max_frame:
        raise UserError(
            f"the input has a frame of {longest} bytes, this device takes "
            f"{config.virtio_net.max_frame}; "
            + ("choose a smaller --size" if generated else "raise virtio_net.mtu with --config")
        )
    if shortest < config.port.min_length:
        raise UserError(
            f"the input has a frame of {shortest} bytes, this device drops those below "
            f"{config.port.min_length}; leave it out of the capture"
        )


def _build(config: Config, look: Look, backend: str | None, console: Console) -> Model:
    start = time.monotonic()
    model = build_for_user(
        config, console, waves=look.waves is not None, profile=look.profile, backend=backend
    )
    console.print(f"device ready after {time.monotonic() - start:.1f} s: {model.path}")
    return model


def _simulate(
    model: Model,
    inputs: list[bytes],
    settings: dict[str, Any],
    seed: int,
    look: Look,
    console: Console,
) -> tuple[Outcome, Path]:
    with own_run("demo") as name:
        work = build_root() / "run" / name
        return _simulate_in(work, model, inputs, settings, seed, look, console)


def _simulate_in(
    work: Path,
    model: Model,
    inputs: list[bytes],
    settings: dict[str, Any],
    seed: int,
    look: Look,
    console: Console,
) -> tuple[Outcome, Path]:
    work.mkdir(parents=True, exist_ok=True)
    shown = work / TRACE if look.trace and look.trace_file is None else None
    traffic.save_frames(work / "input.txt", inputs)
    with following(console, work / "progress", len(inputs), shown):
        try:
            result = run(
                model,
                "tailrace_sim.demo_run",
                name=work.name,
                tests=["demo"],
                parameters={**settings, "work": str(work)},
                seed=seed,
                look=look,
            )
        except SimulationError as error:
            raise UserError(str(error)) from error
    values = json.loads((work / "outcome.json").read_text())
    outputs = traffic.load_frames(work / "output.txt")
    sealed = values.pop("sealed")
    if sealed is not None:
        sealed = Sealed(**sealed)
    return Outcome(inputs=inputs, outputs=outputs, sealed=sealed, **values), result.directory


def demo(
    pcap: Annotated[
        Path | None, typer.Option("--pcap", metavar="FILE", help="Replay this pcap or pcapng.")
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(
            "--frames", min=1, max=MAX_FRAMES, help="Generate this many frames instead."
        ),
    ] = None,
    size: Annotated[int | None, typer.Option("--size", help=_SIZE_HELP)] = None,
    ring: Annotated[
        str, typer.Option("--ring", help="Virtqueue format: packed or split.")
    ] = "packed",
    width: WidthOption = None,
    config: ConfigOption = None,
    waves: WavesOption = None,
    trace: TraceOption = None,
    trace_file: TraceFileOption = None,
    profile: ProfileOption = False,
    backend: Annotated[
        str | None, typer.Option("--backend", help="fast (default) or cocotb.")
    ] = None,
    dpus: Annotated[
        int, typer.Option("--dpus", min=1, max=2, help="2: to another DPU's host and back.")
    ] = 1,
    delay: Annotated[
        float | None, typer.Option("--delay", metavar="NS", help="Of the cable between two DPUs.")
    ] = None,
    loss: Annotated[
        float | None, typer.Option("--loss", help="Share of frames lost on the cable, 0 to 1.")
    ] = None,
    reorder: Annotated[
        float | None, typer.Option("--reorder", help="Share that arrives 2 µs late.")
    ] = None,
    duplicate: Annotated[
        float | None, typer.Option("--duplicate", help="Share that arrives twice.")
    ] = None,
    corrupt: Annotated[
        float | None, typer.Option("--corrupt", help="Share that arrives with a bad FCS.")
    ] = None,
    seed: SeedOption = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Where results go.")
    ] = Path("out/demo"),
) -> None:
    """Replay a capture through the device: wire, host memory, and back to the wire."""
    if ring not in ("packed", "split"):
        raise UserError(f"--ring must be packed or split, not {ring}")
    if backend is not None:
        check_backend(backend)
    link = LinkOptions(delay, loss, reorder, duplicate, corrupt)
    link.check(dpus, backend or default_backend())
    console = make_console()
    read = {"the capture": pcap, "the configuration": config}
    look = make_look(waves, trace, trace_file, profile, read)
    if dpus > 1 and (look.waves is not None or look.profile):
        raise UserError("--waves and --profile show one device: leave out --dpus")
    look.check_backend(backend or default_backend())
    settings = load_config(config, width)
    seed = pick_seed() if seed is None else seed
    inputs = _load(pcap, frames, size, seed)
    _check_fit(inputs, settings, generated=frames is not None or size is not None)
    for path in (output / _CAPTURE, *([] if dpus > 1 else [output / _REPORT])):
        check_writable(path)
    with told_how_far(console, len(inputs)):
        model = _build(settings, look, backend, console)
    if dpus > 1:
        demo_dpus(
            model, inputs, settings, ring=ring, link=link, seed=seed, output=output,
            console=console, look=look,
        )  # fmt: skip
        return
    parameters = {"ring": ring, "config": settings.to_dict()}
    outcome, directory = _simulate(model, inputs, parameters, seed, look, console)
    report_look(look, directory, output, model, settings, console)

    rows = summary_rows(outcome, settings)
    print_rows(console, [*rows, *sealed_rows(outcome.sealed, settings)])
    nanoseconds = 1e9 / settings.clock_hz
    left = [
        CapturedFrame(frame, round(start * nanoseconds))
        for frame, (start, _) in zip(outcome.outputs, outcome.left, strict=True)
    ]
    with writing(output / _CAPTURE):
        write_pcap(output / _CAPTURE, left)
    with writing(output / _REPORT):
        write_report(output / _REPORT, outcome, settings, rows)
    console.print(f"{output / 'output.pcap'}, {output / 'report.html'}, seed {seed}")
    difference = outcome.difference()
    if difference:
        raise UserError(f"output differs from input: {difference}; replay with --seed {seed}")
    wrong = outcome.sealed and outcome.sealed.wrong()
    if wrong:
        raise UserError(f"the cipher engine: {wrong}; replay with --seed {seed}")
    console.print(f"all {len(inputs)} frames came back identical, in order within each queue")
