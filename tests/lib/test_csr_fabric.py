"""CSR fabric: every access reaches the one target it is for, or is refused."""

import pytest

from tailrace_hw.lib.csr_fabric import CsrFabric, CsrRange
from tailrace_sim.streams import receive, send
from tailrace_sim.unit import STALLS, check_refused, expect_silence, seeded, simulate

RANGES = {"low": CsrRange(0x000, 6), "middle": CsrRange(0x100, 8), "high": CsrRange(0xF00, 7)}


def owner(address):
    """Reference: name of the target at an address and the address within it."""
    for name, where in RANGES.items():
        if where.base <= address < where.end:
            return name, address - where.base
    return None, 0


def reply(name, access):
    """What the test's targets answer: made from the access, so that a mix-up shows."""
    key = list(RANGES).index(name) + 1
    offset = access["address"] % (1 << RANGES[name].address_width)
    return {"data": 0 if access["write"] else key << 24 | offset, "error": offset == 0x10}


def accesses(rng, count):
    edges = [edge for where in RANGES.values() for edge in (where.base, where.end - 4, where.end)]
    for _ in range(count):
        address = rng.choice([*edges, rng.randrange(0, 0x1000, 4)])
        yield {
            "address": address & 0xFFF,
            "write": rng.getrandbits(1),
            "data": rng.getrandbits(32),
            "strobe": rng.getrandbits(4),
        }


def target(dut, name, seen, rng, stall):
    async def run(ctx):
        bus = getattr(dut, name)
        while True:
            (access,) = await receive(ctx, bus.request, 1, rng, stall)
            access = {key: getattr(access, key) for key in ("address", "write", "data", "strobe")}
            seen.append((name, access))
            await send(ctx, bus.response, [reply(name, access)], rng, stall)

    return run


@pytest.mark.parametrize("stalls", STALLS, ids=str)
def test_decodes(stalls):
    rng = seeded()
    jobs = list(accesses(rng, 80))
    dut = CsrFabric(12, RANGES)
    seen = []

    async def initiator(ctx):
        await send(ctx, dut.initiator.request, jobs, rng, stalls[0])

    async def answers(ctx):
        got = await receive(ctx, dut.initiator.response, len(jobs), rng, stalls[1])
        for job, answer in zip(jobs, got, strict=True):
            name, _ = owner(job["address"])
            expected = reply(name, job) if name else {"data": 0, "error": 1}
            assert {"data": answer.data, "error": answer.error} == expected, hex(job["address"])
        await expect_silence(ctx, dut.initiator.response)

    targets = [target(dut, name, seen, rng, max(stalls)) for name in RANGES]
    simulate(dut, initiator, answers, background=targets)
    reached = [(owner(job["address"]), job) for job in jobs if owner(job["address"])[0]]
    assert reached
    assert len(reached) < len(jobs)
    assert seen == [(name, job | {"address": offset}) for (name, offset), job in reached]


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ({"a": CsrRange(0x10, 6)}, "a at 0x10 is not aligned"),
        ({"a": CsrRange(0x1000, 4)}, "outside 12 address bits"),
        ({"a": CsrRange(0, 6), "b": CsrRange(0x20, 5)}, "b at 0x20 overlaps a"),
    ],
)
def test_refuses_ranges(ranges, message):
    check_refused(lambda: CsrFabric(12, ranges), message)
