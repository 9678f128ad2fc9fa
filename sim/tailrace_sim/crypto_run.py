"""Inside the simulator: the self-test on request, and files through the cipher engine."""

import json
from pathlib import Path
from random import Random
from typing import Any

import cocotb
from cryptography.hazmat.primitives.ciphers.aead import AESGCM as LibraryGcm

from tailrace.crypto.aead import AESGCM
from tailrace.crypto.cipher import Cipher, Fault
from tailrace.crypto.errors import SealedFileError
from tailrace.crypto.sealed_file import seal, unseal
from tailrace.jobs.data import Request, run_data
from tailrace.regs.job_memory import JobOpcode
from tailrace_sim.run import parameters, seed
from tailrace_sim.system import System

#: More than what the chunks of a file need that are under way at once.
_MEMORY = 16 << 20


async def _start(dut) -> tuple[System, Cipher]:
    system = await System.start(dut, memory_size=_MEMORY)
    return system, await system.device.cipher()


async def _job(cipher: Cipher, index: int, key: bytes, rng: Random) -> str:
    """How a job ends: the name of its status, or that its result is wrong."""
    nonce, data = rng.randbytes(12), rng.randbytes(1500)
    [ended] = await run_data(cipher.queue, [
        Request(JobOpcode.GCM_ENCRYPT, data, len(data), {"key": index, "iv": nonce})
    ])  # fmt: skip
    found = ended.output + ended.result.tag
    if ended.result.ok and found != LibraryGcm(key).encrypt(nonce, data, None):
        return "wrong result"
    return ended.result.status.name


@cocotb.test()
async def selftest(dut) -> None:
    """Leave ``outcome.json``: a row for each run of the self-test."""
    system, cipher = await _start(dut)
    rng = Random(seed())
    material = rng.randbytes(32)
    key = await cipher.install(material)
    rows: list[dict[str, Any]] = []
    for fault in (None, *Fault, None):
        start = system.host.cycles()
        passed = await cipher.self_test(fault)
        rows.append({
            "fault": None if fault is None else fault.name,
            "passed": passed,
            "cycles": system.host.cycles() - start,
            "job": await _job(cipher, key.index, material, rng),
        })  # fmt: skip
    refused = (await cipher.counters()).failed["SELF_TEST"]
    _leave({"runs": rows, "refused": refused, "errors": await _errors(system)})


@cocotb.test()
async def encrypt(dut) -> None:
    """Seal ``source`` into ``sink``."""
    await _file(dut, encrypts=True)


@cocotb.test()
async def decrypt(dut) -> None:
    """Open ``source`` into ``sink``, or leave a complaint in ``outcome.json``."""
    await _file(dut, encrypts=False)


async def _file(dut, *, encrypts: bool) -> None:
    given = parameters()
    progress = Path(given["work"], "progress")
    progress.write_text("0")
    system, cipher = await _start(dut)
    # A key that lives for one file: the engine itself refuses to use a nonce twice.
    aead = await AESGCM.create(cipher, bytes.fromhex(given["key"]), strict=True)
    start = system.host.cycles()
    complaint = None

    def told(done: int) -> None:
        progress.write_text(str(done))

    try:
        with open(given["source"], "rb") as source, open(given["sink"], "wb") as sink:
            await (seal if encrypts else unseal)(aead, source, sink, told=told)
    except SealedFileError as error:
        complaint = str(error)
    except OSError as error:
        complaint = f"it can't be read, or its output not be written: {error.strerror}"
    cycles = system.host.cycles() - start
    await aead.close()
    _leave({"cycles": cycles, "complaint": complaint, "errors": await _errors(system)})


async def _errors(system: System) -> dict[str, str]:
    """What the device's error collector has, by code."""
    return {error.code.name: str(error) for error in await system.device.management.errors()}


def _leave(outcome: dict[str, Any]) -> None:
    Path(parameters()["work"], "outcome.json").write_text(json.dumps(outcome))
