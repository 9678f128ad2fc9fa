"""Internet checksum and CRC-32 against independent references, beat for beat at full rate."""

import zlib

import pytest
from scapy.utils import checksum as scapy_checksum

from tailrace_hw.lib.checksum import InternetChecksum
from tailrace_hw.lib.crc32 import CRC32C, Crc32, CrcAlgorithm
from tailrace_sim.streams import receive, to_beats
from tailrace_sim.unit import STALLS, check_stream, expect_silence, seeded, simulate


def crc32c(contents: bytes) -> int:
    """Castagnoli CRC bit by bit, the way RFC 3720 describes it."""
    register = 0xFFFF_FFFF
    for byte in contents:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F6_3B78 if register & 1 else 0)
    return register ^ 0xFFFF_FFFF


def contents(rng, width):
    """Packets of every length up to two beats and a bit, and of a few longer ones."""
    size = width // 8
    lengths = [*range(1, min(2 * size, 66)), size - 1, size, size + 1, 2 * size, 1500]
    rng.shuffle(lengths)
    return [rng.randbytes(length) for length in lengths]


def test_references_agree_with_published_values():
    assert zlib.crc32(b"123456789") == 0xCBF4_3926
    assert crc32c(b"123456789") == 0xE306_9283


#: Every stall pattern at one width, the others at full rate and with stalls at both ends.
CASES = [(64, stalls) for stalls in STALLS] + [
    (width, stalls) for width in (512, 1024) for stalls in (STALLS[0], STALLS[-1])
]


@pytest.mark.parametrize(
    ("width", "stalls", "name"),
    [*((*case, "crc32") for case in CASES), (64, STALLS[0], "crc32c")],
)
def test_crc(width, stalls, name):
    rng = seeded()
    packets = contents(rng, width)
    beats = [beat for packet in packets for beat in to_beats(packet, width)]
    if name == "crc32":
        dut, reference = Crc32(width), zlib.crc32
    else:
        dut, reference = Crc32(width, algorithm=CRC32C), crc32c
    latency = 6 + (width // 8).bit_length() - 1
    limit = None if any(stalls) else len(beats) + latency
    check_stream(dut, beats, [reference(packet) for packet in packets], rng, stalls, limit)


def test_crc_refuses_an_even_polynomial():
    with pytest.raises(ValueError, match="0x4c11db6"):
        CrcAlgorithm(0x04C1_1DB6)


def summed(packet: bytes, start: int, end: int) -> int:
    """Reference: scapy's checksum of a slice, without its final complement."""
    part = packet[start:end]
    return ~scapy_checksum(part) & 0xFFFF if any(part) else 0


def windows(rng, packets):
    """A window for each packet: whole, tail, middle, empty, beyond the end, odd starts."""
    for packet in packets:
        length = len(packet)
        start = rng.choice([0, 0, 1, 14, 34, rng.randrange(length), length, length + 70])
        end = rng.choice([0x1FFFF, length, length + 3, rng.randrange(start, start + length)])
        yield start, end


@pytest.mark.parametrize(("width", "stalls"), [*CASES, (256, STALLS[-1])])
def test_internet_checksum(width, stalls):
    rng = seeded()
    packets = [*contents(rng, width), bytes(100), b"\xff" * 100, b"\xff" * 65535, b"\0\1"]
    if width < 512:
        packets = [packet for packet in packets if len(packet) < 5000]
    jobs = [
        (packet, *window) for packet, window in zip(packets, windows(rng, packets), strict=True)
    ]
    dut = InternetChecksum(width)
    latency = {64: 7, 256: 8, 512: 9, 1024: 9}[width]
    beats = sum(-(-len(packet) // (width // 8)) for packet in packets)
    cycles = spent = 0

    async def count(ctx):
        nonlocal cycles
        while True:
            await ctx.tick()
            cycles += 1

    async def source(ctx):
        for packet, start, end in jobs:
            for beat in to_beats(packet, width):
                while stalls[0] and rng.random() < stalls[0]:
                    await ctx.tick()
                ctx.set(dut.i.payload, beat)
                ctx.set(dut.i.valid, 1)
                ctx.set(dut.start, start)
                ctx.set(dut.end, end)
                ready = False
                while not ready:
                    _, _, ready = await ctx.tick().sample(dut.i.ready)
                # Only the first beat's window counts.
                start, end = rng.getrandbits(17), rng.getrandbits(17)
                ctx.set(dut.i.valid, 0)

    async def sink(ctx):
        nonlocal spent
        results = await receive(ctx, dut.o, len(jobs), rng, stalls[1])
        spent = cycles
        for (packet, start, end), result in zip(jobs, results, strict=True):
            assert result == summed(packet, start, end), (len(packet), start, end)
        await expect_silence(ctx, dut.o)

    simulate(dut, source, sink, background=[count], cycles=20 * beats)
    if not any(stalls):
        assert spent <= beats + latency
