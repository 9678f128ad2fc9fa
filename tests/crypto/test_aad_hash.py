"""Sums of products: the state behind additional data, powers of H."""

from itertools import pairwise

import pytest

from tailrace_hw.crypto.aad_hash import AadHash
from tailrace_sim.models import ghash
from tailrace_sim.rigid import as_block, run_rigid
from tailrace_sim.unit import seeded


def aad_terms(h: bytes, aad: bytes) -> list[tuple[bytes, bytes]]:
    """Block i of a with H^(a-i+1), i from 1."""
    data = ghash.padded(aad)
    blocks = [data[at : at + 16] for at in range(0, len(data), 16)]
    powers = [h]
    while len(powers) < len(blocks):
        powers.append(ghash.multiply(powers[-1], h))
    return list(zip(blocks, reversed(powers[: len(blocks)]), strict=True))


def on_input(terms):
    return [
        ({"a": as_block(a), "b": as_block(b), "first": k == 0, "last": k == len(terms) - 1}, [])
        for k, (a, b) in enumerate(terms)
    ]


def check(dut, sums, gaps, rng):
    """``sums`` are pairs of the terms and what they must make."""
    cycles, due = [], []
    for terms, expected in sums:
        for item in on_input(terms):
            while rng.random() < gaps:
                cycles.append(None)
            cycles.append(item)
        due.append((len(cycles) - 1 + dut.latency, expected))
    assert due
    assert run_rigid(dut, cycles, rng, 8) == due


def random_sums(rng, count):
    for _ in range(count):
        h, aad = rng.randbytes(16), rng.randbytes(rng.randint(1, 96))
        yield aad_terms(h, aad), ghash.ghash(h, ghash.padded(aad))


@pytest.mark.parametrize("gaps", [0, 0.5])
def test_additional_data(gaps):
    rng = seeded()
    check(AadHash(), list(random_sums(rng, 30)), gaps, rng)


def test_powers():
    """Each power is made of the one before, one product at a time."""
    rng = seeded()
    h = rng.randbytes(16)
    powers = [ghash.power(h, k) for k in range(1, 10)]
    check(AadHash(), [([(a, h)], b) for a, b in pairwise(powers)], 0.3, rng)


def test_the_specification_s_example():
    """The GCM specification's test case 4: 20 bytes of additional data."""
    h = bytes.fromhex("b83b533708bf535d0aa6e52980d53b78")
    aad = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
    rng = seeded()
    expected = ghash.ghash(h, ghash.padded(aad))
    check(AadHash(), [(aad_terms(h, aad), expected)], 0, rng)


def test_a_sum_without_its_end_is_forgotten():
    rng = seeded()
    sums = list(random_sums(rng, 6))
    cycles, due = [], []
    for terms, expected in sums:
        cut = on_input([(rng.randbytes(16), rng.randbytes(16)) for _ in range(3)])[:2]
        cycles += [*cut, *on_input(terms)]
        due.append((len(cycles) - 1 + AadHash.latency, expected))
    assert run_rigid(AadHash(), cycles, rng, 8) == due


def test_powers_in_the_wrong_order_are_seen():
    rng = seeded()
    h, aad = rng.randbytes(16), rng.randbytes(64)
    blocks, powers = zip(*aad_terms(h, aad), strict=True)
    wrong = list(zip(blocks, reversed(powers), strict=True))
    with pytest.raises(AssertionError):
        check(AadHash(), [(wrong, ghash.ghash(h, aad))], 0, rng)
