"""What virtio-net finds out about a received frame: checksum verdict, flow hash, length."""

from collections import Counter

import pytest

from tailrace_hw.virtio.net_rx_analyse import RxAnalyse
from tailrace_sim.models.net_offload import (
    receive_hash,
    receive_queue,
    receive_verdict,
    toeplitz,
)
from tailrace_sim.net_frames import KINDS, random_frame
from tailrace_sim.net_unit import Clock
from tailrace_sim.streams import to_beats
from tailrace_sim.unit import seeded, simulate

PAIRS = 5

#: Microsoft, "Verifying the RSS hash calculation": source, destination, ports, hash.
RSS_ROWS = [
    ("420995bb", "a18e6450", "0aea06e6", 0x51CCC178),
    ("c75c6f02", "41458c53", "37961283", 0xC626B0EA),
    (
        "3ffe25010200 1fff0000000000000007",
        "3ffe250102000003 0000000000000001",
        "0aea06e6",
        0x40207D3D,
    ),
]


@pytest.mark.parametrize("row", RSS_ROWS, ids=["ipv4 a", "ipv4 b", "ipv6"])
def test_the_model_agrees_with_the_published_hashes(row):
    assert toeplitz(bytes.fromhex("".join(row[:3]))) == row[3]


def test_the_model_hashes_a_tunnel_by_its_outer_addresses():
    inner = bytes.fromhex("450000140000000040000000") + bytes(range(8))
    outer = bytes.fromhex("60000000 0014 04 40") + bytes(range(100, 132))
    frame = bytes(12) + b"\x86\xdd" + outer + inner
    assert receive_hash(frame) == toeplitz(outer[8:40])


def analyse(width, frames, lost, gap):
    """Length, verdict and queue of the frames; their times after each last beat are asserted."""
    dut = RxAnalyse(width)
    clock = Clock()
    ends, described, judged = [], [], []

    async def source(ctx):
        ctx.set(dut.active_pairs, PAIRS)
        # The clock's and the sink's cycles agree from the first edge on.
        await ctx.tick()
        for frame, is_lost in zip(frames, lost, strict=True):
            for beat in to_beats(frame, width):
                while gap():
                    ctx.set(dut.valid, 0)
                    await ctx.tick()
                    ctx.set(dut.lost, 0)
                ctx.set(dut.valid, 1)
                ctx.set(dut.beat, beat)
                if beat["last"] and not is_lost:
                    ends.append(clock.cycle)
                await ctx.tick()
                # A frame's loss is known the cycle after its last beat.
                ctx.set(dut.lost, int(is_lost and beat["last"]))
        ctx.set(dut.valid, 0)
        await ctx.tick()
        ctx.set(dut.lost, 0)
        await ctx.tick().repeat(dut.verdict_latency)

    async def sink(ctx):
        while True:
            now = clock.cycle
            _, _, valid, info, verdict_valid, verdict = await ctx.tick().sample(
                dut.o.valid, dut.o.payload, dut.verdict.valid, dut.verdict.payload
            )
            if valid:
                described.append((info.length, info.queue))
                assert now - ends[len(described) - 1] == dut.description_latency
            if verdict_valid:
                judged.append(bool(verdict))
                assert now - ends[len(judged) - 1] == dut.verdict_latency

    simulate(dut, source, background=[sink, clock.run])
    return [
        (length, verdict, queue)
        for (length, queue), verdict in zip(described, judged, strict=True)
    ]


@pytest.mark.parametrize("width", [64, 512])
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_describes_every_kind_of_frame(width, stall):
    rng = seeded()
    frames = [random_frame(rng, 150, kind) for kind in KINDS for _ in range(12)]
    frames.append(random_frame(rng, 1400, "tcp4"))
    rng.shuffle(frames)
    lost = [rng.random() < 0.1 for _ in frames]
    seen = analyse(width, frames, lost, lambda: rng.random() < stall)
    kept = [frame for frame, is_lost in zip(frames, lost, strict=True) if not is_lost]
    expected = [(len(f), receive_verdict(f), receive_queue(f, PAIRS)) for f in kept]
    verdicts = Counter(verdict for _, verdict, _ in expected)
    assert verdicts[True] > 30, "too few frames with a verdict"
    assert verdicts[False] > 30, "too few frames without one"
    assert {queue for _, _, queue in expected} == set(range(PAIRS))
    for index, (got, want) in enumerate(zip(seen, expected, strict=True)):
        assert got == want, f"{kept[index].hex()}"


def test_flows_spread_evenly_over_queues_of_any_number():
    rng = seeded()
    for pairs in (1, 3, 7, 16):
        frames = [random_frame(rng, 4, "udp4") for _ in range(20 * pairs)]
        assert {receive_queue(frame, pairs) for frame in frames} == set(range(pairs))
