"""The self-test of the whole cipher engine, alone and beside traffic; started by test_engine.py."""

from random import Random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge
from cocotb_engine import (
    KEYS,
    WIDTH,
    XTS,
    Checked,
    CipherBench,
    P,
    random_job,
    ready,
    some_keys,
    start,
    usable,
    with_tag,
)
from cocotb_engine_keys import encryption

from tailrace_sim.models.crypto import KeyAction, KeyCommand, KeyKind, KeyStatus, Status
from tailrace_sim.run import seed

#: SelfTestFault: round keys, powers of H.
FAULTS = (1, 2, 3)


async def run_again(both: Checked, inject: int = 0) -> bool:
    """Run the self-test; whether it passed."""
    dut, bench = both.bench.dut, both.bench
    dut.start.value, dut.inject.value = 1, inject
    await bench.cycle()
    dut.start.value = dut.inject.value = 0
    await bench.until(lambda: dut.busy.value == 0, limit=100_000)
    assert dut.passed.value != dut.failed.value
    return bool(dut.passed.value)


@cocotb.test()
async def refuses_before_and_after_a_failure(dut):
    """Users wait for the first run; a fault is found; nothing is done until a run has passed."""
    cocotb.start_soon(Clock(dut.clk, 4, unit="ns").start())
    bench = CipherBench(dut, Random(seed()), WIDTH)
    rng = bench.rng
    dut.rst.value = 1
    await ClockCycles(dut.clk, 3)
    await FallingEdge(dut.clk)
    dut.rst.value = 0
    both = Checked(bench)
    bench.send(rng.randbytes(20), key=0, function=1, iv=bytes(12), tag_length=16)
    bench.command(KeyAction.DELETE, 1, 0)
    begun = bench.now
    while dut.busy.value == 1:
        assert not bench.i.taken, "a user's packet before the self-test's end"
        assert not bench.keys.taken, "a user's key before the self-test's end"
        await bench.cycle()
        assert bench.now - begun < 20_000
    cocotb.log.info(f"{bench.now - begun} cycles after reset")
    await bench.until(lambda: bench.outcomes and bench.key_answers)
    assert bench.outcomes[0].result.status == Status.KEY_UNKNOWN
    both.compared = 1
    await ready(both)
    await some_keys(both)
    for fault in FAULTS:
        assert not await run_again(both, fault), f"fault {fault} was not found"
        assert bench.dut.failed.value == 1
        both.model.self_test_failed = True
        for number in range(10):
            both.job(encryption(rng, 0, rng.randint(0, 100), 0, number))
        await both.drain()
        assert both.statuses == {Status.SELF_TEST: 10}
        both.statuses.clear()
        assert await run_again(both)
        both.model.self_test_failed = False
        for number in range(10):
            both.job(encryption(rng, 0, rng.randint(0, 100), 0, number))
        await both.drain()
        assert both.statuses == {Status.OK: 10}
        both.statuses.clear()


@cocotb.test()
async def beside_traffic(dut):
    """Runs between users' packets, with stalls: it passes, and they get what the model says."""
    both = await start(dut)
    bench, rng = both.bench, both.bench.rng
    await some_keys(both)
    number = 0
    for turn in range(P["rounds"]):
        for port in (bench.i, bench.o, bench.results):
            port.stall = (0.0, 0.3, 0.7)[turn % 3]
        for _ in range(150):
            job = random_job(rng, number, 300)
            usable(both.model, job, rng)
            with_tag(both.model, job, rng)
            both.job(job)
            number += 1
        for _ in range(rng.randint(0, 100)):
            await bench.cycle()
        taken = bench.i.taken
        assert await run_again(both), f"failed beside traffic, stall {bench.o.stall}"
        assert bench.i.taken > taken, "users have waited for it"
        await both.drain()
    assert both.compared == 150 * P["rounds"]
    assert both.statuses[Status.OK] > both.compared // 4
    # Users that take nothing for a long time are no fault of the engine.
    for number in range(200):
        both.job(encryption(rng, 0, 64, 0, number))
    bench.o.closed = bench.results.closed = True
    for _ in range(1000):
        await bench.cycle()
    dut.start.value = 1
    await bench.cycle()
    dut.start.value = 0
    for _ in range(8000):
        await bench.cycle()
    assert dut.busy.value == 1
    bench.o.closed = bench.results.closed = False
    await both.drain()
    await bench.until(lambda: dut.busy.value == 0)
    assert dut.passed.value == 1


@cocotb.test()
async def nobody_reaches_its_keys(dut):
    """Its rows can be neither used, nor taken, nor deleted."""
    both = await start(dut)
    rng = both.bench.rng
    row = KEYS - 4 if XTS else KEYS - 1
    kind = KeyKind.XTS if XTS else KeyKind.GCM
    assert await both.install(row, kind) == KeyStatus.TAKEN
    assert await both.command(KeyCommand(KeyAction.DELETE, 1, row)) == KeyStatus.UNKNOWN
    assert await both.command(KeyCommand(KeyAction.DELETE_ALL, 1)) == KeyStatus.OK
    for key in range(row, KEYS):
        both.job(encryption(rng, key, 40, 1))
    await both.drain()
    assert both.statuses == {Status.KEY_UNKNOWN: KEYS - row}
    assert await run_again(both)
