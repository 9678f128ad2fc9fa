"""Drives rigid pipelines: an item, or a gap, every cycle."""

from collections.abc import Sequence
from random import Random

from amaranth.hdl import Shape

from tailrace_sim.unit import simulate

__all__ = ["as_block", "as_bytes", "run_rigid"]


def as_block(data: bytes) -> int:
    """A block as streams carry it, byte 0 in bits 7:0."""
    return int.from_bytes(data, "little")


def as_bytes(block: int) -> bytes:
    """The bytes of a block."""
    return block.to_bytes(16, "little")


def run_rigid(
    dut, cycles: Sequence[tuple[dict, list[int]] | None], rng: Random, extra: int = 0
) -> list[tuple[int, bytes]]:
    """What leaves ``dut.o`` and when, counted in cycles from the first one of ``cycles``.

    Parameters
    ----------
    cycles : what is on ``i`` and on ``powers`` in each cycle; None is a gap, with noise on both
    extra : cycles that are watched beyond the latency after the last item
    """
    powers = getattr(dut, "powers", [])
    shape = dut.i.payload.shape()
    left = []

    async def run(ctx):
        for cycle in range(len(cycles) + dut.latency + 1 + extra):
            item = cycles[cycle] if cycle < len(cycles) else None
            if item is None:
                payload = shape.from_bits(rng.getrandbits(Shape.cast(shape).width))
                chosen = [rng.getrandbits(128) for _ in powers]
            else:
                payload, chosen = item
            ctx.set(dut.i.valid, item is not None)
            ctx.set(dut.i.payload, payload)
            for signal, value in zip(powers, chosen, strict=True):
                ctx.set(signal, value)
            if ctx.get(dut.o.valid):
                left.append((cycle, as_bytes(ctx.get(dut.o.payload))))
            await ctx.tick()

    simulate(dut, run)
    return left
