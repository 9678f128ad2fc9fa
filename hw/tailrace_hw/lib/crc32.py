"""Cyclic redundancy checks of 32 bits at full width."""

from dataclasses import dataclass
from functools import reduce
from operator import xor

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.lib.packet import NoMeta, PacketSignature
from tailrace_hw.lib.result_queue import ResultQueue

__all__ = ["CRC32", "CRC32C", "Crc32", "CrcAlgorithm"]

BITS = 32
#: Data bits that one XOR tree takes in before its register.
GROUP = 64


@dataclass(frozen=True)
class CrcAlgorithm:
    """A reflected 32-bit CRC: each byte enters with its least significant bit first.

    Attributes
    ----------
    polynomial : without x^32, the coefficient of x^31 in bit 31, as standards write it; odd
    init : register at the packet's start
    final_xor : XORed to the register at its end
    """

    polynomial: int
    init: int = 0xFFFF_FFFF
    final_xor: int = 0xFFFF_FFFF

    def __post_init__(self):
        if not self.polynomial & 1 or self.polynomial >> BITS:
            raise ValueError(f"not a CRC polynomial of degree {BITS}: {self.polynomial:#x}")

    @property
    def reflected(self) -> int:
        """The polynomial with x^31 in bit 0."""
        return int(f"{self.polynomial:032b}"[::-1], 2)

    def forward(self, state: int, bits: int) -> int:
        """The register after ``bits`` more message bits of 0."""
        for _ in range(bits):
            state = state >> 1 ^ (self.reflected if state & 1 else 0)
        return state

    def back(self, state: int, bits: int) -> int:
        """The register from which ``bits`` message bits of 0 have led to ``state``."""
        for _ in range(bits):
            out = state >> (BITS - 1)
            state = (state ^ (self.reflected if out else 0)) << 1 | out
        return state


#: IEEE 802.3, 3.2.9: the frame check sequence of Ethernet.
CRC32 = CrcAlgorithm(0x04C1_1DB7)
#: Castagnoli's polynomial, RFC 3720, B.4 (iSCSI, NVMe/TCP).
CRC32C = CrcAlgorithm(0x1EDC_6F41)


class Crc32(wiring.Component):
    """CRC of each packet, of any length in bytes.

    Takes a packet stream, gives one result a packet, in order. One beat a cycle whatever the
    packets' lengths, ``i.ready`` from a register. Latency from the last beat:
    ``6 + log2(width / 8)`` cycles. When results are not taken, ``i.ready`` falls; nothing is
    dropped.

    Every beat is taken for a full one, the unused bytes as zeros: what these zeros did to the
    register is undone afterwards, a power of two a stage. The update is linear and invertible, and
    this costs far less than a shifter across the data.

    Parameters
    ----------
    width : :class:`int`
        Datapath width in bits.
    meta : shape-like
        Metadata, not looked at.
    algorithm : :class:`CrcAlgorithm`
        Default: IEEE 802.3.

    Members
    -------
    i : In(PacketSignature(width, meta))
    o : Out(stream of 32 bits)
        As ``zlib.crc32`` gives it. In an Ethernet frame it is sent least significant byte first.
    """

    def __init__(self, width: int, meta=NoMeta, algorithm: CrcAlgorithm = CRC32):
        self._width = width
        self._algorithm = algorithm
        super().__init__({"i": In(PacketSignature(width, meta)), "o": Out(stream.Signature(BITS))})

    def elaborate(self, platform):
        m = Module()
        empty_bits = len(self.i.payload.empty)
        m.submodules.results = results = ResultQueue(BITS, empty_bits + 9)
        taken = Signal()
        m.d.comb += [
            taken.eq(self.i.valid & self.i.ready),
            self.i.ready.eq(results.ready),
            results.start.eq(taken & self.i.payload.last),
            self.o.valid.eq(results.o.valid),
            self.o.payload.eq(results.o.payload),
            results.o.ready.eq(self.o.ready),
        ]
        masked = Signal(self._width)
        flags = self._delay(m, "masked", taken, self.i.payload.last, self.i.payload.empty)
        size = self._width // 8
        keep = Cat((self.i.payload.empty < size - k).replicate(8) for k in range(size))
        m.d.sync += masked.eq(self.i.payload.data & keep)
        beat_crc, flags = self._reduce(m, masked, flags)
        self._accumulate(m, beat_crc, flags, results.i)
        return m

    def _delay(self, m, stage, valid, last, empty):
        """What is known of a beat, one register later."""
        late = (
            Signal(name=f"{stage}_valid"),
            Signal(name=f"{stage}_last"),
            Signal(len(empty), name=f"{stage}_empty"),
        )
        m.d.sync += [late[0].eq(valid), late[1].eq(last), late[2].eq(empty)]
        return late

    def _reduce(self, m, masked, flags):
        """What a beat alone adds to the register: XOR trees with a register in the middle."""
        algorithm, width = self._algorithm, self._width
        # Bit k is followed by width - 1 - k more; built from the last, one step at a time.
        columns = [algorithm.reflected]
        for _ in range(width - 1):
            columns.append(algorithm.forward(columns[-1], 1))
        columns.reverse()
        parts = []
        for low in range(0, width, GROUP):
            part = Signal(BITS, name=f"part_{low}")
            m.d.sync += part.eq(_product(columns[low : low + GROUP], masked[low : low + GROUP]))
            parts.append(part)
        flags = self._delay(m, "part", *flags)
        beat_crc = Signal(BITS)
        m.d.sync += beat_crc.eq(reduce(xor, parts))
        return beat_crc, self._delay(m, "beat", *flags)

    def _accumulate(self, m, beat_crc, flags, result):
        """Chain the beats, then take back the zeros at the end."""
        algorithm = self._algorithm
        valid, last, empty = flags
        state = Signal(BITS, init=algorithm.init)
        advanced = Signal(BITS)
        columns = [algorithm.forward(1 << k, self._width) for k in range(BITS)]
        m.d.comb += advanced.eq(_product(columns, state) ^ beat_crc)
        with m.If(valid):
            m.d.sync += state.eq(Mux(last, algorithm.init, advanced))
        unpadded = Signal(BITS, name="chained_crc")
        m.d.sync += unpadded.eq(advanced)
        valid, _, empty = self._delay(m, "chained", valid & last, last, empty)
        for bit in range(len(empty)):
            columns = [algorithm.back(1 << k, 8 << bit) for k in range(BITS)]
            shorter = Signal(BITS, name=f"unpadded{bit}_crc")
            m.d.sync += shorter.eq(Mux(empty[bit], _product(columns, unpadded), unpadded))
            unpadded = shorter
            valid, _, empty = self._delay(m, f"unpadded{bit}", valid, 0, empty)
        m.d.comb += [
            result.valid.eq(valid),
            result.payload.eq(unpadded ^ algorithm.final_xor),
        ]


def _product(columns, vector):
    """Matrix times vector over GF(2): the XOR of the columns whose bit is set."""
    rows = []
    for row in range(BITS):
        terms = [vector[k] for k, column in enumerate(columns) if column >> row & 1]
        rows.append(Cat(terms).xor() if terms else Const(0, 1))
    return Cat(rows)
