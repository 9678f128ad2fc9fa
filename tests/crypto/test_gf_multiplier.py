"""Products in GF(2^128) against a bit-serial reference, and that against AES-GCM's tags."""

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tailrace_hw.crypto import gf128
from tailrace_hw.crypto.gf_multiplier import GfMultiplier
from tailrace_sim.models import ghash
from tailrace_sim.rigid import as_block, run_rigid
from tailrace_sim.unit import check_refused, seeded

ONE = bytes([0x80]) + bytes(15)


def encrypt_block(key: bytes, block: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block)


def test_the_reference_makes_the_tags_of_cryptography():
    """GCM from the block cipher of `cryptography` and our GHASH, against its AESGCM."""
    rng = seeded()
    for number in range(60):
        key, iv = rng.randbytes(rng.choice((16, 24, 32))), rng.randbytes(12)
        aad = rng.randbytes(rng.choice((0, 1, 15, 16, 17, rng.randint(0, 64))))
        plain = rng.randbytes(number if number < 34 else rng.randint(0, 400))
        sealed = AESGCM(key).encrypt(iv, plain, aad)
        h = encrypt_block(key, bytes(16))
        s = ghash.packet_ghash(h, aad, sealed[:-16])
        mask = encrypt_block(key, iv + b"\0\0\0\1")
        assert bytes(a ^ b for a, b in zip(s, mask, strict=True)) == sealed[-16:]


def test_the_reference_refuses_part_of_a_block():
    with pytest.raises(ValueError, match="whole blocks, not 17 bytes"):
        ghash.ghash(ONE, bytes(17))


def factors(rng):
    """Each power of x once on either side, ones, zeros, and noise."""
    bits = [(0x80 >> k % 8 << 8 * (15 - k // 8)).to_bytes(16, "big") for k in range(128)]
    pairs = [(bit, rng.randbytes(16)) for bit in bits]
    pairs += [(rng.randbytes(16), bit) for bit in bits]
    pairs += [(bytes(16), rng.randbytes(16)), (b"\xff" * 16, b"\xff" * 16), (ONE, ONE)]
    pairs += [(rng.randbytes(16), rng.randbytes(16)) for _ in range(30)]
    rng.shuffle(pairs)
    return pairs


def check(dut, gaps, pairs, rng):
    cycles, due = [], []
    for a, b in pairs:
        while rng.random() < gaps:
            cycles.append(None)
        due.append((len(cycles) + dut.latency, ghash.multiply(a, b)))
        cycles.append(({"a": as_block(a), "b": as_block(b)}, []))
    assert due
    assert run_rigid(dut, cycles, rng, 8) == due


def test_products():
    rng = seeded()
    check(GfMultiplier(), 0, factors(rng), rng)


def test_products_with_gaps():
    rng = seeded()
    check(GfMultiplier(), 0.5, factors(rng)[:60], rng)


@pytest.mark.parametrize("levels", [2, 4])
def test_every_number_of_levels(levels):
    rng = seeded()
    check(GfMultiplier(levels), 0, factors(rng)[:40], rng)


def test_the_specification_s_example():
    """The GCM specification's test case 2: H times C, and that plus the lengths times H."""
    rng = seeded()
    h = bytes.fromhex("66e94bd4ef8a2c3b884cfa59ca342b2e")
    c = bytes.fromhex("0388dace60b6a392f328c2b971b2fe78")
    x1 = bytes.fromhex("5e2ec746917062882c85b0685353deb7")
    assert ghash.multiply(c, h) == x1
    check(GfMultiplier(), 0, [(c, h), (h, c), (x1, ONE)], rng)


def test_a_wrong_polynomial_is_seen(monkeypatch):
    rng = seeded()
    monkeypatch.setattr(gf128, "TAPS", (0, 1, 2, 8))
    with pytest.raises(AssertionError):
        check(GfMultiplier(), 0, factors(rng)[:30], rng)


def test_levels_out_of_range():
    check_refused(lambda: GfMultiplier(7), "must be 1 to 6, not 7")
