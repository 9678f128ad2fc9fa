"""The driver of the cipher engine against the golden engine: AES-GCM, AES-XTS, self-test."""

from array import array
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag as LibraryTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM as LibraryGCM

from tailrace.crypto.aead import AESGCM, AESXTS
from tailrace.crypto.cipher import Cipher, Fault
from tailrace.crypto.errors import BadMessage, InvalidTag
from tailrace.crypto.gcm_iv import j0_of
from tailrace.errors import ResponseTimeout, TailraceError
from tailrace.jobs.errors import JobError
from tailrace.regs.job_memory import MAX_CIPHER, TAG_LENGTHS, JobStatus
from tailrace_sim.models import ciphers
from tailrace_sim.models.crypto import KeyStatus, Status
from tailrace_sim.soft_device import DeviceBench


def bench_with(function: int = 0, **options: Any) -> tuple[DeviceBench, Cipher]:
    bench = DeviceBench(**options)
    return bench, bench.run(Cipher.open(bench.find(), function=function))


# AES-GCM -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [0, 1])
@pytest.mark.parametrize("bits", [128, 192, 256])
def test_gcm_is_that_of_the_library(function, bits):
    bench, cipher = bench_with(function, seed=bits)
    rng = bench.rng
    key = rng.randbytes(bits // 8)
    aead = bench.run(AESGCM.create(cipher, key))
    library = LibraryGCM(key)
    for nonce_length in (12, 8, 12, 16, 13, 128, 12, 60):
        nonce = rng.randbytes(nonce_length)
        data = rng.randbytes(rng.choice([0, 1, 15, 16, 17, rng.randint(0, 3000)]))
        aad = rng.randbytes(rng.choice([0, 1, 16, 96, rng.randint(0, 96)]))
        sealed = bench.run(aead.encrypt(nonce, data, aad))
        assert sealed == library.encrypt(nonce, data, aad)
        assert bench.run(aead.decrypt(nonce, sealed, aad)) == data
    assert bench.run(aead.encrypt(nonce, b"x", None)) == library.encrypt(nonce, b"x", None)
    bench.run(aead.close())
    bench.run(cipher.queue.close())
    assert bench.host.memory_in_use == 0


def test_nonces_shorter_than_the_library_takes():
    bench, cipher = bench_with()
    key = bytes(range(16))
    aead = bench.run(AESGCM.create(cipher, key))
    for length in (1, 7, 11):
        nonce = bench.rng.randbytes(length)
        wanted = b"".join(ciphers.gcm_encrypt(key, ciphers.j0_of(key, nonce), b"aad", b"data"))
        assert bench.run(aead.encrypt(nonce, b"data", b"aad")) == wanted


def test_j0_is_that_of_the_golden_model():
    bench, _ = bench_with()
    for length in (1, 8, 15, 16, 17, 60, 300):
        key, iv = bench.rng.randbytes(32), bench.rng.randbytes(length)
        subkey = ciphers.counter_mode(key, bytes(12) + b"\xff" * 4, bytes(16))
        assert j0_of(subkey, iv) == ciphers.j0_of(key, iv), length


def test_the_subkey_is_asked_for_once():
    bench, cipher = bench_with()
    aead = bench.run(AESGCM.create(cipher, bytes(16)))
    before = bench.run(cipher.counters()).done
    for _ in range(3):
        bench.run(aead.encrypt(bytes(8), b"x", None))
    assert bench.run(cipher.counters()).done == before + 4


@pytest.mark.parametrize("length", TAG_LENGTHS)
def test_tag_lengths(length):
    bench, cipher = bench_with()
    key = bench.rng.randbytes(32)
    aead = bench.run(AESGCM.create(cipher, key, tag_length=length))
    sealed = bench.run(aead.encrypt(bytes(12), b"data", b"aad"))
    assert sealed == LibraryGCM(key).encrypt(bytes(12), b"data", b"aad")[: 4 + length]
    assert bench.run(aead.decrypt(bytes(12), sealed, b"aad")) == b"data"
    for short in (sealed[:-1], sealed[: length - 1], b""):
        with pytest.raises(InvalidTag):
            bench.run(aead.decrypt(bytes(12), short, b"aad"))


def test_a_tag_that_is_cut_is_not_filled_up():
    """The descriptor's tag is padded with zeros, which may be what was cut off."""
    bench, cipher = bench_with()
    aead = bench.run(AESGCM.create(cipher, bytes(16)))
    nonces = (number.to_bytes(12, "big") for number in range(10_000))
    nonce, tag = next(
        (nonce, tag)
        for nonce in nonces
        if (tag := LibraryGCM(bytes(16)).encrypt(nonce, b"", None))[-1] == 0
    )
    assert bench.run(aead.decrypt(nonce, tag, None)) == b""
    with pytest.raises(InvalidTag):
        bench.run(aead.decrypt(nonce, tag[:-1], None))


def test_a_wrong_bit_anywhere_is_an_invalid_tag():
    bench, cipher = bench_with()
    aead = bench.run(AESGCM.create(cipher, bytes(32)))
    sealed = bench.run(aead.encrypt(bytes(12), b"data", b"aad"))
    for at in range(len(sealed)):
        damaged = sealed[:at] + bytes([sealed[at] ^ 1 << at % 8]) + sealed[at + 1 :]
        with pytest.raises(InvalidTag):
            bench.run(aead.decrypt(bytes(12), damaged, b"aad"))
    for nonce, aad in ((b"\1" + bytes(11), b"aad"), (bytes(12), b"AAD"), (bytes(12), None)):
        with pytest.raises(InvalidTag):
            bench.run(aead.decrypt(nonce, sealed, aad))
        with pytest.raises(LibraryTag):
            LibraryGCM(bytes(32)).decrypt(nonce, sealed, aad)
    counters = bench.run(cipher.counters())
    assert counters.failed["AUTHENTICATION_FAILED"] == len(sealed) + 3
    assert counters.last_wrong_tag == aead.key.index


def test_many_messages_keep_the_queue_busy():
    bench, cipher = bench_with()
    rng = bench.rng
    key = rng.randbytes(16)
    aead = bench.run(AESGCM.create(cipher, key))
    messages = [
        (rng.randbytes(rng.choice([12, 12, 8])), rng.randbytes(rng.randint(0, 500)), b"x")
        for _ in range(200)
    ]
    bench.jobs._latency, bench.jobs.most = 40, 0
    sealed = bench.run(aead.encrypt_many(messages))
    assert bench.jobs.most > 16
    assert sealed == [LibraryGCM(key).encrypt(*message) for message in messages]
    sealed[7] = sealed[7][:-1] + bytes([sealed[7][-1] ^ 1])
    # Those that are shorter than a tag have a place like any other that is not authentic.
    sealed[8], sealed[199] = b"", sealed[199][:15]
    opened = bench.run(
        aead.decrypt_many([(n, s, a) for (n, _, a), s in zip(messages, sealed, strict=True)])
    )
    for wrong in (199, 8, 7):
        assert opened[wrong] is None
        del opened[wrong], messages[wrong]
    assert opened == [data for _, data, _ in messages]


def test_messages_at_once_need_no_more_memory_than_there_is():
    """More than host memory holds: those under way are waited for."""
    bench, cipher = bench_with(size=1 << 18)
    aead = bench.run(AESGCM.create(cipher, bytes(16)))
    messages = [(bytes(12), bytes(MAX_CIPHER), None)] * 40
    sealed = bench.run(aead.encrypt_many(messages))
    assert set(sealed) == {LibraryGCM(bytes(16)).encrypt(*messages[0])}


def test_what_the_engine_does_not_take():
    bench, cipher = bench_with()
    aead = bench.run(AESGCM.create(cipher, bytes(16)))
    whole = bench.run(aead.encrypt(bytes(12), bytes(MAX_CIPHER), None))
    assert len(bench.run(aead.decrypt(bytes(12), whole, None))) == MAX_CIPHER
    for message, what in (
        ((bytes(12), bytes(MAX_CIPHER + 1), None), "message of 16385 bytes"),
        ((bytes(12), b"", bytes(97)), "97 bytes of associated data"),
        ((b"", b"", None), "nonce"),
    ):
        with pytest.raises(BadMessage, match=what):
            bench.run(aead.encrypt(*message))
        with pytest.raises(BadMessage, match=what):
            bench.run(aead.decrypt(message[0], message[1] + bytes(16), message[2]))
    with pytest.raises(BadMessage, match=r"a tag has .* not 11"):
        bench.run(AESGCM.create(cipher, bytes(16), tag_length=11))
    for bits in (128, 192, 256):
        assert len(AESGCM.generate_key(bits)) == bits // 8
    with pytest.raises(BadMessage, match="not 100"):
        AESGCM.generate_key(100)


def test_buffers_are_as_good_as_bytes():
    bench, cipher = bench_with()
    key, nonce, data, aad = bytes(range(16)), bytes(range(8)), bytes(range(40)), b"four"
    sealed = LibraryGCM(key).encrypt(nonce, data, aad)
    words = array("I", data)
    for kind in (bytearray, memoryview):
        aead = bench.run(AESGCM.create(cipher, kind(key)))
        for given in (kind(data), words, memoryview(words)):
            assert bench.run(aead.encrypt(kind(nonce), given, kind(aad))) == sealed
        assert bench.run(aead.decrypt(kind(nonce), kind(sealed), kind(aad))) == data
    xts = bench.run(AESXTS.create(cipher, bytearray(range(32))))
    assert bench.run(xts.encrypt(3, data)) == bench.run(
        xts.encrypt(bytearray((3).to_bytes(16, "little")), words)
    )


def test_what_is_no_bytes_is_told_of():
    bench, cipher = bench_with()
    aead = bench.run(AESGCM.create(cipher, bytes(16)))
    for message, what in (
        ((None, b"", b""), "a nonce is bytes, not NoneType"),
        (("n" * 12, b"", b""), "a nonce is bytes, not str"),
        ((bytes(12), "x" * 20, b""), "data is bytes, not str"),
        ((bytes(12), 16, b""), "data is bytes, not int"),
        ((bytes(12), bytes(20), "aad"), "associated data is bytes, not str"),
    ):
        for work in (aead.encrypt, aead.decrypt):
            with pytest.raises(BadMessage, match=what):
                bench.run(work(*message))
    with pytest.raises(BadMessage, match=r"a tag has .* not 16\.0"):
        bench.run(AESGCM.create(cipher, bytes(16), tag_length=16.0))
    with pytest.raises(BadMessage, match="a key is bytes, not str"):
        bench.run(AESGCM.create(cipher, "k" * 16))
    xts = bench.run(AESXTS.create(cipher, bytes(range(32))))
    for tweak, data, what in (
        ("7" * 16, bytes(16), "a tweak is bytes, not str"),
        (7, "d" * 16, "a data unit is bytes, not str"),
    ):
        with pytest.raises(BadMessage, match=what):
            bench.run(xts.encrypt(tweak, data))


def test_a_strict_key():
    bench, cipher = bench_with()
    aead = bench.run(AESGCM.create(cipher, bytes(16), strict=True))
    for number in (0, 5, 6):
        bench.run(aead.encrypt(number.to_bytes(12, "big"), b"x", None))
    with pytest.raises(JobError, match="IV_REUSED: a strict key takes only IVs"):
        bench.run(aead.encrypt((6).to_bytes(12, "big"), b"x", None))
    with pytest.raises(BadMessage, match="a strict key takes nonces of 12 bytes only, no J0"):
        bench.run(aead.encrypt(bytes(16), b"x", None))
    bench.run(aead.key.replace(bytes(16)))
    bench.run(aead.encrypt(bytes(12), b"x", None))
    assert aead.key.strict
    bench.run(aead.key.replace(bytes(16), strict=False))
    bench.run(aead.encrypt(bytes(16), b"x", None))


# AES-XTS -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [256, 512])
def test_xts_is_that_of_the_library(bits):
    bench, cipher = bench_with(seed=bits)
    rng = bench.rng
    key = AESXTS.generate_key(bits)
    xts = bench.run(AESXTS.create(cipher, key))
    units = [
        (rng.randrange(1 << 128), rng.randbytes(rng.choice([16, 17, 31, 32, 512, 1000])))
        for _ in range(70)
    ]
    sealed = bench.run(xts.encrypt_many(units))
    for (number, data), output in zip(units, sealed, strict=True):
        assert output == ciphers.xts(key, number.to_bytes(16, "little"), data, encrypt=True)
    back = [(number, output) for (number, _), output in zip(units, sealed, strict=True)]
    assert bench.run(xts.decrypt_many(back)) == [data for _, data in units]
    tweak = units[0][0].to_bytes(16, "little")
    assert bench.run(xts.encrypt(tweak, units[0][1])) == sealed[0]
    assert bench.run(xts.decrypt(tweak, sealed[0])) == units[0][1]
    bench.run(xts.close())
    bench.run(cipher.queue.close())
    assert bench.host.memory_in_use == 0


def test_what_xts_does_not_take():
    bench, cipher = bench_with()
    xts = bench.run(AESXTS.create(cipher, bytes(range(32))))
    for tweak, data, what in (
        (0, bytes(15), "data unit of 15"), (0, bytes(MAX_CIPHER + 1), "of 16385"),
        (1 << 128, bytes(16), "128 bits"), (-1, bytes(16), "128 bits"),
        (bytes(12), bytes(16), "not 12"),
    ):  # fmt: skip
        with pytest.raises(BadMessage, match=what):
            bench.run(xts.encrypt(tweak, data))
    for key, what in (
        (bytes(32), "must not be the same"), (bytes(48), "not 48 in all"), (b"", "not 0 in all"),
    ):  # fmt: skip
        with pytest.raises(BadMessage, match=what):
            bench.run(AESXTS.create(cipher, key))
    with pytest.raises(BadMessage, match="not 128"):
        AESXTS.generate_key(128)
    bench, cipher = bench_with(xts=False)
    assert not cipher.shape.xts
    with pytest.raises(TailraceError, match="no AES-XTS"):
        bench.run(cipher.install_xts(bytes(range(32))))


# Engine ------------------------------------------------------------------------------------------


def test_self_test():
    bench, cipher = bench_with()
    aead = bench.run(AESGCM.create(cipher, bytes(16)))
    assert bench.run(cipher.self_test())
    for fault in Fault:
        assert not bench.run(cipher.self_test(fault))
        with pytest.raises(JobError, match=r"SELF_TEST: .* run Cipher.self_test"):
            bench.run(aead.encrypt(bytes(12), b"x", None))
    assert bench.run(cipher.self_test())
    bench.run(aead.encrypt(bytes(12), b"x", None))
    bench.cipher.failing = True
    assert not bench.run(cipher.self_test())
    assert bench.run(cipher.counters()).failed["SELF_TEST"] == 2
    bench.cipher._test_state = lambda: 1  # type: ignore[method-assign]
    with pytest.raises(ResponseTimeout, match="the end of a self-test did not happen"):
        bench.run(cipher.self_test())
    bench.cipher._test_state = lambda: 6  # type: ignore[method-assign]
    with pytest.raises(TailraceError, match="can't have ended with state 0x6"):
        bench.run(cipher.self_test())


def test_a_device_without_cipher_engine():
    bench = DeviceBench(keys=0)
    device = bench.find()
    with pytest.raises(TailraceError, match="no cipher engine"):
        bench.run(device.cipher())
    assert bench.host.memory_in_use == 0


def test_statuses_are_those_of_the_golden_model():
    for status in Status:
        assert JobStatus[status.name] == status
    names = {"INDEX": "KEY_INDEX", "TAKEN": "KEY_TAKEN", "UNKNOWN": "KEY_NOT_THERE",
             "SIZE": "KEY_SIZE"}  # fmt: skip
    assert {JobStatus[names[s.name]] - 0x20 for s in KeyStatus if s} == {1, 2, 3, 4}
