"""The port between a MAC and the core, both clocks at different ratios."""

from collections import Counter
from dataclasses import dataclass

import pytest
from amaranth.lib.data import Layout

from tailrace_hw import regs
from tailrace_hw.errors import ErrorCode
from tailrace_hw.mac.port import MacPort
from tailrace_hw.mac.types import RxReason
from tailrace_sim.streams import receive_packets, send_packets
from tailrace_sim.unit import expect_silence, seeded, simulate

MAP = regs.load("mac/regs.rdl")
MIN, MAX = 14, 300
#: (period of the core, period of the MAC), in ns.
CLOCKS = {"same": (4, 4), "mac slower": (4, 6.4), "mac faster": (4, 3.1)}


@dataclass(frozen=True)
class Frame:
    """What the MAC gives: contents, and whether it says that they are bad."""

    data: bytes
    bad: bool = False


def seconds(clocks):
    core, mac = CLOCKS[clocks]
    return {"sync": core * 1e-9, "mac": mac * 1e-9}


def verdict(frame, width):
    """(what comes out, reason): the reference."""
    size = width // 8
    if len(frame.data) > MAX:
        # Cut off behind the beat that is too long.
        return frame.data[: (MAX // size + 1) * size], RxReason.OVERSIZE
    if frame.bad:
        return frame.data, RxReason.ERROR
    if len(frame.data) < MIN:
        return frame.data, RxReason.RUNT
    return frame.data, RxReason.NONE


def random_frames(rng, count):
    edges = [1, MIN - 1, MIN, 60, 64, 65, MAX - 1, MAX, MAX + 1, MAX + 64, 2 * MAX]
    return [
        Frame(
            rng.randbytes(rng.choice(edges) if rng.random() < 0.4 else rng.randint(MIN, MAX)),
            bad=rng.random() < 0.15,
        )
        for _ in range(count)
    ]


async def wire(ctx, axis, frames, width, rng, gaps):
    """The receive side of a MAC: it does not look at ``tready``."""
    size = width // 8
    # The queue between the clocks takes nothing in the first cycles after reset.
    await ctx.tick("mac").repeat(16)
    for frame in frames:
        for start in range(0, len(frame.data), size):
            while gaps and rng.random() < gaps:
                await ctx.tick("mac")
            part = frame.data[start : start + size]
            last = start + size >= len(frame.data)
            ctx.set(axis.tdata, int.from_bytes(part, "little"))
            ctx.set(axis.tkeep, (1 << len(part)) - 1)
            ctx.set(axis.tlast, last)
            ctx.set(axis.tuser, last and frame.bad)
            ctx.set(axis.tvalid, 1)
            assert ctx.get(axis.tready)
            await ctx.tick("mac")
            ctx.set(axis.tvalid, 0)


async def mac_transmit(ctx, axis, count, width, rng, stall):
    """The transmit side of a MAC: frames, and the cycles from the first beat to the last.

    A gap inside a frame is an underrun.
    """
    frames, parts, cycles, inside, started = [], b"", 0, False, False
    while len(frames) < count:
        ready = not (stall and rng.random() < stall)
        ctx.set(axis.tready, ready)
        _, _, valid, tdata, tkeep, last, user = await ctx.tick("mac").sample(
            axis.tvalid, axis.tdata, axis.tkeep, axis.tlast, axis.tuser
        )
        assert valid or not inside, "underrun"
        started = started or bool(valid)
        cycles += started
        if valid and ready:
            length = tkeep.bit_count()
            assert tkeep == (1 << length) - 1
            assert last or length == width // 8
            assert not user
            parts += tdata.to_bytes(width // 8, "little")[:length]
            inside = not last
            if last:
                frames.append(parts)
                parts = b""
    ctx.set(axis.tready, 0)
    return frames, cycles


def counting(dut, totals, codes):
    """Background: adds up the counter pulses, and collects error events."""

    async def watch(ctx):
        ctx.set(dut.errors.ready, 1)
        async for _, _, counters, valid, event in ctx.tick().sample(
            dut.counters, dut.errors.valid, dut.errors.payload
        ):
            for side in (counters.rx, counters.tx):
                for name, _ in Layout.cast(side.shape()):
                    totals[name] += getattr(side, name)
            if valid:
                codes[event.code] += 1

    return watch


async def read_counter(ctx, dut, name):
    value = 0
    for word in range(MAP[name].width // 32):
        address = MAP[name].address + 4 * word
        ctx.set(dut.bus.request.payload, {"address": address, "strobe": 15})
        ctx.set(dut.bus.request.valid, 1)
        ctx.set(dut.bus.response.ready, 1)
        await ctx.tick().until(dut.bus.request.ready)
        ctx.set(dut.bus.request.valid, 0)
        (response,) = (
            await ctx.tick().sample(dut.bus.response.payload).until(dut.bus.response.valid)
        )
        assert not response.error
        value |= response.data << 32 * word
    return value


def expected_counts(frames, width):
    counts = Counter()
    names = {RxReason.RUNT: "runt", RxReason.ERROR: "error", RxReason.OVERSIZE: "oversize"}
    for frame in frames:
        _, reason = verdict(frame, width)
        if reason == RxReason.NONE:
            counts["rx_frames"] += 1
            counts["rx_bytes"] += len(frame.data)
        else:
            counts[f"rx_drop_{names[reason]}"] += 1
    return counts


@pytest.mark.parametrize("clocks", CLOCKS)
@pytest.mark.parametrize("width", [64, 512])
def test_both_ways_at_once(width, clocks):
    rng = seeded()
    dut = MacPort(width, min_length=MIN, max_length=MAX)
    frames = random_frames(rng, 40)
    outgoing = [rng.randbytes(rng.randint(1, MAX)) for _ in range(40)]
    totals, codes = Counter(), Counter()
    # A MAC that is faster than the core may not send all the time.
    gaps = 0.5 if clocks == "mac faster" else 0.1

    async def from_wire(ctx):
        await wire(ctx, dut.rx, frames, width, rng, gaps)

    async def to_core(ctx):
        received = await receive_packets(ctx, dut.o, len(frames))
        for number, (frame, (data, status)) in enumerate(zip(frames, received, strict=True)):
            assert (data, status.reason) == verdict(frame, width), number
            assert status.drop == (status.reason != RxReason.NONE)
        await expect_silence(ctx, dut.o)
        for name, count in expected_counts(frames, width).items():
            assert await read_counter(ctx, dut, name) == count, name

    async def from_core(ctx):
        await send_packets(ctx, dut.i, [(data, None) for data in outgoing], width, rng, 0.2)

    async def to_wire(ctx):
        sent, _ = await mac_transmit(ctx, dut.tx, len(outgoing), width, rng, 0.2)
        assert sent == outgoing

    simulate(
        dut,
        from_wire,
        to_core,
        from_core,
        to_wire,
        background=[counting(dut, totals, codes)],
        domains=seconds(clocks),
    )
    counts = expected_counts(frames, width)
    counts["tx_frames"] = len(outgoing)
    counts["tx_bytes"] = sum(map(len, outgoing))
    assert {k: v for k, v in totals.items() if v} == dict(counts)
    kinds = {"runt": ErrorCode.MAC_RX_RUNT, "error": ErrorCode.MAC_RX_ERROR,
             "oversize": ErrorCode.MAC_RX_OVERSIZE}  # fmt: skip
    for kind, code in kinds.items():
        # Events of a kind may be merged, but not lost.
        assert bool(codes[code]) == bool(counts[f"rx_drop_{kind}"])
        assert codes[code] <= counts[f"rx_drop_{kind}"]
    assert set(codes) <= set(kinds.values())


@pytest.mark.parametrize("clocks", ["same", "mac slower"])
@pytest.mark.parametrize(("width", "length"), [(64, 64), (512, 60), (512, 130)])
def test_full_rate(width, length, clocks):
    """No gap at the wire, no loss, and no gap between frames that are sent."""
    rng = seeded()
    dut = MacPort(width, min_length=MIN, max_length=MAX)
    frames = [rng.randbytes(length) for _ in range(80)]

    async def from_wire(ctx):
        await wire(ctx, dut.rx, [Frame(data) for data in frames], width, rng, 0)

    async def to_core(ctx):
        received = await receive_packets(ctx, dut.o, len(frames))
        assert [data for data, _ in received] == frames
        assert not any(status.drop for _, status in received)

    async def from_core(ctx):
        await send_packets(ctx, dut.i, [(data, None) for data in frames], width)

    async def to_wire(ctx):
        sent, cycles = await mac_transmit(ctx, dut.tx, len(frames), width, rng, 0)
        assert sent == frames
        beats = len(frames) * -(-length * 8 // width)
        assert cycles <= beats + 2, f"{cycles} cycles for {beats} beats"

    simulate(dut, from_wire, to_core, from_core, to_wire, domains=seconds(clocks))


@pytest.mark.parametrize("clocks", CLOCKS)
@pytest.mark.parametrize("width", [64, 512])
def test_overflow_is_counted_and_keeps_the_framing(width, clocks):
    """A core that takes less than comes: each frame arrives whole, or is counted as lost."""
    rng = seeded()
    dut = MacPort(width, min_length=MIN, max_length=MAX, depth=16)
    frames = random_frames(rng, 100)
    by_data = {verdict(frame, width)[0]: number for number, frame in enumerate(frames)
               if len(frame.data) > 4}  # fmt: skip
    totals, codes = Counter(), Counter()
    done = []

    async def from_wire(ctx):
        await wire(ctx, dut.rx, frames, width, rng, 0.05)
        done.append(True)

    async def to_core(ctx):
        """Long pauses, then bursts."""
        beats, packets, quiet = b"", [], 0
        o = dut.o
        pause = 0
        while quiet < 200:
            if not done and pause == 0 and rng.random() < 0.02:
                pause = rng.randint(20, 200)
            ready = pause == 0
            pause -= not ready
            ctx.set(o.ready, ready)
            _, _, valid, beat = await ctx.tick().sample(o.valid, o.payload)
            quiet = quiet + 1 if done and not valid else 0
            if not (valid and ready):
                continue
            beats += int(beat.data).to_bytes(width // 8, "little")[: width // 8 - beat.empty]
            if beat.last:
                packets.append((beats, beat.meta.reason))
                beats = b""
        assert not beats, "the last frame did not end"
        check(packets)

    def check(packets):
        previous = -1
        for data, reason in packets:
            if reason == RxReason.OVERFLOW or len(data) <= 4:
                continue
            number = by_data[data]
            assert number > previous, "order"
            assert verdict(frames[number], width) == (data, reason)
            previous = number
        reasons = Counter(reason for _, reason in packets)
        assert reasons[RxReason.OVERFLOW], "the test did not make it run over"
        assert totals["rx_drop_overflow"] >= reasons[RxReason.OVERFLOW]
        judged = {
            "rx_frames": RxReason.NONE,
            "rx_drop_runt": RxReason.RUNT,
            "rx_drop_error": RxReason.ERROR,
            "rx_drop_oversize": RxReason.OVERSIZE,
        }
        for name, reason in judged.items():
            assert totals[name] == reasons[reason]
        total = sum(totals[name] for name in (*judged, "rx_drop_overflow"))
        assert total == len(frames), "every frame is counted once"
        assert codes[ErrorCode.MAC_RX_OVERFLOW]

    simulate(
        dut, from_wire, to_core, background=[counting(dut, totals, codes)], domains=seconds(clocks)
    )


def test_frames_that_no_mac_may_send_are_marked_and_end():
    """Bytes missing in the middle, a hole, nothing on the last beat: dropped as errors."""
    dut = MacPort(64, min_length=8, max_length=MAX)
    shapes = {"early": [0x0F, 0xFF], "hole": [0xFF, 0x17], "nothing": [0xFF, 0x00]}

    async def from_wire(ctx):
        await ctx.tick("mac").repeat(16)
        for keeps in [*shapes.values(), [0xFF, 0x01]]:
            for index, keep in enumerate(keeps):
                ctx.set(dut.rx.tkeep, keep)
                ctx.set(dut.rx.tlast, index == len(keeps) - 1)
                ctx.set(dut.rx.tvalid, 1)
                await ctx.tick("mac")
            ctx.set(dut.rx.tvalid, 0)

    async def to_core(ctx):
        received = await receive_packets(ctx, dut.o, 4)
        assert [s.reason for _, s in received] == [RxReason.ERROR] * 3 + [RxReason.NONE]

    simulate(dut, from_wire, to_core, domains=seconds("mac slower"))


def test_limits_are_registers():
    dut = MacPort(64, min_length=14, max_length=100)

    async def body(ctx):
        assert await read_counter(ctx, dut, "limits") == 100 << 16 | 14
        address = MAP["limits"].address
        ctx.set(
            dut.bus.request.payload,
            {"address": address, "write": 1, "data": 30 << 16 | 20, "strobe": 15},
        )
        ctx.set(dut.bus.request.valid, 1)
        ctx.set(dut.bus.response.ready, 1)
        await ctx.tick().until(dut.bus.request.ready)
        ctx.set(dut.bus.request.valid, 0)
        await ctx.tick().until(dut.bus.response.valid)
        frames = [Frame(bytes(n)) for n in (19, 20, 30, 31)]
        await wire(ctx, dut.rx, frames, 64, None, 0)

    async def to_core(ctx):
        received = await receive_packets(ctx, dut.o, 4)
        wanted = [RxReason.RUNT, RxReason.NONE, RxReason.NONE, RxReason.OVERSIZE]
        assert [s.reason for _, s in received] == wanted

    simulate(dut, body, to_core, domains=seconds("same"))


def test_transmit_too_long_is_dropped_and_counted():
    dut = MacPort(64, min_length=14, max_length=64)
    totals = Counter()

    async def from_core(ctx):
        packets = [(bytes([1] * 64), None), (bytes([2] * 200), None), (bytes([3] * 60), None)]
        await send_packets(ctx, dut.i, packets, 64)

    async def to_wire(ctx):
        sent, _ = await mac_transmit(ctx, dut.tx, 2, 64, None, 0)
        assert sent == [bytes([1] * 64), bytes([3] * 60)]
        await ctx.tick().repeat(10)

    simulate(
        dut,
        from_core,
        to_wire,
        background=[counting(dut, totals, Counter())],
        domains=seconds("mac faster"),
    )
    assert totals["tx_drop_oversize"] == 1
    assert totals["tx_frames"] == 3


def test_link_state():
    dut = MacPort(64)

    async def body(ctx):
        for value in (1, 0, 1):
            ctx.set(dut.link, value)
            await ctx.tick().repeat(3)
            assert ctx.get(dut.link_up) == value
            assert await read_counter(ctx, dut, "status") == value

    simulate(dut, body, domains=seconds("same"))


@pytest.mark.parametrize("limits", [(0, 100), (101, 100), (14, 70000)])
def test_impossible_limits_are_refused(limits):
    with pytest.raises(ValueError, match="limits"):
        MacPort(64, min_length=limits[0], max_length=limits[1])
