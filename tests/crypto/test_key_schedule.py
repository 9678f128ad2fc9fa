"""The key schedule against FIPS 197's examples and round keys made by other means."""

import pytest

from tailrace_hw.crypto.key_schedule import AesKeySchedule
from tailrace_hw.crypto.types import KeySize
from tailrace_sim.models.aes import expand, inverse_mix_columns, rows
from tailrace_sim.unit import seeded, simulate

#: By the bytes of a key.
SIZES = {16: KeySize.AES_128, 24: KeySize.AES_192, 32: KeySize.AES_256}
#: FIPS 197, appendix A: key, and the last round key.
EXAMPLES = [
    ("2b7e151628aed2a6abf7158809cf4f3c", "d014f9a8c9ee2589e13f0cc8b6630ca6"),
    ("8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
     "e98ba06f448c773c8ecc720401002202"),
    ("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
     "fe4890d1e6188d0b046df344706c631e"),
]  # fmt: skip
STAGES = 15
LATENCY = 3


def number(data: bytes) -> int:
    return int.from_bytes(data, "little")


def wanted(key: bytes, reverse: bool) -> list[tuple[int, int, int, bytes]]:
    """Stage, reverse, last and round key of each row."""
    runs = [(0, rows(key))] + [(1, rows(key, decrypt=True))] * reverse
    return [
        (stage, run, int(stage == STAGES - 1 and run == reverse), row)
        for run, of_run in runs
        for stage, row in enumerate(of_run)
    ]


def check(keys: list[tuple[bytes, bool]], rng, gap: int) -> None:
    """Keys as soon as they may come, or up to ``gap`` cycles later."""
    dut = AesKeySchedule()
    assert dut.latency == LATENCY
    compared = 0

    def offer(ctx, key: bytes | None, reverse: bool) -> None:
        ctx.set(dut.i.valid, key is not None)
        bits = rng.getrandbits(256)
        if key is not None:
            count = 8 * len(key)
            bits = bits >> count << count | number(key)
        ctx.set(dut.i.payload.key, bits)
        size = SIZES[len(key)] if key else rng.choice(list(KeySize))
        ctx.set(dut.i.payload.size, size)
        ctx.set(dut.i.payload.reverse, reverse)

    async def bench(ctx):
        nonlocal compared
        waiting, pause, cycle = list(keys), 0, 0
        expected: dict[int, tuple[int, int, int, bytes]] = {}
        while waiting or cycle <= max(expected) + 4:
            if ctx.get(dut.busy) or pause or not waiting:
                pause = max(0, pause - (not ctx.get(dut.busy)))
                # What comes while it is busy must be lost, and what is not valid is not taken.
                bogus = ctx.get(dut.busy) and rng.random() < 0.5
                offer(ctx, rng.randbytes(24) if bogus else None, rng.random() < 0.5)
            else:
                key, reverse = waiting.pop(0)
                offer(ctx, key, reverse)
                for index, row in enumerate(wanted(key, reverse)):
                    assert cycle + LATENCY + index not in expected
                    expected[cycle + LATENCY + index] = row
                pause = rng.randint(0, gap)
            row = expected.get(cycle)
            assert ctx.get(dut.o.valid) == (row is not None), cycle
            if row:
                out = ctx.get(dut.o.payload)
                got = (out.stage, out.reverse, out.last, out.round_key.to_bytes(16, "little"))
                assert got == row
                compared += 1
            await ctx.tick()
            cycle += 1
        if not gap:
            assert max(expected) - min(expected) + 1 == len(expected), "not at full rate"

    simulate(dut, bench)
    assert compared == sum(15 * (1 + reverse) for _, reverse in keys) > 0


def test_the_reference():
    """The helpers themselves, by the standard's examples."""
    for key, last in EXAMPLES:
        assert expand(bytes.fromhex(key))[-1].hex() == last
    # FIPS 197, C.1: round 1 of the equivalent inverse cipher, ik_sch against k_sch of round 9.
    key = expand(bytes(range(16)))[9]
    assert inverse_mix_columns(key).hex() == "13aa29be9c8faff6f770f58000f7bf03"


def test_the_standards_examples():
    check([(bytes.fromhex(key), False) for key, _ in EXAMPLES], seeded(), gap=0)


@pytest.mark.parametrize("gap", [0, 5])
def test_random_keys(gap):
    rng = seeded()
    keys = [(rng.randbytes(rng.choice(list(SIZES))), rng.random() < 0.5) for _ in range(60)]
    check(keys, rng, gap)
