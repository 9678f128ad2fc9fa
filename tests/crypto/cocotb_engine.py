"""The cipher engine against the golden model, in the simulator; started by test_engine.py."""

from dataclasses import fields
from random import Random

import cocotb
from cipher_bench import CipherBench, Outcome
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge

from tailrace_hw.crypto.types import SELF_TEST_FUNCTION, JobParameters
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
from tailrace_sim.run import parameters, seed

P = parameters()
KEYS, WIDTH, XTS = P["keys"], P["width"], P["xts"]
FUNCTIONS = (0, 1, 3)
OPERATIONS = list(Operation) if XTS else [Operation.GCM_ENCRYPT, Operation.GCM_DECRYPT]
BEAT = WIDTH // 8


class Checked:
    """The engine and the model side by side."""

    def __init__(self, bench: CipherBench):
        self.bench = bench
        self.model = crypto.Engine(KEYS, max(BEAT, 16))
        self.expected: list[tuple[Job, crypto.Outcome]] = []
        self.compared = 0
        self.statuses: dict[Status, int] = {}

    async def command(self, command: KeyCommand) -> KeyStatus:
        """One request to both; their answers must agree."""
        values = {field.name: getattr(command, field.name) for field in fields(command)}
        before = len(self.bench.key_answers)
        self.bench.command(**values)
        await self.bench.until(lambda: len(self.bench.key_answers) > before)
        answer = self.bench.key_answers[-1]
        wanted = self.model.command(command)
        assert answer.status == wanted, f"{command}: {answer.status}, not {wanted!r}"
        assert (answer.function, answer.key) == (command.function, command.key)
        return wanted

    async def install(self, index: int, kind=KeyKind.GCM, size=None, function=1, strict=False):
        """Install a random key."""
        rng = self.bench.rng
        sizes = list(KeySize) if kind == KeyKind.GCM else [KeySize.AES_128, KeySize.AES_256]
        size = rng.choice(sizes) if size is None else size
        material = [rng.randbytes(size.bytes) for _ in range(2)]
        return await self.command(
            KeyCommand(KeyAction.INSTALL, function, index, kind, size, strict, *material)
        )

    def job(self, job: Job) -> None:
        """Do a job in both."""
        self.expected.append((job, self.model.work(job)))
        self.bench.send(
            job.payload,
            claimed=job.length,
            **{
                name: getattr(job, name)
                for name in JobParameters.as_shape().members if name != "length"
            },
        )  # fmt: skip

    async def drain(self) -> list[Outcome]:
        """Wait for all jobs' ends and compare; returns the new outcomes."""
        outcomes = (await self.bench.drain())[self.compared :]
        assert len(outcomes) == len(self.expected) > 0
        for outcome, (job, wanted) in zip(outcomes, self.expected, strict=True):
            _compare(outcome, job, wanted)
            status = wanted.result.status
            self.statuses[status] = self.statuses.get(status, 0) + 1
        self.compared += len(outcomes)
        self.expected.clear()
        return outcomes


def _compare(outcome: Outcome, job: Job, wanted: crypto.Outcome) -> None:
    result = outcome.result
    assert result.status == wanted.result.status, f"{job}: {result}, not {wanted.result}"
    assert (result.function, result.job, result.key) == (job.function, job.job, job.key)
    assert result.tag.to_bytes(16, "little") == wanted.result.tag, job
    if wanted.limit is not None:
        assert len(outcome.output or b"") <= wanted.limit, job
    else:
        assert (outcome.output or b"") == (wanted.output or b""), job


