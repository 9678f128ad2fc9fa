"""The host at the other end of the PCIe link: root complex, memory, interrupts, faults, counters.

::

    host = PcieHost(dut, [management(), virtio_net(vectors=9)], seed=seed())
    await host.start()
    await host.enumerate()
    function = host.functions[1]
    await host.write(function.bars[0] + 0x14, b"\\x01")
    host.memory.data[:16] = 0x55

Configuration and MMIO accesses go through cocotbext-pcie's root complex. The device's DMA does not:
it is answered here, straight from one numpy array.
"""

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import cocotb
from cocotb.triggers import ClockCycles, Event, RisingEdge, with_timeout
from cocotbext.pcie.core import RootComplex
from cocotbext.pcie.core.caps import PciCapId
from cocotbext.pcie.core.tlp import CplStatus, Tlp, TlpType
from cocotbext.pcie.core.utils import PcieId

from tailrace_hw.pcie.identity import FunctionIdentity
from tailrace_sim.bfm.completer import Fault, HostCompleter
from tailrace_sim.bfm.host_memory import HostMemory
from tailrace_sim.bfm.usp_model import ATOMICS, TailraceDevice

__all__ = ["MSI_BASE", "HostFunction", "MmioError", "PcieHost", "Traffic"]

#: Writes to this 1 MiB window are interrupts, as on x86.
MSI_BASE = 0xFEE0_0000
_MSI_END = 0xFEF0_0000
_READS = frozenset([TlpType.MEM_READ, TlpType.MEM_READ_64])
_WRITES = frozenset([TlpType.MEM_WRITE, TlpType.MEM_WRITE_64])
_MMIO_CHUNK = 64


class MmioError(Exception):
    """A configuration or memory access of the host was not answered with success.

    Attributes
    ----------
    status : completion status, None if there was no answer in time
    """

    def __init__(self, message: str, status: CplStatus | None):
        super().__init__(message)
        self.status = status


@dataclass
class HostFunction:
    """A function that enumeration found.

    Attributes
    ----------
    id : bus, device and function number
    bars, sizes : bus address and bytes of each BAR
    """

    id: PcieId
    bars: dict[int, int]
    sizes: dict[int, int]


@dataclass
class Traffic:
    """What the device sent since the last :meth:`PcieHost.reset_traffic`.

    Cycles are those in which the design handed the last beat of a request TLP to the hard block.

    Attributes
    ----------
    read_bytes, read_tlps, write_bytes, write_tlps : DMA; interrupts are not in it
    interrupts : MSI-X messages
    first_read, last_read, first_write, last_write, last_interrupt : cycle, None if there was none
    refused : accesses that the memory fence did not let through: (write, function, address)
    """

    read_bytes: int = 0
    read_tlps: int = 0
    write_bytes: int = 0
    write_tlps: int = 0
    interrupts: int = 0
    first_read: int | None = None
    last_read: int | None = None
    first_write: int | None = None
    last_write: int | None = None
    last_interrupt: int | None = None
    refused: list[tuple[bool, int, int]] = field(default_factory=list)


