"""Streams in Amaranth's own simulator: sending and receiving with random stalls.

Every function here is a coroutine for an Amaranth testbench (``sim.add_testbench``). ``stall`` is
the probability with which a side waits in a cycle; ``rng`` a seeded :class:`random.Random`, needed
only where something stalls (one of a fixed seed otherwise).
"""

from collections.abc import Iterable, Iterator
from random import Random
from typing import Any

from amaranth.hdl import Shape

__all__ = [
    "Packet",
    "from_beats",
    "receive",
    "receive_packets",
    "send",
    "send_packets",
    "to_beats",
]

#: Contents and metadata of a packet; the metadata is None on a stream without.
Packet = tuple[bytes, Any]


async def send(
    ctx, stream, items: Iterable, rng: Random | None = None, stall: float = 0.0, domain="sync"
) -> None:
    """Offer each of ``items`` until it is taken, waiting at random before each."""
    rng = rng or Random(0)
    for item in items:
        while stall and rng.random() < stall:
            await ctx.tick(domain)
        ctx.set(stream.payload, item)
        ctx.set(stream.valid, 1)
        ready = False
        while not ready:
            _, reset, ready = await ctx.tick(domain).sample(stream.ready)
            ready = ready and not reset
        ctx.set(stream.valid, 0)


class _Sink:
    """Takes items one by one. A stream that breaks the hold rule fails here."""

    def __init__(self, ctx, stream, rng: Random | None, stall: float, domain: str):
        self._ctx = ctx
        self._stream = stream
        self._rng = rng or Random(0)
        self._stall = stall
        self._domain = domain
        self._waiting: Any = None

    async def take(self):
        """Wait for the next item, ready at random; returns in the cycle after it was taken."""
        stream = self._stream
        while True:
            ready = not (self._stall and self._rng.random() < self._stall)
            self._ctx.set(stream.ready, ready)
            _, reset, valid, payload = await self._ctx.tick(self._domain).sample(
                stream.valid, stream.payload
            )
            self._check(reset, valid, payload)
            self._waiting = payload if valid and not ready and not reset else None
            if valid and ready and not reset:
                return payload

    def _check(self, reset, valid, payload) -> None:
        waiting = self._waiting
        if waiting is not None and not reset:
            assert valid, f"valid fell before the item was taken: {waiting}"
            assert payload == waiting, f"{waiting} became {payload} while waiting"


async def receive(
    ctx, stream, count: int, rng: Random | None = None, stall: float = 0.0, domain="sync"
) -> list:
    """Take ``count`` items; ``ready`` is set or not at random, whether or not one is offered."""
    sink = _Sink(ctx, stream, rng, stall, domain)
    taken = [await sink.take() for _ in range(count)]
    ctx.set(stream.ready, 0)
    return taken


def to_beats(packet: bytes, width: int, meta: Any = None) -> Iterator[dict]:
    """Beats of a packet, as initialisers for a beat of :mod:`tailrace_hw.lib.packet`."""
    if not packet:
        raise ValueError("a packet has at least one byte")
    size = width // 8
    for start in range(0, len(packet), size):
        chunk = packet[start : start + size]
        beat = {
            "data": int.from_bytes(chunk, "little"),
            "last": int(start + size >= len(packet)),
            "empty": size - len(chunk),
        }
        yield beat if meta is None else beat | {"meta": meta}


def from_beats(beats: Iterable) -> list[Packet]:
    """Packets of a list of beats (each with the metadata of its last beat).

    Raises
    ------
    AssertionError
        The beats end in the middle of a packet, or a beat other than the last is not full.
    """
    packets = []
    parts = b""
    open_packet = False
    for beat in beats:
        size = _data_bits(beat) // 8
        assert beat.last or not beat.empty, "only the last beat may have empty bytes"
        parts += int(beat.data).to_bytes(size, "little")[: size - beat.empty]
        open_packet = not beat.last
        if beat.last:
            packets.append((parts, beat.meta))
            parts = b""
    assert not open_packet, "the beats end in the middle of a packet"
    return packets


def _data_bits(beat) -> int:
    return Shape.cast(beat.shape()["data"].shape).width


async def send_packets(
    ctx,
    stream,
    packets: Iterable[Packet],
    width: int,
    rng: Random | None = None,
    stall: float = 0.0,
    domain="sync",
) -> None:
    """Send packets, each a pair of contents and metadata (None for none)."""
    beats = (beat for contents, meta in packets for beat in to_beats(contents, width, meta))
    await send(ctx, stream, beats, rng, stall, domain)


async def receive_packets(
    ctx, stream, count: int, rng: Random | None = None, stall: float = 0.0, domain="sync"
) -> list[Packet]:
    """Take beats until ``count`` packets are complete."""
    sink = _Sink(ctx, stream, rng, stall, domain)
    beats: list = []
    while count:
        beats.append(await sink.take())
        count -= beats[-1].last
    ctx.set(stream.ready, 0)
    return from_beats(beats)
