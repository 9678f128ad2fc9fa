"""The host at the other end of the PCIe link on the fast backend."""

from collections.abc import Callable, Sequence
from typing import Any

from cocotb.triggers import Event, First, Timer
from cocotbext.pcie.core.tlp import CplStatus, Tlp, TlpType
from cocotbext.pcie.core.utils import PcieId
from cocotbext.pcie.xilinx.us.tlp import Tlp_us

from tailrace_hw.pcie.identity import FunctionIdentity
from tailrace_sim.bfm.completer import CompletionSettings
from tailrace_sim.bfm.pcie_host import PcieHost, Traffic
from tailrace_sim.bfm.usp_model import ATOMICS
from tailrace_sim.bfm.usp_streams import completion_packet
from tailrace_sim.fast.device import FastDevice
from tailrace_sim.fast.kernel import Kernel

__all__ = ["FastPcieHost"]

_MEMORY = frozenset(
    [TlpType.MEM_READ, TlpType.MEM_READ_64, TlpType.MEM_WRITE, TlpType.MEM_WRITE_64, *ATOMICS]
)
_NONE = (1 << 64) - 1
_SPLITS = {"max": 0, "rcb": 1, "random": 2}
_COUNTERS = ("read_bytes", "read_tlps", "write_bytes", "write_tlps", "interrupts")
_CYCLES = ("first_read", "last_read", "first_write", "last_write", "last_interrupt")
#: Tags of the host's own requests.
_TAGS = 256


class _Settings(CompletionSettings):
    """Completion settings that the core knows as soon as they are set."""

    _link: Any

    def __init__(self, link: Any, **values: Any):
        object.__setattr__(self, "_link", link)
        super().__init__(**values)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        link = self._link
        if name in ("latency_ns", "jitter_ns"):
            setattr(link, name.removesuffix("_ns"), round(1000 * value))
        else:
            setattr(link, name, _SPLITS[value] if name == "split" else value)


class _Traffic(Traffic):
    """Counters of the core, read when they are looked at."""

    def __init__(self, link: Any):
        object.__setattr__(self, "_link", link)
        super().__init__()
        for name in (*_COUNTERS, *_CYCLES):
            del self.__dict__[name]
            setattr(link, name, _NONE if name in _CYCLES else 0)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def __getattribute__(self, name: str) -> Any:
        if name in _COUNTERS:
            return int(getattr(self._link, name))
        if name in _CYCLES:
            value = int(getattr(self._link, name))
            return None if value == _NONE else value
        return super().__getattribute__(name)


