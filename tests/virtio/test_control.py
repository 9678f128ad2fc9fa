"""The control queue (virtio 1.2, 5.1.6.5) against a reference of ten lines."""

import itertools
import struct
from dataclasses import dataclass, field

import pytest

from tailrace_hw.errors import ErrorCode
from tailrace_hw.pcie.dma import DmaStatus
from tailrace_hw.virtio.control import ControlQueue
from tailrace_hw.virtio.interfaces import TakeAction
from tailrace_sim.streams import receive, send
from tailrace_sim.unit import seeded, simulate

PAIRS = 4
OK, ERR = 0, 1
#: VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET.
MQ, PAIRS_SET = 4, 0


def pairs_set(pairs):
    return struct.pack("<BBH", MQ, PAIRS_SET, pairs)


@dataclass
class Chain:
    """A chain: the command, where it is cut, and the lengths of its writable buffers."""

    command: bytes
    cuts: tuple[int, ...] = ()
    writable: tuple[int, ...] = (1,)
    bad_read: bool = False
    bad_write: bool = False
    none: bool = False
    #: Filled in by :meth:`lay_out`: (address, length, writable), and the first writable byte.
    segments: list = field(default_factory=list)
    ack: int | None = None

    def lay_out(self, rng, memory):
        edges = [0, *self.cuts, len(self.command)]
        for start, end in itertools.pairwise(edges):
            address = rng.getrandbits(40) << 16 | rng.getrandbits(7)
            for index, byte in enumerate(self.command[start:end]):
                memory[address + index] = byte
            self.segments.append((address, end - start, 0))
        for length in self.writable:
            address = rng.getrandbits(40) << 16 | rng.getrandbits(12)
            if length and self.ack is None:
                self.ack = address
            self.segments.append((address, length, 1))
        if not self.command:
            self.segments.pop(0)


def expected(chain, multiqueue=True):
    """(ack, bytes written, error, pairs set)."""
    if chain.bad_read and chain.command:
        return None, 0, ErrorCode.QUEUE_DATA_FAULT, None
    if len(chain.command) < 2 or chain.ack is None:
        return None, 0, ErrorCode.NET_CTRL_MALFORMED, None
    pairs = None
    if chain.command[:2] == bytes([MQ, PAIRS_SET]) and len(chain.command) >= 4 and multiqueue:
        pairs = int.from_bytes(chain.command[2:4], "little")
    ok = pairs is not None and 1 <= pairs <= PAIRS
    if chain.bad_write:
        return None, 0, ErrorCode.QUEUE_DATA_FAULT, pairs if ok else None
    return (OK if ok else ERR), 1, None, pairs if ok else None


