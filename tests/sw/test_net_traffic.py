"""Frames through driver and soft device: every ring feature, chain length and queue size."""

import itertools

import pytest

from tailrace.virtio.net_types import CsumRequest, NetOptions, TxFrame
from tailrace_sim.models import checksum
from tailrace_sim.models.net_offload import receive_queue, receive_verdict
from tailrace_sim.net_frames import random_frame
from tailrace_sim.run import pick_seed
from tailrace_sim.soft_bench import SoftBench, random_cuts

RINGS = list(itertools.product([False, True], repeat=3))
RING_IDS = [
    "-".join(n for n, on in zip(("packed", "indirect", "event"), ring, strict=True) if on)
    or "split"
    for ring in RINGS
]


def options(ring: tuple[bool, bool, bool], **others) -> NetOptions:
    packed, indirect, event_idx = ring
    return NetOptions(packed=packed, indirect=indirect, event_idx=event_idx, **others)


@pytest.fixture
def seed() -> int:
    value = pick_seed()
    print(f"seed {value} (replay: TAILRACE_SEED={value})")
    return value


@pytest.mark.parametrize("mergeable", [False, True], ids=["big", "mergeable"])
@pytest.mark.parametrize("ring", RINGS, ids=RING_IDS)
@pytest.mark.parametrize("size", [16, 256])
def test_random_chains_come_back(ring, mergeable, size, seed):
    bench = SoftBench(seed=seed, loop_back=True)
    net = bench.open(
        options(
            ring,
            mergeable=mergeable,
            rx_size=size,
            tx_size=size,
            rx_buffer=bench.rng.randint(400, 700) if mergeable else None,
            rx_pieces=bench.rng.randint(1, 3),
        )
    )
    frames = []
    for data in bench.frames(150):
        pieces = bench.rng.randint(1, min(6, size))
        cuts = random_cuts(bench.rng, len(data), pieces)
        frames.append(TxFrame(data, cuts=cuts, shift=bench.rng.randrange(64)))
    bench.echo(frames)
    rx, tx = net.pairs[0].rx, net.pairs[0].tx
    assert rx.stats.frames == tx.stats.frames == 150
    assert tx.stats.completed == 150
    assert bool(rx.stats.merged) == mergeable
    assert rx.stats.interrupts
    assert bench.host.unclaimed == 0


@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_smallest_rings_wrap_again_and_again(packed, size, seed):
    bench = SoftBench(seed=seed, loop_back=True)
    bench.open(NetOptions(packed=packed, mergeable=False, rx_size=size, tx_size=size))
    bench.echo([TxFrame(data) for data in bench.frames(60)])


@pytest.mark.parametrize("size", [3, 5, 100])
def test_a_packed_ring_of_any_size(size, seed):
    bench = SoftBench(seed=seed, loop_back=True)
    bench.open(NetOptions(rx_size=size, tx_size=size))
    bench.echo([TxFrame(data, cuts=(12,)) for data in bench.frames(80)])


@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_indices_wrap_at_16_bits(packed, seed):
    """More chains than 65536: idx of the split ring and the driver's arithmetic go round."""
    bench = SoftBench(seed=seed, loop_back=True)
    net = bench.open(NetOptions(packed=packed, rx_size=256, tx_size=256, rx_buffer=128))
    for pair in net.pairs:  # jump ahead instead of sending 65,000 frames
        for ring, state in zip((pair.rx.ring, pair.tx.ring), bench.device.queues, strict=False):
            if not packed:
                _start_at(ring, state.ring, 0xFFF0)
    bench.echo([TxFrame(data) for data in bench.frames(400, 14, 100)])


def _start_at(ring, device, index: int) -> None:
    """Put a split ring's two sides to an index, as if so many chains had gone through."""
    shift = index
    ring._avail_idx = ring._avail_idx + shift & 0xFFFF
    ring._published = ring._published + shift & 0xFFFF
    ring._last_used = ring._last_used + shift & 0xFFFF
    mem = ring._avail.mem
    entries = [bytes(mem[4 + 2 * i : 6 + 2 * i]) for i in range(ring.size)]
    for i, entry in enumerate(entries):
        at = 4 + 2 * ((i + shift) % ring.size)
        mem[at : at + 2] = entry
    mem[2:4] = ring._published.to_bytes(2, "little")
    device._next = device._next + shift & 0xFFFF
    device._used = device._flushed = device._used + shift & 0xFFFF
    ring._used.mem[2:4] = device._used.to_bytes(2, "little")
    ring.disable_interrupt()
    device.listen(True)