class FastPcieHost(PcieHost):
    """See :class:`PcieHost`: same attributes, same methods, same faults.

    Memory requests in both directions are the core's. Configuration requests go through the
    library's root complex. What a fault hits is answered by the completer of the other backend.

    Parameters
    ----------
    kernel : simulation that ``dut`` belongs to
    """

    def __init__(self, kernel: Kernel, dut, functions: Sequence[FunctionIdentity], **options: Any):
        self._kernel = kernel
        self._on_dma = None
        super().__init__(dut, functions, **options)
        link, index = self.device.link, self.device.index
        given = self.completions.settings
        self.completions.settings = _Settings(
            link, latency_ns=given.latency_ns, max_payload=given.max_payload
        )
        self.completions.replace_send(self._complete)
        self.reset_traffic()
        memory = self.memory
        self._arrays = [kernel.ffi.from_buffer(array) for array in (memory.data, memory.mapped)]
        kernel.lib.tr_memory(
            kernel.world, index, self._arrays[0], memory.base, memory.size, self._arrays[1]
        )
        self._ranges: list[tuple[int, int]] = []
        self._waiting: dict[int, tuple[list[Tlp], Event]] = {}
        self._tags = list(range(_TAGS))
        self._fired: dict[int, Callable[[int, int], None]] = {}
        self.device.on_completion = self._completed
        handlers = {
            kernel.lib.TR_INTERRUPT: self._interrupted,
            kernel.lib.TR_TAKEN: self._taken,
            kernel.lib.TR_REFUSED: self._refused,
            kernel.lib.TR_DMA: self._dma,
        }
        for kind, handler in handlers.items():
            kernel.on_event(index, kind, handler)
        kernel.before_stride[index] = self._set_faults

    def _make_device(self, dut, functions: Sequence[FunctionIdentity], prefix: str) -> FastDevice:
        return FastDevice(self._kernel, dut, functions, prefix=prefix)

    def reset_traffic(self) -> None:
        self.traffic = _Traffic(self.device.link)

    @property
    def kernel(self) -> Kernel:
        """The simulation that the device belongs to."""
        return self._kernel

    # Functions with memory of their own

    def give_space(
        self, function: int, interrupt_base: int, fired: Callable[[int, int], None]
    ) -> Any:
        """From now on a function reaches no memory of this host, but what ``tr_map`` gives to it.

        Parameters
        ----------
        interrupt_base : bus address of 4 KiB to which writes are its interrupts
        fired : called with address and data of each

        Returns
        -------
        ``tr_space`` of the core: settings and counters
        """
        kernel = self._kernel
        space = kernel.lib.tr_space_of(kernel.world, self.device.index, function)
        space.own, space.interrupt_base = 1, interrupt_base
        self._fired[function] = fired
        return space

    def end_space(self, function: int) -> None:
        """Nothing of a function waits for its memory: writes are dropped, reads refused."""
        kernel = self._kernel
        kernel.lib.tr_space_end(kernel.world, self.device.index, function)

    @property
    def is_waiting(self) -> bool:
        """A request of this host is under way."""
        kernel = self._kernel
        pending = kernel.lib.tr_pcie_pending(kernel.world, self.device.index)
        return bool(self._waiting) or bool(pending)

    @property
    def on_dma(self) -> Any:
        return self._on_dma

    @on_dma.setter
    def on_dma(self, function: Any) -> None:
        self._on_dma = function
        if hasattr(self, "device"):
            self.device.link.export_dma = function is not None

    # Events of the core

    def _interrupted(self, event: Any) -> None:
        fired = self._fired.get(event.c)
        if fired is None:
            self._interrupt(event.a)
        else:
            fired(int(event.b), int(event.a))

    def _dma(self, event: Any) -> None:
        if self._on_dma is not None:
            self._on_dma(bool(event.a), int(event.c), int(event.b), int(event.d))

    def _refused(self, event: Any) -> None:
        self.traffic.refused.append((bool(event.a), int(event.c), int(event.b)))

    def _set_faults(self) -> None:
        """Reads that a fault may hit come to Python."""
        faults = self.completions.faults
        if not faults and not self._ranges:
            return
        ranges = [(f.low, min(f.high, _NONE)) for f in faults if f.hits < f.count]
        if ranges != self._ranges:
            self._ranges = ranges
            self._kernel.lib.tr_pcie_fault(
                self._kernel.world, self.device.index,
                [low for low, _ in ranges], [high for _, high in ranges], len(ranges),
            )  # fmt: skip

    def _taken(self, event: Any) -> None:
        self._read_memory(self.device.request_tlp(event))

    async def _complete(self, tlp: Tlp) -> None:
        """A completion that the completer in Python made."""
        completion = Tlp_us(tlp)
        # The block says with which completion a request ends (PG213, requester completion).
        size = len(completion.data) - (completion.lower_address & 3)
        completion.request_completed = (
            completion.status != CplStatus.SC or completion.byte_count <= size
        )
        value, count, discontinue = completion_packet(completion)
        dwords = [value >> 32 * index & 0xFFFFFFFF for index in range(count)]
        self._kernel.lib.tr_pcie_complete(
            self._kernel.world, self.device.index, dwords, count, discontinue
        )

    # Requests of the host

    async def request(self, tlp: Tlp, timeout_us: float = 20) -> list[Tlp]:
        if tlp.fmt_type not in _MEMORY:
            return await super().request(tlp, timeout_us)
        tlp.requester_id = PcieId(0, 0, 0)
        if tlp.is_posted():
            self.device.deliver(tlp)
            return []
        while not self._tags:
            await Timer(self.device.period_ns, "ns")
        tlp.tag = self._tags.pop()
        event = Event()
        self._waiting[tlp.tag] = ([], event)
        answer = self.device.deliver(tlp)
        if answer is not None:
            self._completed(answer)
        await First(event.wait(), Timer(round(timeout_us * 1e6), "ps"))
        completions, _ = self._waiting.pop(tlp.tag)
        self._tags.insert(0, tlp.tag)
        return completions

    def _completed(self, tlp: Tlp) -> None:
        """A completion of the user design, or of the block itself."""
        if tlp.tag not in self._waiting:
            return
        completions, event = self._waiting[tlp.tag]
        completions.append(tlp)
        if tlp.status != CplStatus.SC or tlp.byte_count <= len(tlp.data) - (tlp.lower_address & 3):
            event.set()