def play(chains, width, rng, stall, multiqueue=True):
    """Run the chains through a control queue and compare everything that comes out."""
    assert chains
    dut = ControlQueue(width, PAIRS)
    memory: dict[int, int] = {}
    for chain in chains:
        chain.lay_out(rng, memory)
    real = [chain for chain in chains if not chain.none]
    bad_reads = {a for c in chains if c.bad_read for a, _, w in c.segments if not w}
    bad_writes = {c.ack for c in chains if c.bad_write}
    written: dict[int, int] = {}
    events: list = []
    counts = {"executed": 0, "refused": 0, "fault": 0}

    async def engine(ctx):
        ctx.set(dut.function, 1)
        ctx.set(dut.queue, 8)
        ctx.set(dut.multiqueue, multiqueue)
        active = 1
        for number, chain in enumerate(chains):
            ctx.set(dut.chains.available, 1)
            (take,) = await receive(ctx, dut.chains.take, 1, rng, stall)
            ctx.set(dut.chains.available, 0)
            assert (take.queue, take.action) == (0, TakeAction.TAKE_COMMIT)
            segments = [
                {"address": a, "length": n, "writable": w, "id": number, "slots": number + 1}
                for a, n, w in chain.segments
            ]
            if chain.none:
                segments = [{"none": 1, "writable": 1, "length": 4}]
            segments[-1]["last"] = 1
            await send(ctx, dut.chains.segments, segments, rng, stall)
            if chain.none:
                continue
            (complete,) = await receive(ctx, dut.chains.complete, 1, rng, stall)
            ack, length, error, pairs = expected(chain, multiqueue)
            assert (complete.queue, complete.id, complete.slots) == (0, number, number + 1)
            assert (complete.written, complete.more) == (length, 0), chain
            assert written.pop(chain.ack, None) == ack, chain
            await ctx.tick().repeat(4)
            assert events == ([(error, 8)] if error else []), chain
            events.clear()
            active = active if pairs is None else pairs
            assert ctx.get(dut.active_pairs) == active
        assert not written, "a write nobody asked for"

    async def host_reads(ctx):
        while True:
            (request,) = await receive(ctx, dut.read.request, 1, rng, stall)
            assert request.function == 1
            assert 1 <= request.length <= 4
            bad = request.address in bad_reads
            word = bytes(memory[request.address + i] for i in range(request.length))
            data = int.from_bytes(word + b"\xaa" * (width // 8 - len(word)), "little")
            beat = {"data": data, "last": 1, "empty": width // 8 - request.length}
            beats = [beat | {"meta": {"status": DmaStatus.UR if bad else DmaStatus.OK}}]
            if bad:
                beats = [{"data": data}] * rng.randint(0, 2) + beats
            await send(ctx, dut.read.data, beats, rng, stall)

    async def host_writes(ctx):
        while True:
            if rng.random() < 0.5:
                (request,) = await receive(ctx, dut.write.request, 1, rng, stall)
                (beat,) = await receive(ctx, dut.write.data, 1, rng, stall)
            else:
                (beat,) = await receive(ctx, dut.write.data, 1, rng, stall)
                (request,) = await receive(ctx, dut.write.request, 1, rng, stall)
            assert (request.function, request.length) == (1, 1)
            assert (beat.last, beat.empty) == (1, width // 8 - 1)
            bad = request.address in bad_writes
            if not bad:
                written[request.address] = beat.data & 0xFF
            status = DmaStatus.BUS_MASTER_OFF if bad else DmaStatus.OK
            await send(ctx, dut.write.response, [{"status": status}], rng, stall)

    async def watch(ctx):
        ctx.set(dut.errors.ready, 1)
        async for _, _, valid, event, *pulses in ctx.tick().sample(
            dut.errors.valid, dut.errors.payload, dut.executed, dut.refused, dut.fault
        ):
            if valid:
                assert event.function == 1
                events.append((event.code, event.queue))
            for name, pulse in zip(counts, pulses, strict=True):
                counts[name] += pulse

    simulate(dut, engine, background=[host_reads, host_writes, watch], cycles=400 * len(chains))
    results = [expected(chain, multiqueue) for chain in real]
    faults = sum(error == ErrorCode.QUEUE_DATA_FAULT for _, _, error, _ in results)
    assert counts["fault"] == faults
    judged = [c for c in real if len(c.command) >= 2 and c.ack is not None and not c.bad_read]
    assert counts["executed"] + counts["refused"] == len(judged)
    assert counts["executed"] == sum(pairs is not None for *_, pairs in results)


CASES = {
    "every number of pairs": [Chain(pairs_set(n)) for n in (1, 4, 2, 3)],
    "wrong numbers": [Chain(pairs_set(n)) for n in (3, 0, 5, 0x8000, 0xFFFF, 0x104)],
    "one byte a buffer": [Chain(pairs_set(2), cuts=(1, 2, 3))],
    "header and data apart": [Chain(pairs_set(2), cuts=(2,)), Chain(pairs_set(3), cuts=(3,))],
    "empty buffers": [Chain(pairs_set(2), cuts=(0, 2, 2), writable=(0, 1))],
    "big acknowledgement": [Chain(pairs_set(2), writable=(64, 64))],
    "longer than needed": [Chain(pairs_set(2) + bytes(100), cuts=(40,))],
    "data missing": [Chain(pairs_set(2)), *(Chain(pairs_set(3)[:n]) for n in (2, 3))],
    "unknown class": [Chain(bytes([c, 0, 2, 0])) for c in (0, 1, 2, 3, 5, 255)],
    "unknown command": [Chain(bytes([MQ, c, 2, 0])) for c in (1, 2, 255)],
    "no room": [Chain(pairs_set(2), writable=()), Chain(pairs_set(3), writable=(0,))],
    "no header": [Chain(b""), Chain(b"\x04")],
    "read fails": [Chain(pairs_set(2), cuts=(2,), bad_read=True), Chain(pairs_set(3))],
    "write fails": [Chain(pairs_set(2), bad_write=True), Chain(pairs_set(3))],
    "nothing there": [Chain(b"", none=True), Chain(pairs_set(2))],
}


@pytest.mark.parametrize("name", CASES)
def test_case(name):
    chains = [Chain(c.command, c.cuts, c.writable, c.bad_read, c.bad_write, c.none)
              for c in CASES[name]]  # fmt: skip
    play(chains, 512, seeded(), 0.0)


def test_without_multiqueue_nothing_is_executed():
    play([Chain(pairs_set(2)), Chain(pairs_set(1))], 512, seeded(), 0.0, multiqueue=False)


@pytest.mark.parametrize("width", [64, 512])
def test_random(width):
    rng = seeded()
    chains = []
    for _ in range(60):
        command = pairs_set(rng.randint(0, PAIRS + 1)) + rng.randbytes(rng.choice([0, 0, 3]))
        if rng.random() < 0.2:
            command = rng.randbytes(rng.randint(0, 9))
        cuts = sorted(rng.randint(0, len(command)) for _ in range(rng.randint(0, 4)))
        writable = tuple(rng.choice([0, 1, 1, 7]) for _ in range(rng.choice([0, 1, 1, 1, 2])))
        if not command and not writable:
            continue
        bad = rng.random()
        chains.append(
            Chain(command, tuple(cuts) if command else (), writable,
                  bad_read=bad < 0.1, bad_write=0.1 <= bad < 0.2, none=0.2 <= bad < 0.25)
        )  # fmt: skip
    play(chains, width, rng, 0.4)


def test_clear_gives_one_pair():
    dut = ControlQueue(64, PAIRS)

    async def body(ctx):
        assert ctx.get(dut.active_pairs) == 1

    simulate(dut, body)
    # A command, then a clear: through the same path as in the device.
    dut = ControlQueue(64, PAIRS)

    async def command(ctx):
        ctx.set(dut.multiqueue, 1)
        ctx.set(dut.chains.available, 1)
        await receive(ctx, dut.chains.take, 1)
        ctx.set(dut.chains.available, 0)
        segments = [{"length": 4}, {"length": 1, "writable": 1, "last": 1}]
        await send(ctx, dut.chains.segments, segments[:1])
        await receive(ctx, dut.read.request, 1)
        await send(ctx, dut.read.data, [{"data": 0x0003_0004, "last": 1, "empty": 4}])
        await send(ctx, dut.chains.segments, segments[1:])
        await receive(ctx, dut.write.request, 1)
        assert ctx.get(dut.active_pairs) == 3
        ctx.set(dut.clear, 1)
        await ctx.tick()
        ctx.set(dut.clear, 0)
        assert ctx.get(dut.active_pairs) == 1

    simulate(dut, command)
