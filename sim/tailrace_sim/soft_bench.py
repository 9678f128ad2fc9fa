"""Driver and soft network device on a soft host, ready for a test."""

import random
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

from tailrace.pci import PciFunction, scan
from tailrace.virtio.net import VirtioNet
from tailrace.virtio.net_types import Frame, NetOptions, TxFrame
from tailrace_sim.models.pci import SoftFunction
from tailrace_sim.models.scoreboard import Scoreboard
from tailrace_sim.models.soft_host import SoftHost
from tailrace_sim.models.virtio_net import SoftVirtioNet

__all__ = ["SoftBench", "random_cuts"]


def random_cuts(rng: random.Random, length: int, pieces: int) -> tuple[int, ...]:
    """Cut points for a transmit chain of ``pieces`` descriptors over header and frame."""
    return tuple(sorted(rng.sample(range(1, 12 + length), pieces - 1)))


class SoftBench:
    """One soft virtio-net function, its host, and the driver once :meth:`open` has run.

    Attributes
    ----------
    host, device : the soft ones
    net : the driver
    rng : of the test
    """

    def __init__(self, *, seed: int = 0, size: int = 1 << 22, **device: Any):
        self.rng = random.Random(seed)
        self.device = SoftVirtioNet(seed=seed, **device)
        self.host = SoftHost(self._functions(), seed=seed, size=size)
        self.host.add_device(self.device)
        self.net: VirtioNet

    def _functions(self) -> dict[int, SoftFunction]:
        return {0: self.device}

    def run(self, *tasks: Coroutine[Any, Any, Any]) -> Any:
        """Run tasks; the result of the first."""
        return self.host.run(*tasks)[0]

    def function(self) -> PciFunction:
        """The device's function, scanned."""
        return self.run(scan(self.host))[0]

    def open(self, options: NetOptions | None = None) -> VirtioNet:
        """Scan, and bring the driver up."""
        self.net = self.run(VirtioNet.open(self.function(), options))
        return self.net

    def frames(self, count: int, low: int = 14, high: int = 1514) -> list[bytes]:
        """Random frames."""
        return [self.rng.randbytes(self.rng.randint(low, high)) for _ in range(count)]

    async def send(self, frames: Iterable[TxFrame], queue: int = 0) -> None:
        """Transmit all and wait until the device has returned them."""
        await self.net.transmit(frames, queue)
        await self.net.flush(queue)

    async def collect(self, count: int, queue: int = 0, timeout: int = 100_000) -> list[Frame]:
        """Receive until ``count`` frames are there, or none came for ``timeout`` cycles."""
        got: list[Frame] = []
        while len(got) < count:
            fresh = await self.net.receive(queue, timeout=timeout)
            if not fresh:
                break
            got += fresh
        return got

    def echo(self, frames: Sequence[TxFrame], queue: int = 0) -> Scoreboard:
        """Send frames through a loop-back device and compare what comes back, in order."""
        board = Scoreboard("loop-back")
        for frame in frames:
            board.expect(frame.data, queue)
        _, received = self.host.run(self.send(frames, queue), self.collect(len(frames), queue))
        for frame in received:
            board.receive(frame.data, frame.queue)
        board.finish(count=len(frames))
        return board
