"""The self-test: its answers are right, and it notices every wrong one."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tailrace_hw.crypto import known_answers
from tailrace_hw.crypto.self_test import SelfTest
from tailrace_hw.crypto.types import KeySize
from tailrace_sim import build
from tailrace_sim.run import run

HERE = Path(__file__).parent
LENGTHS = [known_answers.payload_bytes(lanes) for lanes in (1, 2, 4, 8)]


@pytest.mark.parametrize("size", KeySize)
def test_known_answers_of_gcm(size):
    key = known_answers.KEY[: 16 + 8 * size.value]
    for length in LENGTHS:
        plain = known_answers.PLAINTEXT[:length]
        sealed = AESGCM(key).encrypt(known_answers.IV, plain, known_answers.AAD)
        assert sealed[:length] == known_answers.CIPHERTEXT[size][:length]
        assert sealed[length:] == known_answers.TAGS[size, length]


@pytest.mark.parametrize("size", [KeySize.AES_128, KeySize.AES_256])
def test_known_answers_of_xts(size):
    count = 16 + 8 * size.value
    key = known_answers.KEY[:count] + known_answers.TWEAK_KEY[:count]
    for length in LENGTHS:
        cipher = Cipher(algorithms.AES(key), modes.XTS(known_answers.TWEAK)).encryptor()
        plain = known_answers.PLAINTEXT[:length]
        assert cipher.update(plain) + cipher.finalize() == known_answers.DATA_UNITS[size, length]


@pytest.mark.parametrize(("width", "xts"), [(64, True), (128, False), (512, True), (1024, False)])
def test_every_wrong_answer_is_noticed(width, xts):
    keys = 16
    source = build.emit(lambda: SelfTest(width, keys, xts=xts), "self_test", (width, keys, xts))
    run(
        build.build(source, "self_test"),
        "cocotb_known_answers",
        name=f"self-test-{width}-{xts}",
        tests=["right_answers", "a_wrong_bit", "too_much_or_too_little"],
        parameters={"width": width, "keys": keys, "xts": xts},
        python_path=[HERE],
    )
