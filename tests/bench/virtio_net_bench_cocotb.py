"""Rates and latency of virtio-net in the simulator, on the whole device and a packed ring.

The driver brings the device up; from then on the bench fills the rings itself, with all descriptors
there before the first frame, so that nothing but the device, the link and the memory takes time.
"""

import dataclasses
import json
from pathlib import Path

import cocotb
from cocotb.triggers import RisingEdge
from cocotbext.pcie.core.tlp import Tlp, TlpType

from tailrace.host import DmaBuffer
from tailrace.virtio import spec
from tailrace.virtio.net_types import NetOptions
from tailrace.virtio.queue import Piece, Virtqueue
from tailrace_sim.run import parameters, seed
from tailrace_sim.system import System
from tailrace_sim.traffic import generate

RING = 1024
STRIDE = 2048
LATENCY_FRAMES = 16
#: Without a frame for so many cycles something is lost.
_PATIENCE = 20_000
_HEADER = spec.NET_HDR_LENGTH
_READS = (TlpType.MEM_READ, TlpType.MEM_READ_64)


@dataclasses.dataclass
class Direction:
    """A virtqueue, its buffers, and the cycle in which each frame was through.

    Frames through are those whose used element is in memory (receive) or whose last beat left the
    port (transmit).
    """

    ring: Virtqueue
    frames: list[bytes]
    memory: DmaBuffer
    done: list[int] = dataclasses.field(default_factory=list)
    used: list[tuple[int, int]] = dataclasses.field(default_factory=list)

    def rearm(self) -> None:
        """What an interrupt handler does: take the used chains, ask for the next interrupt."""
        while True:
            self.used += self.ring.collect()
            if not self.ring.enable_interrupt():
                return