class PcieHost:
    """Root complex, host memory and the integrated block's model around a design under test.

    It drives ``dut.clk`` and ``dut.rst``.

    Attributes
    ----------
    memory : host memory, with its fence
    completions : how reads are answered (``completions.settings``), and ``completions.faults``
    device : the integrated block's model
    functions : filled by :meth:`enumerate`, by function number
    traffic : counters
    on_dma : called with (write, function, address, length) for each DMA request when it reaches
        memory; a write's bytes are in memory by then

    Parameters
    ----------
    dut : design with the ports of ``UspSignature`` under ``prefix``
    functions : identities, by function number
    memory_size, memory_base : of host memory, multiples of 4 KiB
    max_payload, max_read : Max_Payload_Size and Max_Read_Request_Size in bytes
    latency_cycles : from a read's arrival at the root complex to its first completion
    seed : every random choice comes from it
    """

    def __init__(
        self,
        dut,
        functions: Sequence[FunctionIdentity],
        *,
        prefix: str = "pcie__",
        memory_size: int = 16 << 20,
        memory_base: int = 0,
        max_payload: int = 256,
        max_read: int = 512,
        latency_cycles: int = 0,
        seed: int = 0,
    ):
        streams = (f"cocotb.{dut._name}.{prefix}{name}_" for name in ("rq", "rc", "cq", "cc"))
        for name in ("cocotb.pcie", *streams):
            # Enumeration meets many empty slots, each a warning of the library.
            logging.getLogger(name).setLevel(logging.ERROR)
        self.rng = random.Random(seed)
        self.memory = HostMemory(memory_size, memory_base)
        self.traffic = Traffic()
        self.functions: list[HostFunction] = []
        self.on_dma: Callable[[bool, int, int, int], None] | None = None
        self.clock = dut.clk
        self._reset = dut.rst
        self._interrupts: dict[int, list[Callable[[], object]]] = {}
        self._interrupt_counts: dict[int, int] = {}
        self._interrupt_event = Event()
        self._max_read = max_read
        self.device = self._make_device(dut, functions, prefix)
        self.device.log.setLevel(logging.ERROR)
        self.rc = RootComplex()
        self.rc.max_payload_size = (max_payload // 128).bit_length() - 1
        self.rc.log.setLevel(logging.ERROR)
        self._bridge = self.rc.make_port()
        self._bridge.connect(self.device)
        self._port = self._bridge.downstream_port
        self._port.rx_handler = self._receive
        self.completions = HostCompleter(self._port.send, self.rng)
        self.completions.settings.max_payload = max_payload
        self.completions.settings.latency_ns = latency_cycles * self.device.period_ns

    def _make_device(self, dut, functions: Sequence[FunctionIdentity], prefix: str):
        device = TailraceDevice(dut, functions, prefix=prefix)
        device.on_request = self._count
        return device

    # Life

    async def start(self) -> None:
        """Wait until the device is out of reset."""
        await RisingEdge(self._reset)
        while self._reset.value:
            await RisingEdge(self.clock)
        await ClockCycles(self.clock, 4)

    async def enumerate(self) -> None:
        """Firmware's work: bus numbers, BARs, payload sizes; memory and bus master enabled."""
        await self.rc.enumerate()
        self.functions = []
        for index, identity in enumerate(self.device.identities):
            found = self.rc.find_device(PcieId(self._bridge.sec_bus_num, 0, index))
            await found.set_readrq((self._max_read // 128).bit_length() - 1)
            await found.enable_device()
            await found.set_master()
            self.functions.append(
                HostFunction(
                    id=found.pcie_id,
                    bars={bar: found.bar_addr[bar] for bar in identity.bar_sizes},
                    sizes=dict(identity.bar_sizes),
                )
            )

    def cycle(self) -> int:
        """Clock cycles since the start of the simulation."""
        return self.device.cycle()

    def reset_traffic(self) -> None:
        """Start counting anew."""
        self.traffic = Traffic()

    async def set_bus_master(self, function: int, enable: bool) -> None:
        """Write Bus Master Enable of a function's Command register."""
        device = self.functions[function].id
        command = int.from_bytes(await self.config_read(device, 4, 2), "little")
        command = command | 4 if enable else command & ~4
        await self.config_write(device, 4, command.to_bytes(2, "little"))

    async def function_level_reset(self, function: int, timeout_us: float = 100) -> None:
        """Reset a function and put BARs, Command and MRRS back, as an operating system does."""
        found = self.functions[function]
        device = self.rc.find_device(found.id)
        control = await device.capability_read_word(PciCapId.EXP, 8)
        command = await self.config_read(found.id, 4, 2)
        waiter = cocotb.start_soon(self.device.wait_flr(function))
        await device.capability_write_word(PciCapId.EXP, 8, control | 0x8000)
        await with_timeout(waiter, timeout_us, "us")
        for bar, address in found.bars.items():
            await self.config_write(found.id, 0x10 + 4 * bar, address.to_bytes(8, "little"))
        await device.capability_write_word(PciCapId.EXP, 8, control & 0x7FFF)
        await self.config_write(found.id, 4, bytes(command))

    # Configuration space and BARs

    async def config_read(self, device: PcieId, offset: int, length: int) -> bytes:
        """Read configuration space; all ones where nobody answers."""
        return bytes(await self.rc.config_read(PcieId(device), offset, length, 20, "us"))

    async def config_write(self, device: PcieId, offset: int, data: bytes) -> None:
        """Write configuration space."""
        await self.rc.config_write(PcieId(device), offset, bytes(data), 20, "us")

    async def request(self, tlp: Tlp, timeout_us: float = 20) -> list[Tlp]:
        """Send a request TLP as it is; the completions that came (none for a posted one)."""
        tlp.requester_id = PcieId(0, 0, 0)
        if tlp.is_posted():
            await self.rc.perform_posted_operation(tlp)
            return []
        if tlp.fmt_type in ATOMICS:
            # The library's bridges cannot route these.
            tlp.tag = await self.rc.alloc_tag()
            await self._port.send(tlp)
            completion = await self.rc.recv_cpl(tlp.tag, timeout_us, "us")
            self.rc.release_tag(tlp.tag)
            return [completion] if completion else []
        return await self.rc.perform_nonposted_operation(tlp, timeout_us, "us")

    async def read(self, address: int, length: int) -> bytes:
        """Memory read at a bus address, in TLPs of at most 64 bytes.

        Raises
        ------
        MmioError
            A completion had another status than success, or did not come.
        """
        result = b""
        while length:
            size = min(length, _MMIO_CHUNK - address % _MMIO_CHUNK)
            tlp = Tlp()
            tlp.fmt_type = TlpType.MEM_READ_64 if address >> 32 else TlpType.MEM_READ
            tlp.set_addr_be(address, size)
            completions = await self.request(tlp)
            data = b""
            for completion in completions:
                if completion.status != CplStatus.SC:
                    raise MmioError(f"read of {address:#x}: {completion.status!r}",
                                    completion.status)  # fmt: skip
                skip = completion.lower_address & 3
                data += bytes(completion.get_data())[skip : skip + completion.byte_count]
            if len(data) != size:
                raise MmioError(f"read of {address:#x}: {len(data)} of {size} bytes came", None)
            result += data
            address += size
            length -= size
        return result

    async def write(self, address: int, data: bytes) -> None:
        """Posted memory write at a bus address, in TLPs of at most 64 bytes."""
        data = bytes(data)
        while data:
            size = min(len(data), _MMIO_CHUNK - address % _MMIO_CHUNK)
            tlp = Tlp()
            tlp.fmt_type = TlpType.MEM_WRITE_64 if address >> 32 else TlpType.MEM_WRITE
            tlp.set_addr_be_data(address, data[:size])
            await self.request(tlp)
            address += size
            data = data[size:]

    # Faults

    def inject(self, kind: str, low: int = 0, high: int = 1 << 64, **options) -> Fault:
        """Answer coming reads with a fault, see :class:`Fault`. Returns it; its ``hits`` count."""
        fault = Fault(kind, low, high, **options)
        self.completions.faults.append(fault)
        return fault

    # Interrupts

    def message(self, number: int) -> tuple[int, int]:
        """Message address and data that make interrupt ``number``, for an MSI-X table entry."""
        return MSI_BASE, number

    def on_interrupt(self, number: int, callback: Callable[[], object]) -> None:
        """Call ``callback`` at each interrupt ``number``."""
        self._interrupts.setdefault(number, []).append(callback)

    def interrupt_count(self, number: int) -> int:
        """Interrupts ``number`` that have arrived so far."""
        return self._interrupt_counts.get(number, 0)

    async def wait_interrupt(self, number: int, count: int, timeout_us: float = 20) -> None:
        """Wait until ``count`` interrupts ``number`` have arrived since the start."""

        async def wait():
            while self.interrupt_count(number) < count:
                self._interrupt_event.clear()
                await self._interrupt_event.wait()

        await with_timeout(cocotb.start_soon(wait()), timeout_us, "us")

    def _interrupt(self, number: int) -> None:
        self._interrupt_counts[number] = self.interrupt_count(number) + 1
        self._interrupt_event.set()
        for callback in self._interrupts.get(number, ()):
            callback()

    # DMA

    def _count(self, tlp: Tlp, cycle: int) -> None:
        traffic = self.traffic
        if tlp.fmt_type in _READS:
            traffic.read_tlps += 1
            traffic.read_bytes += tlp.get_be_byte_count()
            traffic.last_read = cycle
            if traffic.first_read is None:
                traffic.first_read = cycle
        elif MSI_BASE <= tlp.address < _MSI_END:
            traffic.interrupts += 1
            traffic.last_interrupt = cycle
        else:
            traffic.write_tlps += 1
            traffic.write_bytes += tlp.get_be_byte_count()
            traffic.last_write = cycle
            if traffic.first_write is None:
                traffic.first_write = cycle

    async def _receive(self, tlp: Tlp) -> None:
        if tlp.fmt_type in _READS:
            tlp.release_fc()
            self._read_memory(tlp)
        elif tlp.fmt_type in _WRITES:
            tlp.release_fc()
            self._write_memory(tlp)
        else:
            await self._bridge.downstream_recv(tlp)

    def _read_memory(self, tlp: Tlp) -> None:
        function = tlp.requester_id.function
        if not self.memory.allows(tlp.address, function):
            self.traffic.refused.append((False, function, tlp.address))
            self.completions.refuse(tlp)
            return
        self.completions.answer(tlp, self.memory.read(tlp.address, 4 * tlp.length))
        if self.on_dma:
            start = tlp.address + tlp.get_first_be_offset()
            self.on_dma(False, function, start, tlp.get_be_byte_count())

    def _write_memory(self, tlp: Tlp) -> None:
        function = tlp.requester_id.function
        if MSI_BASE <= tlp.address < _MSI_END:
            assert (tlp.length, tlp.first_be) == (1, 0xF), f"MSI-X message is no dword: {tlp!r}"
            self._interrupt(int.from_bytes(tlp.data, "little"))
            return
        if not self.memory.allows(tlp.address, function):
            self.traffic.refused.append((True, function, tlp.address))
            return
        enables = tlp.first_be if tlp.length == 1 else _enables(tlp)
        first = tlp.get_first_be_offset()
        count = tlp.get_be_byte_count()
        if enables >> first == (1 << count) - 1:
            self.memory.write(tlp.address + first, tlp.data[first : first + count])
        else:
            for index in range(4 * tlp.length):
                if enables >> index & 1:
                    self.memory.write(tlp.address + index, tlp.data[index : index + 1])
        if self.on_dma:
            self.on_dma(True, function, tlp.address + first, count)


def _enables(tlp: Tlp) -> int:
    """Byte enables of a write of more than one dword, one bit a byte."""
    middle = (1 << (4 * (tlp.length - 2))) - 1
    return tlp.first_be | middle << 4 | tlp.last_be << (4 * (tlp.length - 1))
