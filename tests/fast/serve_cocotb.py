"""Inside the simulator: a service that somebody interrupts while its driver is brought up."""

import cocotb
from cocotb.triggers import Event

from tailrace_sim import serve_run
from tailrace_sim.fast.process import running
from tailrace_sim.system import System


async def _start(dut, settings, peer_of):
    """Comes as far as the device, and no further."""
    await System.start(dut, memory_size=1 << 20)
    running().interrupted = True
    await Event().wait()


@cocotb.test()
async def interrupted_while_it_starts(dut) -> None:
    serve_run._start = _start
    await serve_run.work(dut)