class Bench:
    """One network device with empty rings, and what it does in time."""

    def __init__(self, system: System):
        self.system = system
        system.pcie.device.rq_sink.queue_occupancy_limit_frames = 16
        system.pcie.device.rc_source.queue_occupancy_limit_frames = 16

    async def open(self) -> None:
        """Bring the device up with rings that the driver leaves empty."""
        options = NetOptions(rx_size=RING, tx_size=RING, rx_count=0)
        self.net = await self.system.device.net(0, options)
        (self.pair,) = self.net.pairs

    async def close(self, directions: list[Direction]) -> None:
        await self.net.stop()
        for direction in directions:
            self.system.host.free(direction.memory)

    def receiver(self, frames: list[bytes], buffers: int = RING) -> Direction:
        """Post receive buffers; note when used elements come."""
        direction = self._direction(self.pair.rx.ring, frames, buffers)
        for index in range(buffers):
            piece = Piece(direction.memory.address + index * STRIDE, STRIDE)
            direction.ring.add((), [piece], index)
        place = direction.ring.areas.desc

        def on_dma(write: bool, function: int, address: int, length: int) -> None:
            if write and place <= address < place + 16 * RING:
                direction.done += [self.system.pcie.cycle()] * (length // 16)

        self.system.pcie.on_dma = on_dma
        self.system.pcie.on_interrupt(self.pair.rx_interrupt.data, direction.rearm)
        return direction

    def sender(self, frames: list[bytes]) -> Direction:
        """Put frames into the transmit ring; the port's monitor notes when they leave."""
        direction = self._direction(self.pair.tx.ring, frames, len(frames))
        for index, frame in enumerate(frames):
            start = index * STRIDE
            direction.memory.mem[start + _HEADER : start + _HEADER + len(frame)] = frame
            piece = Piece(direction.memory.address + start, _HEADER + len(frame))
            direction.ring.add([piece], (), index)
        self.system.pcie.on_interrupt(self.pair.tx_interrupt.data, direction.rearm)
        return direction

    def _direction(self, ring: Virtqueue, frames: list[bytes], buffers: int) -> Direction:
        ring.enable_interrupt()
        return Direction(ring, frames, self.system.host.alloc(buffers * STRIDE, STRIDE))

    async def run(self, receive: Direction | None, transmit: Direction | None) -> None:
        """Everything at once, until all is through; then every frame is compared."""
        if receive:
            await receive.ring.kick()
            await self.system.wait(1000)  # the descriptor cache fills
        self.system.pcie.reset_traffic()
        if transmit:
            await transmit.ring.kick()
        for frame in receive.frames if receive else ():
            self.system.port.send(frame)
        await self._through(receive, transmit)
        await self.system.wait(2000)
        if receive:
            self._check_received(receive)
        if transmit:
            self._check_sent(transmit)

    async def _through(self, receive: Direction | None, transmit: Direction | None) -> None:
        idle, before = 0, -1
        while idle < _PATIENCE:
            through = len(receive.done) if receive else 0
            through += self.system.port.received.qsize() if transmit else 0
            if through == sum(len(way.frames) for way in (receive, transmit) if way):
                return
            idle = idle + 100 if through == before else 0
            before = through
            await self.system.wait(100)
        raise AssertionError(f"stuck after {before} frames; drops: {await self.system.drops()}")

    def _check_received(self, way: Direction) -> None:
        way.used += way.ring.collect()
        assert len(way.used) == len(way.frames), f"{len(way.used)} of {len(way.frames)} used"
        for (index, written), frame in zip(way.used, way.frames, strict=True):
            start = index * STRIDE
            assert spec.NET_HDR.unpack_from(way.memory.mem, start)[6] == 1, "num_buffers"
            got = bytes(way.memory.mem[start + _HEADER : start + written])
            assert got == frame, f"frame in buffer {index} differs"

    def _check_sent(self, way: Direction) -> None:
        way.used += way.ring.collect()
        assert [index for index, _ in way.used] == list(range(len(way.frames))), "chains returned"
        received = self.system.port.received
        for number, frame in enumerate(way.frames):
            wire = received.get_nowait()
            assert wire.data == frame, f"frame {number} differs"
            way.done.append(wire.end)


def cycles_a_frame(ways: list[Direction], skip: int) -> list[float]:
    """Cycles a frame of each direction, in the time in which all of them are busy."""
    first = max(way.done[skip] for way in ways)
    last = min(way.done[-1] for way in ways)
    counts = [sum(first < cycle <= last for cycle in way.done) for way in ways]
    assert min(counts) > len(ways[0].frames) // 2, f"too short a time in common: {counts}"
    return [(last - first) / count for count in counts]


async def rates(bench: Bench, frames: list[bytes], ways: str, skip: int) -> dict:
    """Cycles a frame, and what the link carried for it."""
    await bench.open()
    receive = bench.receiver(frames) if "receive" in ways else None
    transmit = bench.sender(frames[::-1]) if "transmit" in ways else None
    await bench.run(receive, transmit)
    traffic = bench.system.pcie.traffic
    directions = [way for way in (receive, transmit) if way]
    names = [name for name, way in (("receive", receive), ("transmit", transmit)) if way]
    count = sum(len(way.frames) for way in directions)
    result = {
        "cycles": dict(zip(names, cycles_a_frame(directions, skip), strict=True)),
        "interrupts": traffic.interrupts / count,
        "writes": traffic.write_tlps / count,
        "reads": traffic.read_tlps / count,
        "refused": len(traffic.refused),
    }
    await bench.close(directions)
    return result


class LatencyProbe:
    """Reads that the device makes, and when their data came back."""

    def __init__(self, system: System):
        self.system = system
        self.sent: list[int] = []
        self.answered: list[int] = []
        self.writes: list[int] = []
        self._count = system.pcie.device.on_request
        system.pcie.device.on_request = self._request
        cocotb.start_soon(self._watch(system.dut.pcie__rc__tvalid))

    def _request(self, tlp: Tlp, cycle: int) -> None:
        self._count(tlp, cycle)
        (self.sent if tlp.fmt_type in _READS else self.writes).append(cycle)

    async def _watch(self, valid) -> None:
        while True:
            await RisingEdge(valid)
            # Driven after this edge, taken by the device at the next.
            self.answered.append(self.system.pcie.cycle() + 1)

    def clear(self) -> None:
        self.sent, self.answered, self.writes = [], [], []

    def outside(self) -> int:
        """Cycles that the reads spent outside the device, one after the other."""
        assert len(self.sent) == len(self.answered), f"{self.sent} {self.answered}"
        return sum(b - a for a, b in zip(self.sent, self.answered, strict=True))


async def latency(bench: Bench, frames: list[bytes]) -> dict:
    """Cycles from a frame's last beat to its interrupt, in a device that has nothing else to do.

    All descriptors are in the cache and none is added, so that the only read is the one of the
    driver's event suppression area, on which the interrupt depends.
    """
    system = bench.system
    await bench.open()
    receive = bench.receiver(frames, buffers=2 * LATENCY_FRAMES)
    await receive.ring.kick()
    await system.wait(2000)
    probe = LatencyProbe(system)
    inside, outside, steps = [], [], []
    for number, frame in enumerate(frames):
        probe.clear()
        before = system.pcie.traffic.interrupts
        system.port.send(frame)
        # A different phase against everything periodic each time.
        await system.wait(1000 + number)
        traffic, end = system.pcie.traffic, system.port.sent[-1].end
        assert traffic.interrupts == before + 1, "an interrupt a frame"
        outside.append(probe.outside())
        inside.append(traffic.last_interrupt - end - outside[-1])
        steps.append([cycle - end for cycle in (*probe.writes, *probe.sent, *probe.answered)])
    bench._check_received(receive)
    system.pcie.device.on_request = probe._count
    await bench.close([receive])
    return {"inside": inside, "outside": outside, "steps": steps}


@cocotb.test()
async def virtio_net(dut) -> None:
    """Every measurement, each on a device that was reset; written to ``virtio_net.json``."""
    wanted = parameters()
    system = await System.start(
        dut, memory_size=16 << 20, latency_cycles=wanted["latency"],
        max_payload=wanted["max_payload"], max_read=wanted["max_read"],
    )  # fmt: skip
    bench = Bench(system)
    results: dict[str, dict] = {}
    for size, count, skip in wanted["loads"]:
        frames = generate(count, size, seed())
        for ways in ("receive", "transmit", "receive_transmit"):
            results[f"{ways}_{size}"] = await rates(bench, frames, ways, skip)
            dut._log.warning("%s %s: %s", ways, size, results[f"{ways}_{size}"])
        results[f"latency_{size}"] = await latency(bench, frames[:LATENCY_FRAMES])
        dut._log.warning("latency %s: %s", size, results[f"latency_{size}"])
    drops = await system.drops()
    assert not any(drops.values()), drops
    assert not await system.device.management.errors()
    Path("virtio_net.json").write_text(json.dumps(results))
