"""What goes wrong with jobs, keys and resets in the device; started by test_device.py."""

from random import Random

import cocotb
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM as LibraryGcm

from tailrace.crypto.aead import AESGCM
from tailrace.crypto.cipher import Cipher, Fault
from tailrace.crypto.keys import describe
from tailrace.jobs.data import Request, run_data
from tailrace.jobs.errors import JobError, JobQueueStopped, JobReset
from tailrace.jobs.types import Job
from tailrace.regs import address_map, jobs
from tailrace.regs.codes import ErrorCode
from tailrace.regs.job_memory import LIST_ENTRY, JobOpcode, JobStatus, KeyKind
from tailrace_sim.run import seed
from tailrace_sim.system import System

NET = 1


async def set_up(dut) -> tuple[System, Cipher, Cipher]:
    """A queue and keys of the management function, and of the network function."""
    system = await System.start(dut, memory_size=16 << 20)
    device = system.device
    return system, await device.cipher(0, 0), await device.cipher(1, NET)


async def works(cipher: Cipher, rng: Random) -> None:
    """A message with a new key goes through and back."""
    key, message = rng.randbytes(32), (rng.randbytes(12), rng.randbytes(700), rng.randbytes(13))
    gcm = await AESGCM.create(cipher, key)
    sealed = await gcm.encrypt(*message)
    assert sealed == LibraryGcm(key).encrypt(*message)
    assert await gcm.decrypt(message[0], sealed, message[2]) == message[1]
    await gcm.close()


async def status(cipher: Cipher, opcode: JobOpcode, data: bytes, **parameters) -> JobStatus:
    """How a job ends."""
    [ended] = await run_data(cipher.queue, [Request(opcode, data, len(data), parameters)])
    return ended.result.status


@cocotb.test()
async def wrong_jobs(dut):
    """Each wrong job ends with its reason, and the next one works."""
    system, mine, other = await set_up(dut)
    rng = Random(seed())
    gcm = await mine.install(rng.randbytes(16))
    xts = await mine.install_xts(rng.randbytes(64))
    theirs = await other.install(rng.randbytes(24))
    strict = await mine.install(rng.randbytes(32), strict=True)
    assert theirs.index not in (gcm.index, xts.index, strict.index)
    data, iv = rng.randbytes(100), rng.randbytes(12)
    seal = JobOpcode.GCM_ENCRYPT
    keys = mine.shape.keys
    # Each driver has tried places that the other function has.
    before = (await mine.counters()).key_refused
    for wanted, opcode, payload, given in (
        (JobStatus.KEY_UNKNOWN, seal, data, {"key": theirs.index}),
        (JobStatus.KEY_UNKNOWN, seal, data, {"key": 900}),
        # The self-test's, and beyond the table.
        (JobStatus.KEY_UNKNOWN, seal, data, {"key": keys}),
        (JobStatus.KEY_UNKNOWN, seal, data, {"key": 0xFFFF}),
        (JobStatus.KEY_KIND, seal, data, {"key": xts.index}),
        (JobStatus.KEY_KIND, JobOpcode.XTS_ENCRYPT, data, {"key": gcm.index}),
        # Inside an XTS key.
        (JobStatus.KEY_UNKNOWN, seal, data, {"key": xts.index + 1}),
        *((JobStatus.TAG_LENGTH, seal, data, {"key": gcm.index, "tag_length": n})
          for n in (0, 3, 5, 11, 17, 255)),
        (JobStatus.BAD_LENGTH, JobOpcode.XTS_ENCRYPT, data[:15], {"key": xts.index}),
        (JobStatus.BAD_LENGTH, seal, bytes(16385), {"key": gcm.index}),
        (JobStatus.BAD_LENGTH, JobOpcode.KEY_INSTALL, bytes(79), {"key": gcm.index}),
        (JobStatus.KEY_TAKEN, JobOpcode.KEY_INSTALL,
         describe(KeyKind.GCM, bytes(16), strict=False), {"key": theirs.index}),
        (JobStatus.KEY_INDEX, JobOpcode.KEY_INSTALL,
         describe(KeyKind.GCM, bytes(16), strict=False), {"key": 0xFFFF}),
        (JobStatus.KEY_TAKEN, JobOpcode.KEY_INSTALL,
         describe(KeyKind.GCM, bytes(16), strict=False), {"key": keys}),
        (JobStatus.KEY_NOT_THERE, JobOpcode.KEY_DELETE, b"", {"key": theirs.index}),
        (JobStatus.IV_REUSED, seal, data, {"key": strict.index, "iv": bytes(16), "j0": True}),
    ):  # fmt: skip
        got = await status(mine, opcode, payload, **{"iv": iv, **given})
        assert got == wanted, (wanted, opcode, given, got)
    assert await status(mine, seal, data, key=strict.index, iv=iv) == JobStatus.OK
    assert await status(mine, seal, data, key=strict.index, iv=iv) == JobStatus.IV_REUSED
    counters = await mine.counters()
    assert counters.failed["KEY_UNKNOWN"] == 5
    assert counters.failed["TAG_LENGTH"] == 6
    assert counters.failed["IV_REUSED"] == 2
    assert counters.key_refused - before == 4
    for cipher in (mine, other):
        await works(cipher, rng)
    assert not await system.device.management.errors()


