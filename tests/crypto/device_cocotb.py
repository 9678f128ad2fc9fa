"""The cipher engine in the device, through PCIe and the job queues; started by test_device.py."""

import json
from pathlib import Path
from random import Random

import cocotb
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM as LibraryGcm

from tailrace.crypto.cipher import Cipher
from tailrace.crypto.gcm_iv import ZERO_BLOCK_J0, j0_of
from tailrace.crypto.keys import describe
from tailrace.jobs.data import Ended, Request, run_data
from tailrace.jobs.types import Job
from tailrace.regs.job_memory import TAG_LENGTHS, JobOpcode, JobStatus, KeyKind
from tailrace_sim.models.cavp import GcmCase, XtsCase, gcm_cases, xts_cases
from tailrace_sim.run import parameters, seed
from tailrace_sim.system import System

P = parameters()
COMPLETION = 32
MEMORY = 16 << 20


async def set_up(dut) -> tuple[System, Cipher]:
    """The device, and its cipher engine for the management function."""
    system = await System.start(dut, memory_size=MEMORY)
    return system, await system.device.cipher(0, 0, size=128)


def sampled(cases, every: int):
    """Every n-th, from one on that the seed chooses."""
    return list(cases)[seed() % every :: every]


def leave(name: str, found: dict) -> None:
    """Figures for whoever started us."""
    cocotb.log.info(f"{name}: {found}")
    Path(f"{name}.json").write_text(json.dumps(found))


async def install(cipher: Cipher, kind: KeyKind, keys: list[bytes]) -> None:
    """Keys from index 0 on, one behind the other."""
    rows = 4 if kind == KeyKind.XTS else 1
    ended = await run_data(cipher.queue, [
        Request(JobOpcode.KEY_INSTALL, describe(kind, key, strict=False),
                parameters={"key": rows * index})
        for index, key in enumerate(keys)
    ])  # fmt: skip
    for end in ended:
        end.check("KEY_INSTALL")


async def subkeys(cipher: Cipher, indices: list[int]) -> dict[int, bytes]:
    """H of some keys, from the device."""
    ended = await run_data(cipher.queue, [
        Request(JobOpcode.GCM_ENCRYPT, bytes(16), 16,
                {"key": index, "iv": ZERO_BLOCK_J0, "j0": True})
        for index in indices
    ])  # fmt: skip
    return {index: end.check("H") for index, end in zip(indices, ended, strict=True)}


def gcm_request(case: GcmCase, index: int, subkey: bytes | None) -> Request:
    """The case, in the direction that it is about."""
    given = {"key": index, "aad": case.aad, "tag_length": len(case.tag), "iv": case.iv}
    if subkey is not None:
        given |= {"iv": j0_of(subkey, case.iv), "j0": True}
    if case.encrypt:
        assert case.plaintext is not None
        return Request(JobOpcode.GCM_ENCRYPT, case.plaintext, len(case.plaintext), given)
    given["tag"] = case.tag
    return Request(JobOpcode.GCM_DECRYPT, case.ciphertext, len(case.ciphertext), given)


def check_gcm(case: GcmCase, end: Ended) -> None:
    status = end.result.status
    if case.encrypt:
        tag = end.result.tag[: len(case.tag)]
        assert (status, end.output, tag) == (JobStatus.OK, case.ciphertext, case.tag), case.name
    elif case.plaintext is None:
        assert status == JobStatus.AUTHENTICATION_FAILED, case.name
    else:
        assert (status, end.output) == (JobStatus.OK, case.plaintext), case.name


@cocotb.test()
async def gcm_vectors(dut):
    """CAVP's cases of GCM, each with its own key; J0 of other IVs is the driver's."""
    _, cipher = await set_up(dut)
    cases = sampled(gcm_cases(), P["every"])
    counts = {"cases": 0, "j0": 0, "wrong tags": 0}
    size = min(cipher.shape.keys, 1000)
    for start in range(0, len(cases), size):
        batch = cases[start : start + size]
        await install(cipher, KeyKind.GCM, [case.key for case in batch])
        other = [index for index, case in enumerate(batch) if len(case.iv) != 12]
        found = await subkeys(cipher, other)
        requests = (gcm_request(case, i, found.get(i)) for i, case in enumerate(batch))
        for case, end in zip(batch, await run_data(cipher.queue, requests), strict=True):
            check_gcm(case, end)
            counts["cases"] += 1
            counts["j0"] += len(case.iv) != 12
            counts["wrong tags"] += case.plaintext is None
    assert all(counts.values()), counts
    assert counts["cases"] == len(cases)
    registers = await cipher.counters()
    assert registers.installed == len(cases)
    assert registers.failed["AUTHENTICATION_FAILED"] == counts["wrong tags"]
    leave("gcm_vectors", counts)


