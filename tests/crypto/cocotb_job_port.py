"""Jobs through the port of the queues to the golden model; started by test_job_port.py."""

from collections import deque
from dataclasses import dataclass
from random import Random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge
from model_engine import ModelEngine, Names

from tailrace_hw.crypto.types import KeyCommand
from tailrace_hw.jobs.types import EngineResult, OperationMeta, OutputMeta
from tailrace_hw.lib.packet import beat_layout
from tailrace_sim.models import crypto
from tailrace_sim.models.crypto import KeyAction, KeyKind, KeySize, KeyStatus, Operation, Status
from tailrace_sim.run import parameters, seed
from tailrace_sim.stream_ports import Codec, Sink, Source

P = parameters()
WIDTH, KEYS = P["width"], 16
SIZE = WIDTH // 8
NAMES = Names("packets", "output", "results", "keys", "key_answers")
INSTALL, DELETE = 0x20, 0x21
OPCODES = {0x10: Operation.GCM_ENCRYPT, 0x11: Operation.GCM_DECRYPT,
           0x12: Operation.XTS_ENCRYPT, 0x13: Operation.XTS_DECRYPT}  # fmt: skip
KEY_STATUSES = {KeyStatus.OK: 0, KeyStatus.INDEX: 0x21, KeyStatus.TAKEN: 0x22,
                KeyStatus.UNKNOWN: 0x23, KeyStatus.SIZE: 0x24}  # fmt: skip


@dataclass
class Wanted:
    """End of a job."""

    slot: int
    status: int
    tag: bytes = bytes(16)
    output: bytes = b""


