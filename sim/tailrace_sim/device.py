"""The whole device as a Verilator model."""

from pathlib import Path

from tailrace_hw.config import Config
from tailrace_hw.emit import NAME
from tailrace_hw.top import Tailrace
from tailrace_sim.build import Model, build, emit, toolchain_env

__all__ = ["build_device", "device_verilog"]


def device_verilog(config: Config) -> Path:
    """Verilog of the device, from the cache if it is there."""
    return emit(lambda: Tailrace(config), NAME, config)


def build_device(config: Config, *, waves: bool = False) -> Model:
    """Verilog and model of the device of a configuration, both from the cache if they are there.

    Raises
    ------
    BuildError
        A tool is missing or failed.
    """
    toolchain_env()  # a missing compiler is better known before the minute of elaboration
    return build(device_verilog(config), NAME, waves=waves)
