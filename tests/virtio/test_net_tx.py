"""virtio-net transmit: the driver's chains leave as frames, or are counted drops."""

from collections import Counter

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from tailrace_hw.errors import ErrorCode
from tailrace_sim.models.net_offload import internet_sum
from tailrace_sim.net_tx_unit import MAX_FRAME, REASONS, Bench, Header
from tailrace_sim.net_unit import Buffer, Chain
from tailrace_sim.unit import simulate


def offload_frame(rng):
    """A frame as the wire must see it, as the driver gives it, and the header that asks for it."""
    l4 = rng.choice([TCP, UDP])
    ip = rng.choice([IP(src="10.1.2.3", dst="10.4.5.6"), IPv6(src="2001:db8::1", dst="::2")])
    ports = {"sport": rng.randrange(65536), "dport": rng.randrange(65536)}
    wire = bytes(
        Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
        / ip
        / l4(**ports)
        / Raw(rng.randbytes(rng.randint(0, 300)))
    )
    start = 34 if isinstance(ip, IP) else 54
    offset = 16 if l4 is TCP else 6
    pseudo = wire[26:34] if isinstance(ip, IP) else wire[22:54]
    pseudo += (len(wire) - start).to_bytes(4, "big") + (6 if l4 is TCP else 17).to_bytes(4, "big")
    given = bytearray(wire)
    given[start + offset : start + offset + 2] = internet_sum(pseudo).to_bytes(2, "big")
    return wire, bytes(given), Header(flags=1, csum_start=start, csum_offset=offset)


def patched(frame, start, offset):
    """What any checksum offload must make of a frame, field anywhere."""
    value = 0xFFFF ^ internet_sum(frame[start:])
    if not value and offset == 6:
        value = 0xFFFF
    at = start + offset
    return frame[:at] + value.to_bytes(2, "big") + frame[at + 2 :]


@pytest.mark.parametrize("width", [64, 512])
@pytest.mark.parametrize("stall", [0.0, 0.3])
def test_random_chains_become_frames(width, stall):
    bench = Bench(width, 3, stall=stall)
    rng = bench.rng
    expected = [[] for _ in range(3)]
    for index in range(60):
        kind = rng.choice(["plain", "offload", "anywhere"])
        if kind == "offload":
            wire, given, header = offload_frame(rng)
        else:
            given = rng.randbytes(rng.choice([rng.randint(14, 140), rng.randint(14, 400)]))
            wire, header = given, Header(csum_start=999)
            if kind == "anywhere":
                start = rng.randint(0, len(given) - 2)
                offset = rng.randint(0, len(given) - 2 - start)
                header = Header(flags=1, csum_start=start, csum_offset=offset)
                wire = patched(given, start, offset)
        queue = index % 3
        expected[queue].append(wire)
        data = bytes(header) + given
        bench.post(queue, data, bench.random_cuts(len(data)))
    bench.run(gap=stall)
    assert not bench.events
    remaining = [iter(frames) for frames in expected]
    heads = [next(frames) for frames in remaining]
    for frame in bench.frames:
        assert frame in heads, "changed, or out of the order of its queue"
        queue = heads.index(frame)
        heads[queue] = next(remaining[queue], None)
    assert heads == [None] * 3