@cocotb.test()
async def bad_memory(dut):
    """Lists and data that can't be reached, or are too short: nothing of them is enciphered."""
    system, mine, other = await set_up(dut)
    rng, host, queue = Random(seed()), system.host, mine.queue
    key = (await mine.install(rng.randbytes(32), strict=True)).index
    good, out = host.alloc(4096), host.alloc(4096)
    nowhere = host.memory_base + (1 << 40)
    iv = rng.randbytes(12)
    job = Job(JobOpcode.GCM_ENCRYPT, (good.address, 256), (out.address, 256), key=key, iv=iv)
    table = host.alloc(64 * LIST_ENTRY.size)
    for place in range(64):
        # A list of pieces that are the list itself: it can't loop, it is only data.
        LIST_ENTRY.pack_into(table.mem, place * LIST_ENTRY.size, table.address, 4, 0)

    async def ends(**changes) -> JobStatus:
        changed = Job(**{**vars(job), **changes})
        return (await queue.run(changed)).status

    here = (good.address, 128)
    assert await ends(source=(nowhere, 256)) == JobStatus.SOURCE_FAULT
    assert await ends(source=[here, (nowhere, 128)]) == JobStatus.SOURCE_FAULT
    assert await ends(source=[here, (good.address, 127)], length=256) == JobStatus.BAD_LIST
    assert await ends(destination=[here]) == JobStatus.BAD_LIST
    assert bytes(out.mem) == bytes(4096), "something was written"
    # None of these has used the IV up; writing to nowhere does, after the work.
    assert await ends(source=[(table.address, 4)] * 64) == JobStatus.OK
    assert (await mine.counters()).done == 1
    assert await ends() == JobStatus.IV_REUSED
    await works(mine, rng)
    await works(other, rng)
    codes = {record.code for record in await system.device.management.errors()}
    assert codes <= {ErrorCode.DMA_UR}, codes


@cocotb.test()
async def key_dies_in_traffic(dut):
    """Deleted and replaced under its own jobs: each job has one key or none."""
    _, mine, _ = await set_up(dut)
    rng = Random(seed())
    first, second = rng.randbytes(32), rng.randbytes(16)
    key = await mine.install(first)
    iv, data = rng.randbytes(12), rng.randbytes(300)
    seal = Request(JobOpcode.GCM_ENCRYPT, data, len(data), {"key": key.index, "iv": iv})
    at = {"key": key.index}
    replace = Request(JobOpcode.KEY_INSTALL, describe(KeyKind.GCM, second, strict=False), 0, at)
    delete = Request(JobOpcode.KEY_DELETE, parameters=at)
    ended = await run_data(mine.queue, [*[seal] * 20, replace, *[seal] * 20, delete, *[seal] * 9])
    by_first, by_second = (LibraryGcm(k).encrypt(iv, data, b"") for k in (first, second))
    sealed = [end.output + end.result.tag if end.result.ok else end.result.status for end in ended]
    assert sealed[:20] == [by_first] * 20
    assert sealed[21:41] == [by_second] * 20
    assert sealed[42:] == [JobStatus.KEY_UNKNOWN] * 9


@cocotb.test()
async def resets(dut):
    """Of a queue with jobs in flight, and of a function: the other's jobs and keys go on."""
    system, mine, other = await set_up(dut)
    rng, host = Random(seed()), system.host
    mine_key, other_key = [await c.install(rng.randbytes(32)) for c in (mine, other)]
    buffer = host.alloc(32 << 10)
    job = Job(JobOpcode.GCM_ENCRYPT, (buffer.address, 16384), (buffer.address + 16384, 16384),
              key=mine_key.index, iv=bytes(12))  # fmt: skip
    tickets = [await mine.queue.submit(job) for _ in range(60)]
    await mine.queue.kick()
    beside = cocotb.start_soon(works(other, rng))
    await mine.queue.wait(tickets[0])
    await mine.queue.reset()
    await beside
    dropped = 0
    for ticket in tickets:
        try:
            await mine.queue.wait(ticket)
        except JobReset:
            dropped += 1
    assert dropped >= 10
    # The device counts those that it had begun.
    assert 0 < (await mine.queue.counters()).dropped <= dropped
    # Keys outlive their queue's reset.
    assert (await mine.queue.run(job)).ok
    # A function's reset: its queue is stopped, its keys are gone, those of the other are not.
    await other.queue.function.flr()
    state = address_map.JOBS + jobs.STATE + jobs.STATE_STRIDE
    assert await system.device.management.read(state) & 7 == 0
    with pytest.raises(JobQueueStopped):
        await other.install(rng.randbytes(16))
    await other.queue.reset()
    gone = {"key": other_key.index, "iv": bytes(12)}
    assert await status(other, JobOpcode.GCM_ENCRYPT, b"x", **gone) == JobStatus.KEY_UNKNOWN
    assert (await mine.queue.run(job)).ok
    await works(mine, rng)
    await works(other, rng)


@cocotb.test()
async def self_test(dut):
    """Run on request; a fault made on purpose is found, told of, and stops the engine."""
    system, mine, other = await set_up(dut)
    rng = Random(seed())
    assert await mine.self_test()
    for fault in Fault:
        assert not await mine.self_test(fault)
        records = await system.device.management.errors()
        assert [record.code for record in records] == [ErrorCode.CIPHER_SELF_TEST]
        key = await other.install(rng.randbytes(16))
        with pytest.raises(JobError) as error:
            await AESGCM(other, key, 16).encrypt(rng.randbytes(12), b"text", b"")
        assert error.value.status == JobStatus.SELF_TEST
        await key.delete()
        assert await mine.queue.copy(b"copies go on") == b"copies go on"
        assert await mine.self_test()
        await works(other, rng)
        await system.device.management.clear_error(ErrorCode.CIPHER_SELF_TEST)
