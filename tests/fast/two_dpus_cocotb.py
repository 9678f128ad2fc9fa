"""Inside the simulator: two DPUs, each in a host of its own, and a cable with faults between."""

import bisect
import dataclasses
import json
import struct
from collections import Counter, defaultdict
from pathlib import Path
from random import Random

import cocotb
import pytest
from cocotb.triggers import Timer

from tailrace.virtio.net import VirtioNet
from tailrace.virtio.net_types import NetOptions, TxFrame
from tailrace_sim.fast.link import Faults, Link, cable
from tailrace_sim.run import parameters, seed
from tailrace_sim.system import System, dropped

#: Frames between a driver and the other, at most: less than the receive buffer and the rings hold.
_WINDOW = 40
_WINDOW_BYTES = 60_000
#: Without a frame for so many cycles, what is missing is missing.
_PATIENCE = 60_000
_FLOWS = 64
_NUMBER = struct.Struct(">I")
_NUMBER_AT = 42  # behind the UDP header, or in the payload of another type
_PERIOD_NS = 4
#: Cycles by which two frames of a flow may need differently long from wire to driver.
_UNEVEN = 1500


def _header(rng: Random, size: int) -> bytes:
    """Ethernet, IPv4 and UDP without a checksum; every fourth is something unknown."""
    addresses = b"\x02" + rng.randbytes(5) + b"\x02" + rng.randbytes(5)
    if rng.random() < 0.25:
        return addresses + b"\x88\xb5" + rng.randbytes(_NUMBER_AT - 14)
    host = rng.randrange(_FLOWS)
    ip = struct.pack(
        ">BBHHHBBHBBBBBBBB", 0x45, 0, size - 14, 0, 0, 64, 17, 0, 10, 0, 0, host, 10, 1, 0, 1
    )
    return addresses + b"\x08\x00" + ip + struct.pack(">HHHH", 1024 + host, 4791, size - 34, 0)


def _frame(rng: Random, number: int) -> bytes:
    size = rng.choice([60, 64, 65, 128, rng.randrange(60, 400), rng.randrange(60, 1515)])
    head = _header(rng, size) + _NUMBER.pack(number)
    return head + rng.randbytes(size - len(head))


