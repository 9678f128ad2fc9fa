"""Keys of the cipher engine: their places, their owners, what is left of them."""

from typing import Any

import pytest

from tailrace.crypto.aead import AESGCM, AESXTS
from tailrace.crypto.cipher import Cipher
from tailrace.crypto.errors import BadMessage, KeyGone, KeyTableFull
from tailrace.errors import ResponseTimeout
from tailrace.jobs.errors import JobError, JobReset
from tailrace_sim.soft_device import DeviceBench


def bench_with(function: int = 0, **options: Any) -> tuple[DeviceBench, Cipher]:
    bench = DeviceBench(**options)
    return bench, bench.run(Cipher.open(bench.find(), function=function))


def test_keys_take_their_places_until_there_are_none():
    bench, cipher = bench_with(keys=12)
    groups = [bench.run(cipher.install_xts(bytes(range(32))))]
    one = [bench.run(cipher.install(bytes(16))) for _ in range(5)]
    assert [key.index for key in one + groups] == [0, 1, 2, 3, 4, 8]
    full = (
        "the key table has no room for a key of 4 rows, from a multiple of 4 on: of its 12 rows"
        " 9 are ours, and others have 0 as far as known; delete a key"
    )
    with pytest.raises(KeyTableFull, match=full):
        bench.run(cipher.install_xts(bytes(range(32))))
    one += [bench.run(cipher.install(bytes(16))) for _ in range(3)]
    with pytest.raises(KeyTableFull, match="a key of 1 row: of its 12 rows 12 are ours"):
        bench.run(cipher.install(bytes(16)))
    bench.run(groups[0].delete())
    bench.run(groups[0].delete())
    one += [bench.run(cipher.install(bytes(16))) for _ in range(4)]
    assert [key.index for key in one] == list(range(12))
    for key in one:
        bench.run(key.delete())
    assert cipher.table.free == 12
    assert bench.run(cipher.counters()).installed == 13
    with pytest.raises(KeyGone, match="key 0 was deleted"):
        bench.run(one[0].replace(bytes(16)))


def test_keys_of_another_function_are_passed_by():
    bench, cipher = bench_with(keys=8)
    other = bench.run(bench.tailrace.cipher(1, 1))
    foreign = [bench.run(other.install(bytes(16))) for _ in range(2)]
    mine = bench.run(cipher.install(bytes(16)))
    assert mine.index == 2
    assert bench.run(cipher.install_xts(bytes(range(32)))).index == 4
    with pytest.raises(KeyTableFull):
        bench.run(cipher.install_xts(bytes(range(32))))
    # Its keys are gone: places that were refused are tried again.
    bench.run(foreign[0].delete())
    assert {bench.run(cipher.install(bytes(16))).index for _ in range(2)} == {0, 3}
    with pytest.raises(KeyTableFull):
        bench.run(cipher.install(bytes(16)))
    assert bench.run(cipher.counters()).key_refused == 3


def test_a_full_table_is_looked_through_once():
    bench, cipher = bench_with(keys=8)
    other = bench.run(bench.tailrace.cipher(1, 1))
    foreign = [bench.run(other.install(bytes(16))) for _ in range(7)]
    mine = bench.run(cipher.install(bytes(16)))
    assert mine.index == 7
    refused = bench.run(cipher.counters()).key_refused
    for _ in range(3):
        # Each time all places are tried: their owner may be done with them.
        with pytest.raises(KeyTableFull, match="1 are ours, and others have 7 as far as known"):
            bench.run(cipher.install(bytes(16)))
        refused += 7
        assert bench.run(cipher.counters()).key_refused == refused
    with pytest.raises(KeyTableFull, match="1 are ours, and others have 7"):
        bench.run(cipher.install_xts(bytes(range(32))))
    assert bench.run(cipher.counters()).key_refused == refused + 1
    for key in foreign[:4]:
        bench.run(key.delete())
    bench.run(cipher.install_xts(bytes(range(32))))
    with pytest.raises(KeyTableFull, match="5 are ours, and others have 3"):
        bench.run(cipher.install(bytes(16)))


