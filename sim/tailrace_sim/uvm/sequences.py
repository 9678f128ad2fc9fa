"""Sequences of the virtio-net environment: directed at the coverage, random, and bad input."""

import abc
import itertools
from collections.abc import Iterator

from pyuvm import FactoryMeta, uvm_sequence

from tailrace.virtio.net_types import CsumRequest, TxFrame
from tailrace_sim.models import checksum
from tailrace_sim.net_frames import random_frame
from tailrace_sim.uvm import frames
from tailrace_sim.uvm.config import NetConfig
from tailrace_sim.uvm.coverage import Point
from tailrace_sim.uvm.items import ReceiveItem, TransmitItem
from tailrace_sim.uvm.planner import Planner
from tailrace_sim.uvm.space import (
    ALIGNMENTS,
    CHAINS,
    HEADER,
    RX_FLAGS,
    SIZES,
    TX_FLAGS,
    receive_sizes,
    smallest,
)

__all__ = [
    "BadReceive",
    "BadTransmit",
    "DirectedReceive",
    "DirectedTransmit",
    "NetSequence",
    "RandomReceive",
    "RandomTransmit",
]

_CHAINS = {entry.name: entry for entry in CHAINS}
_SIZES = {entry.name: entry for entry in SIZES}
#: Longest chain that the sequences make: longer than an indirect table of the driver (16).
_LONGEST_CHAIN = 20
#: A random frame's data; :mod:`net_frames` adds headers.
_RANDOM_DATA = 1400


class _AbstractMeta(abc.ABCMeta, FactoryMeta):
    """pyuvm registers classes by a metaclass of its own; this one refuses abstract ones, too."""


class NetSequence(uvm_sequence, metaclass=_AbstractMeta):
    """Sends the items that :meth:`items` makes, one after the other.

    To write a sequence: subclass, implement :meth:`items` as a generator of items, and start it on
    the wire agent's or the host agent's sequencer.

    Parameters
    ----------
    config : of the environment
    count : items to send
    """

    def __init__(self, config: NetConfig, count: int):
        super().__init__(type(self).__name__)
        self.config = config
        self.rng = config.rng
        self.count = count

    @abc.abstractmethod
    def items(self) -> Iterator[ReceiveItem | TransmitItem]:
        """Endless; the sequence takes ``count`` of them."""

    async def body(self):
        for item in itertools.islice(self.items(), self.count):
            await self.start_item(item)
            await self.finish_item(item)


class _Directed(NetSequence):
    """Goes where the coverage has gaps, as far as the present ring and buffers reach.

    Parameters
    ----------
    config, count : see above; ``config.stall`` is the stall bin that holds
    planner : of its group; one for the whole run
    """

    def __init__(self, config: NetConfig, count: int, planner: Planner):
        super().__init__(config, count)
        self._planner = planner

    def _choose(self, shapes, flags: tuple[str, ...]) -> Point:
        ring = self.config.ring.name
        return self._planner.choose(
            (ring, *shape, flag, self.config.stall)
            for shape in shapes
            for flag in flags
            if self._sizes(shape, flag)
        )

    @abc.abstractmethod
    def _sizes(self, shape: tuple[str, str, str], flag: str):
        """Frame sizes in a (chain, alignment, size) bin that a frame with these flags may have."""


class DirectedReceive(_Directed):
    """Frames for the port; the buffers decide which size makes which chain."""

    def items(self):
        shapes = receive_sizes(self.config.geometry)
        while True:
            point = self._choose(shapes, RX_FLAGS)
            _, *shape, flags, _ = point
            size = self.rng.choice(self._sizes(tuple(shape), flags))
            yield ReceiveItem(self._make(size, flags), point=point)

    def _sizes(self, shape, flag):
        return [s for s in receive_sizes(self.config.geometry)[shape] if s >= smallest(flag)]

    def _make(self, size: int, flags: str) -> bytes:
        if flags == "none":
            return frames.plain(self.rng, size)
        if flags == "wrong":
            return frames.wrong(self.rng, size)
        protocol = "udp" if size < smallest("tcp") else self.rng.choice(["tcp", "udp"])
        return frames.transport(self.rng, size, protocol)


