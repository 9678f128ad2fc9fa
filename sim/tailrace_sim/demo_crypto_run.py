"""Inside the simulator: the demo's frames through the cipher engine and back."""

from random import Random
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM as LibraryGcm

from tailrace.crypto.cipher import Cipher
from tailrace.jobs.data import Ended, Request, run_data
from tailrace.jobs.types import Job
from tailrace.regs.job_memory import JobOpcode
from tailrace_sim.run import seed
from tailrace_sim.system import System

__all__ = ["seal_frames"]

#: Frames at most: those that a demo begins with, so that it stays short.
_MOST = 200
#: Bytes of the two keys.
_KEYS = (16, 32)
_TAG = 16


async def seal_frames(system: System, frames: list[bytes]) -> dict[str, Any] | None:
    """Seal frames and open them again; the members of :class:`Sealed`, None without an engine."""
    if not system.config.jobs.keys:
        return None
    frames = frames[:_MOST]
    cipher = await system.device.cipher()
    materials = [Random(seed()).randbytes(size) for size in _KEYS]
    keys = [await cipher.install(material) for material in materials]
    # A frame's number is its nonce, and once more the additional data, so that those are in use.
    asked: list[dict[str, Any]] = [
        {"key": keys[n % len(keys)].index, "iv": n.to_bytes(12, "big"), "aad": n.to_bytes(4, "big")}
        for n in range(len(frames))
    ]
    ended, seal_cycles = await _timed(system, cipher, [
        Request(JobOpcode.GCM_ENCRYPT, data, len(data), parameters)
        for data, parameters in zip(frames, asked, strict=True)
    ])  # fmt: skip
    sealed = [(end.output, end.result.tag) for end in ended]
    libraries = [LibraryGcm(material) for material in materials]
    wanted = [
        libraries[n % len(keys)].encrypt(parameters["iv"], frame, parameters["aad"])
        for n, (frame, parameters) in enumerate(zip(frames, asked, strict=True))
    ]
    ended, open_cycles = await _timed(system, cipher, [
        Request(JobOpcode.GCM_DECRYPT, data, len(data), {**parameters, "tag": tag})
        for (data, tag), parameters in zip(sealed, asked, strict=True)
    ])  # fmt: skip
    damaged, written = await _damaged(cipher, frames[0], *sealed[0], asked[0])
    await cipher.queue.close()
    return {
        "messages": len(frames),
        "bytes": sum(map(len, frames)),
        "keys": [8 * size for size in _KEYS],
        "seal_cycles": seal_cycles,
        "open_cycles": open_cycles,
        "sealed": sum(data + tag == want for (data, tag), want in zip(sealed, wanted, strict=True)),
        "opened": sum(
            end.result.ok and end.output == data for end, data in zip(ended, frames, strict=True)
        ),
        "damaged": damaged,
        "written": written,
    }


async def _timed(
    system: System, cipher: Cipher, requests: list[Request]
) -> tuple[list[Ended], int]:  # fmt: skip
    """How they ended, and after how many cycles."""
    start = system.host.cycles()
    return await run_data(cipher.queue, requests), system.host.cycles() - start


async def _damaged(
    cipher: Cipher, plain: bytes, data: bytes, tag: bytes, parameters: dict[str, Any]
) -> tuple[str, int]:
    """Open a message with a wrong bit: the status, and how many bytes of it were written."""
    host = cipher.queue.host
    source, destination = host.alloc(len(data)), host.alloc(len(data))
    source.mem[:] = data
    source.mem[-1] ^= 1
    # The complement of what could be written, so that every byte that is can be told.
    untouched = bytes(byte ^ 0xFF for byte in plain)
    destination.mem[:] = untouched
    result = await cipher.queue.run(Job(
        JobOpcode.GCM_DECRYPT, (source.address, len(data)), (destination.address, len(data)),
        tag=tag, tag_length=_TAG, **parameters,
    ))  # fmt: skip
    written = sum(a != b for a, b in zip(bytes(destination.mem), untouched, strict=True))
    host.free(source)
    host.free(destination)
    return result.status.name, max(written, result.length)