def test_a_foreign_key_can_neither_be_used_nor_deleted():
    bench, cipher = bench_with()
    other = bench.run(bench.tailrace.cipher(1, 1))
    aead = bench.run(AESGCM.create(other, bytes(16)))
    aead._cipher = aead.key._cipher = cipher
    with pytest.raises(JobError, match="KEY_UNKNOWN: the queue's function has no key"):
        bench.run(aead.encrypt(bytes(12), b"x", None))
    with pytest.raises(JobError, match="KEY_INSTALL of key 0 ended with KEY_TAKEN"):
        bench.run(aead.key.replace(bytes(16)))
    bench.run(aead.close())  # not ours, so nothing of ours is there any more
    assert 0 in bench.cipher.engine._keys


def test_ciphers_of_a_function_share_its_places():
    """Else the second would replace the first one's keys."""
    bench, cipher = bench_with()
    again = bench.run(bench.tailrace.cipher(2))
    first, second = (bench.run(AESGCM.create(c, AESGCM.generate_key(128))) for c in (cipher, again))
    assert first.key.index != second.key.index


def test_a_key_of_the_wrong_kind_or_size():
    bench, cipher = bench_with()
    aead = bench.run(AESGCM.create(cipher, bytes(16)))
    xts = bench.run(AESXTS.create(cipher, bytes(range(64))))
    aead.key, xts.key = xts.key, aead.key
    with pytest.raises(JobError, match="KEY_KIND"):
        bench.run(aead.encrypt(bytes(12), b"x", None))
    with pytest.raises(JobError, match="KEY_KIND"):
        bench.run(xts.encrypt(0, bytes(16)))
    for size in (0, 15, 17, 33):
        with pytest.raises(BadMessage, match=f"not {size}"):
            bench.run(cipher.install(bytes(size)))
    for wrong, name in (("x" * 16, "str"), (16, "int"), (None, "NoneType"), ([0] * 16, "list")):
        for kind in (AESGCM, AESXTS):
            with pytest.raises(BadMessage, match=f"a key is bytes, not {name}"):
                bench.run(kind.create(cipher, wrong))
    bench.run(cipher.install(memoryview(bytearray(16))))
    with pytest.raises(JobError, match="KEY_INDEX"):
        bench.run(cipher.put_key(16, bench.cipher.descriptions[0]))


def test_a_key_leaves_nothing_in_host_memory():
    bench, cipher = bench_with()
    material = bench.rng.randbytes(32)
    bench.run(cipher.install(material))
    assert bench.cipher.descriptions[-1][16:48] == material
    assert material not in bytes(bench.host.memory)
    # Also when the device does not answer: once it is done with the job.
    bench.jobs.stuck = True
    with pytest.raises(ResponseTimeout):
        bench.run(cipher.install(material[::-1]))
    assert material[::-1] in bytes(bench.host.memory)
    bench.jobs.stuck = False
    bench.run(cipher.queue.reset())
    assert material[::-1] not in bytes(bench.host.memory)
    assert cipher.table.free == 14, "its place is in doubt"


def test_keys_are_gone_with_a_function_level_reset():
    bench, cipher = bench_with(1)
    aead = bench.run(AESGCM.create(cipher, bytes(16)))
    bench.jobs.function_reset(1)
    bench.run(cipher.queue.reset())
    with pytest.raises(JobError, match=r"KEY_UNKNOWN: .*a function level reset deletes all"):
        bench.run(aead.encrypt(bytes(12), b"x", None))
    bench.run(aead.close())  # it is gone, which is what was asked for
    bench.run(aead.close())
    assert aead.key.deleted
    assert cipher.table.free == 16


def test_a_reset_under_many_messages():
    bench, cipher = bench_with()
    aead = bench.run(AESGCM.create(cipher, bytes(16)))
    used = bench.host.memory_in_use

    async def many() -> None:
        with pytest.raises(JobReset):
            await aead.encrypt_many([(bytes(12), bytes(100), None)] * 500)

    async def reset() -> None:
        await bench.host.delay(400)
        await cipher.queue.reset()

    bench.host.run(many(), reset())
    assert bench.run(aead.encrypt(bytes(12), b"x", None))
    assert bench.host.memory_in_use == used, "also of what was submitted behind the reset"
