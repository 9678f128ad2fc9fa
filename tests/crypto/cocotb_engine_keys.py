"""Keys that change under traffic, erasure, time and leaks; started by test_engine.py."""

from random import Random

import cocotb
from cocotb.triggers import FallingEdge
from cocotb_engine import KEYS, OPERATIONS, WIDTH, XTS, Checked, ready, start, with_tag

from tailrace_sim.models import crypto
from tailrace_sim.models.crypto import (
    Job,
    KeyAction,
    KeyCommand,
    KeyKind,
    KeySize,
    KeyStatus,
    Operation,
    Status,
)
from tailrace_sim.run import parameters

P = parameters()
#: Bytes that the engine takes at once, and that come in a cycle.
BEAT, A_CYCLE = max(WIDTH, 128) // 8, WIDTH // 8
#: Cycles that an installation may take. Eight lanes need more powers of H, one after the other.
INSTALLATION = 100 if WIDTH <= 512 else 130
#: The rows behind are the self-test's.
USERS_KEYS = KEYS - (4 if XTS else 1)


def encryption(rng: Random, key: int, length: int, function: int = 1, number: int = 0) -> Job:
    """An encryption that is in order."""
    return Job(
        Operation.GCM_ENCRYPT, key, rng.randbytes(length), function, number, rng.randbytes(12)
    )


async def stream(both: Checked, rng: Random, lengths, keys) -> tuple[float, list]:
    """Encryptions back to back; cycles a job between the first and the last one's end."""
    for number, length in enumerate(lengths):
        both.job(encryption(rng, keys[number % len(keys)], length, number=number))
    outcomes = await both.drain()
    ends = [outcome.cycles["result"] for outcome in outcomes]
    return (ends[-1] - ends[0]) / (len(ends) - 1), outcomes


