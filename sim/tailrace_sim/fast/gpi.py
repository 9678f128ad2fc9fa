"""The module ``cocotb.simulator``, on the fast backend.

cocotb reaches a simulator through this one module, an extension that its VPI library brings along.
Here it is put together on :class:`~tailrace_sim.fast.kernel.Kernel`, so that cocotb's tasks,
triggers and regression runner, and pyuvm on them, work as in any simulator: a test cannot tell.
What a test sees of the design are the ports of the top module. The interface is that of cocotb
2.1, ``cocotb/simulator.pyi``.
"""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from tailrace_sim.fast.kernel import EDGE_FALLING, EDGE_RISING, Callback, Kernel, Pin

__all__ = ["install", "raise_in_task", "resume_tasks"]

#: Kinds of objects and orders of ranges; only their being different matters.
_CONSTANTS = {
    name: value
    for value, name in enumerate(
        ["UNKNOWN", "MEMORY", "MODULE", "NETARRAY", "REAL", "INTEGER", "ENUM", "STRING", "GENARRAY",
         "PACKAGE", "STRUCTURE", "PACKED", "LOGIC", "LOGIC_ARRAY", "FIXED_STRING"]
    )
} | {
    "OBJECTS": 1, "DRIVERS": 2, "LOADS": 3,
    "RISING": EDGE_RISING, "FALLING": EDGE_FALLING, "VALUE_CHANGE": 3,
    "RANGE_UP": 1, "RANGE_DOWN": -1, "RANGE_NO_DIR": 0,
}  # fmt: skip


class _Object:
    """What ``sim_obj`` has in common."""

    def __init__(self, name: str, kind: str):
        self._name = name
        self._kind = kind

    def get_const(self) -> bool:
        return False

    def get_definition_file(self) -> str:
        return ""

    def get_definition_name(self) -> str:
        return self._name

    def get_name_string(self) -> str:
        return self._name

    def get_type(self) -> int:
        return _CONSTANTS[self._kind]

    def get_type_string(self) -> str:
        return self._kind

    def get_signed(self) -> int:
        return 0

    def get_indexable(self) -> bool:
        return False


class _Signal(_Object):
    """A port of the top module."""

    def __init__(self, pin: Pin):
        super().__init__(pin.name, "LOGIC" if pin.bits == 1 else "LOGIC_ARRAY")
        self.pin = pin

    def get_num_elems(self) -> int:
        return self.pin.bits

    def get_range(self) -> tuple[int, int, int]:
        return self.pin.bits - 1, 0, _CONSTANTS["RANGE_DOWN"]

    def get_signal_val_long(self) -> int:
        return self.pin.read()

    def get_signal_val_binstr(self) -> str:
        return format(self.pin.read(), f"0{self.pin.bits}b")

    def set_signal_val_int(self, action: int, value: int) -> None:
        self.pin.write(value)

    def set_signal_val_binstr(self, action: int, value: str) -> None:
        # The model has two states: X and Z, which cocotb may write, become 0.
        self.pin.write(int("".join(bit if bit in "01" else "0" for bit in value), 2))


class _Module(_Object):
    """The top module of a device.

    Attributes
    ----------
    device : its number in the world
    """

    def __init__(self, name: str, device: int, pins: dict[str, Pin]):
        super().__init__(name, "MODULE")
        self.device = device
        self._signals = {name: _Signal(pin) for name, pin in pins.items()}

    def get_handle_by_name(self, name: str, discovery_method: Any = None) -> _Signal | None:
        return self._signals.get(name)

    def iterate(self, mode: int) -> Iterator[_Signal]:
        return iter(self._signals.values())


class _Handle:
    """``sim_callback``: a registration that can be taken back."""

    def __init__(self, callback: Callback):
        self._callback = callback

    def deregister(self) -> None:
        self._callback.cancel()


class _Clock:
    """``cpp_clock``."""

    def __init__(self, kernel: Kernel, pin: Pin):
        self._kernel = kernel
        self._pin = pin

    def start(self, period_steps: int, high_steps: int, start_high: bool, set_action: int) -> None:
        if 2 * high_steps != period_steps or not start_high:
            raise NotImplementedError("the fast backend's clocks start high, half of the time high")
        self._kernel.start_clock(self._pin, period_steps)

    def stop(self) -> None:
        self._kernel.stop_clock(self._pin)


