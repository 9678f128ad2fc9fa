"""The AES lane against FIPS 197's examples and the cryptography library."""

from dataclasses import dataclass

import pytest

from tailrace_hw.crypto.aes_lane import AesLane
from tailrace_hw.crypto.table_sbox import TableSbox
from tailrace_hw.crypto.tower_sbox import TowerSbox
from tailrace_hw.crypto.types import KeySize
from tailrace_sim.models.aes import ROUNDS, cipher, rows
from tailrace_sim.unit import seeded, simulate

#: By the bytes of a key.
SIZES = {16: KeySize.AES_128, 24: KeySize.AES_192, 32: KeySize.AES_256}
#: FIPS 197, appendix B and C.1 to C.3: key, plaintext, ciphertext.
PLAIN = "00112233445566778899aabbccddeeff"
EXAMPLES = [
    ("2b7e151628aed2a6abf7158809cf4f3c", "3243f6a8885a308d313198a2e0370734",
     "3925841d02dc09fbdc118597196a0b32"),
    (bytes(range(16)).hex(), PLAIN, "69c4e0d86a7b0430d8cdb78070b4c55a"),
    (bytes(range(24)).hex(), PLAIN, "dda97ca4864cdfe06eaf70a0ec0d7191"),
    (bytes(range(32)).hex(), PLAIN, "8ea2b7ca516745bfeafc49904b496089"),
]  # fmt: skip
#: Cycles from input to output, as the engine's design has it.
LATENCY = 15


@dataclass(frozen=True)
class Item:
    """A block for the lane, and what must become of it."""

    key: bytes
    block: bytes
    result: bytes
    decrypt: bool = False

    @property
    def size(self) -> KeySize:
        return SIZES[len(self.key)]


def number(data: bytes) -> int:
    return int.from_bytes(data, "little")


def random_item(rng, *, inverse: bool) -> Item:
    key, block = rng.randbytes(rng.choice(list(SIZES))), rng.randbytes(16)
    decrypt = inverse and rng.random() < 0.5
    return Item(key, block, cipher(key, block, decrypt=decrypt), decrypt)


def check(cycles: list[Item | None], rng, *, inverse: bool, sbox: type = TableSbox) -> None:
    """One entry a cycle; each block must come out :data:`LATENCY` cycles later and nothing else.

    Whatever the lane must not look at is random.
    """
    dut = AesLane(inverse=inverse, sbox=sbox)
    assert dut.latency == LATENCY
    compared = 0

    async def bench(ctx):
        nonlocal compared
        on_way: list[tuple[Item, list[bytes]] | None] = [None] * (LATENCY + 1)
        for item in [*cycles, *[None] * LATENCY]:
            on_way = [item and (item, rows(item.key, decrypt=item.decrypt)), *on_way[:LATENCY]]
            # A lane without the inverse is told to decrypt at random: it must not listen.
            ctx.set(dut.i.valid, item is not None)
            ctx.set(dut.i.payload.block, number(item.block) if item else rng.getrandbits(128))
            ctx.set(dut.i.payload.size, item.size if item else rng.choice(list(KeySize)))
            ctx.set(
                dut.i.payload.decrypt,
                item.decrypt if item and inverse else rng.getrandbits(1),
            )
            for stage, here in enumerate(on_way[:LATENCY]):
                needed = here and (stage == 0 or stage > 14 - ROUNDS[len(here[0].key)])
                row = number(here[1][stage]) if here and needed else rng.getrandbits(128)
                ctx.set(dut.round_keys[stage], row)
            out = on_way[LATENCY]
            assert ctx.get(dut.o.valid) == (out is not None)
            if out:
                assert ctx.get(dut.o.payload) == number(out[0].result), out[0]
                compared += 1
            await ctx.tick()

    simulate(dut, bench)
    assert compared == sum(item is not None for item in cycles) > 0


def examples(*, inverse: bool) -> list[Item | None]:
    items: list[Item | None] = []
    for texts in EXAMPLES:
        key, plain, secret = (bytes.fromhex(text) for text in texts)
        items.append(Item(key, plain, secret))
        if inverse:
            items.append(Item(key, secret, plain, decrypt=True))
    return items


@pytest.mark.parametrize("inverse", [False, True], ids=["forward", "both"])
def test_blocks(inverse):
    """The standard's examples and random blocks, at full rate and with gaps; key, size and
    direction change with every block. One simulation, for a lane takes seconds to elaborate."""
    rng = seeded()
    cycles = examples(inverse=inverse)
    for gaps in (0.0, 0.4):
        cycles += [
            None if rng.random() < gaps else random_item(rng, inverse=inverse) for _ in range(250)
        ]
    check(cycles, rng, inverse=inverse)


def test_with_the_other_sbox():
    rng = seeded()
    cycles = [*examples(inverse=True), *(random_item(rng, inverse=True) for _ in range(10))]
    check(cycles, rng, inverse=True, sbox=TowerSbox)
