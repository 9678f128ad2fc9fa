"""The golden model of the cipher engine: against NIST's cases, the library, and the contract."""

import dataclasses

import pytest
from amaranth.lib import data
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tailrace_hw.crypto import types
from tailrace_sim.models import cavp, ciphers, crypto
from tailrace_sim.models.crypto import (
    Engine,
    Job,
    KeyAction,
    KeyCommand,
    KeyKind,
    KeySize,
    KeyStatus,
    Operation,
    Status,
)
from tailrace_sim.unit import check_refused, seeded

ENUMS = ("Operation", "KeySize", "KeyKind", "Status", "KeyAction", "KeyStatus")


@pytest.mark.parametrize("name", ENUMS)
def test_numbers_are_those_of_the_gateware(name):
    ours, theirs = getattr(crypto, name), getattr(types, name)
    assert {item.name: item.value for item in ours} == {item.name: item.value for item in theirs}


def test_limits_and_fields_are_those_of_the_gateware():
    for name in ("MAX_AAD", "MAX_LENGTH", "TAG_LENGTHS"):
        assert getattr(crypto, name) == getattr(types, name)
    for ours, theirs in (
        (crypto.Result, types.Result),
        (crypto.KeyCommand, types.KeyCommand),
        (crypto.Job, types.JobParameters),
    ):
        fields = {field.name for field in dataclasses.fields(ours)} - {"payload"}
        assert fields == {name for name, _ in data.Layout.cast(theirs)}


# NIST's cases -----------------------------------------------------------------------------------


