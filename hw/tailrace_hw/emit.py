"""Configuration to Verilog, filelist, waivers and the headers that go with them."""

import shutil
from importlib.metadata import version
from pathlib import Path

from tailrace_hw.config import Config
from tailrace_hw.top import Tailrace
from tailrace_hw.verilog import convert

__all__ = ["NAME", "WAIVERS", "verilog_text", "waiver_text", "write_verilog"]

#: Name of the Verilog top module and stem of the files.
NAME = "tailrace"

_ROOT = Path(__file__).resolve().parents[2]

#: What Verilator's ``-Wall`` says of every Verilog that Yosys writes, and why it is harmless.
WAIVERS = {
    "DECLFILENAME": "all modules are in one file",
    "UNUSEDSIGNAL": "members of a struct that a module does not use stay in its ports",
    "UNDRIVEN": "Yosys drops what drives a signal that nobody reads, and keeps the signal; one that"
    " has no driver in Amaranth is a constant",
    "WIDTHEXPAND": "Yosys relies on Verilog's zero extension, as the language defines it",
    "WIDTHTRUNC": "Yosys relies on Verilog's truncation in assignments",
    "CASEOVERLAP": "priority is meant: the first match of a casez wins",
    "PROCASSINIT": "registers have initial values, as FPGAs offer",
    "CMPCONST": "a parameter's corner case makes a comparison constant",
    "UNSIGNED": "a parameter's corner case makes a comparison constant",
    "UNOPTFLAT": "different bits of one vector depend on each other, there is no loop in any bit",
}


def verilog_text(config: Config) -> str:
    """Verilog of the whole device: the same text for the same configuration and sources."""
    return convert(Tailrace(config), NAME)


def waiver_text() -> str:
    """Verilator configuration with the waivers and their reasons."""
    lines = ["`verilator_config", "// Each line: what -Wall says of all Verilog written by Yosys."]
    for rule, reason in WAIVERS.items():
        lines += [f"// {reason}", f"lint_off -rule {rule}"]
    return "\n".join(lines) + "\n"


def write_verilog(config: Config, directory: Path) -> list[Path]:
    """Write the device as Verilog with what is needed to use it.

    Returns
    -------
    Paths of the written files: the Verilog, a filelist for ``-f``, Verilator's waivers, a note of
    the configuration, and the C headers of the registers.

    Raises
    ------
    OSError
        The directory can't be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    text = {
        f"{NAME}.v": verilog_text(config),
        f"{NAME}.f": f"{NAME}.v\n",
        f"{NAME}.vlt": waiver_text(),
        f"{NAME}.txt": (
            f"Tailrace {version('tailrace')}, configuration {config.hash()}\n{config}\n"
        ),
    }
    paths = []
    for name, content in text.items():
        path = directory / name
        path.write_text(content)
        paths.append(path)
    for header in sorted((_ROOT / "sw" / "include").glob("*.h")):
        paths.append(Path(shutil.copy(header, directory)))
    return paths
