"""Random frames both ways at once through a network device that is up, and their scoreboard."""

import itertools
from collections.abc import Iterable, Iterator
from random import Random

import cocotb

from tailrace.virtio import spec
from tailrace.virtio.net import VirtioNet
from tailrace.virtio.net_types import CsumRequest, NetOptions, TxFrame
from tailrace_sim.models.checksum import insert, request
from tailrace_sim.models.net_offload import receive_queue, receive_verdict
from tailrace_sim.models.scoreboard import Scoreboard
from tailrace_sim.net_frames import random_frame
from tailrace_sim.system import System

__all__ = ["Traffic", "bits", "random_options", "random_stalls", "tagged"]

#: Bytes of frames that may be between the wire and the driver: the receive buffer holds twice that.
_WINDOW = 32768
#: Without a frame for so many cycles a run is over, one way or the other. Indirect tables are read
#: one after the other, so with slow memory it takes long until the last queue has its buffers.
_PATIENCE = 150_000
#: A receiving task looks this often whether it is wanted.
_SLICE = 3000
#: Cycles until every receive queue has its first buffers, with indirect tables in slow memory.
_SETTLING = 8000
_SHORTEST = 14
_LARGEST_TWO = 18200
_numbers = itertools.count(1)


def bits(rng: Random, probability: float) -> Iterator[bool]:
    """A stall pattern: each cycle by itself."""
    return iter(lambda: rng.random() < probability, None)


def random_stalls(system: System, rng: Random) -> None:
    """Gaps and stalls at the MAC, and manners of the host's memory, for the runs that follow."""
    chance = rng.choice([None, 0.1, 0.4])
    system.port.set_gaps(None if chance is None else bits(rng, chance))
    chance = rng.choice([None, 0.1, 0.5])
    system.port.set_stalls(None if chance is None else bits(rng, chance))
    settings = system.pcie.completions.settings
    settings.latency_ns = rng.choice([0, 200, 600])
    settings.jitter_ns = rng.choice([0, 100, 500])
    settings.reorder = rng.choice([1, 4, 16])
    settings.split = rng.choice(["max", "rcb", "random"])


def random_options(rng: Random, *, pairs: int, **fixed) -> NetOptions:
    """Small rings, so that they go round, and buffers that hold two of the largest frames."""
    sizes = [16, 33, 64, 100, 256] if fixed.get("packed", True) else [16, 32, 64, 256]
    rx_pieces = rng.choice([1, 1, 2, 3])
    rx_size = rng.choice(sizes if rx_pieces == 1 else sizes[:3])
    buffers = rx_size // rx_pieces
    lengths = [length for length in (300, 600, 1526, 4096) if buffers * length >= _LARGEST_TWO]
    return NetOptions(
        queue_pairs=pairs,
        guest_csum=rng.random() < 0.8,
        rx_size=rx_size,
        tx_size=rng.choice(sizes),
        rx_buffer=rng.choice(lengths) if fixed.get("mergeable") else None,
        rx_pieces=rx_pieces,
        **fixed,
    )


def tagged(frame: bytes) -> bytes:
    """The frame with a source address that no other frame of the simulation has."""
    return frame[:6] + b"\x02" + next(_numbers).to_bytes(5, "big") + frame[12:]


def _frame(rng: Random, longest: int) -> bytes:
    """Mostly what a network carries, sometimes of a length at an edge."""
    if rng.random() < 0.25:
        edges = [14, 60, 61, 63, 64, 65, 127, 128, 129, 256, 1514, longest - 1, longest]
        frame = rng.randbytes(rng.choice(edges))
    else:
        frame = random_frame(rng, rng.choice([60, 60, 60, 300, 300, 1400, longest]))
    return tagged(frame[:longest])