def size_of(key: bytes) -> KeySize:
    return KeySize((len(key) - 16) // 8)


def engine_with(key: bytes, tweak_key: bytes | None = None, **settings) -> Engine:
    engine = Engine()
    kind = KeyKind.GCM if tweak_key is None else KeyKind.XTS
    command = KeyCommand(
        KeyAction.INSTALL, 3, 8, kind, size_of(key), False, key, tweak_key or b""
    )  # fmt: skip
    assert engine.command(dataclasses.replace(command, **settings)) == KeyStatus.OK
    return engine


def test_every_gcm_case_of_cavp():
    """Both directions of each, and through the engine."""
    cases = worked = failed = 0
    for case in cavp.gcm_cases():
        cases += 1
        j0 = ciphers.j0_of(case.key, case.iv)
        plaintext = ciphers.gcm_decrypt(case.key, j0, case.aad, case.ciphertext, case.tag)
        assert plaintext == case.plaintext, case.name
        if plaintext is not None:
            ciphertext, tag = ciphers.gcm_encrypt(case.key, j0, case.aad, plaintext)
            assert (ciphertext, tag[: len(case.tag)]) == (case.ciphertext, case.tag), case.name
        failed += plaintext is None
        worked += 1
        check_in_engine(case, j0)
    assert (cases, failed, worked) == (47250, 11908, 47250)


def check_in_engine(case, j0):
    """In the case's own direction, with J0 where the IV has not 96 bits."""
    engine = engine_with(case.key)
    is_j0 = len(case.iv) != 12
    job = Job(
        Operation.GCM_ENCRYPT if case.encrypt else Operation.GCM_DECRYPT,
        8, case.plaintext if case.encrypt else case.ciphertext, 3, 77,
        j0 if is_j0 else case.iv, is_j0, case.aad,
        tag=b"" if case.encrypt else case.tag, tag_length=len(case.tag),
    )  # fmt: skip
    outcome = engine.work(job)
    result = outcome.result
    assert (result.function, result.job, result.key) == (3, 77, 8)
    if case.encrypt:
        assert outcome.output == case.ciphertext, case.name
        assert result.tag == case.tag.ljust(16, b"\0"), case.name
    else:
        assert outcome.output == case.plaintext, case.name
        assert result.tag == bytes(16)
    fails = case.plaintext is None
    assert result.status == (Status.AUTHENTICATION_FAILED if fails else Status.OK), case.name


def test_every_xts_case_of_cavp():
    cases = 0
    for case in cavp.xts_cases():
        cases += 1
        half = len(case.key) // 2
        engine = engine_with(case.key[:half], case.key[half:])
        for operation, contents, wanted in (
            (Operation.XTS_ENCRYPT, case.plaintext, case.ciphertext),
            (Operation.XTS_DECRYPT, case.ciphertext, case.plaintext),
        ):
            outcome = engine.work(Job(operation, 8, contents, 3, iv=case.tweak))
            assert outcome.result.status == Status.OK
            assert outcome.output == wanted, case.name
    assert cases == 2800


# The library ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", KeySize)
def test_gcm_is_that_of_the_library(size):
    """Long payloads, every tag length, IVs of any length; one bit flipped anywhere fails."""
    rng = seeded()
    for length in (*range(0, 20), 255, 4096, 16383, 16384, *(rng.randrange(16385) for _ in "1234")):
        key, plaintext = rng.randbytes(size.bytes), rng.randbytes(length)
        aad = rng.randbytes(rng.randrange(97))
        iv = rng.randbytes(rng.choice([8, 11, 12, 13, 16, 60, 128]))
        encryptor = Cipher(algorithms.AES(key), modes.GCM(iv)).encryptor()
        encryptor.authenticate_additional_data(aad)
        ciphertext = encryptor.update(plaintext) + encryptor.finalize()
        j0 = ciphers.j0_of(key, iv)
        assert ciphers.gcm_encrypt(key, j0, aad, plaintext) == (ciphertext, encryptor.tag)
        tag = encryptor.tag[: rng.choice(crypto.TAG_LENGTHS)]
        assert ciphers.gcm_decrypt(key, j0, aad, ciphertext, tag) == plaintext
        whole = bytearray(aad + ciphertext + tag)
        whole[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        aad = bytes(whole[: len(aad)])
        ciphertext = bytes(whole[len(aad) : len(aad) + length])
        tag = bytes(whole[len(aad) + length :])
        assert ciphers.gcm_decrypt(key, j0, aad, ciphertext, tag) is None
        decryptor = Cipher(algorithms.AES(key), modes.GCM(iv, tag, 4)).decryptor()
        decryptor.authenticate_additional_data(aad)
        decryptor.update(ciphertext)
        with pytest.raises(InvalidTag):
            decryptor.finalize()


def test_the_counter_has_32_bits():
    """SP 800-38D, 6.2: what is above them stays as it is."""
    key, top = bytes(range(16)), b"\xff" * 12
    stream = ciphers.counter_mode(key, top + b"\xff\xff\xff\xfe", bytes(48))
    blocks = b"".join(top + low.to_bytes(4, "big") for low in (0xFFFFFFFF, 0, 1))
    assert stream == Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(blocks)


# The contract -----------------------------------------------------------------------------------

KEY = bytes(range(16))


def statuses(engine, *jobs) -> list[Status]:
    outcomes = [engine.work(job) for job in jobs]
    for outcome in outcomes:
        assert (outcome.output is None) == (outcome.result.status != Status.OK)
    return [outcome.result.status for outcome in outcomes]


def test_the_first_of_several_faults_is_told():
    engine = engine_with(KEY, strict=True)
    job = Job(
        Operation.GCM_ENCRYPT, 9, b"four", 3, aad_length=97, length=16385, tag_length=5
    )  # fmt: skip
    told = []
    engine.self_test_failed = True
    told += statuses(engine, job)
    engine.self_test_failed = False
    for repair in (
        {},
        {"length": 16384},
        {"aad_length": 0},
        {"tag_length": 4},
        {"key": 8, "function": 4},
        {"function": 3, "operation": Operation.XTS_ENCRYPT, "iv": bytes(16)},
        {"operation": Operation.GCM_ENCRYPT, "j0": True},
        {"j0": False, "iv": bytes(12)},
        {"iv": bytes(11) + b"\1", "length": 4},
    ):
        job = dataclasses.replace(job, **repair)
        told += statuses(engine, job)
    names = "SELF_TEST LENGTH AAD_LENGTH TAG_LENGTH KEY_UNKNOWN KEY_UNKNOWN KEY_KIND IV_REUSED"
    assert [status.name for status in told] == [*names.split(), "LENGTH", "OK"]


@pytest.mark.parametrize("operation", Operation)
def test_a_packet_of_another_length(operation):
    """Only decryption with a tag holds it back; what else has left is not longer than it said."""
    is_xts = operation.kind == KeyKind.XTS
    engine = engine_with(KEY, KEY[::-1] if is_xts else None)
    for length, size in ((16, 17), (40, 16), (16384, 16385)):
        job = Job(operation, 8, bytes(size), 3, iv=bytes(16 if is_xts else 12), length=length)
        outcome = engine.work(job)
        assert outcome.result.status == Status.LENGTH
        assert outcome.output is None
        assert outcome.result.tag == bytes(16)
        assert outcome.limit == (None if operation == Operation.GCM_DECRYPT else length)


def test_packets_without_payload():
    """The beat that stands for nothing is not looked at; a second one is a payload."""
    engine = engine_with(KEY)
    outcomes = [
        engine.work(Job(Operation.GCM_ENCRYPT, 8, bytes(size), 3, length=0)) for size in (0, 64, 65)
    ]
    assert [outcome.result.status.name for outcome in outcomes] == ["OK", "OK", "LENGTH"]
    assert outcomes[0] == outcomes[1]
    assert outcomes[0].output == b""
    xts = engine_with(KEY, KEY[::-1])
    short = [Job(Operation.XTS_ENCRYPT, 8, bytes(size), 3, iv=bytes(16)) for size in (0, 1, 15)]
    assert statuses(xts, *short) == [Status.LENGTH] * 3


def test_an_iv_of_a_strict_key_only_rises():
    def job(iv, operation=Operation.GCM_ENCRYPT, length=-1):
        return Job(operation, 8, b"four", 3, iv=iv.to_bytes(12, "big"), length=length)

    engine = engine_with(KEY, strict=True)
    wanted = [Status.OK, Status.IV_REUSED, Status.OK, Status.IV_REUSED, Status.OK]
    assert statuses(engine, *(job(iv) for iv in (0, 0, 2**95, 255, 2**95 + 1))) == wanted
    # Neither decryption nor what was refused takes an IV; what ends with another length does.
    top = 2**96 - 1
    refused = job(top)
    refused.tag_length = 5
    engine.work(job(top, Operation.GCM_DECRYPT))
    engine.work(refused)
    assert statuses(engine, job(2**95 + 2)) == [Status.OK]
    assert statuses(engine, job(top, length=5), job(top)) == [Status.LENGTH, Status.IV_REUSED]
    # A key that is not strict takes any; a new one at the same place starts anew.
    for settings in ({"strict": False}, {"strict": True}):
        command = KeyCommand(KeyAction.INSTALL, 3, 8, material=KEY, **settings)
        assert engine.command(command) == KeyStatus.OK
        again = Status.IV_REUSED if settings["strict"] else Status.OK
        assert statuses(engine, job(5), job(5)) == [Status.OK, again]


def test_key_table():
    engine = Engine(16)

    def install(function, key, kind=KeyKind.GCM):
        command = KeyCommand(KeyAction.INSTALL, function, key, kind, material=KEY)
        return engine.command(dataclasses.replace(command, tweak_material=KEY[::-1])).name

    def delete(function, key):
        return engine.command(KeyCommand(KeyAction.DELETE, function, key)).name

    def use(function, key):
        return statuses(engine, Job(Operation.GCM_DECRYPT, key, b"", function))[0].name

    assert [install(1, key) for key in (0, 15, 16)] == ["OK", "OK", "INDEX"]
    assert [install(2, 0), install(1, 0)] == ["TAKEN", "OK"]
    assert [use(1, 0), use(2, 0), use(1, 1), use(1, 999)] == [
        "AUTHENTICATION_FAILED", "KEY_UNKNOWN", "KEY_UNKNOWN", "KEY_UNKNOWN",
    ]  # fmt: skip
    xts = KeyKind.XTS
    assert [install(1, key, xts) for key in (2, 12, 16, 4)] == ["INDEX", "TAKEN", "INDEX", "OK"]
    # Places of an XTS key are neither free nor keys.
    assert [install(1, 5), use(1, 5), delete(1, 5)] == ["TAKEN", "KEY_UNKNOWN", "UNKNOWN"]
    assert [install(1, 0, xts), install(1, 4), install(1, 5)] == ["OK", "OK", "OK"]
    assert [delete(2, 5), delete(1, 5), delete(1, 5), delete(1, 16)] == [
        "UNKNOWN", "OK", "UNKNOWN", "INDEX",
    ]  # fmt: skip
    assert install(2, 8) == "OK"
    assert engine.command(KeyCommand(KeyAction.DELETE_ALL, 1)) == KeyStatus.OK
    assert [use(1, 4), use(1, 15), use(2, 8)] == [
        "KEY_UNKNOWN", "KEY_UNKNOWN", "AUTHENTICATION_FAILED",
    ]  # fmt: skip
    engine.reset()
    assert use(2, 8) == "KEY_UNKNOWN"


def test_xts_has_no_192_bits():
    command = KeyCommand(
        KeyAction.INSTALL, 3, 8, crypto.KeyKind.XTS, KeySize.AES_192, False, bytes(24), bytes(24)
    )
    assert crypto.Engine(16).command(command) == KeyStatus.SIZE


def test_what_is_no_key_or_no_iv_is_refused():
    check_refused(lambda: Job(Operation.GCM_ENCRYPT, 0, iv=bytes(16)), "12 bytes")
    check_refused(lambda: Job(Operation.XTS_ENCRYPT, 0, iv=bytes(12)), "16 bytes")
    check_refused(lambda: engine_with(KEY, size=KeySize.AES_256), "32 bytes")
    check_refused(lambda: ciphers.gcm_decrypt(KEY, bytes(16), b"", b"", b""), "0 bytes")
