"""The whole device as a Verilator model."""

import os
from pathlib import Path

from tailrace.cli.errors import UserError
from tailrace_hw.config import Config, JobsConfig
from tailrace_hw.emit import NAME
from tailrace_hw.top import Tailrace
from tailrace_sim.build import Model, build, emit, toolchain_env
from tailrace_sim.fast.library import build_library
from tailrace_sim.look import Look

__all__ = [
    "BACKENDS",
    "NO_CIPHER",
    "build_device",
    "check_backend",
    "default_backend",
    "device_verilog",
]

BACKENDS = ("fast", "cocotb")
#: For simulations that are about something else: with the cipher engine they take several times as
#: long, and so does making their model.
NO_CIPHER = JobsConfig(keys=0)
_BACKEND = "TAILRACE_BACKEND"


def device_verilog(config: Config) -> Path:
    """Verilog of the device, from the cache if it is there."""
    return emit(lambda: Tailrace(config), NAME, config)


def check_backend(backend: str, what: str = "--backend") -> str:
    """The backend, if there is such a one.

    Raises
    ------
    UserError
        There is none; ``what`` says where it was asked for.
    """
    if backend not in BACKENDS:
        raise UserError(f"{what} must be {' or '.join(BACKENDS)}, not {backend}")
    return backend


def default_backend() -> str:
    """``$TAILRACE_BACKEND``, or ``fast``."""
    return check_backend(os.environ.get(_BACKEND) or "fast", _BACKEND)


def build_device(
    config: Config,
    *,
    waves: bool = False,
    profile: bool = False,
    backend: str | None = None,
) -> Model:
    """Verilog and model of the device of a configuration, both from the cache if they are there.

    Parameters
    ----------
    waves : it can write them; also if ``$TAILRACE_WAVES`` asks for some
    profile : its blocks can be told in a profile; also if ``$TAILRACE_PROFILE`` asks for one
    backend : one of :data:`BACKENDS`; :func:`default_backend` if None

    Raises
    ------
    BuildError
        A tool is missing or failed.
    """
    toolchain_env()  # a missing compiler is better known before the minute of elaboration
    look = Look.from_environment()
    waves, profile = waves or look.waves is not None, profile or look.profile
    verilog = device_verilog(config)
    if (backend or default_backend()) == "fast":
        library = build_library(verilog, NAME, waves=waves, profile=profile)
        return Model(top=NAME, path=library.path, waves=waves, backend="fast")
    return build(verilog, NAME, waves=waves)