@cocotb.test()
async def rates_and_latency(dut):
    """A beat a cycle with a new key every packet; 64 cycles at most from first to first beat."""
    both = await start(dut)
    rng = both.bench.rng
    for index in range(4):
        await both.install(index, size=KeySize(index % 3))
    for length in (BEAT, 64, 256, 1500, 4096):
        cycles, outcomes = await stream(both, rng, [length] * 60, range(4))
        beats = -(-length // A_CYCLE)
        assert cycles == beats, f"{length} bytes take {cycles} cycles, not {beats}"
        first = outcomes[0].cycles
        latency = first["first out"] - first["first in"]
        cocotb.log.info(f"{length} bytes: {cycles} cycles, latency {latency}")
        assert latency <= 64
        assert all(o.cycles["first out"] - o.cycles["first in"] == latency for o in outcomes)


@cocotb.test()
async def time_tells_nothing(dut):
    """Cycles of each packet of a fixed pattern of lengths are the same for all keys and data."""
    both = await start(dut)
    rng = both.bench.rng
    rounds = []
    for _ in range(P["rounds"]):
        for index in range(3):
            await both.install(index, size=KeySize(index))
        pattern = [(OPERATIONS[n % 2], (n * 37) % 200 + 1, n % 97) for n in range(60)]
        start_cycle = both.bench.now
        for number, (operation, length, aad) in enumerate(pattern):
            job = encryption(rng, number % 3, length, number=number)
            job.operation, job.aad, job.aad_length = operation, rng.randbytes(aad), aad
            with_tag(both.model, job)
            both.job(job)
        outcomes = await both.drain()
        rounds.append([{k: v - start_cycle for k, v in sorted(o.cycles.items())} for o in outcomes])
    assert len(rounds) > 1
    assert all(one == rounds[0] for one in rounds)


@cocotb.test()
async def nothing_leaks(dut):
    """Decryptions with a bit flipped anywhere: nothing leaves but their results."""
    both = await start(dut)
    rng = both.bench.rng
    for index in range(3):
        await both.install(index, size=KeySize(index))
    for number in range(P["packets"]):
        job = encryption(rng, number % 3, rng.choice((0, 1, 16, 64, rng.randint(1, 300))),
                         number=number)  # fmt: skip
        job.operation = Operation.GCM_DECRYPT
        job.aad = rng.randbytes(rng.choice((0, 5, 20)))
        job.aad_length, job.tag_length = len(job.aad), rng.choice((12, 16))
        with_tag(both.model, job)
        _flip(job, rng)
        both.job(job)
    await both.drain()
    assert both.statuses == {Status.AUTHENTICATION_FAILED: P["packets"]}
    assert both.bench.o.taken == 0


def _flip(job: Job, rng: Random) -> None:
    """A bit of payload, additional data, IV or tag."""
    places = [name for name in ("payload", "aad", "iv", "tag") if getattr(job, name)]
    name = rng.choice(places)
    value = bytearray(getattr(job, name))
    span = job.tag_length if name == "tag" else len(value)
    value[rng.randrange(span)] ^= 1 << rng.randrange(8)
    setattr(job, name, bytes(value))


@cocotb.test()
async def replaced_in_traffic(dut):
    """Packets see the old key or the new one, whole, and in that order; others see nothing."""
    both = await start(dut)
    rng, bench = both.bench.rng, both.bench
    await both.install(0)
    await both.install(1)
    for _ in range(P["rounds"]):
        command = KeyCommand(
            KeyAction.INSTALL, 1, 0, KeyKind.GCM, KeySize.AES_256, False, rng.randbytes(32), b""
        )
        old = both.model._keys[0].material
        jobs = [encryption(rng, rng.choice((0, 0, 1)), rng.randint(1, 200), number=n)
                for n in range(60)]  # fmt: skip
        sent = len(bench.outcomes)
        for job in jobs:
            bench.send(job.payload, operation=0, key=job.key, function=1, job=job.job, iv=job.iv,
                       tag_length=16)  # fmt: skip
        for _ in range(rng.randint(0, 150)):
            await bench.cycle()
        values = {"kind": command.kind, "size": command.size, "material": command.material}
        answers = len(bench.key_answers)
        bench.command(KeyAction.INSTALL, 1, 0, **values)
        outcomes = (await bench.drain())[sent:]
        await bench.until(lambda answers=answers: len(bench.key_answers) > answers)
        changed = False
        for job, outcome in zip(jobs, outcomes, strict=True):
            material = both.model._keys[1].material if job.key else old
            new = _sealed(command.material, job)
            before = _sealed(material, job)
            got = outcome.output, outcome.result.tag.to_bytes(16, "little")
            if job.key == 0 and got == new:
                changed = True
            else:
                assert got == before, f"{job}: neither the old key nor the new one"
                assert job.key or not changed, "an old key behind a new one"
        both.model.command(command)
        both.compared = len(bench.outcomes)


def _sealed(material: bytes, job: Job) -> tuple[bytes, bytes]:
    return crypto.gcm_encrypt(material, crypto.j0_of(material, job.iv), b"", job.payload)


@cocotb.test()
async def installation(dut):
    """An installation is over in time, and packets of other keys don't wait for it."""
    both = await start(dut)
    bench, rng = both.bench, both.bench.rng
    for size in KeySize:
        for _ in range(100):
            await bench.cycle()
        before = bench.now
        await both.install(2, size=size)
        cocotb.log.info(f"{size.name}: {bench.now - before} cycles")
        assert bench.now - before <= INSTALLATION
    each = 4 * BEAT // A_CYCLE
    cycles, _ = await stream(both, rng, [4 * BEAT] * 200, [2])
    assert cycles == each
    for number in range(200):
        both.job(encryption(rng, 2, 4 * BEAT, number=number))
    for _ in range(30):
        await bench.cycle()
    assert await both.install(1) == KeyStatus.OK
    outcomes = await both.drain()
    ends = [outcome.cycles["result"] for outcome in outcomes]
    assert ends[-1] - ends[0] <= 199 * each + 16, "packets of another key have waited"


@cocotb.test()
async def owners(dut):
    """A key is its function's, until that one is gone; what is gone can't be used."""
    both = await start(dut)
    rng = both.bench.rng
    await both.install(0, function=1)
    assert await both.install(0, function=2) == KeyStatus.TAKEN
    await both.install(3, function=2)
    for function in (1, 2):
        for key in (0, 3):
            both.job(encryption(rng, key, 40, function))
    await both.drain()
    assert both.statuses == {Status.OK: 2, Status.KEY_UNKNOWN: 2}
    assert await both.command(KeyCommand(KeyAction.DELETE, 2, 0)) == KeyStatus.UNKNOWN
    assert await both.command(KeyCommand(KeyAction.DELETE_ALL, 1)) == KeyStatus.OK
    both.job(encryption(rng, 0, 40, 1))
    both.job(encryption(rng, 3, 40, 2))
    await both.drain()
    assert both.statuses == {Status.OK: 3, Status.KEY_UNKNOWN: 3}


@cocotb.test()
async def reset_erases(dut):
    """After a reset, in traffic too, no key is left, and the engine works with new ones."""
    both = await start(dut)
    bench, rng = both.bench, both.bench.rng
    for _ in range(P["rounds"]):
        for index in range(USERS_KEYS):
            await both.install(index)
        for number in range(30):
            both.job(encryption(rng, rng.randrange(USERS_KEYS), rng.randint(1, 300), number=number))
        for _ in range(rng.randint(1, 150)):
            await bench.cycle()
        await _reset(both, dut)
        for index in range(KEYS):
            both.job(encryption(rng, index, 20))
        await both.drain()
        assert both.statuses == {Status.KEY_UNKNOWN: KEYS}
        both.statuses.clear()
    await both.install(0)
    both.job(encryption(rng, 0, 100))
    await both.drain()
    assert both.statuses == {Status.OK: 1}


async def _reset(both: Checked, dut) -> None:
    """Reset the engine, the model and what the bench has under way."""
    bench = both.bench
    dut.rst.value = 1
    for port in (dut.i__valid, dut.keys__valid, dut.o__ready, dut.results__ready):
        port.value = 0
    for _ in range(3):
        await FallingEdge(dut.clk)
    dut.rst.value = 0
    bench.restart()
    both.expected.clear()
    both.compared = 0
    both.model.reset()
    await ready(both)
