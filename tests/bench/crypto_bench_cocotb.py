"""Jobs of the cipher engine through PCIe, as fast as they go; started by bench_crypto.py."""

import json
from pathlib import Path
from random import Random

import cocotb
from cryptography.hazmat.primitives.ciphers import Cipher as Library
from cryptography.hazmat.primitives.ciphers import algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tailrace.crypto.cipher import Cipher
from tailrace.jobs.types import Job, Ticket
from tailrace.regs.job_memory import COMPLETION, JobOpcode
from tailrace_sim.run import parameters, seed
from tailrace_sim.system import System

P = parameters()
GCM_KEYS, XTS_KEYS = 8, 4
#: Where the data of a job lie: whole pages, as a driver that wants speed has them.
PAGE = 4096


class Bench:
    """A queue with all its jobs in it, and the cycles in which their completions were written."""

    def __init__(self, system: System, cipher: Cipher, rng: Random):
        self.system, self.cipher, self.rng = system, cipher, rng
        self.queue = cipher.queue
        self.keys: list[bytes] = []
        self.xts_keys: list[bytes] = []
        self._gcm: list[int] = []
        self._xts: list[int] = []
        self.ends: list[int] = []

    async def install(self) -> None:
        for _ in range(GCM_KEYS):
            self.keys.append(self.rng.randbytes(32))
            self._gcm.append((await self.cipher.install(self.keys[-1])).index)
        for _ in range(XTS_KEYS):
            self.xts_keys.append(self.rng.randbytes(64))
            self._xts.append((await self.cipher.install_xts(self.xts_keys[-1])).index)
        # The ring's place is not the driver's user's affair; a bench may look.
        ring = self.queue._completions

        def on_dma(write: bool, function: int, address: int, length: int) -> None:
            if write and ring.address <= address < ring.address + ring.size:
                self.ends += [self.system.pcie.cycle()] * (length // COMPLETION.size)

        self.system.pcie.on_dma = on_dma

    async def rate(self, opcode: JobOpcode, size: int, count: int) -> float:
        """Cycles a job, each with another key than the one before; all are checked."""
        host, step = self.system.host, -(-size // PAGE) * PAGE
        source, destination = host.alloc(count * step, PAGE), host.alloc(count * step, PAGE)
        wanted, tickets = [], []
        self.ends.clear()
        for number in range(count):
            data, job, answer = self._job(opcode, number, size)
            source.mem[number * step : number * step + size] = data
            job.source = (source.address + number * step, size)
            job.destination = (destination.address + number * step, size)
            tickets.append(await self.queue.submit(job))
            wanted.append(answer)
        await self.queue.kick()
        await self._all(tickets)
        for number, (ticket, answer) in enumerate(zip(tickets, wanted, strict=True)):
            assert ticket.result is not None
            assert ticket.result.ok, ticket.result
            output = bytes(destination.mem[number * step : number * step + size])
            tag = ticket.result.tag if opcode == JobOpcode.GCM_ENCRYPT else b""
            assert output + tag == answer
        host.free(source)
        host.free(destination)
        assert len(self.ends) == count
        # Without the ramp, and without the jobs behind which no others come.
        ramp = count // 4
        return (self.ends[-ramp] - self.ends[ramp]) / (count - 2 * ramp)

    async def _all(self, tickets: list[Ticket]) -> None:
        for ticket in tickets:
            await self.queue.wait(ticket)

    def _job(self, opcode: JobOpcode, number: int, size: int) -> tuple[bytes, Job, bytes]:
        """Source, job, and what must come of it."""
        rng, plain = self.rng, self.rng.randbytes(size)
        if opcode == JobOpcode.COPY:
            return plain, Job(opcode), plain
        if opcode == JobOpcode.XTS_ENCRYPT:
            index, tweak = number % XTS_KEYS, rng.randbytes(16)
            encryptor = Library(algorithms.AES(self.xts_keys[index]), modes.XTS(tweak)).encryptor()
            return plain, Job(opcode, key=self._xts[index], iv=tweak), encryptor.update(plain)
        index, iv, aad = number % GCM_KEYS, rng.randbytes(12), rng.randbytes(20)
        sealed = AESGCM(self.keys[index]).encrypt(iv, plain, aad)
        job = Job(opcode, key=self._gcm[index], iv=iv, aad=aad)
        if opcode == JobOpcode.GCM_ENCRYPT:
            return plain, job, sealed
        job.tag = sealed[-16:]
        return sealed[:-16], job, plain

    async def latency(self, opcode: JobOpcode, size: int) -> int:
        """Cycles from the doorbell to the completion in memory, of a single job."""
        host = self.system.host
        source, destination = host.alloc(size, PAGE), host.alloc(size, PAGE)
        data, job, _ = self._job(opcode, 0, size)
        source.mem[:] = data
        job.source, job.destination = (source.address, size), (destination.address, size)
        ticket = await self.queue.submit(job)
        self.ends.clear()
        began = self.system.pcie.cycle()
        await self.queue.kick()
        result = await self.queue.wait(ticket)
        assert result.ok
        host.free(source)
        host.free(destination)
        return self.ends[0] - began


@cocotb.test()
async def crypto(dut):
    """Leave ``crypto.json``: cycles a job by operation and size."""
    system = await System.start(
        dut, memory_size=16 << 20, latency_cycles=P["latency"], max_payload=P["max_payload"],
        max_read=P["max_read"],
    )  # fmt: skip
    bench = Bench(system, await system.device.cipher(0, 0, size=512), Random(seed()))
    await bench.install()
    found: dict[str, dict] = {"rate": {}, "latency": {}}
    for name, size, count in P["loads"]:
        found["rate"][f"{name} {size}"] = await bench.rate(JobOpcode[name], size, count)
    for name in ("GCM_ENCRYPT", "GCM_DECRYPT"):
        found["latency"][name] = await bench.latency(JobOpcode[name], 64)
    before = await bench.cipher.counters()
    began = system.host.cycles()
    for _ in range(16):
        await bench.cipher.install(bench.rng.randbytes(32))
    found["install"] = (system.host.cycles() - began) / 16
    assert (await bench.cipher.counters()).installed == before.installed + 16
    Path("crypto.json").write_text(json.dumps(found))
