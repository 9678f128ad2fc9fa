"""Traffic without any fault, in the simulator; started by test_system.py."""

import itertools
from random import Random

import cocotb
from system_check import clean, start
from system_traffic import Traffic, random_options, random_stalls

from tailrace.virtio.spec import Feature
from tailrace_sim.run import parameters, seed


async def every_combination(dut, packed: bool) -> None:
    """Every choice of indirect, event_idx and mergeable on one ring format, in random order."""
    rng = Random(seed() + packed)
    system = await start(dut, rng)
    pairs = system.config.virtio_net.queue_pairs
    frames = parameters()["frames"]
    combinations = list(itertools.product([False, True], repeat=3))
    rng.shuffle(combinations)
    memory = system.host.memory_in_use
    delivered = sent = 0
    for indirect, event_idx, mergeable in combinations[: parameters()["combinations"]]:
        random_stalls(system, rng)
        options = random_options(
            rng,
            pairs=pairs,
            packed=packed,
            indirect=indirect,
            event_idx=event_idx,
            mergeable=mergeable,
        )
        cocotb.log.info("%r, %r", options, system.pcie.completions.settings)
        net = await system.device.net(0, options)
        assert net.features == options.features & ~(
            Feature.ACCESS_PLATFORM | Feature.ORDER_PLATFORM
        ) | net.features & (Feature.ACCESS_PLATFORM | Feature.ORDER_PLATFORM)
        traffic = Traffic(system, net, rng)
        await traffic.run(frames * pairs, frames)
        delivered += traffic.received.compared
        sent += traffic.sent.compared
        assert traffic.received.compared == traffic.sent.compared == frames * pairs
        assert await net.stop() == []
        assert system.host.memory_in_use == memory, "the driver leaks memory"
    await clean(system, delivered, sent)


@cocotb.test()
async def packed_ring(dut):
    await every_combination(dut, True)


@cocotb.test()
async def split_ring(dut):
    await every_combination(dut, False)
