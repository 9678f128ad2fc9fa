"""Somebody else's Verilog: found, read, and refused with a reason when there is nothing to map."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tailrace_sim.synth.front import Design, read_verilog
from tailrace_sim.synth.yosys import SynthError

__all__ = ["read_third_party"]


def read_third_party(
    files: Sequence[Path], top: str, parameters: Mapping[str, str]
) -> tuple[Design, str]:
    """Design and name of the top module, which carries its parameters' values after reading.

    Raises
    ------
    SynthError
        A file is missing or can't be read, or there is no such module, or it has no ports: then
        everything in it would be removed, and a result of 0 cells is no result.
    """
    for path in files:
        if not path.is_file():
            raise SynthError(f"{path} does not exist")
    design = read_verilog(files, top, parameters)
    below = {kind for module in design.modules.values() for kind in module.children.values()}
    tops = [name for name in design.modules if name not in below]
    if len(tops) != 1:
        raise SynthError(f"{top} is not the only module on top: {', '.join(tops)}; "
                         f"see {design.path.parent / 'yosys.log'}")  # fmt: skip
    if not design.modules[tops[0]].ports:
        raise SynthError(f"{top} has no ports, so nothing of it can be measured; "
                         f"see {design.path.parent / 'yosys.log'}")  # fmt: skip
    return design, tops[0]
