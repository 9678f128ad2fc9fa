"""Keys that are replaced and deleted while they are in use, and while the queue does not answer."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM as LibraryGCM

from tailrace.crypto.aead import AESGCM, AESXTS
from tailrace.crypto.cipher import Cipher
from tailrace.crypto.errors import KeyGone
from tailrace.errors import ResponseTimeout
from tailrace.jobs.errors import JobQueueStopped, JobReset
from tailrace_sim.soft_device import DeviceBench

OLD, NEW = bytes(range(16)), bytes(range(16, 48))


def bench_with(function: int = 0, **options: Any) -> tuple[DeviceBench, Cipher]:
    bench = DeviceBench(**options)
    return bench, bench.run(Cipher.open(bench.find(), function=function, timeout=20_000))


def drops(bench: DeviceBench, cipher: Cipher, call: Any) -> None:
    """A call whose job is dropped by a reset of its queue before the device has begun it."""

    async def dropped() -> None:
        with pytest.raises(JobReset):
            await call

    async def reset() -> None:
        await bench.host.delay(400)
        taken, bench.jobs._take = bench.jobs._take, lambda number: False  # type: ignore
        bench.jobs.stuck = False
        await cipher.queue.reset()
        bench.jobs._take = taken  # type: ignore[method-assign]

    bench.jobs.stuck = True
    bench.host.run(dropped(), reset())


# Replaced ----------------------------------------------------------------------------------------


def test_a_nonce_of_another_length_behind_a_replacement():
    """H is the new key's, also for a second object with the same handle."""
    bench, cipher = bench_with()
    aead = bench.run(AESGCM.create(cipher, OLD))
    again = AESGCM(cipher, aead.key, 16)
    for key in (OLD, NEW, OLD):
        bench.run(aead.key.replace(key))
        for nonce in (bytes(8), bytes(60)):
            sealed = LibraryGCM(key).encrypt(nonce, b"data", b"aad")
            for one in (aead, again):
                assert bench.run(one.encrypt(nonce, b"data", b"aad")) == sealed
                assert bench.run(one.decrypt(nonce, sealed, b"aad")) == b"data"


@pytest.mark.parametrize("seed", range(8))
def test_a_replacement_under_messages(seed):
    """Each message is one key's, or its caller is told; afterwards H is the new key's."""
    bench, cipher = bench_with(seed=seed)
    aead = bench.run(AESGCM.create(cipher, OLD))
    told = 0

    async def messages() -> None:
        nonlocal told
        for _ in range(20):
            try:
                sealed = await aead.encrypt(bytes(8), b"data", None)
            except KeyGone:
                told += 1
                continue
            assert sealed in [LibraryGCM(key).encrypt(bytes(8), b"data", None)
                              for key in (OLD, NEW)]  # fmt: skip

    async def replace() -> None:
        for key in (NEW, OLD, NEW):
            await bench.host.delay(bench.rng.randint(0, 400))
            await aead.key.replace(key)

    bench.host.run(messages(), messages(), replace())
    assert told
    wanted = LibraryGCM(NEW).encrypt(bytes(8), b"data", None)
    assert bench.run(aead.encrypt(bytes(8), b"data", None)) == wanted


def test_a_subkey_that_is_asked_for_ahead_of_the_new_key(monkeypatch):
    """The installation waits for room in the ring, say, and the old key's H comes meanwhile."""
    bench, cipher = bench_with()
    aead = bench.run(AESGCM.create(cipher, OLD))
    put_key = cipher.put_key

    async def late(index: int, description: bytes) -> None:
        await bench.host.delay(3000)
        await put_key(index, description)

    async def message() -> None:
        await bench.host.delay(100)
        wanted = LibraryGCM(OLD).encrypt(bytes(8), b"data", None)
        assert await aead.encrypt(bytes(8), b"data", None) == wanted
        assert aead.key.subkey is not None

    monkeypatch.setattr(cipher, "put_key", late)
    bench.host.run(aead.key.replace(NEW), message())
    wanted = LibraryGCM(NEW).encrypt(bytes(8), b"data", None)
    assert bench.run(aead.encrypt(bytes(8), b"data", None)) == wanted