class Bench:
    """The component between queues and engine, and a model that does the jobs one by one."""

    def __init__(self, dut, rng: Random, stall: float):
        self.dut, self.rng = dut, rng
        self.engine = ModelEngine(dut, NAMES, WIDTH, KEYS, rng, stall)
        self.model = crypto.Engine(KEYS, SIZE)
        self.jobs = Source(dut, "port__i", rng, stall)
        self.forget = Source(dut, "forget", rng, stall)
        self._ports = [
            self.jobs,
            self.forget,
            Sink(dut, "port__o", rng, stall, self._beat),
            Sink(dut, "port__result", rng, stall, self._ended),
        ]
        self._in = Codec(beat_layout(WIDTH, OperationMeta))
        self._out = Codec(beat_layout(WIDTH, OutputMeta))
        self._result = Codec(EngineResult)
        #: Requests to the key table whose answer has not been taken, and how many of each action
        #: have been.
        self._asked: deque[int] = deque()
        self.answered = dict.fromkeys(KeyAction, 0)
        self._command = Codec(KeyCommand)
        self.wanted: list[Wanted] = []
        self.results: list = []
        self.packets: list[tuple[int, bytes]] = []
        self._parts = b""
        self.now = 0
        self.last_end = 0

    def job(self, opcode: int, payload: bytes, *, length: int | None = None, **values) -> None:
        """A job into the component, of the length that it has or of another."""
        slot = len(self.wanted) % 256
        meta = Codec(OperationMeta).pack(
            slot=slot, opcode=opcode, length=len(payload) if length is None else length,
            **{name: int.from_bytes(value, "little") if isinstance(value, bytes) else int(value)
               for name, value in values.items()})  # fmt: skip
        data = payload or b"\x5a"
        for start in range(0, len(data), SIZE):
            chunk = data[start : start + SIZE]
            last = start + SIZE >= len(data)
            self.jobs.items.append(self._in.pack(
                data=int.from_bytes(chunk, "little"), empty=SIZE - len(chunk), last=int(last),
                meta=meta))  # fmt: skip

    def cipher(self, job: crypto.Job) -> None:
        """A cipher's job, into both."""
        opcode = next(code for code, operation in OPCODES.items() if operation == job.operation)
        self.job(opcode, job.payload, key=job.key, function=job.function, j0=job.j0, iv=job.iv,
                 tag=job.tag, tag_length=job.tag_length, aad=job.aad,
                 aad_length=job.aad_length, length=job.length)  # fmt: skip
        # What is too long for the engine's fields stays too long there.
        job.length = min(job.length, crypto.MAX_LENGTH + 1)
        if job.aad_length > crypto.MAX_AAD:
            job.aad_length = crypto.MAX_AAD + 1
        outcome = self.model.work(job)
        result = outcome.result
        slot = len(self.wanted) % 256
        self.wanted.append(Wanted(slot, result.status, result.tag, outcome.output or b""))

    def install(self, key: int, function: int, kind: int, size: int, strict: bool) -> None:
        """A key's installation, into both."""
        material, tweak = self.rng.randbytes(32), self.rng.randbytes(32)
        noise = bytes([self.rng.randrange(128) * 2 + strict]) + self.rng.randbytes(13)
        self.job(INSTALL, bytes([kind, size]) + noise + material + tweak,
                 key=key, function=function)  # fmt: skip
        status = KeyStatus.SIZE
        if kind < 2 and size < 3:
            count = KeySize(size).bytes
            status = self.model.command(crypto.KeyCommand(
                KeyAction.INSTALL, function, key, KeyKind(kind), KeySize(size), strict,
                material[:count], tweak[:count]))  # fmt: skip
        self.wanted.append(Wanted(len(self.wanted) % 256, KEY_STATUSES[status]))

    def delete(self, key: int, function: int) -> None:
        """A key's end, in both."""
        self.job(DELETE, b"", key=key, function=function)
        status = self.model.command(crypto.KeyCommand(KeyAction.DELETE, function, key))
        self.wanted.append(Wanted(len(self.wanted) % 256, KEY_STATUSES[status]))

    async def drain(self) -> None:
        """Until all jobs have ended and all functions are forgotten; then compare."""
        due = sum(bool(wanted.output) for wanted in self.wanted)
        for _ in range(200_000):
            # A result may be ahead of its packet.
            ended = len(self.results) >= len(self.wanted) and len(self.packets) >= due
            if ended and not self.forget.items:
                break
            await self.cycle()
        for _ in range(60):
            await self.cycle()
        assert len(self.results) == len(self.wanted) > 0
        packets = iter(self.packets)
        for result, wanted in zip(self.results, self.wanted, strict=True):
            assert (result.slot, result.status) == (wanted.slot, wanted.status), wanted
            assert result.tag.to_bytes(16, "little") == wanted.tag, wanted
            if wanted.output:
                assert next(packets) == (wanted.slot, wanted.output)
        assert next(packets, None) is None, "a packet nobody asked for"
        self.results.clear()
        self.wanted.clear()
        self.packets.clear()

    async def cycle(self) -> None:
        """One clock cycle."""
        await self.engine.cycle(*self._ports, self)
        self.now += 1

    def drive(self) -> None:
        """Nothing: as a port, it only looks."""

    def sample(self) -> None:
        """``key_action`` is what each answer answers, for as long as it is offered."""
        dut = self.dut
        if dut.key_answers__valid.value:
            assert self._asked, "an answer nobody asked for"
            assert int(dut.key_action.value) == self._asked[0]
            if dut.key_answers__ready.value:
                self.answered[KeyAction(self._asked.popleft())] += 1
        if dut.keys__valid.value and dut.keys__ready.value:
            self._asked.append(self._command.unpack(int(dut.keys__payload.value)).action)

    def _beat(self, word: int) -> None:
        beat = self._out.unpack(word)
        self._parts += beat.data.to_bytes(SIZE, "little")[: SIZE - beat.empty]
        if beat.last:
            self.packets.append((beat.meta.slot, self._parts))
            self._parts = b""

    def _ended(self, word: int) -> None:
        self.results.append(self._result.unpack(word))
        self.last_end = self.now


async def start(dut, stall: float) -> Bench:
    """Just out of reset."""
    cocotb.start_soon(Clock(dut.clk, 4, unit="ns").start())
    bench = Bench(dut, Random(seed()), stall)
    dut.rst.value = 1
    await ClockCycles(dut.clk, 3)
    await FallingEdge(dut.clk)
    dut.rst.value = 0
    return bench


