"""A Tcl interpreter in which Vivado's commands do nothing but say what they were called with.

Needs Python's tkinter, which brings the interpreter (python3-tk on Debian).
"""

import tkinter
from collections.abc import Collection
from pathlib import Path

__all__ = ["TclError", "VivadoStub"]

TclError = tkinter.TclError

_QUERIES = ("get_cells", "get_clocks", "get_ips", "get_pins", "get_ports", "get_timing_paths")
_ACTIONS = (
    "create_clock", "create_ip", "create_project", "generate_target", "opt_design",
    "phys_opt_design", "place_design", "read_verilog", "report_bus_skew", "report_cdc",
    "report_clock_interaction", "report_drc", "report_methodology", "report_timing_summary",
    "report_utilization", "route_design", "set_bus_skew", "set_false_path", "set_max_delay",
    "set_property", "synth_design", "synth_ip", "write_bitstream", "write_checkpoint",
)  # fmt: skip


class VivadoStub:
    """Runs scripts. A command that is not one of Tcl's or of those above is an error.

    Attributes
    ----------
    calls : name and arguments of each of Vivado's commands, in order

    Parameters
    ----------
    missing : names that queries do not find
    slack : of every path, by ``-setup`` and ``-hold``
    """

    def __init__(self, missing: Collection[str] = (), slack: tuple[float, float] = (0.1, 0.1)):
        self.calls: list[tuple[str, ...]] = []
        self._missing = missing
        self._slack = dict(zip(("-setup", "-hold"), slack, strict=True))
        self._tcl = tkinter.Tcl()
        self._tcl.eval('proc unknown {args} {error "invalid command name: [lindex $args 0]"}')
        for name in _ACTIONS:
            self._define(name, lambda *_: "")
        for name in _QUERIES:
            self._define(name, self._find)
        self._define("current_design", lambda *_: "design")
        self._define("get_property", lambda _, path: str(self._slack[path]))
        self._define("get_timing_paths", lambda option, *_: option)
        self._define("read_xdc", self._read)

    def source(self, path: Path) -> None:
        """Run a script.

        Raises
        ------
        TclError
            It has an error, or ends with one.
        """
        self._tcl.call("source", str(path))

    def named(self, name: str) -> list[tuple[str, ...]]:
        """Arguments of all calls of a command."""
        return [call[1:] for call in self.calls if call[0] == name]

    def _define(self, name: str, answer) -> None:
        def command(*arguments):
            words = tuple(str(argument) for argument in arguments)
            self.calls.append((name, *words))
            return answer(*words)

        self._tcl.createcommand(name, command)

    def _find(self, *words: str) -> str:
        names = [word for word in words if not word.startswith("-")]
        return " ".join(name for name in names if name not in self._missing)

    def _read(self, *words: str) -> str:
        self.source(Path(words[-1]))
        return ""
