"""Our driver at the other end of the socket: frames both ways, through the RTL."""

import asyncio
import random
import time

import pytest

from tailrace.host import FunctionAddress
from tailrace.pci import PciFunction
from tailrace.virtio.net import VirtioNet
from tailrace.virtio.net_types import NetOptions, TxFrame
from tailrace_sim.models.vfio_client import DMA_READ, DMA_WRITE, PATIENCE, VfioClient
from tailrace_sim.models.vfio_host import LONG, VfioHost
from tailrace_sim.run import pick_seed


async def bring_up(host, **options):
    function = PciFunction(host, FunctionAddress(1, 0, 1))
    await function.read()
    return await VirtioNet.open(function, NetOptions(**options))


async def exchange(device, client, net, rng, count):
    """Random frames each way, which must come as they were."""
    for _ in range(count):
        frame = rng.randbytes(rng.choice([60, 61, 64, 127, 1500, 3000, rng.randrange(60, 9000)]))
        device.wire.send(frame)
        received = [item.data for item in await net.receive(timeout=LONG)]
        assert received, f"not in {PATIENCE} s: a frame from the wire in the driver"
        assert received == [frame]
        await net.transmit([TxFrame(frame[::-1])])
        client.expect(device.wire.fileno(), "the driver's frame on the wire")
        assert device.wire.recv(65536) == frame[::-1]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("by_fd", [True, False])
def test_frames_both_ways(device, packed, by_fd):
    seed = pick_seed()
    print(f"seed {seed}")
    with VfioClient(device.sockets[1]) as client:
        host = VfioHost({1: client}, by_fd=by_fd)

        async def run():
            net = await bring_up(host, packed=packed)
            end = time.monotonic() + PATIENCE
            while not await net.receive(timeout=10_000):
                assert time.monotonic() < end, f"not in {PATIENCE} s: a frame from the wire"
                # The first frames behind a start may find no buffers.
                device.wire.send(bytes(60))
            while await net.receive(timeout=10_000):
                pass
            await exchange(device, client, net, random.Random(seed), 12)
            await net.check()
            await net.stop()

        asyncio.run(run())
        commands = {command for command, _, _ in client.dma}
        assert commands == (set() if by_fd else {DMA_READ, DMA_WRITE})
        host.close()