class Traffic:
    """Frames into the port and into the transmit queues, expected where they must come out.

    Received frames are expected in order on the queue that the golden model names, with the flags
    that it gives; sent frames in order within each transmit queue, with their checksum.

    Parameters
    ----------
    system : started
    net : device that is up
    rng : every choice comes from it
    queues : queue pairs to use; all if None

    Attributes
    ----------
    received, sent : scoreboards by queue
    """

    def __init__(
        self, system: System, net: VirtioNet, rng: Random, queues: Iterable[int] | None = None
    ):
        self.system = system
        self.net = net
        self.rng = rng
        self.pairs = len(net.pairs)
        self.queues = list(range(self.pairs) if queues is None else queues)
        self.received = Scoreboard("received")
        self.sent = Scoreboard("sent")
        self.longest = net.config.mtu + spec.ETHERNET_HEADER + spec.VLAN_TAGS
        self.over = False
        self._origin: dict[bytes, int] = {}
        self._inside: dict[int, int] = dict.fromkeys(self.queues, 0)
        self._bytes = 0
        self._quiet_since = 0
        self._room = {q: net.pairs[q].rx.ring.outstanding for q in self.queues}
        buffers = {q: net.pairs[q].rx for q in self.queues}
        self._buffer = {q: rx.capacity // max(1, self._room[q]) for q, rx in buffers.items()}

    # What is sent, and what must come of it

    def wire_frame(self, longest: int | None = None) -> tuple[bytes, int]:
        """A frame for one of the queues in use, and which."""
        while True:
            frame = _frame(self.rng, longest or self.longest)
            queue = receive_queue(frame, self.pairs)
            if queue in self.queues:
                return frame, queue

    def expect_received(self, frame: bytes, queue: int, *, optional: bool = False) -> None:
        valid = self.net.options.guest_csum and receive_verdict(frame)
        self.received.expect(bytes([2 if valid else 0]) + frame, queue, optional=optional)

    def transmit_frame(self, queue: int, *, optional: bool = False) -> TxFrame:
        """A frame for a transmit queue, expected on the wire."""
        rng = self.rng
        data = _frame(rng, self.longest)
        wanted, csum = data, None
        if self.net.options.csum and len(data) > _SHORTEST + 1 and rng.random() < 0.7:
            prepared = request(data)
            if prepared is None:
                start = rng.randrange(_SHORTEST, len(data) - 1)
                prepared = data, start, rng.randrange(len(data) - 1 - start)
            data, start, offset = prepared
            wanted, csum = insert(data, start, offset), CsumRequest(start, offset)
        total = spec.NET_HDR_LENGTH + len(data)
        pieces = rng.choice([1, 1, 1, 2, 2, 3, 5, 9])
        cuts = sorted(rng.sample(range(1, total), pieces - 1))
        self.sent.expect(wanted, queue, optional=optional)
        # The checksum may lie in the source address: the frame is known by what must come.
        self._origin[wanted] = queue
        return TxFrame(data, csum, cuts, rng.randrange(64))

    # Tasks

    def _needs(self, frame: bytes, queue: int) -> int:
        return -(-(spec.NET_HDR_LENGTH + len(frame)) // self._buffer[queue])

    def _fits(self, frame: bytes, queue: int) -> bool:
        if not self._bytes:
            return True
        half = self._inside[queue] + self._needs(frame, queue) <= self._room[queue] // 2
        return half and self._bytes + len(frame) <= _WINDOW

    async def _feed(self, count: int) -> None:
        for _ in range(count):
            frame, queue = self.wire_frame()
            while not self._fits(frame, queue):
                await self.system.wait(32)
            self._inside[queue] += self._needs(frame, queue)
            self._bytes += len(frame)
            self.expect_received(frame, queue)
            self.system.port.send(frame)

    async def _send(self, queue: int, count: int) -> None:
        while count:
            burst = min(count, self.rng.choice([1, 4, 16]))
            frames = [self.transmit_frame(queue) for _ in range(burst)]
            await self.net.transmit(frames, queue)
            await self.system.host.delay(self.rng.choice([0, 0, 100, 1000]))
            count -= burst
        await self.net.flush(queue)

    async def _receive(self, queue: int) -> None:
        while not self.over:
            for frame in await self.net.receive(queue, timeout=_SLICE):
                assert (frame.csum_start, frame.csum_offset) == (0, 0), frame
                assert frame.buffers == self._needs(frame.data, queue), frame
                self.received.receive(bytes([frame.flags]) + frame.data, queue)
                self._inside[queue] -= frame.buffers
                self._bytes -= len(frame.data)
                self._quiet_since = self.system.host.cycles()

    def collect(self) -> None:
        """Compare what has left the port so far."""
        frames = self.system.port.received
        while not frames.empty():
            data = frames.get_nowait().data
            self.sent.receive(data, self._origin.get(data, "unknown"))
            self._quiet_since = self.system.host.cycles()

    @property
    def quiet(self) -> bool:
        """Nothing has come for a long time."""
        return self.system.host.cycles() - self._quiet_since > _PATIENCE

    async def _explain(self) -> None:
        """Into the log, before the scoreboards fail: what the device knows."""
        counters = await self.system.device.management.counters()
        cocotb.log.error("counters %r", counters)
        for record in await self.system.device.management.errors():
            cocotb.log.error("%s", record)
        for queue in self.queues:
            rx, tx = self.net.pairs[queue].rx.ring, self.net.pairs[queue].tx.ring
            state = rx.outstanding, rx.used_pending(), tx.outstanding, tx.used_pending()
            cocotb.log.error("queue %d: %r", queue, state)

    async def run(self, receive: int, transmit: int) -> None:
        """``receive`` frames in, ``transmit`` frames out of each queue; everything comes.

        A queue that was enabled just now is known to the engine only when the tables that it is
        reading for another one are there; a frame that comes before is dropped. So wait first.
        """
        await self.system.wait(_SETTLING if self.net.options.rx_pieces > 1 else 1000)
        self._quiet_since = self.system.host.cycles()
        self.over = False
        receivers = [cocotb.start_soon(self._receive(queue)) for queue in self.queues]
        senders = [cocotb.start_soon(self._send(queue, transmit)) for queue in self.queues]
        senders.append(cocotb.start_soon(self._feed(receive)))
        while not self.quiet:
            self.collect()
            working = any(not task.done() for task in senders)
            if not working and not self.received.pending and not self.sent.pending:
                break
            await self.system.wait(64)
        self.over = True
        if self.quiet:
            await self._explain()
        for task in [*senders, *receivers]:
            if self.quiet and task in senders and not task.done():
                task.cancel()
                continue
            await task
        self.collect()
        self.received.finish()
        self.sent.finish()
