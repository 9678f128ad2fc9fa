"""Every byte through every S-box."""

import pytest

from tailrace_hw.crypto.table_sbox import TableSbox
from tailrace_hw.crypto.tower_sbox import TowerSbox
from tailrace_sim.models.aes import sbox
from tailrace_sim.unit import simulate

EVERY = range(256)
FORWARD = [sbox(byte) for byte in EVERY]
BACKWARD = [FORWARD.index(byte) for byte in EVERY]


def test_the_reference():
    """FIPS 197, figure 7: the corners, and the example of 5.1.1."""
    assert [FORWARD[byte] for byte in (0x00, 0x0F, 0xF0, 0xFF, 0x53)] == [
        0x63, 0x76, 0x8C, 0x16, 0xED,
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [TableSbox, TowerSbox])
@pytest.mark.parametrize("inverse", [False, True], ids=["forward", "both"])
def test_every_byte(kind, inverse):
    dut = kind(inverse=inverse)
    compared = 0

    async def bench(ctx):
        nonlocal compared
        for decrypt, table in ((0, FORWARD), (1, BACKWARD))[: 1 + inverse]:
            if inverse:
                ctx.set(dut.decrypt, decrypt)
            for byte in EVERY:
                ctx.set(dut.i, byte)
                assert ctx.get(dut.o) == table[byte], (decrypt, byte)
                compared += 1

    simulate(dut, bench)
    assert compared == 256 * (1 + inverse)
