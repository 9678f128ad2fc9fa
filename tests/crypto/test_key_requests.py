"""Nothing of a key stays where requests are gathered: the end state is the same for all keys."""

from random import Random

import pytest
from amaranth.sim import Simulator

from tailrace_hw.crypto.key_requests import KEY_BYTES, KeyRequests
from tailrace_hw.crypto.types import KeyStatus
from tailrace_hw.jobs.types import Opcode
from tailrace_sim.states import States

_PERIOD = 10**9  # the file counts femtoseconds


def install(path, width: int, seed: int, cut: int | None) -> tuple[States, int, int]:
    """Install a key; what the signals were, when its answer came, and when all was over.

    ``cut``: the packet has another length than a key's description.
    """
    rng = Random(seed)
    dut = KeyRequests(width)
    size = width // 8
    beats = -(-KEY_BYTES // size) if cut is None else cut
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    times: list[int] = []
    answered = False

    async def bench(ctx):
        nonlocal answered
        beat = dut.i.payload
        ctx.set(beat.meta.opcode, Opcode.KEY_INSTALL)
        for number in range(beats):
            ctx.set(dut.i.valid, 1)
            ctx.set(beat.data, rng.getrandbits(width))
            ctx.set(beat.last, number == beats - 1)
            await ctx.tick()
        ctx.set(dut.i.valid, 0)
        ctx.set(beat.data, 0)
        ctx.set(dut.keys.ready, 1)
        ctx.set(dut.ended.ready, 1)
        for cycle in range(beats, beats + 40):
            ctx.set(dut.answers.valid, cycle == beats + 20)
            ctx.set(dut.answers.payload.status, KeyStatus.OK)
            if ctx.get(dut.ended.valid):
                answered = True
                times.append(cycle)
            await ctx.tick()
        times.append(beats + 40)

    simulator.add_testbench(bench)
    file = path / f"{width}-{seed}.vcd"
    with simulator.write_vcd(str(file)):
        simulator.run()
    assert answered
    return States(file), times[0], times[-1]


@pytest.mark.parametrize("cut", [None, 1, 3])
@pytest.mark.parametrize("width", [64, 128, 512])
def test_its_end_state_tells_nothing(width, cut, tmp_path):
    (first, answer, over), (second, *times) = [
        install(tmp_path, width, seed, cut) for seed in (1, 2)
    ]
    assert [answer, over] == times

    def different(cycle: int) -> set[str]:
        here, there = (states.at(cycle * _PERIOD) for states in (first, second))
        return {name for name in here if here[name] != there[name]}

    assert different(answer), "compares nothing"
    left = different(over - 1)
    assert not left, f"something of the key is in {sorted(left)}"