# Deleted -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [AESGCM, AESXTS])
def test_a_deletion_that_a_reset_drops(kind):
    """The key is in the device still: nobody uses it or gets its place, and it can be deleted."""
    bench, cipher = bench_with()
    one = bench.run(kind.create(cipher, NEW))
    rows, place = one.key.rows, one.key.index
    drops(bench, cipher, one.close())
    assert place in bench.cipher.engine._keys
    assert not one.key.deleted
    assert cipher.table.free == 16 - rows
    for call in (one.encrypt(bytes(12), b"x", None) if kind is AESGCM else one.encrypt(0, NEW),
                 one.key.replace(NEW)):  # fmt: skip
        with pytest.raises(KeyGone, match=r"deletion of key \d+ was begun; call delete\(\) until"):
            bench.run(call)
    bench.run(one.close())
    assert not bench.cipher.engine._keys
    assert one.key.deleted
    assert cipher.table.free == 16


def test_a_deletion_without_an_answer():
    bench, cipher = bench_with()
    aead = bench.run(AESGCM.create(cipher, OLD))
    bench.jobs.stuck = True
    for _ in range(2):
        with pytest.raises(ResponseTimeout):
            bench.run(aead.close())
    bench.jobs.stuck = False
    # The first of those that were begun erases it, those behind find nothing.
    bench.run(aead.close())
    assert aead.key.deleted
    assert cipher.table.free == 16
    aead = bench.run(AESGCM.create(cipher, OLD))
    bench.jobs._stop(0, 0x38, 0)
    with pytest.raises(JobQueueStopped):
        bench.run(aead.close())
    assert not aead.key.deleted
    bench.run(cipher.queue.reset())
    bench.run(aead.close())
    assert not bench.cipher.engine._keys


def test_two_deletions_at_once_are_one():
    """A second one would come behind the first, when the place may be another key's."""
    bench, cipher = bench_with()
    key = bench.run(cipher.install(OLD))
    bench.host.run(key.delete(), key.delete(), key.delete())
    assert bench.run(cipher.counters()).key_refused == 0
    assert cipher.table.free == 16


# Installed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("xts", [False, True])
def test_an_installation_that_came_in_spite_of_its_reset(xts):
    """A group of four may be there: nobody gets a row of it before it is deleted."""
    bench, cipher = bench_with(keys=8)
    there = bench.cipher.engine._keys
    complete, bench.jobs._complete = bench.jobs._complete, lambda *_: None  # type: ignore
    with pytest.raises(ResponseTimeout):
        bench.run(cipher.install_xts(NEW) if xts else cipher.install(OLD))
    bench.run(cipher.queue.reset())
    bench.jobs._complete = complete  # type: ignore[method-assign]
    assert set(there) == {4 if xts else 0}
    assert cipher.table.free == (4 if xts else 7)
    keys = [bench.run(cipher.install(NEW)) for _ in range(8)]
    assert [key.index for key in keys] == list(range(8))
    assert {key.material for key in there.values()} == {NEW}
    assert bench.run(cipher.counters()).key_refused == 0


def test_an_installation_without_an_answer():
    """It may come late, so another queue does not take the place, and neither erases it."""
    bench, cipher = bench_with(keys=8)
    beside = bench.run(bench.tailrace.cipher(2))
    assert beside.table is cipher.table
    bench.jobs.stuck = True
    with pytest.raises(ResponseTimeout):
        bench.run(cipher.install(OLD))
    with pytest.raises(ResponseTimeout):  # the deletion is not answered either
        bench.run(cipher.install(OLD))
    assert cipher.table.free == 7
    bench.jobs.stuck = False
    other = bench.run(beside.install(NEW))
    assert other.index == 1
    assert bench.run(cipher.install(NEW)).index == 0
    assert bench.cipher.engine._keys[0].material == NEW
    assert cipher.table.free == 6


@pytest.mark.parametrize("seed", range(4))
def test_doubts_that_two_tasks_clear(seed):
    """Nobody's new key is deleted for the old doubt about its place."""
    bench, cipher = bench_with(seed=seed)
    for _ in range(3):
        drops(bench, cipher, cipher.install(OLD))
    made = []

    async def install() -> None:
        await bench.host.delay(bench.rng.randint(1, 50))
        made.append(await cipher.install(NEW))

    bench.host.run(*(install() for _ in range(6)))
    assert {key.index for key in made} == set(bench.cipher.engine._keys)
    assert len(bench.cipher.engine._keys) == 6
    assert cipher.table.free == 10


def test_a_queue_that_has_stopped():
    """Nothing is installed then, and the first installation behind the reset clears up."""
    bench, cipher = bench_with()
    bench.jobs._stop(0, 0x38, 0)
    for _ in range(2):
        with pytest.raises(JobQueueStopped):
            bench.run(cipher.install(OLD))
    assert cipher.table.free == 15
    bench.run(cipher.queue.reset())
    assert bench.run(cipher.install(OLD)).index == 0
