"""Runs in the simulator, see test_control.py."""

import cocotb
from control_top import IDENTITIES

from tailrace_sim.bfm.pcie_host import PcieHost
from tailrace_sim.run import seed


@cocotb.test()
async def enumeration(dut):
    host = PcieHost(dut, IDENTITIES, seed=seed())
    await host.start()
    await host.enumerate()
    print(host.functions, cocotb.utils.get_sim_time("ns"))
