"""The C interface of the fast backend's core, from Python.

Apart from the build, which imports cocotb: this is loaded before there is a simulator for it.
"""

from pathlib import Path
from typing import Any

from cffi import FFI

__all__ = ["CORE", "load"]

CORE = Path(__file__).parent / "core"


def load(path: Path) -> tuple[FFI, Any]:
    """The interface of a library that :func:`tailrace_sim.fast.library.build_library` built.

    Returns
    -------
    (ffi, lib); what ``lib`` has is in ``core/fast.h``
    """
    ffi = FFI()
    ffi.cdef((CORE / "fast.h").read_text())
    return ffi, ffi.dlopen(str(path))
