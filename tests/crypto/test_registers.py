"""CipherRegisters: each end counts once and where it should; a failed self-test is told of."""

from tailrace_hw import regs
from tailrace_hw.crypto.cipher_registers import CipherRegisters
from tailrace_hw.crypto.types import KeyAction, KeyStatus, Status
from tailrace_hw.errors import ErrorCode, ErrorSource
from tailrace_sim.unit import seeded, simulate

MAP = regs.load("crypto/regs.rdl")


async def access(ctx, dut, address, **fields):
    """A dword of a register."""
    bus = dut.bus
    ctx.set(bus.request.payload, {"address": address, "strobe": 0b1111, **fields})
    ctx.set(bus.request.valid, 1)
    await ctx.tick().until(bus.request.ready)
    ctx.set(bus.request.valid, 0)
    ctx.set(bus.response.ready, 1)
    (payload,) = await ctx.tick().sample(bus.response.payload).until(bus.response.valid)
    ctx.set(bus.response.ready, 0)
    assert not payload.error
    return payload.data


async def read(ctx, dut, name, offset=0):
    return await access(ctx, dut, MAP[name].address + offset)


def test_each_end_is_counted_once():
    """Packets and requests end at random, often in the same cycle and back to back."""
    rng = seeded()
    dut = CipherRegisters(1020, 4, xts=True)

    async def bench(ctx):
        counts = dict.fromkeys(Status, 0)
        installed = refused = last = 0
        for _ in range(1500):
            ended, status, key = rng.random() < 0.6, rng.choice(list(Status)), rng.getrandbits(16)
            answered = rng.random() < 0.6
            action, answer = rng.choice(list(KeyAction)), rng.choice(list(KeyStatus))
            for name, value in (
                ("ended", ended), ("status", status), ("key", key), ("answered", answered),
                ("action", action), ("key_status", answer),
            ):  # fmt: skip
                ctx.set(getattr(dut, name), value)
            await ctx.tick()
            counts[status] += ended
            if ended and status is Status.AUTHENTICATION_FAILED:
                last = key
            installed += answered and action is KeyAction.INSTALL and answer is KeyStatus.OK
            refused += answered and answer is not KeyStatus.OK
        ctx.set(dut.ended, 0)
        ctx.set(dut.answered, 0)
        await ctx.tick()
        assert min(counts.values()) > 0
        assert installed > 0
        assert refused > 0
        assert await read(ctx, dut, "done") == counts[Status.OK]
        assert await read(ctx, dut, "done", 4) == 0
        assert await read(ctx, dut, "installed") == installed
        assert await read(ctx, dut, "key_refused") == refused
        assert await read(ctx, dut, "authentication_failed") == last
        for status in Status:
            wanted = 0 if status is Status.OK else counts[status]
            assert await read(ctx, dut, "failed", 4 * status.value) == wanted, status

    simulate(dut, bench)


def test_what_there_is():
    for keys, lanes, xts in ((1020, 4, True), (65535, 8, False), (0, 0, False)):

        async def bench(ctx, dut, wanted):
            assert await read(ctx, dut, "shape") == wanted

        dut = CipherRegisters(keys, lanes, xts=xts)

        async def shape(ctx, dut=dut, wanted=keys | xts << 17 | lanes << 20, bench=bench):
            await bench(ctx, dut, wanted)

        simulate(dut, shape)


def test_a_run_is_started_once_with_its_faults():
    dut = CipherRegisters(12, 1, xts=True)
    pulses = []

    async def watch(ctx):
        while True:
            _, _, start, inject = await ctx.tick().sample(dut.start, dut.inject)
            if start:
                pulses.append((inject.round_key, inject.hash_key))

    async def bench(ctx):
        address = MAP["self_test"].address
        for value in (0b001, 0b011, 0b101, 0b111, 0b110):
            await access(ctx, dut, address, write=1, data=value)
        for state in range(8):
            for bit, name in enumerate(("busy", "passed", "failed")):
                ctx.set(getattr(dut, name), state >> bit & 1)
            assert await read(ctx, dut, "self_test_state") == state

    simulate(dut, bench, background=[watch])
    # The last one has no start.
    assert pulses == [(0, 0), (1, 0), (0, 1), (1, 1)]


def test_every_failure_is_told_of_once():
    """One behind another, too. An event waits to be taken; a failure meanwhile goes with it."""
    rng = seeded()
    dut = CipherRegisters(12, 1, xts=True)

    async def run(ctx, cycles, *, fails=True):
        """A run of the self-test. The last one's end is seen until its own."""
        ctx.set(dut.busy, 1)
        await ctx.tick().repeat(cycles)
        ctx.set(dut.busy, 0)
        ctx.set(dut.failed, fails)
        await ctx.tick()

    async def told_once(ctx, waits):
        event = dut.errors
        for _ in range(waits):
            assert ctx.get(event.valid)
            payload = ctx.get(event.payload)
            assert payload.source == ErrorSource.CIPHER
            assert payload.code == ErrorCode.CIPHER_SELF_TEST
            assert payload.queue == 0xFFFF
            await ctx.tick()
        ctx.set(event.ready, 1)
        await ctx.tick()
        ctx.set(event.ready, 0)
        for _ in range(10):
            assert not ctx.get(event.valid), "told of twice"
            await ctx.tick()

    async def bench(ctx):
        event = dut.errors
        for failures in (1, 2, 1, 3):
            for _ in range(failures):
                await run(ctx, rng.randint(1, 5))
            await told_once(ctx, rng.randint(1, 9))
        for _ in range(3):
            await run(ctx, rng.randint(1, 5), fails=False)
            assert not ctx.get(event.valid), "a run that passed is told of"
        # A failure in the very cycle in which an event is taken has an event of its own.
        await run(ctx, 1)
        ctx.set(dut.busy, 1)
        await ctx.tick()
        ctx.set(event.ready, 1)
        ctx.set(dut.busy, 0)
        await ctx.tick()
        ctx.set(event.ready, 0)
        await told_once(ctx, 3)

    simulate(dut, bench)