def random_cipher(bench: Bench, rng: Random) -> crypto.Job:
    """Often with a key that fits, seldom without a fault."""
    keys = bench.model._keys
    operation = rng.choice(list(Operation))
    gcm = operation.kind == KeyKind.GCM
    fitting = [index for index, key in keys.items() if key.kind == operation.kind]
    key = rng.choice(fitting) if fitting and rng.random() < 0.9 else rng.randrange(KEYS + 2)
    owner = keys[key].owner if key in keys and rng.random() < 0.95 else rng.randrange(3)
    j0 = gcm and rng.random() < 0.3
    aad = rng.randbytes(rng.randint(0, crypto.MAX_AAD)) if gcm else b""
    job = crypto.Job(
        operation, key, rng.randbytes(rng.randint(0 if gcm else 16, rng.choice((40, 300)))), owner,
        iv=rng.randbytes(16 if j0 or not gcm else 12), j0=j0, aad=aad,
        tag_length=rng.choice(crypto.TAG_LENGTHS))  # fmt: skip
    job.job = len(bench.wanted) % 256
    if operation == Operation.GCM_DECRYPT and key in fitting:
        material = keys[key].material
        counter = job.iv if j0 else crypto.j0_of(material, job.iv)
        job.payload, tag = crypto.gcm_encrypt(material, counter, aad, job.payload)
        job.tag = tag[: job.tag_length] if rng.random() < 0.8 else rng.randbytes(job.tag_length)
    if gcm and rng.random() < 0.05:
        job.aad_length = rng.randint(crypto.MAX_AAD + 1, 127)
    if gcm and rng.random() < 0.05:
        job.tag_length = rng.choice((0, 1, 7, 17, 31))
    if job.payload and rng.random() < 0.05:
        job.length += rng.choice((1, SIZE, 1 << 14, 1 << 15, 1 << 16))
    return job


@cocotb.test()
async def random_jobs(dut):
    """All operations at random with stalls; a job behind a request for its key sees the new one."""
    bench = await start(dut, 0.0)
    rng = bench.rng
    seen: dict[int, int] = {}
    for turn in range(16):
        stall = (0.0, 0.2, 0.7)[turn % 3]
        for port in [*bench._ports, *bench.engine.ports]:
            port.stall = stall
        for _ in range(60):
            draw = rng.random()
            if draw < 0.3:
                kind, size = rng.choice((0, 0, 0, 1, 1, 2)), rng.choice((0, 1, 2, 2, 3))
                key = rng.randrange(KEYS + 1) & ~(3 * (rng.random() < 0.7))
                bench.install(key, rng.randrange(3), kind, size, rng.random() < 0.2)
            elif draw < 0.4:
                bench.delete(rng.randrange(KEYS + 1), rng.randrange(3))
            else:
                bench.cipher(random_cipher(bench, rng))
        # One that has no keys, in traffic.
        bench.forget.items.append(9)
        for wanted in bench.wanted:
            seen[wanted.status] = seen.get(wanted.status, 0) + 1
        await bench.drain()
        function = rng.randrange(3)
        bench.forget.items.append(function)
        bench.model.command(crypto.KeyCommand(KeyAction.DELETE_ALL, function))
        for _ in range(1000):
            if not bench.forget.items:
                break
            await bench.cycle()
        for _ in range(10):
            bench.cipher(random_cipher(bench, rng))
        await bench.drain()
    cocotb.log.info(f"statuses: {seen}, requests: {bench.answered}")
    assert bench.answered[KeyAction.DELETE_ALL] == 2 * 16
    assert min(bench.answered.values()) > 0
    assert not bench._asked
    wanted = {*KEY_STATUSES.values(), *(status.value for status in Status)}
    wanted -= {Status.SELF_TEST.value}
    assert not wanted - set(seen), f"never came: {wanted - set(seen)}"


@cocotb.test()
async def behind_its_key(dut):
    """A job right behind a request for its key waits for the answer, however late that comes."""
    bench = await start(dut, 0.0)
    rng = bench.rng

    def use(key: int) -> None:
        bench.cipher(crypto.Job(Operation.GCM_ENCRYPT, key, rng.randbytes(SIZE), 0,
                                len(bench.wanted) % 256, iv=rng.randbytes(12)))  # fmt: skip

    for held in (0.0, 0.9):
        # The requests, which a packet would overtake if nothing held it.
        bench.engine.key_port.stall = held
        for key in (0, 5, KEYS - 1):
            # Not there yet, the first one, another one in its place, and none.
            use(key)
            for size in (0, 2):
                bench.install(key, 0, 0, size, False)
                use(key)
            bench.delete(key, 0)
            use(key)
        await bench.drain()


@cocotb.test()
async def full_rate(dut):
    """A beat a cycle in both directions, whatever the jobs' lengths."""
    bench = await start(dut, 0.0)
    for key in range(4):
        bench.install(key, 0, 0, 2, False)
    await bench.drain()
    jobs, beats = 100, 4
    for number in range(jobs):
        payload = bench.rng.randbytes(SIZE * beats)
        bench.cipher(crypto.Job(Operation.GCM_ENCRYPT, number % 4, payload, 0, number,
                                iv=bench.rng.randbytes(12)))  # fmt: skip
    begun = bench.now
    await bench.drain()
    cycles = bench.last_end - begun
    assert cycles <= jobs * beats + 8, f"{jobs * beats} beats took {cycles} cycles"
