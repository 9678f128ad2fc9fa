"""What the primitives of the two families count as, and which way signals run through them.

A level is one LUT, one carry chain however long, or one read of LUT RAM. The wide multiplexers
behind LUTs (MUXF7 to MUXF9, PFUMX, L6MUX21) are in the LUTs' own slice and are no level.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields

__all__ = ["COUNTED", "Area", "arcs", "area", "clocked"]

_LUTS = {f"LUT{size}": 1 for size in range(1, 7)} | {"LUT6_2": 1, "INV": 1}
_REGISTERS = {
    *(f"FD{kind}{edge}" for kind in ("RE", "SE", "CE", "PE") for edge in ("", "_1")),
    "TRELLIS_FF",
}
_LATCHES = {"LDCE", "LDPE", "LDCPE"}
_CARRY = {"CARRY4": 1, "CARRY8": 2, "CCU2C": 1}
_WIDE = {"MUXF5", "MUXF6", "MUXF7", "MUXF8", "MUXF9", "PFUMX", "L6MUX21"}
#: LUTs that a memory made of LUTs takes.
_LUT_RAM = {
    "RAM32M": 4, "RAM64M": 4, "RAM32M16": 8, "RAM64M8": 8, "RAM32X16DR8": 8, "RAM64X8SW": 8,
    "RAM16X1D": 2, "RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4, "RAM256X1D": 8,
    "RAM16X1S": 1, "RAM32X1S": 1, "RAM64X1S": 1, "RAM128X1S": 2, "RAM256X1S": 4, "RAM512X1S": 8,
    "SRL16E": 1, "SRLC16E": 1, "SRLC32E": 1, "TRELLIS_DPR16X4": 4,
}  # fmt: skip
_BLOCK_RAM = {"RAMB18E1": 0.5, "RAMB18E2": 0.5, "RAMB36E1": 1.0, "RAMB36E2": 1.0, "DP16KD": 1.0,
              "PDPW16KD": 1.0}  # fmt: skip
_ULTRA_RAM = {"URAM288": 1, "URAM288_BASE": 1}
_DSP = {"DSP48E1": 1, "DSP48E2": 1, "MULT18X18D": 1, "MULT9X9D": 0.5, "ALU54B": 1}
_FREE = {"VCC", "GND", "VLO", "VHI", "BUFG", "IBUF", "OBUF"}

#: Every type that some column counts, or that costs nothing.
COUNTED = (
    set(_LUTS) | _REGISTERS | _LATCHES | set(_CARRY) | _WIDE | set(_LUT_RAM) | set(_BLOCK_RAM)
    | set(_ULTRA_RAM) | set(_DSP) | _FREE
)  # fmt: skip


@dataclass(frozen=True)
class Area:
    """What a netlist takes of a device.

    Attributes
    ----------
    lut : LUTs as logic; ECP5: LUT4, and two for each CCU2C
    ff : registers
    carry : CARRY4 (a CARRY8 counts two); ECP5: CCU2C
    wide : wide multiplexers behind LUTs
    lutram : LUTs as memory or shift register
    bram : block RAM in units of 36 Kbit; ECP5: DP16KD
    uram : URAM288
    dsp : DSP48E2; ECP5: MULT18X18D
    latch : latches, which a synchronous design should not have
    other : cells of no known type, such as hard blocks
    """

    lut: int = 0
    ff: int = 0
    carry: int = 0
    wide: int = 0
    lutram: int = 0
    bram: float = 0
    uram: int = 0
    dsp: float = 0
    latch: int = 0
    other: int = 0

    @property
    def cells(self) -> float:
        """Something is there if this is not 0."""
        return sum(getattr(self, entry.name) for entry in fields(self))


def area(counts: Mapping[str, int]) -> Area:
    """Area of so many cells of each type."""

    def total(weights: Mapping[str, float]) -> float:
        return sum(weights[kind] * count for kind, count in counts.items() if kind in weights)

    return Area(
        lut=int(total(_LUTS)) + 2 * counts.get("CCU2C", 0),
        ff=sum(counts.get(kind, 0) for kind in _REGISTERS),
        carry=int(total(_CARRY)),
        wide=sum(counts.get(kind, 0) for kind in _WIDE),
        lutram=int(total(_LUT_RAM)),
        bram=total(_BLOCK_RAM),
        uram=int(total(_ULTRA_RAM)),
        dsp=total(_DSP),
        latch=sum(counts.get(kind, 0) for kind in _LATCHES),
        other=sum(count for kind, count in counts.items() if kind not in COUNTED),
    )


Bits = Mapping[str, list[int | str]]
Arc = tuple[int | str, int | str, int]


def clocked(kind: str) -> int | None:
    """Level at which a clocked output stands after the edge; None: a cell without a clock.

    LUT RAM and shift registers of LUTs are read through the LUT, so they stand at 1. A cell of no
    known type is taken as clocked at all its ports, and so is a DSP.
    """
    if kind in _LUT_RAM:
        return 1
    if kind in _LUTS or kind in _CARRY or kind in _WIDE or kind in _FREE:
        return None
    return 0


def arcs(kind: str, pins: Bits, outputs: set[str]) -> Iterator[Arc]:
    """Paths through a cell as (source bit, target bit, levels).

    Parameters
    ----------
    kind : type of the cell
    pins : bits of each pin, as Yosys's JSON has them
    outputs : which pins drive
    """
    if kind in _LUTS or kind in _WIDE:
        yield from _every(pins, [pin for pin in pins if pin not in outputs], outputs,
                          1 if kind in _LUTS else 0)  # fmt: skip
    elif kind in ("CARRY4", "CARRY8"):
        yield from _carry(pins)
    elif kind == "CCU2C":
        yield from _ccu2c(pins)
    elif kind in _LUT_RAM:
        yield from _lut_ram(kind, pins, outputs)


def _every(
    pins: Bits, sources: Iterable[str], targets: Iterable[str], levels: int
) -> Iterator[Arc]:
    for target in targets:
        for bit in pins.get(target, ()):
            for source in sources:
                for first in pins.get(source, ()):
                    yield first, bit, levels


def _carry(pins: Bits) -> Iterator[Arc]:
    """Into the chain costs a level, along the chain and out of it nothing."""
    yield from _every(pins, ["CI"], ["CO", "O"], 0)
    yield from _every(pins, ["CYINIT", "CI_TOP"], ["CO", "O"], 1)
    for pin, output, first in (("S", "CO", 0), ("S", "O", 0), ("DI", "CO", 0), ("DI", "O", 1)):
        targets = pins.get(output, [])
        for index, source in enumerate(pins.get(pin, [])):
            for target in targets[index + first :]:
                yield source, target, 1


def _ccu2c(pins: Bits) -> Iterator[Arc]:
    yield from _every(pins, ["CIN"], ["S0", "S1", "COUT"], 0)
    yield from _every(pins, ["A0", "B0", "C0", "D0"], ["S0", "S1", "COUT"], 1)
    yield from _every(pins, ["A1", "B1", "C1", "D1"], ["S1", "COUT"], 1)


def _lut_ram(kind: str, pins: Bits, outputs: set[str]) -> Iterator[Arc]:
    """Read address to read data."""
    for output in outputs:
        if kind.startswith("SRL"):
            sources = [pin for pin in pins if pin.startswith("A")]
        elif output == "DPO":
            sources = [pin for pin in pins if pin.startswith("DPRA")]
        elif kind.startswith("TRELLIS"):
            sources = ["RAD"]
        elif output.startswith("DO") and len(output) == 3:
            sources = ["ADDR" + output[2]]
        else:
            sources = [pin for pin in pins if pin.startswith("A")]
        yield from _every(pins, sources, [output], 1)
