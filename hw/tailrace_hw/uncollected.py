"""Elaboration without Python's cyclic garbage collector."""

import contextlib
import gc
from collections.abc import Iterator

__all__ = ["uncollected"]


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """No search for cyclic garbage inside; as before outside, also within another one.

    Elaboration makes millions of objects, nearly all of which live to its end, and the collector
    walks over all of them again and again: half of the time that the Verilog of the device takes.
    Its memory grows by what is cyclic and dead, some tens of megabytes.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
