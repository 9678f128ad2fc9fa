"""The driver's host on the PCIe agent: :class:`tailrace.host.Host` under cocotb."""

from cocotb.triggers import Event, First, Timer
from cocotbext.pcie.core.utils import PcieId

from tailrace.host import DmaBuffer, FunctionAddress, Host, Interrupt
from tailrace_sim.bfm.pcie_host import MmioError, PcieHost

__all__ = ["CocotbHost"]

#: Interrupt numbers are function and vector; a function has at most 2048 vectors (PCIe 5.0, 7.7.2).
_VECTORS = 2048


class _CocotbInterrupt(Interrupt):
    """See :class:`tailrace.host.Interrupt`."""

    def __init__(self, host: "CocotbHost", number: int):
        self.address, self.data = host.agent.message(number)
        self.count = 0
        self._host = host
        self._event = Event()
        host.agent.on_interrupt(number, self._fire)

    def _fire(self) -> None:
        self.count += 1
        self._event.set()

    async def wait(self, timeout: int | None = None) -> bool:
        if not self._event.is_set():
            if timeout is None:
                await self._event.wait()
            elif timeout > 0:
                await First(self._event.wait(), self._host.timer(timeout))
        return self._event.is_set()

    def is_set(self) -> bool:
        return self._event.is_set()

    def clear(self) -> None:
        self._event.clear()


class CocotbHost(Host):
    """A host whose memory and link are those of a :class:`PcieHost`.

    ::

        agent = PcieHost(dut, identities, seed=seed())
        await agent.start()
        await agent.enumerate()
        functions = await scan(CocotbHost(agent))

    Memory that the driver allocates is mapped for all functions in the agent's fence.

    Parameters
    ----------
    agent : started and enumerated

    Attributes
    ----------
    refused : MMIO accesses that were answered with another status than success
    """

    def __init__(self, agent: PcieHost):
        super().__init__(agent.memory.data, agent.memory.base)
        self.agent = agent
        self.refused: list[MmioError] = []
        self._interrupts: dict[tuple[int, int], _CocotbInterrupt] = {}
        if self.memory_base == 0:
            self.alloc(4096, 4096)  # nothing of ours at bus address 0

    def timer(self, cycles: int) -> Timer:
        """A wait that costs nothing a cycle, unlike ``ClockCycles``."""
        return Timer(round(cycles * self.agent.device.period_ns * 1000), "ps")

    def alloc(self, size: int, align: int = 64) -> DmaBuffer:
        buffer = super().alloc(size, align)
        self.agent.memory.map(buffer.address, size)
        return buffer

    def slots(self) -> list[tuple[int, int]]:
        return sorted({(f.id.bus, f.id.device) for f in self.agent.functions})

    async def config_read(self, function: FunctionAddress, offset: int, size: int) -> int:
        if not self._exists(function):
            return (1 << 8 * size) - 1
        return int.from_bytes(
            await self.agent.config_read(PcieId(*function), offset, size), "little"
        )

    async def config_write(
        self, function: FunctionAddress, offset: int, value: int, size: int
    ) -> None:
        await self.agent.config_write(PcieId(*function), offset, value.to_bytes(size, "little"))

    def _exists(self, function: FunctionAddress) -> bool:
        """The model leaves requests to functions it does not have unanswered: spare the wait."""
        return any(tuple(function) == tuple(f.id) for f in self.agent.functions)

    async def mmio_read(self, address: int, size: int) -> int:
        try:
            return int.from_bytes(await self.agent.read(address, size), "little")
        except MmioError as error:
            self.refused.append(error)
            return (1 << 8 * size) - 1

    async def mmio_write(self, address: int, value: int, size: int) -> None:
        await self.agent.write(address, value.to_bytes(size, "little"))

    def interrupt(self, function: FunctionAddress, vector: int) -> Interrupt:
        key = (function.function, vector)
        if key not in self._interrupts:
            number = function.function * _VECTORS + vector
            self._interrupts[key] = _CocotbInterrupt(self, number)
        return self._interrupts[key]

    async def delay(self, cycles: int) -> None:
        if cycles > 0:
            await self.timer(cycles)

    def cycles(self) -> int:
        return self.agent.cycle()