@pytest.mark.parametrize("width", [64, 512])
def test_every_length_and_every_cut(width):
    bench = Bench(width)
    frames = [bench.rng.randbytes(n) for n in range(14, 14 + width // 4 + 10)]
    for index, frame in enumerate(frames):
        data = bytes(Header()) + frame
        bench.post(0, data, {1 + index % (len(data) - 1)})
    bench.run()
    assert bench.frames == frames


def test_checksum_zero():
    """Data chosen so that the sum is 0xFFFF: UDP's becomes 0xFFFF, others stay 0."""
    bench = Bench(64)
    head = bytes(14)
    expected = []
    for offset, field in ((6, b"\xff\xff"), (16, b"\0\0")):
        body = bytearray(b"\x12\x34" + bytes(20))
        body[2:4] = (0xFFFF - 0x1234).to_bytes(2, "big")
        bench.post(0, bytes(Header(1, 0, 14, offset)) + head + body)
        body[offset : offset + 2] = field
        expected.append(head + bytes(body))
    bench.run()
    assert bench.frames == expected


def test_without_csum_the_flag_is_ignored():
    bench = Bench(64, csum=False)
    frame = bytes(range(60))
    bench.post(0, bytes(Header(1, 0, 60000, 60000)) + frame)
    bench.run()
    assert bench.frames == [frame]


#: name: (data of the chain, error code, counter)
BAD = {
    "one byte": (bytes(1), ErrorCode.NET_TX_TOO_SHORT, "bad_chain"),
    "header only": (bytes(12), ErrorCode.NET_TX_TOO_SHORT, "bad_chain"),
    "no type": (bytes(25), ErrorCode.NET_TX_TOO_SHORT, "bad_chain"),
    "too long": (bytes(12 + MAX_FRAME + 1), ErrorCode.NET_TX_TOO_LONG, "bad_chain"),
    "gso": (bytes(Header(0, 1)) + bytes(60), ErrorCode.NET_TX_BAD_HEADER, "bad_header"),
    "start": (bytes(Header(1, 0, 59, 0)) + bytes(60), ErrorCode.NET_TX_BAD_CSUM, "bad_header"),
    "offset": (bytes(Header(1, 0, 20, 39)) + bytes(60), ErrorCode.NET_TX_BAD_CSUM, "bad_header"),
    "sum": (bytes(Header(1, 0, 65535, 65535)) + bytes(60), ErrorCode.NET_TX_BAD_CSUM, "bad_header"),
}


@pytest.mark.parametrize("width", [64, 512])
def test_bad_chains_harm_no_other(width):
    bench = Bench(width, stall=0.1)
    good, codes, counts = [], [], Counter()
    for data, code, counter in BAD.values():
        for cuts in ((), (1,), tuple(range(1, min(len(data), 20)))):
            if len(data) > max(cuts, default=0):
                bench.post(0, data, cuts)
                codes.append(code)
                counts[counter] += 1
        good.append(bench.rng.randbytes(80))
        bench.post(0, bytes(Header()) + good[-1], (12,))
    bench.run()
    assert bench.frames == good
    assert sorted(code.value for code, _, _ in bench.events) == sorted(c.value for c in codes)
    assert {queue for _, queue, _ in bench.events} == {0}
    assert all(bench.counts[name] == count for name, count in counts.items())


def test_a_huge_buffer_is_not_read():
    bench = Bench(64)
    bench.host.write(100, bytes(12))
    chain = (Buffer(100, 12, False), Buffer(0x4000_0000, 0xFFFF_FFFF, False))
    bench.engine.posted[0].append(Chain((*chain, *chain), 7, 4))
    bench.run()
    assert [length for _, length, _ in bench.host.requests] == [12]
    assert bench.events == [(ErrorCode.NET_TX_TOO_LONG, 0, 12 + 0xFFFF_FFFF)]


def test_writable_buffer_in_a_transmit_chain():
    bench = Bench(64)
    bench.host.write(500, bytes(72))
    bad = Chain((Buffer(500, 72, False), Buffer(9000, 10, True)), 3, 2)
    bench.engine.posted[0].append(bad)
    bench.post(0, bytes(Header()) + bytes(range(70)))
    bench.run()
    assert bench.frames == [bytes(range(70))]
    assert bench.events == [(ErrorCode.QUEUE_BAD_DIRECTION, 0, 9000)]
    assert bench.counts["bad_chain"] == 1


@pytest.mark.parametrize("width", [64, 512])
def test_failing_reads_keep_the_frame_back(width):
    bench = Bench(width, stall=0.1)
    rng = bench.rng
    good, faults = [], set()
    for index in range(24):
        frame = rng.randbytes(rng.randint(14, 200))
        chain = bench.post(0, bytes(Header()) + frame, bench.random_cuts(len(frame)))
        if index % 3 == 1:
            faults.add(rng.choice(chain.buffers).address)
        else:
            good.append(frame)
    bench.host.faults = frozenset(faults)
    bench.run()
    assert bench.frames == good
    assert bench.counts["fault"] == 8
    assert bench.events == [(ErrorCode.QUEUE_DATA_FAULT, 0, 2)] * 8


def test_a_chain_that_the_engine_breaks_off_leaves_no_trace():
    bench = Bench(64, stall=0.1)
    good = []
    for length in (1, 8, 12, 30, 100):
        bench.host.write(600, bytes(length))
        bench.engine.posted[0].append(Chain((Buffer(600, length, False),), 9, broken=True))
        bench.engine.posted[0].append(Chain((Buffer(600, 4, True),), 9, broken=True))
        good.append(bench.rng.randbytes(50))
        bench.post(0, bytes(Header()) + good[-1])
    bench.run()
    assert bench.frames == good
    assert not bench.events
    assert not sum(bench.counts[reason] for reason in REASONS)


def test_a_reset_in_the_middle_of_traffic_completes_everything():
    bench = Bench(64, stall=0.1)
    rng = bench.rng
    frames = [bytes([k]) + rng.randbytes(rng.randint(14, 150)) for k in range(50)]
    for frame in frames:
        bench.post(0, bytes(Header()) + frame)
    bench.run(flips=[rng.randint(20, 100) for _ in range(12)])
    assert bench.counts["flushed"] > 0
    assert bench.counts["flushed"] + len(bench.frames) == len(frames)
    remaining = iter(frames)
    assert all(frame in remaining for frame in bench.frames), "changed or out of order"


def test_what_is_bad_and_flushed_is_counted_once():
    """Bad frames on their way when a reset begins: every chain has one reason."""
    bench = Bench(64, stall=0.1)
    rng = bench.rng
    faults = set()
    for index in range(80):
        bad = index % 2
        chain = bench.post(
            0,
            bytes(Header(gso_type=bad)) + rng.randbytes(rng.randint(14, 150)),
            writable=rng.random() < 0.1,
        )
        if rng.random() < 0.2:
            faults.add(rng.choice(chain.buffers).address)
    bench.host.faults = frozenset(faults)
    bench.run(flips=[rng.randint(10, 60) for _ in range(24)])
    assert all(bench.counts[reason] for reason in REASONS), bench.counts
    assert bench.settled() == 80


def test_flush_takes_nothing():
    bench = Bench(64)
    bench.post(0, bytes(Header()) + bytes(60))
    bench.run(flush=True)
    assert not bench.frames
    assert not bench.engine.taken[0]


def test_a_wire_that_stands_still_holds_up_takes_not_segments():
    """The queue engine's segment stream is shared with the control queue: it must never wait."""
    bench = Bench(64, depth=8192)
    for _ in range(40):
        bench.post(0, bytes(Header()) + bytes(1000))
    waited = 0

    async def main(ctx):
        nonlocal waited
        stream = bench.dut.chains.segments
        for _ in range(2000):
            _, _, valid, ready = await ctx.tick().sample(stream.valid, stream.ready)
            waited += valid and not ready

    agents = bench.engine.benches() + bench.host.benches()
    simulate(bench.dut, main, background=[bench.clock.run, *agents])
    assert 2 < bench.engine.taken[0] < 10
    assert not waited


def test_queues_are_served_in_turn():
    bench = Bench(64, 4)
    for queue in range(4):
        for index in range(8):
            bench.post(queue, bytes(Header()) + bytes([queue, index]) * 10)
    bench.run()
    order = [frame[0] for frame in bench.frames]
    for start in range(0, 24, 4):
        assert sorted(order[start : start + 4]) == [0, 1, 2, 3]


def test_short_frames_at_one_in_four_cycles():
    bench = Bench(512, memory=250)
    for index in range(200):
        bench.post(0, bytes(Header()) + bytes([index]) * 64)
    cycles = bench.run()
    assert len(bench.frames) == 200
    assert cycles <= 4 * 200 + 250 + 40


def test_long_frames_at_the_rate_of_the_bus():
    bench = Bench(512, memory=250)
    frames = [bench.rng.randbytes(1500) for _ in range(30)]
    for frame in frames:
        bench.post(0, bytes(Header()) + frame)
    cycles = bench.run()
    assert bench.frames == frames
    assert cycles <= 24 * len(frames) + 250 + 70
