"""Inside the simulator: something that goes on until it is interrupted, and some frames."""

from pathlib import Path

import cocotb

from tailrace.virtio.net_types import NetOptions, TxFrame
from tailrace_sim.system import System


@cocotb.test()
async def endless(dut) -> None:
    """Says that it runs, and that it was told to end."""
    system = await System.start(dut)
    try:
        Path("running").touch()
        while True:
            await system.wait(1_000_000)
    finally:
        Path("closed").touch()


@cocotb.test()
async def frames(dut) -> None:
    """A good frame there and back, and a bad one."""
    system = await System.start(dut)
    system.pcie.completions.settings.split = "rcb"
    net = await system.device.net(0, NetOptions())
    await net.check()
    system.port.send(bytes(range(100)))
    for received in await net.receive(timeout=20_000):
        await net.transmit([TxFrame(received.data)])
    await system.port.receive()
    system.port.send(bytes(80), error=True)
    await system.wait(2000)
