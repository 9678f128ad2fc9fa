"""Device memory behind an AXI4 manager of a design, on the fast backend."""

from typing import Any

from tailrace_sim.bfm.axi_memory import AxiCounters, AxiMemoryAgent, AxiSettings, DeviceMemory
from tailrace_sim.fast.kernel import Kernel
from tailrace_sim.fast.process import running

__all__ = ["FastMemory", "device_memory"]

_COUNTERS = ("read_bursts", "read_beats", "write_bursts", "write_beats", "errors")


class _Settings(AxiSettings):
    """Settings that the core knows as soon as they are set."""

    _link: Any

    def __init__(self, link: Any):
        object.__setattr__(self, "_link", link)
        super().__init__()

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in ("latency_ns", "jitter_ns"):
            setattr(self._link, name.removesuffix("_ns"), round(1000 * value))
        else:
            setattr(self._link, name, value)


class FastMemory(DeviceMemory):
    """See :class:`DeviceMemory`: the core's, ``data`` is shared with it.

    It takes and gives a beat a cycle both ways at once, answers bursts of several ids out of order,
    and reports what a manager may not do: that fails the test. Exclusive accesses are answered as
    by a memory that does not know them (OKAY). A write is in ``data`` when its response is offered,
    not before.

    Parameters
    ----------
    kernel : simulation that ``dut`` belongs to
    dut : the top level
    index : of the ports ``mem<index>__``; their clock is ``mem<index>_clk``, or ``clk``
    size, base : of the memory
    """

    def __init__(self, kernel: Kernel, dut, index: int, *, size: int, base: int = 0):
        self._kernel = kernel
        self._place_of = (kernel.world, int(dut._handle.device), index)
        link = kernel.lib.tr_axi_of(*self._place_of)
        if not link:
            raise ValueError(f"the top has no AXI4 manager mem{index}__")
        super().__init__(size, base, len(getattr(dut, f"mem{index}__wdata")) // 8)
        self._link = link
        self.settings = _Settings(link)
        self._array = kernel.ffi.from_buffer(self.data)
        kernel.lib.tr_axi_memory(*self._place_of, self._array, base, size)

    def _faults_changed(self) -> None:
        self._kernel.lib.tr_axi_fault(
            *self._place_of, [fault.low for fault in self.faults],
            [fault.high for fault in self.faults], [fault.code for fault in self.faults],
            len(self.faults),
        )  # fmt: skip

    def _stall(self, channel: str, share: float) -> None:
        setattr(self._link, f"stall_{channel}", round(256 * share))

    @property
    def counters(self) -> AxiCounters:
        return AxiCounters(**{name: int(getattr(self._link, name)) for name in _COUNTERS})


def device_memory(
    dut, index: int, clock, reset, *, size: int, base: int = 0, seed: int = 0
) -> DeviceMemory:
    """A memory of the backend that we run on, see :class:`FastMemory`, :class:`AxiMemoryAgent`.

    Parameters
    ----------
    clock, reset, seed : for the cocotb backend; the core knows its own
    """
    kernel = running()
    if kernel is None:
        return AxiMemoryAgent(dut, index, clock, reset, size=size, base=base, seed=seed)
    return FastMemory(kernel, dut, index, size=size, base=base)
