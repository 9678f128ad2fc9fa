"""An engine for tests, with all the ways in which a cipher engine can answer."""

from functools import reduce
from operator import xor

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, connect, flipped

from tailrace_hw.crypto.types import MAX_AAD
from tailrace_hw.jobs.operations import Destination, Operation
from tailrace_hw.jobs.types import EnginePort, EngineResult, JobStatus, Opcode, OutputMeta
from tailrace_hw.lib.fifo import SyncFifo
from tailrace_hw.lib.packet_fifo import PacketFifo

__all__ = ["KEY_BYTES", "STAND_IN_OPERATIONS", "StandInEngine"]

KEY_BYTES = 80
STAND_IN_OPERATIONS = (
    Operation(Opcode.GCM_ENCRYPT, 1, 0, 16384, whole=True),
    Operation(Opcode.GCM_DECRYPT, 1, 0, 16384, whole=True),
    Operation(Opcode.XTS_ENCRYPT, 1, 16, 16384, whole=True),
    Operation(
        Opcode.KEY_INSTALL, 1, KEY_BYTES, KEY_BYTES, Destination.NEVER, output=False, whole=True
    ),
)


class StandInEngine(wiring.Component):
    """Flips the bits of each byte that ``iv`` has set in its first one.

    A job fails, without a packet, with the status in the low nibble of ``key`` unless that is 0,
    and with LENGTH if it has another length than it says. The tag of the result is ``iv`` ^
    ``tag`` ^ each 16 bytes of ``aad`` ^ the lengths and flags; the CRC is ``key``. Packets
    come when their results are long there, or before: both wait now and then.

    Members
    -------
    port : In(EnginePort(width))
    """

    def __init__(self, width: int):
        self._width = width
        super().__init__({"port": In(EnginePort(width))})

    def elaborate(self, platform):
        m = Module()
        octets = self._width // 8
        m.submodules.held = held = PacketFifo(
            self._width, OutputMeta, 2 * 16384 // octets, stall=True
        )
        m.submodules.results = results = SyncFifo(EngineResult, 4)
        random = Signal(16, init=0xACE1)
        m.d.sync += random.eq(
            Cat(random[1:], random[0] ^ random[2] ^ random[3] ^ random[5])
        )
        i, meta, result = self.port.i, self.port.i.payload.meta, results.i.payload
        seen = Signal(21)
        now = Signal(21)
        goes, no_output, failed = Signal(), Signal(), Signal()
        # Without a length one byte comes.
        expected = Mux(meta.length == 0, 1, meta.length)
        m.d.comb += [
            now.eq(seen + octets - i.payload.empty),
            goes.eq(results.i.ready & held.i.ready & (random[:3] != 0)),
            i.ready.eq(goes),
            held.i.valid.eq(i.valid & results.i.ready & (random[:3] != 0)),
            held.i.payload.data.eq(i.payload.data ^ meta.iv[:8].replicate(octets)),
            held.i.payload.last.eq(i.payload.last),
            held.i.payload.empty.eq(i.payload.empty),
            held.i.payload.meta.slot.eq(meta.slot),
            no_output.eq((meta.length == 0) | (meta.opcode == Opcode.KEY_INSTALL)),
            failed.eq(result.status != JobStatus.OK),
            held.drop.eq(no_output | failed),
            results.i.valid.eq(i.valid & goes & i.payload.last),
            result.slot.eq(meta.slot),
            result.crc.eq(meta.key),
            result.tag.eq(
                meta.iv ^ meta.tag
                ^ reduce(xor, (meta.aad.word_select(k, 128) for k in range(MAX_AAD // 16)))
                ^ Cat(meta.length, meta.tag_length, meta.aad_length, meta.j0, meta.opcode,
                      meta.function)
            ),
        ]  # fmt: skip
        with m.If(now != expected):
            m.d.comb += result.status.eq(JobStatus.LENGTH)
        with m.Else():
            m.d.comb += result.status.eq(meta.key[:4])
        with m.If(i.valid & goes):
            m.d.sync += seen.eq(Mux(i.payload.last, 0, now))
        connect(m, held.o, flipped(self.port.o))
        slow = Signal()
        with m.If(~(self.port.result.valid & ~self.port.result.ready)):
            m.d.sync += slow.eq(random[4:8] != 0)
        m.d.comb += [
            self.port.result.payload.eq(results.o.payload),
            self.port.result.valid.eq(results.o.valid & ~slow),
            results.o.ready.eq(self.port.result.ready & ~slow),
        ]
        return m