def random_job(rng: Random, number: int, longest: int) -> Job:
    """Mostly in order; a fault now and then, sometimes several."""
    operation = rng.choice(OPERATIONS)
    gcm = operation.kind == KeyKind.GCM
    length = rng.choice((rng.randint(0, 3 * BEAT), rng.randint(0, longest), 16 * rng.randint(1, 9)))
    if not gcm:
        length = max(length, 16)
    j0 = gcm and rng.random() < 0.3
    aad_length = rng.choice((0, 0, 8, 13, 16, rng.randint(0, crypto.MAX_AAD))) if gcm else 0
    job = Job(
        operation,
        rng.randrange(KEYS),
        rng.randbytes(length),
        rng.choice(FUNCTIONS),
        number & 0xFFFF,
        rng.randbytes(16 if j0 or not gcm else 12),
        j0,
        rng.randbytes(aad_length),
        tag_length=rng.choice(crypto.TAG_LENGTHS) if gcm else rng.randrange(32),
    )
    if rng.random() < 0.06:
        job.tag_length = rng.choice((0, 1, 3, 5, 7, 9, 10, 11, 17, 31))
    if rng.random() < 0.04:
        job.aad_length = rng.randint(crypto.MAX_AAD + 1, 127)
    if rng.random() < 0.06:
        job.length = rng.choice((0, 1, length + 1, max(0, length - 1), length + BEAT,
                                 length // 2, crypto.MAX_LENGTH + 1, 32767))  # fmt: skip
    if rng.random() < 0.04:
        job.key = rng.randrange(KEYS, 1 << 16)
    return job


def usable(model: crypto.Engine, job: Job, rng: Random) -> None:
    """Point the job at a key that exists and fits, if there is one."""
    fitting = [
        (index, key)
        for index, key in model._keys.items()
        if key.kind == job.operation.kind and key.owner != SELF_TEST_FUNCTION
    ]
    if fitting:
        job.key, key = rng.choice(fitting)
        job.function = key.owner
        if key.strict and not job.j0 and job.operation == Operation.GCM_ENCRYPT:
            above = max(0, key.last_iv + rng.choice((1, 1, 5, 0, -3)))
            job.iv = (above % (1 << 96)).to_bytes(12, "big")


def there_with_any_kind(model: crypto.Engine, job: Job, rng: Random) -> None:
    """Point the job at a key that exists, if there is one; in a large table few jobs find one."""
    there = [key for key in model._keys.items() if key[1].owner != SELF_TEST_FUNCTION]
    if there:
        job.key, key = rng.choice(there)
        job.function = key.owner


def with_tag(model: crypto.Engine, job: Job, rng: Random | None = None) -> None:
    """Give a decryption the tag that is right or, where chance says so, one with a wrong bit."""
    key = model._keys.get(job.key)
    if job.operation != Operation.GCM_DECRYPT or key is None or key.kind != KeyKind.GCM:
        return
    j0 = job.iv if job.j0 else crypto.j0_of(key.material, job.iv)
    aad = job.aad.ljust(crypto.MAX_AAD, b"\0")[: job.aad_length]
    payload, tag = crypto.gcm_encrypt(key.material, j0, aad, job.payload)
    tag = tag[: min(job.tag_length, 16)].ljust(16, b"\0")
    job.payload, job.tag = payload, tag
    if rng is not None and rng.random() < 0.25 and job.tag_length:
        bit = rng.randrange(8 * min(job.tag_length, 16))
        flipped = int.from_bytes(job.tag, "little") ^ (1 << bit)
        job.tag = flipped.to_bytes(16, "little")


async def start(dut, rng=None, stall=0.0) -> Checked:
    """Engine and model just out of reset."""
    cocotb.start_soon(Clock(dut.clk, 4, unit="ns").start())
    bench = CipherBench(dut, rng or Random(seed()), WIDTH, stall)
    dut.rst.value = 1
    await ClockCycles(dut.clk, 3)
    await FallingEdge(dut.clk)
    dut.rst.value = 0
    both = Checked(bench)
    await ready(both)
    return both


async def ready(both: Checked) -> None:
    """Wait for the self-test, whose keys stay in the table."""
    bench = both.bench
    await bench.until(lambda: bench.dut.busy.value == 0)
    assert bench.dut.passed.value == 1, "the self-test has failed"
    material = [bytes(16), bytes(16)]
    kind, row = (KeyKind.XTS, KEYS - 4) if XTS else (KeyKind.GCM, KEYS - 1)
    command = KeyCommand(
        KeyAction.INSTALL, SELF_TEST_FUNCTION, row, kind, KeySize.AES_128, False, *material
    )
    assert both.model.command(command) == KeyStatus.OK


async def some_keys(both: Checked) -> None:
    """A key of each kind for each function, and random ones beside them."""
    rng = both.bench.rng
    for index, function in enumerate(FUNCTIONS):
        await both.install(index, function=function)
    if XTS:
        await both.install(4, KeyKind.XTS, function=FUNCTIONS[0])
        await both.install(8, KeyKind.XTS, function=FUNCTIONS[1])
    await both.install(3, function=rng.choice(FUNCTIONS), strict=True)


@cocotb.test()
async def random_jobs(dut):
    """Everything at random, with stalls, keys that come and go between groups of jobs."""
    rng = Random(seed())
    both = await start(dut, rng, rng.choice((0.0, 0.1, 0.5)))
    await some_keys(both)
    wanted = set(Status) - {Status.SELF_TEST} - (set() if XTS else {Status.KEY_KIND})
    number = rounds = 0
    # Until everything was seen, but not for ever.
    while rounds < P["rounds"] or (wanted - set(both.statuses) and rounds < 10 * P["rounds"]):
        rounds += 1
        for _ in range(rng.randint(1, 30)):
            job = random_job(rng, number, P["longest"])
            draw = rng.random()
            if draw < 0.9:
                usable(both.model, job, rng)
            elif draw < 0.92:
                there_with_any_kind(both.model, job, rng)
            with_tag(both.model, job, rng)
            both.job(job)
            number += 1
        await both.drain()
        for _ in range(rng.randrange(4)):
            await random_command(both, rng)
        if len(both.model._keys) == 1:
            await some_keys(both)
        stall = rng.choice((0.0, 0.1, 0.5))
        for port in (both.bench.i, both.bench.o, both.bench.results):
            port.stall = stall
    cocotb.log.info(f"{both.compared} jobs: {both.statuses}")
    assert not wanted - set(both.statuses), f"never came: {wanted - set(both.statuses)}"


async def random_command(both: Checked, rng: Random) -> None:
    """Install, replace or delete at random, often what may not be."""
    kind = rng.choice(list(KeyKind)) if XTS else KeyKind.GCM
    size = rng.choice(list(KeySize))
    action = rng.choice((KeyAction.INSTALL,) * 6 + (KeyAction.DELETE, KeyAction.DELETE_ALL))
    index = rng.randrange(KEYS + 2)
    if kind == KeyKind.XTS and rng.random() < 0.8:
        index &= ~3
    material = [rng.randbytes(size.bytes) for _ in range(2)]
    strict = rng.random() < 0.3
    await both.command(
        KeyCommand(action, rng.choice(FUNCTIONS), index, kind, size, strict, *material)
    )


@cocotb.test()
async def every_length(dut):
    """All payload lengths up to a few beats, all lengths of additional data and tags, both ways."""
    both = await start(dut)
    await some_keys(both)
    rng, number = both.bench.rng, 0
    lengths = [*range(4 * BEAT + 2), 255, 256, 257, 1500, 4096]
    for length in lengths:
        for operation in OPERATIONS:
            gcm = operation.kind == KeyKind.GCM
            if not gcm and length < 16:
                continue
            aad = rng.randbytes(number % (crypto.MAX_AAD + 1)) if gcm else b""
            tag_length = crypto.TAG_LENGTHS[number % 7]
            iv = rng.randbytes(12 if gcm else 16)
            job = Job(operation, 0, rng.randbytes(length), 0, number, iv, aad=aad)
            job.tag_length = tag_length
            usable(both.model, job, rng)
            if both.model._keys[job.key].strict:
                job.key, job.function = 0, FUNCTIONS[0]
            with_tag(both.model, job)
            both.job(job)
            number += 1
    await both.drain()
    assert both.statuses == {Status.OK: number}