@dataclasses.dataclass
class Direction:
    """Frames from one driver to the other, each with its number.

    Attributes
    ----------
    sent : by number
    queues : transmit queue of each
    received : (number, receive queue, cycle), in the order of each receive queue
    """

    source: VirtioNet
    target: VirtioNet
    link: Link
    count: int
    rng: Random
    sent: list[bytes] = dataclasses.field(default_factory=list)
    queues: list[int] = dataclasses.field(default_factory=list)
    received: list[tuple[int, int, int]] = dataclasses.field(default_factory=list)
    bytes_out: int = 0

    def outstanding(self) -> int:
        """Frames that can still arrive: corrupted ones are dropped by the device."""
        c = self.link.counters()
        gone = len(self.received) + c.lost + c.corrupted
        return len(self.sent) + c.duplicated - gone

    async def transmit(self) -> None:
        """All frames, in batches over random queues, no more than the window at once."""
        pairs = len(self.source.pairs)
        while len(self.sent) < self.count:
            while self.outstanding() >= _WINDOW // 2:
                await Timer(64 * _PERIOD_NS, "ns")
            queue = self.rng.randrange(pairs)
            batch = []
            for _ in range(min(self.rng.randint(1, _WINDOW // 2), self.count - len(self.sent))):
                batch.append(_frame(self.rng, len(self.sent)))
                self.sent.append(batch[-1])
                self.queues.append(queue)
            assert self.outstanding() <= _WINDOW
            assert sum(map(len, self.sent[-_WINDOW:])) <= _WINDOW_BYTES
            await self.source.transmit([TxFrame(frame) for frame in batch], queue)

    async def receive(self, queue: int) -> None:
        """Frames of a receive queue, compared with what was sent; without end."""
        while True:
            for frame in await self.target.receive(queue):
                (number,) = _NUMBER.unpack_from(frame.data, _NUMBER_AT)
                assert number < len(self.sent), "a frame that nobody sent"
                assert frame.data == self.sent[number], f"frame {number} is not what was sent"
                self.received.append((number, queue, self.target.host.cycles()))

    async def finish(self) -> None:
        """Until nothing can come any more."""
        idle = 0
        while (len(self.sent) < self.count or self.outstanding()) and idle < _PATIENCE:
            before = len(self.received)
            await Timer(256 * _PERIOD_NS, "ns")
            idle = 0 if len(self.received) > before else idle + 256

    # What must be true at the end

    def check_order(self, faults: Faults) -> int:
        """Late frames; no more than were reordered, and by no more than the link may."""
        # Queues overtake each other in the devices: order is that of a queue on both sides.
        flows: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
        late = 0
        most = round(faults.reorder_ns / _PERIOD_NS) + _UNEVEN
        for number, queue, cycle in self.received:
            # Numbers that were higher than any before, and when they came.
            heights = flows[self.queues[number], queue]
            first = bisect.bisect(heights, (number, cycle))
            if first == len(heights):
                heights.append((number, cycle))
            elif heights[first][0] != number:
                late += 1
                behind = cycle - heights[first][1]
                assert behind <= most, f"frame {number} is {behind} cycles behind {heights[first]}"
        return late

    def check_frames(self) -> dict[str, int]:
        """Every frame sent was received as often as the link says."""
        c = self.link.counters()
        times = Counter(number for number, _, _ in self.received)
        missing = self.count - len(times)
        assert len(self.sent) == self.count == c.taken
        assert c.in_flight == 0
        assert c.delivered == c.taken + c.duplicated - c.lost
        assert len(self.received) == c.delivered - c.corrupted
        assert sum(times.values()) == self.count - c.lost + c.duplicated - c.corrupted
        assert sum(count - 1 for count in times.values()) <= c.duplicated
        assert max(times.values()) <= (2 if c.duplicated else 1)
        if not c.duplicated:
            assert missing == c.lost + c.corrupted
        return {**dataclasses.asdict(c), "received": len(self.received), "missing": missing}


async def _check_device(system: System, out: Direction, back: Direction) -> None:
    """The device's counters have every frame of both links, and dropped nothing else."""
    counters = await system.counters()
    there, here = out.link.counters(), back.link.counters()
    for block in ("port0", "virtio_net0"):
        assert counters[f"{block}.tx_frames"] == there.taken
        assert counters[f"{block}.rx_frames"] == len(back.received)
    # The port knows the reason; what it has marked, the receive path drops and counts too.
    marked = ("port0.rx_drop_error", "virtio_net0.rx_drop_marked")
    assert dropped(counters) == (dict.fromkeys(marked, here.corrupted) if here.corrupted else {})


async def _start(system: System) -> VirtioNet:
    pairs = system.config.virtio_net.queue_pairs
    net = await system.device.net(0, NetOptions(packed=True, queue_pairs=pairs))
    await net.check()
    return net


@cocotb.test()
async def exchange(dut) -> None:
    """Random frames both ways at once, with every loss accounted for; counts into a file."""
    settings = parameters()
    rng = Random(seed())
    faults = Faults(**settings["faults"])
    systems = await System.start_all(memory_size=32 << 20)
    assert len(systems) == 2
    assert systems[0].host.memory is not systems[1].host.memory
    nets = [await _start(system) for system in systems]
    await Timer(2000 * _PERIOD_NS, "ns")
    links = cable(systems[0].port, systems[1].port, faults)
    ways = [
        Direction(nets[a], nets[1 - a], links[a], settings["frames"], Random(rng.random()))
        for a in (0, 1)
    ]
    start = systems[0].host.cycles()
    for way in ways:
        for queue in range(len(way.target.pairs)):
            cocotb.start_soon(way.receive(queue))
        cocotb.start_soon(way.transmit())
    for way in ways:
        await way.finish()
    found = []
    for index, way in enumerate(ways):
        late = way.check_order(faults)
        found.append({**way.check_frames(), "late": late})
        assert late <= found[-1]["reordered"]
        await _check_device(systems[index], way, ways[1 - index])
        assert systems[index].port.received.empty()
        assert systems[index].port.sent == []
    assert found[0] != found[1], "the two directions have their own lots"
    cycles = systems[0].host.cycles() - start
    Path("exchange.json").write_text(json.dumps({"ways": found, "cycles": cycles}))


@cocotb.test()
async def loop(dut) -> None:
    """A link from a port to itself: what leaves comes back."""
    system = await System.start(dut, memory_size=32 << 20)
    net = await _start(system)
    await Timer(2000 * _PERIOD_NS, "ns")
    link = Link(system.port, system.port, Faults(delay_ns=500))
    rng = Random(seed())
    frames = [_frame(rng, number) for number in range(16)]
    await net.transmit([TxFrame(frame) for frame in frames])
    got: list[bytes] = []

    async def collect(queue: int) -> None:
        while True:
            got.extend(frame.data for frame in await net.receive(queue))

    for queue in range(len(net.pairs)):
        cocotb.start_soon(collect(queue))
    await Timer(20_000 * _PERIOD_NS, "ns")
    assert sorted(got) == sorted(frames)
    assert link.counters().delivered == len(frames)
    with pytest.raises(ValueError, match="already"):
        Link(system.port, system.port)