class _Simulator(ModuleType):
    """The module itself; its functions are those of ``cocotb/simulator.pyi``."""

    def __init__(self, kernel: Kernel, top: str):
        super().__init__("cocotb.simulator")
        self.__dict__.update(_CONSTANTS)
        self.kernel = kernel
        self._tops = [
            _Module(top if index == 0 else f"{top}{index}", index, pins)
            for index, pins in enumerate(kernel.pins)
        ]
        self.ended: Callable[[], object] | None = None
        self.sim_obj = _Object
        self.sim_callback = _Handle
        self.cpp_clock = _Clock

    # Design

    def get_root_handle(self, name: str | None) -> _Module | None:
        return next((top for top in self._tops if name in (None, top.get_name_string())), None)

    def root_iterate(self) -> Iterator[_Module]:
        return iter(self._tops)

    def package_iterate(self) -> None:
        return None

    def clock_create(self, signal: _Signal) -> _Clock:
        return _Clock(self.kernel, signal.pin)

    # Time

    def get_precision(self) -> int:
        return -12

    def get_sim_time(self) -> tuple[int, int]:
        return divmod(self.kernel.now(), 1 << 32)

    def register_timed_callback(self, time: int, func: Callable[..., Any], *args: Any) -> _Handle:
        return _Handle(self.kernel.at(time, lambda: func(*args)))

    def register_value_change_callback(
        self, signal: _Signal, func: Callable[..., Any], edge: int, *args: Any
    ) -> _Handle:
        return _Handle(self.kernel.on_edge(signal.pin, edge, lambda: func(*args)))

    def register_rwsynch_callback(self, func: Callable[..., Any], *args: Any) -> _Handle:
        return _Handle(self.kernel.in_phase("readwrite", lambda: func(*args)))

    def register_readonly_callback(self, func: Callable[..., Any], *args: Any) -> _Handle:
        return _Handle(self.kernel.in_phase("readonly", lambda: func(*args)))

    def register_nextstep_callback(self, func: Callable[..., Any], *args: Any) -> _Handle:
        return _Handle(self.kernel.in_phase("next", lambda: func(*args)))

    # The simulator

    def get_simulator_product(self) -> str:
        return "Tailrace fast backend"

    def get_simulator_version(self) -> str:
        return "of this repository"

    def get_simulator_args(self) -> list[str]:
        return sys.argv

    def is_running(self) -> bool:
        return True

    def stop_simulator(self) -> None:
        self.kernel.stop()

    def set_sim_event_callback(self, sim_event_callback: Callable[[], object]) -> None:
        self.ended = sim_event_callback

    def set_gpi_log_level(self, level: int) -> None:
        """There is no other side that logs."""

    def initialize_logger(self, log_func: Any, get_logger: Any) -> None:
        """There is no other side that logs."""


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Lets ``import cocotb.simulator`` find our module instead of the extension."""

    def __init__(self, module: ModuleType):
        self._module = module

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name == "cocotb.simulator":
            return importlib.machinery.ModuleSpec(name, self)
        return None

    def create_module(self, spec: Any) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        """It is ready."""


def install(kernel: Kernel, top: str) -> _Simulator:
    """Make cocotb run on ``kernel``; to be called before the first import of cocotb.

    Parameters
    ----------
    top : name of the top module; that of device n > 0 is this name and n

    Raises
    ------
    RuntimeError
        cocotb has its simulator already.
    """
    if "cocotb.simulator" in sys.modules:
        raise RuntimeError("cocotb is imported already")
    module = _Simulator(kernel, top)
    sys.meta_path.insert(0, _Finder(module))
    return module


def resume_tasks() -> None:
    """Let tasks run that an event of the core has woken, as cocotb does after a trigger of its own.
    """
    # Not above: cocotb imports the module made here.
    from cocotb import _event_loop, _gpi_triggers

    # A time step that ended read-only is over: writes are welcome again.
    _gpi_triggers._current_gpi_trigger = _gpi_triggers.NextTimeStep()
    _event_loop._inst.run()


def raise_in_task(error: Exception) -> None:
    """Let a task fail with this, and with it the test that runs."""
    import cocotb

    async def fail() -> None:
        raise error

    cocotb.start_soon(fail())