class DirectedTransmit(_Directed):
    """Frames for the transmit queues: any chain with any size at any alignment."""

    def items(self):
        shapes = list(itertools.product(_CHAINS, ALIGNMENTS, _SIZES))
        for number in itertools.count(1):
            point = self._choose(shapes, TX_FLAGS)
            _, chain, alignment, size, flags, _ = point
            queue = self.rng.randrange(self.config.queue_pairs)
            length = self.rng.choice(self._sizes((chain, alignment, size), flags))
            data, csum = self._make(length, flags, queue)
            frame = TxFrame(data, csum, self._cuts(chain, length), self._shift(alignment))
            kick = number == self.count or self.rng.random() < 0.4
            yield TransmitItem(frame, queue=queue, kick=kick, point=point)

    def _sizes(self, shape, flag):
        _, low, high = _SIZES[shape[2]]
        return range(max(low, smallest(flag)), high + 1)

    def _make(self, size: int, flags: str, queue: int) -> tuple[bytes, CsumRequest | None]:
        if flags == "none":
            return frames.plain(self.rng, size, queue), None
        asked = checksum.request(frames.transport(self.rng, size, flags, queue))
        assert asked is not None
        data, start, offset = asked
        return data, CsumRequest(start, offset)

    def _cuts(self, chain: str, size: int) -> tuple[int, ...]:
        """Points where the descriptors change, header included; now and then right behind it."""
        _, low, high = _CHAINS[chain]
        count = self.rng.randint(low, min(high, _LONGEST_CHAIN)) - 1
        if count == 1 and self.rng.random() < 0.5:
            return (HEADER,)
        return tuple(sorted(self.rng.sample(range(1, HEADER + size), count)))

    def _shift(self, alignment: str) -> int:
        return {
            "line": 0,
            "dword": 4 * self.rng.randint(1, 15),
            "half": 4 * self.rng.randint(0, 15) + 2,
            "odd": 2 * self.rng.randint(0, 31) + 1,
        }[alignment]


class RandomReceive(NetSequence):
    """Every kind of frame that the checksum logic treats differently; not sampled."""

    def items(self):
        while True:
            longest = self.rng.choice([40, 200, _RANDOM_DATA])
            yield ReceiveItem(random_frame(self.rng, longest)[: self.config.geometry.longest])


class RandomTransmit(NetSequence):
    """The same, out through one queue at full rate; not sampled."""

    def items(self):
        for number in itertools.count(1):
            queue = self.rng.randrange(self.config.queue_pairs)
            data = bytearray(random_frame(self.rng, self.rng.choice([40, 200, _RANDOM_DATA])))
            data[11] = queue
            kick = number == self.count or number % 16 == 0
            yield TransmitItem(TxFrame(bytes(data)), queue=queue, kick=kick)


class BadReceive(NetSequence):
    """Frames that the port must drop: marked by the MAC, too short, too long."""

    def items(self):
        port = self.config.system.config.port
        while True:
            yield ReceiveItem(self.rng.randbytes(self.rng.randint(14, 300)), error=True)
            yield ReceiveItem(self.rng.randbytes(self.rng.randint(1, port.min_length - 1)))
            longer = port.max_length + self.rng.randint(1, 200)
            yield ReceiveItem(self.rng.randbytes(longer))


class BadTransmit(NetSequence):
    """Chains that the device must return unsent: no room for a header, or a checksum outside."""

    def items(self):
        while True:
            queue = self.rng.randrange(self.config.queue_pairs)
            short = TxFrame(self.rng.randbytes(self.rng.randint(1, 13)))
            yield TransmitItem(short, queue=queue)
            size = self.rng.randint(14, 300)
            asked = CsumRequest(self.rng.randint(size - 1, size + 100), 0)
            yield TransmitItem(TxFrame(self.rng.randbytes(size), asked), queue=queue)
