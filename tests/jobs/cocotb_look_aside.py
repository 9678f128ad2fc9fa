"""Job queues and cipher engine together; started by test_look_aside.py."""

from collections import Counter
from functools import partial
from random import Random

import cocotb
from cipher_maker import CIPHER_KINDS, KEYS, CipherMaker, rows_of
from cocotb_jobs import aligned, measure
from job_maker import COPY, CRC, ENCRYPT
from jobs_bench import JobsBench, begin, traffic

from tailrace_hw.lib.csr import CsrResponse, csr_request_layout
from tailrace_hw.regs import load
from tailrace_sim.models import crypto
from tailrace_sim.models.crypto import KeyAction, KeyCommand, KeyKind, KeySize
from tailrace_sim.run import parameters, seed
from tailrace_sim.stream_ports import Codec, Sink, Source

P = parameters()
CIPHER = load("crypto/regs.rdl")
REQUEST, RESPONSE = Codec(csr_request_layout(7)), Codec(CsrResponse)
START, ROUND_KEY, HASH_KEY = 1, 2, 4
SELF_TEST = 8
#: But for that of a failed self-test, and LENGTH, which the queues don't let happen.
STATUSES = {0, 1, 2, 3, 4, 5, 7, *range(0x10, 0x16), *range(0x21, 0x25)}


