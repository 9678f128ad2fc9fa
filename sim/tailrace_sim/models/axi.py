"""AXI4 bursts (ARM IHI 0022): which bytes of which address each beat carries, from the formulas of
"Transfer address" and "Data read and write structure" alone."""

from collections.abc import MutableSequence
from dataclasses import dataclass, field
from random import Random

__all__ = [
    "BOUNDARY", "DECERR", "FIXED", "INCR", "OKAY", "SLVERR", "WRAP", "Burst", "random_burst",
]  # fmt: skip

FIXED, INCR, WRAP = 0, 1, 2
OKAY, SLVERR, DECERR = 0, 2, 3
#: No burst crosses a multiple of this.
BOUNDARY = 4096


@dataclass
class Burst:
    """A transaction of a manager.

    Attributes
    ----------
    write : or a read
    id, address : as on AWID and AWADDR
    size : AWSIZE, log2 of the bytes of a beat
    beats : AWLEN + 1
    type : AWBURST
    data, strobes : of a write, an integer each beat
    """

    write: bool
    id: int
    address: int
    size: int
    beats: int
    type: int = INCR
    data: list[int] = field(default_factory=list)
    strobes: list[int] = field(default_factory=list)

    def address_of(self, beat: int) -> int:
        """Of its first byte."""
        step = 1 << self.size
        if self.type == FIXED or beat == 0:
            return self.address
        address = self.address // step * step + beat * step
        if self.type == WRAP:
            container = step * self.beats
            low = self.address // container * container
            return address - container if address >= low + container else address
        return address

    def lanes_of(self, beat: int, lanes: int) -> range:
        """Byte lanes that a beat uses of a bus of so many."""
        step = 1 << self.size
        start = self.address_of(beat)
        return range(start % lanes, start % lanes + step - start % step)

    def store(self, memory: MutableSequence[int], base: int, lanes: int) -> None:
        """A write's bytes into a memory that starts at address ``base``."""
        for beat, (data, strobes) in enumerate(zip(self.data, self.strobes, strict=True)):
            word = self.address_of(beat) // lanes * lanes - base
            for lane in range(lanes):
                if strobes >> lane & 1:
                    memory[word + lane] = data >> 8 * lane & 0xFF


def random_burst(rng: Random, lanes: int, ids: int, write: bool, page: int) -> Burst:
    """A legal burst in the page at ``page``: every type, narrow, unaligned, with any strobes."""
    size = rng.randrange(lanes.bit_length())
    step = 1 << size
    kind = rng.choice([INCR, INCR, INCR, WRAP, FIXED])
    if kind == WRAP:
        beats = rng.choice([2, 4, 8, 16])
        container = step * beats
        address = page + container * rng.randrange(BOUNDARY // container)
        address += step * rng.randrange(beats)
    else:
        beats = rng.choice([1, 1, 2, 3, rng.randint(1, 16 if kind == FIXED else 40)])
        address = page + rng.randrange(BOUNDARY)
        if kind == INCR:
            beats = min(beats, (BOUNDARY - (address - page) // step * step) // step)
    burst = Burst(write, rng.randrange(ids), address, size, beats, kind)
    for beat in range(beats if write else 0):
        mask = sum(1 << lane for lane in burst.lanes_of(beat, lanes))
        burst.data.append(rng.getrandbits(8 * lanes))
        burst.strobes.append(mask & rng.choice([mask, rng.getrandbits(lanes), 0]))
    return burst
