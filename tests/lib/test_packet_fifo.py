"""PacketFifo: whole packets or none, each loss counted once and for the right reason."""

import pytest

from tailrace_hw.lib.packet_fifo import PacketFifo
from tailrace_sim.streams import from_beats, receive_packets, send, send_packets, to_beats
from tailrace_sim.unit import STALLS, check_refused, expect_silence, seeded, simulate


def random_packets(rng, width, count, beats):
    """Packets of 1 to ``beats`` beats with a byte of metadata."""
    longest = beats * width // 8
    return [(rng.randbytes(rng.randint(1, longest)), rng.getrandbits(8)) for _ in range(count)]


def losses(dut, counts):
    """A background testbench that counts the pulses into ``counts``."""

    async def count(ctx):
        while True:
            _, _, dropped, overflowed = await ctx.tick().sample(dut.dropped, dut.overflowed)
            counts["dropped"] += dropped
            counts["overflowed"] += overflowed
            assert not (dropped and overflowed)

    return count


async def feed(ctx, dut, packets, width, drops, rng, stall):
    """Send packets and ask to drop those of ``drops``, with ``drop`` random but on last beats."""
    for index, (packet, meta) in enumerate(packets):
        for beat in to_beats(packet, width, meta):
            drop = index in drops if beat["last"] else rng.getrandbits(1)
            ctx.set(dut.drop, drop)
            await send(ctx, dut.i, [beat], rng, stall)
    for _ in range(4):  # the last packet's pulse comes after its last beat
        await ctx.tick()


@pytest.mark.parametrize("stalls", STALLS, ids=str)
@pytest.mark.parametrize("width", [64, 512])
def test_stalling_fifo_loses_only_what_is_dropped(width, stalls):
    rng = seeded()
    packets = random_packets(rng, width, 60, 8)
    drops = set(rng.sample(range(60), 15))
    expected = [packet for index, packet in enumerate(packets) if index not in drops]
    dut = PacketFifo(width, 8, 8, stall=True)
    counts = {"dropped": 0, "overflowed": 0}

    async def source(ctx):
        await feed(ctx, dut, packets, width, drops, rng, stalls[0])

    async def sink(ctx):
        assert await receive_packets(ctx, dut.o, len(expected), rng, stalls[1]) == expected
        await expect_silence(ctx, dut.o)

    simulate(dut, source, sink, background=[losses(dut, counts)])
    assert counts == {"dropped": 15, "overflowed": 0}


@pytest.mark.parametrize("stall", [0.0, 0.6])
def test_overflow_loses_whole_packets_and_counts_each(stall):
    """What arrives is a subsequence of what was sent, and what is missing was counted."""
    rng = seeded()
    packets = [(index.to_bytes(8, "little") * rng.randint(1, 24), 0) for index in range(120)]
    drops = set(rng.sample(range(120), 20))
    dut = PacketFifo(64, 8, 16)
    counts = {"dropped": 0, "overflowed": 0}
    received = []
    sending = True

    async def source(ctx):
        ctx.set(dut.drop, 0)
        nonlocal sending
        await feed(ctx, dut, packets, 64, drops, rng, stall)
        sending = False

    async def always_ready(ctx):
        while True:
            _, _, ready = await ctx.tick().sample(dut.i.ready)
            assert ready, "a FIFO without stall must never wait"

    async def sink(ctx):
        beats = []
        while sending or ctx.get(dut.o.valid):
            ready = rng.random() < 0.2  # slower than the source, so that it overflows
            ctx.set(dut.o.ready, ready)
            _, _, valid, beat = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            if valid and ready:
                beats.append(beat)
        received.extend(from_beats(beats))

    simulate(dut, source, sink, background=[losses(dut, counts), always_ready])
    assert received
    numbers = [int.from_bytes(packet[:8], "little") for packet, _ in received]
    assert numbers == sorted(set(numbers))
    assert received == [packets[number] for number in numbers]
    assert not drops & set(numbers)
    assert counts["dropped"] == len(drops)
    assert counts["overflowed"] == len(packets) - len(drops) - len(received)
    assert counts["overflowed"] > 0, "the test never made it overflow"


@pytest.mark.parametrize("stall", [False, True])
def test_packet_that_cannot_fit_overflows_alone(stall):
    """Longer than the queue: lost; exactly as long: kept; its neighbours arrive."""
    rng = seeded()
    sizes = [1, 9, 8, 30, 2]
    packets = [(rng.randbytes(8 * size), size) for size in sizes]
    expected = [packet for packet in packets if packet[1] <= 8]
    dut = PacketFifo(64, 8, 8, stall=stall)
    counts = {"dropped": 0, "overflowed": 0}

    async def source(ctx):
        for packet in packets:
            await send_packets(ctx, dut.i, [packet], 64)
            for _ in range(12):
                await ctx.tick()

    async def sink(ctx):
        assert await receive_packets(ctx, dut.o, len(expected)) == expected
        for _ in range(40):
            await ctx.tick()

    simulate(dut, source, sink, background=[losses(dut, counts)])
    assert counts == {"dropped": 0, "overflowed": 2}


def test_full_rate_of_single_beat_packets():
    """A packet a cycle in and out, 3 cycles from the first one offered to the first one taken."""
    packets = [(bytes([index] * 64), index) for index in range(100)]
    dut = PacketFifo(512, 8, 64)
    cycles = 0

    async def count(ctx):
        nonlocal cycles
        while True:
            await ctx.tick()
            cycles += 1

    async def source(ctx):
        await send_packets(ctx, dut.i, packets, 512)

    async def sink(ctx):
        assert await receive_packets(ctx, dut.o, 100) == packets
        assert cycles <= 100 + 2

    simulate(dut, source, sink, background=[count])


@pytest.mark.parametrize("depth", [0, 1, 12])
def test_refuses_a_depth(depth):
    check_refused(lambda: PacketFifo(64, depth=depth), str(depth))