def test_kicks_and_interrupts_are_suppressed_under_load(seed):
    bench = SoftBench(seed=seed, loop_back=True)
    net = bench.open(NetOptions())
    bench.echo([TxFrame(data) for data in bench.frames(400, 14, 100)])
    pair = net.pairs[0]
    assert pair.tx.ring.kicks < 60
    # Each awakening had a message of its own.
    assert 0 < pair.rx.stats.interrupts <= min(200, pair.rx_interrupt.count)


@pytest.mark.parametrize("ring", RINGS, ids=RING_IDS)
def test_queue_pairs(ring, seed):
    """Four pairs at once: each queue keeps its order, the device steers by the flow's hash."""
    bench = SoftBench(seed=seed, pairs=4)
    net = bench.open(options(ring, queue_pairs=4, rx_size=64, tx_size=64))
    assert bench.device.active_pairs == 4
    sent = {queue: bench.frames(40) for queue in range(4)}
    incoming = [random_frame(bench.rng)[:1514] for _ in range(64)]
    for frame in incoming:
        bench.device.inject(frame)
    wanted = {q: [f for f in incoming if receive_queue(f, 4) == q] for q in range(4)}
    tasks = [bench.send([TxFrame(f) for f in sent[q]], q) for q in range(4)]
    results = bench.host.run(
        *tasks, *(bench.collect(len(wanted[q]), q) for q in range(4) if wanted[q])
    )
    for frames in results[4:]:
        queue = frames[0].queue
        assert [frame.data for frame in frames] == wanted.pop(queue)
    assert not any(wanted.values())
    for queue in range(4):
        assert [f for q, f in bench.device.wire if q == queue] == sent[queue]
    bench.run(net.set_pairs(2))
    assert bench.device.active_pairs == 2


@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_checksum_offload_both_ways(packed, seed):
    bench = SoftBench(seed=seed)
    bench.open(NetOptions(packed=packed))
    frames, wanted = [], []
    while len(frames) < 30:
        whole = random_frame(bench.rng)
        asked = checksum.request(whole)
        if asked is None or not receive_verdict(whole) or len(whole) > 1514:
            continue
        data, start, offset = asked
        frames.append(TxFrame(data, CsumRequest(start, offset)))
        wanted.append(whole)
    bench.run(bench.send(frames))
    sent = [frame for _, frame in bench.device.wire]
    assert sent == wanted
    incoming = sent + [random_frame(bench.rng)[:1514] for _ in range(30)]
    for frame in incoming:
        bench.device.inject(frame)
    received = bench.run(bench.collect(len(incoming)))
    assert [f.data for f in received] == incoming
    assert [f.data_valid for f in received] == [receive_verdict(f) for f in incoming]
    assert not all(f.data_valid for f in received)


def test_frames_wait_for_buffers_and_then_come(seed):
    bench = SoftBench(seed=seed)
    bench.open(NetOptions(rx_count=2, rx_size=16))
    frames = bench.frames(20)
    for frame in frames:
        bench.device.inject(frame)
    received = bench.run(bench.collect(20))
    assert [f.data for f in received] == frames
    assert bench.device.counters["waited_for_buffers"]


def test_limit_and_timeout_of_receive(seed):
    bench = SoftBench(seed=seed)
    net = bench.open(NetOptions())
    assert bench.run(net.receive(timeout=5000)) == []
    for frame in bench.frames(5):
        bench.device.inject(frame)
    assert len(bench.run(net.receive(limit=2, timeout=5000))) <= 2


def test_jumbo_frames(seed):
    bench = SoftBench(seed=seed, mtu=9000, size=1 << 24, loop_back=True)
    net = bench.open(NetOptions())
    assert net.config.mtu == 9000
    bench.echo([TxFrame(data) for data in [*bench.frames(40, 14, 9022), bytes(9022)]])
    assert net.pairs[0].rx.stats.merged