class LookAsideBench(JobsBench):
    """With the registers of the cipher engine, and its golden model."""

    NAMES = ("reads__0", "reads__1", "writes__0", "writes__1")

    def __init__(self, dut, rng, width, *, stall=0.0, **options):
        super().__init__(dut, rng, width, stall=stall, **options)
        self.engine = crypto.Engine(KEYS, width // 8)
        # The self-test's.
        self.engine.command(KeyCommand(
            KeyAction.INSTALL, 0xFF, KEYS - 4, KeyKind.XTS, KeySize.AES_256, False, bytes(32),
            bytes(32)))  # fmt: skip
        self.cipher_bus = Source(dut, "cipher_bus__request", rng, stall)
        self.ports += [
            self.cipher_bus, Sink(dut, "cipher_bus__response", rng, stall, self._on_cipher)
        ]  # fmt: skip
        self._cipher_answers: list[int] = []

    def _on_cipher(self, word):
        response = RESPONSE.unpack(word)
        assert not response.error
        self._cipher_answers.append(response.data)

    async def cipher(self, name, index=0, write=None) -> int:
        """Read or write a register of the cipher engine."""
        assert not self._cipher_answers
        self.cipher_bus.items.append(REQUEST.pack(
            address=CIPHER[name].addresses[index], write=int(write is not None), data=write or 0,
            strobe=15))  # fmt: skip
        await self.until(lambda: self._cipher_answers, 2000, name)
        return self._cipher_answers.pop()

    def forget(self, function: int) -> None:
        """In the model."""
        self.engine.command(KeyCommand(KeyAction.DELETE_ALL, function))

    async def with_keys(self, queue: int) -> None:
        """Two keys of each kind, and the one behind the queue's rows that is never touched."""
        driver = self.drivers[queue]
        rows = rows_of(queue)
        for row, kind, size in (
            (rows[8], 0, 2), (rows[9], 0, 0), (rows[0], 1, 2), (rows[4], 1, 0), (rows.stop, 0, 1)
        ):  # fmt: skip
            driver.submit(driver.maker.install(row, kind, size))
        driver.ring_doorbell()
        await self.drain([queue])

    async def end_of_test(self) -> int:
        """Wait for the end of a run of the self-test; its state."""
        for _ in range(1000):
            state = await self.cipher("self_test_state")
            if not state & 1:
                return state
            await self.cycles(20)
        raise AssertionError("the self-test does not end")


async def set_up(dut, rng, queues=4, **options) -> LookAsideBench:
    """All queues running, with keys."""
    driver = {name: options.pop(name) for name in ("longest", "log2") if name in options}
    bench = await begin(dut, rng, P["width"], LookAsideBench, **options)
    maker = partial(CipherMaker, engine=bench.engine)
    log2 = driver.get("log2", 4)
    for queue in range(queues):
        bench.add(queue, maker=maker, longest=driver.get("longest", 2000), ring_log2=log2,
                  completions_log2=log2)  # fmt: skip
        await bench.start(queue)
        await bench.with_keys(queue)
    return bench


@cocotb.test()
async def random_jobs(dut):
    """Everything at random on all queues; every status comes, every completion is right."""
    rng = Random(seed())
    stall = rng.choice((0.0, 0.1, 0.4))
    bench = await set_up(dut, rng, stall=stall, latency=(1, rng.choice((5, 100, 300))))
    kinds = list(CIPHER_KINDS) + ["good"] * 2 * len(CIPHER_KINDS)
    bench.meanwhile = lambda: traffic(bench, kinds)
    total: Counter = Counter()
    for turn in range(P["rounds"]):
        await bench.cycles(1000)
        if turn % 7 == 3:
            # Beside the traffic.
            await bench.cipher("self_test", write=START)
        total = sum((driver.statuses for driver in bench.drivers.values()), start=Counter())
        if set(total) == STATUSES and all(d.finished > P["least"] for d in bench.drivers.values()):
            break
    bench.meanwhile = None
    await bench.drain()
    total = sum((driver.statuses for driver in bench.drivers.values()), start=Counter())
    cocotb.log.info(f"stall {stall}: {dict(sorted(total.items()))}")
    assert set(total) == STATUSES, f"never seen: {sorted(STATUSES - set(total))}"
    assert not bench.errors
    assert await bench.end_of_test() == 2, "the self-test beside the traffic"
    for status in range(1, 9):
        assert await bench.cipher("failed", status) == total[status]
    assert await bench.cipher("key_refused") == sum(total[status] for status in range(0x21, 0x25))
    for queue, driver in bench.drivers.items():
        assert await bench.read("done", queue) == driver.statuses[0]
        assert await bench.read("failed", queue) == driver.finished - driver.statuses[0]


@cocotb.test()
async def function_reset(dut):
    """A function level reset in traffic: its queues and keys are gone, those of another stay."""
    bench = await set_up(dut, Random(seed()), latency=(5, 60))
    kinds = ["good", "key", "delete"]
    for driver in bench.drivers.values():
        # The rows of others are not always taken here.
        driver.maker.foreign = KEYS
    for function in (1, 2, 1):
        queues = [q for q, d in bench.drivers.items() if d.function == function]
        others = [q for q in bench.drivers if q not in queues]
        bench.meanwhile = lambda: traffic(bench, kinds)
        await bench.cycles(3000)
        bench.meanwhile = lambda others=others: traffic(bench, kinds, queues=others)
        bench.ask_flr(function, 1)
        await bench.until(lambda f=function: bench.done[f], 20000, "the function's reset")
        for queue in queues:
            assert await bench.state(queue) == "idle"
            await bench.at_rest(queue)
        bench.forget(function)
        bench.ask_flr(function, 0)
        await bench.until(lambda f=function: not bench.done[f], 100, "the end of the reset")
        bench.meanwhile = None
        await bench.drain(others)
        for queue in queues:
            driver = bench.drivers[queue]
            before = driver.statuses[2]
            await bench.start(queue)
            for row in (*rows_of(queue), rows_of(queue).stop):
                d = driver.maker.cipher(ENCRYPT, 64)
                d.key, d.tag_length, d.aad_length = row, 16, 0
                driver.submit(d)
                driver.ring_doorbell()
                await bench.drain([queue])
            assert driver.statuses[2] == before + len(rows_of(queue)) + 1, "a key has survived"
            await bench.with_keys(queue)
    assert not bench.errors


@cocotb.test()
async def failed_self_test(dut):
    """A fault made on purpose is found and told of; nothing is done until a run passes."""
    bench = await set_up(dut, Random(seed()), queues=2)
    assert await bench.cipher("shape") == (KEYS - 4) | 1 << 17 | max(1, P["width"] // 128) << 20
    for count, fault in enumerate((ROUND_KEY, HASH_KEY), 1):
        await bench.cipher("self_test", write=START | fault)
        assert await bench.end_of_test() == 4
        await bench.until(lambda n=count: len(bench.errors) == n, 100, "the error event")
        assert (bench.errors[-1].source, bench.errors[-1].code) == (11, 0x3C)
        bench.engine.self_test_failed = True
        driver = bench.drivers[0]
        for opcode in (ENCRYPT, 0x11, 0x12, COPY, CRC):
            driver.submit(driver.maker.good(opcode, 300))
        driver.ring_doorbell()
        await bench.drain()
        assert driver.statuses[SELF_TEST] == 3 * count
        assert await bench.cipher("failed", SELF_TEST) == 3 * count
        await bench.cipher("self_test", write=START)
        assert await bench.end_of_test() == 2
        bench.engine.self_test_failed = False
        driver.submit(driver.maker.cipher(0x12, 300))
        driver.ring_doorbell()
        await bench.drain()
    assert bench.drivers[0].statuses[SELF_TEST] == 6


@cocotb.test()
async def rows_of_the_self_test(dut):
    """Nobody gets its rows, not even in a run, which replaces its keys; and it passes."""
    bench = await set_up(dut, Random(seed()), queues=2)
    keys = [(KEYS - 4, 0), (KEYS - 4, 1), (KEYS - 3, 0), (KEYS - 2, 0), (KEYS - 1, 0)]
    for _ in range(2):
        await bench.cipher("self_test", write=START)
        asked = 0
        while await bench.cipher("self_test_state") & 1:
            for driver in bench.drivers.values():
                driver.poll()
                driver.tell_head()
                if driver.room > len(keys):
                    for row, kind in keys:
                        driver.submit(driver.maker.install(row, kind, 2))
                    deletion = driver.maker.delete()
                    deletion.key = KEYS - 1 - asked % 4
                    driver.submit(deletion)
                    driver.ring_doorbell()
                    asked += 1
        await bench.drain()
        assert asked > 3, "the run was over too soon"
        assert await bench.end_of_test() == 2
    assert not bench.errors
    refused = {status for driver in bench.drivers.values() for status in driver.statuses}
    assert refused == {0, 0x22, 0x23}


@cocotb.test()
async def full_rate(dut):
    """4 KiB of GCM at 90 % of what a DMA port can carry, each job with another key."""
    bench = await set_up(dut, Random(seed()), latency=(40, 60), delay=(40, 60), log2=5)
    turn = 0

    def make(driver):
        nonlocal turn
        turn += 1
        d = aligned(driver, ENCRYPT, 4096)
        d.key = rows_of(driver.queue)[8 + turn % 2]
        d.tag_length, d.aad_length = 16, 20
        return d

    cycles = await measure(bench, make, 60)
    cocotb.log.info(f"GCM_ENCRYPT of 4 KiB: {cycles:.2f} cycles a job")
    beats = 4096 * 8 // P["width"]
    assert beats <= cycles <= beats / 0.9
    assert {status for d in bench.drivers.values() for status in d.statuses} == {0}