@cocotb.test()
async def xts_vectors(dut):
    """CAVP's cases of XTS whose data unit has whole bytes."""
    _, cipher = await set_up(dut)
    cases: list[XtsCase] = sampled(xts_cases(), P["every"])
    size = min(cipher.shape.keys // 4, 250)
    for start in range(0, len(cases), size):
        batch = cases[start : start + size]
        await install(cipher, KeyKind.XTS, [case.key for case in batch])
        requests = []
        for index, case in enumerate(batch):
            opcode = JobOpcode.XTS_ENCRYPT if case.encrypt else JobOpcode.XTS_DECRYPT
            data = case.plaintext if case.encrypt else case.ciphertext
            given = {"key": 4 * index, "iv": case.tweak}
            requests.append(Request(opcode, data, len(data), given))
        for case, end in zip(batch, await run_data(cipher.queue, requests), strict=True):
            wanted = case.ciphertext if case.encrypt else case.plaintext
            assert end.check(case.name) == wanted, case.name
    assert cases
    leave("xts_vectors", {"cases": len(cases)})


@cocotb.test()
async def nothing_leaks(dut):
    """A bit is flipped anywhere in a sealed packet: nothing of it comes to the host."""
    system, cipher = await set_up(dut)
    rng = Random(seed())
    host, keys = system.host, [rng.randbytes(rng.choice((16, 24, 32))) for _ in range(8)]
    await install(cipher, KeyKind.GCM, keys)
    batch = 100
    source, destination = host.alloc(batch * 4096), host.alloc(batch * 4096)
    pattern = rng.randbytes(destination.size)
    where = {"iv": 0, "aad": 0, "ciphertext": 0, "tag": 0}
    for _ in range(P["packets"] // batch):
        destination.mem[:] = pattern
        jobs = []
        for slot in range(batch):
            index = rng.randrange(len(keys))
            length = rng.choice((16, 64, rng.randint(1, 2048), rng.randint(1, 256)))
            parts = {"iv": rng.randbytes(12), "aad": rng.randbytes(rng.randint(0, 96))}
            sealed = LibraryGcm(keys[index]).encrypt(
                parts["iv"], rng.randbytes(length), parts["aad"]
            )
            tag_length = rng.choice(TAG_LENGTHS)
            parts |= {"ciphertext": sealed[:-16], "tag": sealed[-16:][:tag_length]}
            name = rng.choice([name for name, value in parts.items() if value])
            bit = rng.randrange(8 * len(parts[name]))
            flipped = int.from_bytes(parts[name], "little") ^ 1 << bit
            parts[name] = flipped.to_bytes(len(parts[name]), "little")
            where[name] += 1
            source.mem[4096 * slot : 4096 * slot + length] = parts["ciphertext"]
            jobs.append(Job(
                JobOpcode.GCM_DECRYPT, (source.address + 4096 * slot, length),
                (destination.address + 4096 * slot, length), key=index, iv=parts["iv"],
                aad=parts["aad"], tag=parts["tag"], tag_length=tag_length,
            ))  # fmt: skip
        system.pcie.reset_traffic()
        results = await cipher.queue.run_all(jobs)
        statuses = {result.status for result in results}
        assert statuses == {JobStatus.AUTHENTICATION_FAILED}, statuses
        assert all(result.tag == bytes(16) and result.length == 0 for result in results)
        assert bytes(destination.mem) == pattern, "a failed packet was written"
        traffic = system.pcie.traffic
        assert traffic.write_bytes == COMPLETION * batch
    assert all(where.values()), where
    registers = await cipher.counters()
    assert registers.failed["AUTHENTICATION_FAILED"] == P["packets"]
    # It still works.
    message = (rng.randbytes(12), rng.randbytes(2000), b"")
    sealed = LibraryGcm(keys[0]).encrypt(*message)
    source.mem[: len(sealed)] = sealed
    result = await cipher.queue.run(Job(
        JobOpcode.GCM_DECRYPT, (source.address, 2000), (destination.address, 2000), key=0,
        iv=message[0], tag=sealed[-16:]))  # fmt: skip
    assert result.ok
    assert bytes(destination.mem[:2000]) == message[1]
    leave("nothing_leaks", {"packets": P["packets"], **where})


@cocotb.test()
async def random_messages(dut):
    """The driver's AESGCM and AESXTS beside those of `cryptography`, on two functions' queues."""
    from tailrace.crypto.aead import AESGCM, AESXTS

    system, first = await set_up(dut)
    second = await system.device.cipher(1, 1)
    rng = Random(seed())
    for turn in range(P["rounds"]):
        cipher = (first, second)[turn % 2]
        key = rng.randbytes(rng.choice((16, 24, 32)))
        gcm = await AESGCM.create(cipher, key)
        messages = [
            (rng.randbytes(rng.choice((12, 12, 8, 16, 60))), rng.randbytes(rng.choice(
                (0, 1, 15, 16, 17, 63, 64, 65, rng.randint(0, 1500), 4096, 16384))),
             rng.randbytes(rng.choice((0, 0, 12, 13, 20, 96))))
            for _ in range(12)
        ]  # fmt: skip
        sealed = await gcm.encrypt_many(messages)
        library = LibraryGcm(key)
        assert sealed == [library.encrypt(*message) for message in messages]
        damaged = [bytearray(each) for each in sealed]
        wrong = rng.randrange(len(damaged))
        damaged[wrong][rng.randrange(len(damaged[wrong]))] ^= 1 << rng.randrange(8)
        given = [
            (nonce, bytes(data), aad)
            for (nonce, _, aad), data in zip(messages, damaged, strict=True)
        ]
        plain = await gcm.decrypt_many(given)
        assert plain == [
            None if index == wrong else data for index, (_, data, _) in enumerate(messages)
        ]
        try:
            library.decrypt(*given[wrong])
            raise AssertionError("the library takes it")
        except InvalidTag:
            pass
        await gcm.close()
        xts = await AESXTS.create(cipher, rng.randbytes(rng.choice((32, 64))))
        units = [(rng.getrandbits(64), rng.randbytes(rng.choice((16, 17, 31, 512, 4096, 4099))))
                 for _ in range(6)]  # fmt: skip
        enciphered = await xts.encrypt_many(units)
        again = [(tweak, data) for (tweak, _), data in zip(units, enciphered, strict=True)]
        assert await xts.decrypt_many(again) == [data for _, data in units]
        assert all(a != b for a, (_, b) in zip(enciphered, units, strict=True))
        await xts.close()
    assert not await system.device.management.errors()
