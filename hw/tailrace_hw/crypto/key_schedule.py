"""Key expansion in hardware."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from tailrace_hw.crypto import gf256
from tailrace_hw.crypto.decrypting import MIRRORED
from tailrace_hw.crypto.table_sbox import TableSbox
from tailrace_hw.crypto.types import ROUNDS, STAGES, KeySize

__all__ = ["AesKeySchedule", "KeyMaterial", "KeyRow"]

_LAST = STAGES - 1
#: First row of InvMixColumns' matrix (FIPS 197, 5.3.3).
_INVERSE_MIX = (0x0E, 0x0B, 0x0D, 0x09)


class KeyMaterial(data.Struct):
    """A key to be expanded."""

    #: Byte 0 in bits 7:0; a shorter key in the low bits, those above it are not looked at.
    key: 256
    size: KeySize
    #: The rows to decrypt with are wanted as well.
    reverse: 1


class KeyRow(data.Struct):
    """What a lane needs at a stage."""

    stage: range(STAGES)
    round_key: 128
    #: A row to decrypt with.
    reverse: 1
    #: The last row of this key.
    last: 1


class AesKeySchedule(wiring.Component):
    """Key expansion (FIPS 197, 5.2), in the form that :class:`~tailrace_hw.crypto.aes_lane.AesLane`
    uses, a stage a cycle.

    The first row of a key leaves :attr:`latency` cycles after the key came; then a row a cycle,
    stage 0 to stage 14; rows of stages that the lane passes by are 0. With ``reverse`` the 15 rows
    to decrypt with follow without a gap.

    A key that comes while ``busy`` is lost. ``busy`` is 0 again in the cycle of the last row but
    one, so that the rows of keys that come as early as they may follow without a gap.

    The last key's rows stay in registers and a LUT RAM until the next key's take their place. No
    output shows them again.

    Members
    -------
    i : In(stream of KeyMaterial, always ready)
    o : Out(stream of KeyRow, always ready)
    busy : Out(1)
    """

    #: Cycles from a key at the input to its first row at the output.
    latency = 2

    i: In(stream.Signature(KeyMaterial, always_ready=True))
    o: Out(stream.Signature(KeyRow, always_ready=True))
    busy: Out(1)

    def elaborate(self, platform):
        m = Module()
        size = Signal(KeySize)
        reverse = Signal()
        running = Signal()
        backwards = Signal()
        stage = Signal(range(STAGES))
        ends = Signal()
        start = Signal()
        m.d.comb += [
            ends.eq((stage == _LAST) & (backwards == reverse)),
            self.busy.eq(running & ~ends),
            start.eq(self.i.valid & ~self.busy),
        ]
        with m.If(running):
            m.d.sync += stage.eq(stage + 1)
            with m.If(stage == _LAST):
                m.d.sync += [stage.eq(0), backwards.eq(1), running.eq(~ends)]
        with m.If(start):
            m.d.sync += [
                running.eq(1),
                backwards.eq(0),
                stage.eq(0),
                size.eq(self.i.payload.size),
                reverse.eq(self.i.payload.reverse),
            ]

        #: The last stage that a lane passes by.
        passed = Signal(range(STAGES))
        with m.Switch(size):
            for value, rounds in ROUNDS.items():
                with m.Case(value):
                    m.d.comb += passed.eq(_LAST - rounds)
        row = self._expansion(m, start, size, running & ~backwards & (stage >= passed))
        nothing = Signal()
        m.d.comb += nothing.eq((stage != 0) & (stage <= passed))
        forward = Mux(nothing, 0, row)

        m.submodules.rows = rows = Memory(shape=128, depth=16, init=[])
        write, read = rows.write_port(), rows.read_port(domain="comb")
        m.d.comb += [
            write.addr.eq(stage),
            write.data.eq(forward),
            write.en.eq(running & ~backwards),
        ]
        # Round key j lies at stage j + passed, round key 0 at stage 0.
        with m.If(stage == 0):
            m.d.comb += read.addr.eq(_LAST)
        with m.Elif(stage == _LAST):
            m.d.comb += read.addr.eq(0)
        with m.Else():
            m.d.comb += read.addr.eq(passed + _LAST - stage)
        backward = Mux(nothing, 0, self._reversed(m, read.data, stage))
        m.d.sync += [
            self.o.valid.eq(running),
            self.o.payload.stage.eq(stage),
            self.o.payload.reverse.eq(backwards),
            self.o.payload.last.eq(ends),
            self.o.payload.round_key.eq(Mux(backwards, backward, forward)),
        ]
        return m

    def _expansion(self, m: Module, start: Value, size: Value, step: Value) -> Signal:
        """Round keys in order: the first when the key has come, the next after each ``step``."""
        short = size == KeySize.AES_128
        middle = size == KeySize.AES_192
        row = Signal(128)
        before = Signal(128)
        #: The next row is the second, and has what the first has left of the key.
        second = Signal()
        #: Number of the next row modulo 3, which is where SubWord stands in it with 192 bits; and
        #: modulo 2, which is what is done there with 256 bits.
        third = Signal(range(3))
        odd = Signal()
        constant = Signal(8, init=1)

        old = [before.word_select(index, 32) for index in range(4)]
        now = [row.word_select(index, 32) for index in range(4)]
        inside = Signal()
        m.d.comb += inside.eq(middle & (third == 1))
        word = Signal(32)
        m.d.comb += word.eq(Mux(inside, Mux(second, old[1], old[3] ^ old[2] ^ now[3]), now[3]))
        boxed = []
        for index in range(4):
            m.submodules[f"sbox_{index}"] = sbox = TableSbox()
            m.d.comb += sbox.i.eq(word.word_select(index, 8))
            boxed.append(sbox.o)
        plain = Signal()
        m.d.comb += plain.eq(~short & ~middle & odd)
        changed = Signal(32)
        m.d.comb += changed.eq(Mux(plain, Cat(boxed), Cat(boxed).rotate_right(8) ^ constant))

        #: Nk words back.
        back = [Mux(short, a, Mux(middle, b, c)) for a, b, c in
                zip(now, [*old[2:], *now[:2]], old, strict=True)]  # fmt: skip
        kept = second & ~short
        new = [Signal(32, name=f"word_{index}") for index in range(4)]
        first_term = Mux(middle & (third != 0), now[3], changed)
        third_term = Mux(inside, changed, new[1])
        m.d.comb += [
            new[0].eq(Mux(kept, old[0], back[0] ^ first_term)),
            new[1].eq(Mux(kept, old[1], back[1] ^ new[0])),
            new[2].eq(Mux(kept & ~middle, old[2], back[2] ^ third_term)),
            new[3].eq(Mux(kept & ~middle, old[3], back[3] ^ new[2])),
        ]
        with m.If(step):
            m.d.sync += [
                row.eq(Cat(new)),
                before.eq(row),
                second.eq(0),
                odd.eq(~odd),
                third.eq(Mux(third == 2, 0, third + 1)),
            ]
            with m.If(short | Mux(middle, third != 2, ~odd)):
                m.d.sync += constant.eq(gf256.linear(gf256.multiplication(2), constant))
        with m.If(start):
            m.d.sync += [
                Cat(row, before).eq(self.i.payload.key),
                second.eq(1),
                odd.eq(1),
                third.eq(1),
                constant.eq(1),
            ]
        return row

    @staticmethod
    def _reversed(m: Module, key: Value, stage: Value) -> Value:
        """The row to decrypt with that is made of a round key."""
        rows = [Signal(8, name=f"key_{index}") for index in range(16)]
        m.d.comb += Cat(rows).eq(key)
        turned = []
        for index in MIRRORED:
            column, row = index - index % 4, index % 4
            mixed, chosen = Signal(8, name=f"mixed_{index}"), Signal(8, name=f"chosen_{index}")
            terms = [
                gf256.linear(gf256.multiplication(factor), rows[column + (row + step) % 4])
                for step, factor in enumerate(_INVERSE_MIX)
            ]
            m.d.comb += [
                mixed.eq(terms[0] ^ terms[1] ^ terms[2] ^ terms[3]),
                chosen.eq(Mux(stage == 0, rows[index], mixed)),
            ]
            turned.append(gf256.linear(gf256.INVERSE_AFFINE, chosen))
        return Mux(stage == _LAST, key, Cat(turned))
