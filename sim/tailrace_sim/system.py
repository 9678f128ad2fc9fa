"""The whole device in its slot: PCIe host, wire and driver around the simulated top level.

This is the inside of the simulator. The outside builds the device with
:func:`tailrace_sim.device.build_device` and hands the configuration over as a parameter.
"""

import dataclasses
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, Timer

from tailrace.device import Tailrace
from tailrace_hw.config import Config
from tailrace_hw.top import identities
from tailrace_sim.bfm.cocotb_host import CocotbHost
from tailrace_sim.bfm.mac_port import MacPortAgent
from tailrace_sim.bfm.pcie_host import PcieHost
from tailrace_sim.fast.mac_port import FastPort
from tailrace_sim.fast.pcie_host import FastPcieHost
from tailrace_sim.fast.process import running
from tailrace_sim.look import Look
from tailrace_sim.run import parameters, seed
from tailrace_sim.trace import Trace, trace_output

__all__ = ["System", "dropped"]

#: Period of the port's clock when it is that of the core.
_PERIOD_NS = 4
#: Blocks that count frames, and what is in the name of a counter of those that they drop.
_COUNTING, _DROP = ("port0", "virtio_net0"), "_drop_"


@dataclasses.dataclass
class System:
    """What a test of the whole device needs.

    Attributes
    ----------
    dut : the top level
    config : what it was built from
    pcie : the PCIe host agent: faults, counters, memory
    host : the driver's host
    port : the wire
    device : the driver's view of the device, enumerated and identified
    """

    dut: Any
    config: Config
    pcie: PcieHost
    host: CocotbHost
    port: MacPortAgent | FastPort
    device: Tailrace

    @classmethod
    async def start_all(cls, **options: Any) -> "list[System]":
        """Every device of this simulation, see :func:`tailrace_sim.run.run`, each in a host of its
        own; ``options`` as of :meth:`start`."""
        starting = [cocotb.start_soon(cls.start(dut, **options)) for dut in cocotb.tops.values()]
        return [await task for task in starting]

    @classmethod
    async def start(cls, dut, *, port_period_ns: float = _PERIOD_NS, **host: Any) -> "System":
        """Clocks, reset, enumeration, identification.

        Parameters
        ----------
        dut : the top level
        port_period_ns : of the MAC's clock
        host : options of :class:`PcieHost`, for example ``latency_cycles``
        """
        config = Config.from_dict(parameters()["config"])
        dut.port0__link.value = 1
        dut.port0_rst.value = 1
        Clock(dut.port0_clk, port_period_ns, unit="ns").start()
        agent, wire = _agents(dut, config, port_period_ns, host)
        await agent.start()
        await ClockCycles(dut.port0_clk, 4)
        dut.port0_rst.value = 0
        # The MAC's side of the asynchronous FIFOs leaves its reset a few cycles later.
        await ClockCycles(dut.port0_clk, 16)
        await agent.enumerate()
        driver = CocotbHost(agent)
        device = await Tailrace.find(driver)
        system = cls(dut, config, agent, driver, wire, device)
        look = Look.from_environment()
        if look.trace and running() is not None:
            await Trace.start(system, look.trace, trace_output(look))
        return system

    async def wait(self, cycles: int) -> None:
        """Let time pass."""
        await Timer(cycles * _PERIOD_NS, "ns")

    async def counters(self) -> dict[str, int]:
        """Every counter of port and network function, as ``block.register``."""
        found = await self.device.management.counters()
        return {
            f"{block}.{name}": value
            for block in _COUNTING
            for name, value in found[block].items()
        }

    async def drops(self) -> dict[str, int]:
        """Frames that the device dropped, by reason, as its registers say."""
        found = await self.counters()
        return {name.partition(".")[2]: n for name, n in found.items() if _DROP in name}


def dropped(counters: dict[str, int]) -> dict[str, int]:
    """Those of :meth:`System.counters` that say that a frame was dropped."""
    return {name: count for name, count in counters.items() if _DROP in name and count}


def _agents(
    dut, config: Config, port_period_ns: float, options: dict[str, Any]
) -> tuple[PcieHost, Any]:
    """Host and wire of the backend that we run on."""
    options = {"prefix": "pcie__", "seed": seed(), **options}
    kernel = running()
    if kernel is None:
        wire = MacPortAgent(dut, 0, dut.port0_clk, port_period_ns)
        return PcieHost(dut, identities(config), **options), wire
    return (
        FastPcieHost(kernel, dut, identities(config), **options),
        FastPort(kernel, dut, 0, port_period_ns),
    )
