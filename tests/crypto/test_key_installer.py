"""Nothing of a key stays in the installer: its end state is the same for all keys."""

from random import Random

import pytest
from amaranth.sim import Simulator

from tailrace_hw.crypto.key_installer import KeyInstaller
from tailrace_hw.crypto.types import KeyAction, KeyKind, KeySize, KeyStatus
from tailrace_sim.states import States

_PERIOD = 10**9  # the file counts femtoseconds
_ROWS, _DRAIN, _SETTLE = 8, 6, 4
#: Kind, size and row, and how the request ends.
CASES = {
    "gcm": (KeyKind.GCM, KeySize.AES_256, 1, KeyStatus.OK),
    "xts": (KeyKind.XTS, KeySize.AES_128, 4, KeyStatus.OK),
    "refused-row": (KeyKind.GCM, KeySize.AES_128, _ROWS, KeyStatus.INDEX),
    "refused-size": (KeyKind.XTS, KeySize.AES_192, 4, KeyStatus.SIZE),
}


def install(path, seed: int, case: str, waits: int) -> tuple[States, int, int]:
    """Install a key; what the signals were, when its answer came, and when all was over.

    ``waits``: cycles until the answer is taken.
    """
    kind, size, row, ends = CASES[case]
    rng = Random(seed)
    dut = KeyInstaller(_ROWS, _DRAIN, _SETTLE)
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    times: list[int] = []

    async def bench(ctx):
        cycle = working = 0

        async def tick() -> None:
            """One cycle of an expander that takes every request, and of an empty key table."""
            nonlocal cycle, working
            ctx.set(dut.expand.ready, working == 0)
            ctx.set(dut.expanded, working == 1)
            asked = ctx.get(dut.expand.valid) and working == 0
            working = 5 if asked else max(0, working - 1)
            cycle += 1
            await ctx.tick()

        ctx.set(dut.quiet, 1)
        while not ctx.get(dut.ready):
            await tick()
        command = dut.i.payload
        values = {
            "action": KeyAction.INSTALL, "function": 1, "key": row, "kind": kind, "size": size,
            "material": rng.getrandbits(256), "tweak_material": rng.getrandbits(256),
        }  # fmt: skip
        for name, value in values.items():
            ctx.set(command[name], value)
        ctx.set(dut.i.valid, 1)
        await tick()
        ctx.set(dut.i.valid, 0)
        ctx.set(command.material, 0)
        ctx.set(command.tweak_material, 0)
        while not ctx.get(dut.o.valid):
            await tick()
        assert ctx.get(dut.o.payload.status) == ends
        times.append(cycle)
        for _ in range(waits):
            await tick()
        ctx.set(dut.o.ready, 1)
        await tick()
        times.append(cycle)
        await tick()

    simulator.add_testbench(bench)
    file = path / f"{case}-{seed}.vcd"
    with simulator.write_vcd(str(file)):
        simulator.run_until(3e-3)
    assert len(times) == 2, "it has not ended"
    return States(file), times[0], times[1]


@pytest.mark.parametrize("waits", [0, 9])
@pytest.mark.parametrize("case", CASES)
def test_its_end_state_tells_nothing(case, waits, tmp_path):
    runs = [install(tmp_path, seed, case, waits) for seed in (1, 2)]
    (first, answer, over), (second, *times) = runs
    assert [answer, over] == times, "the time tells something of the key"

    def different(cycle: int) -> set[str]:
        here, there = (states.at(cycle * _PERIOD) for states in (first, second))
        return {name for name in here if here[name] != there[name]}

    assert different(answer), "compares nothing"
    left = different(over)
    assert not left, f"something of the key is in {sorted(left)}"
