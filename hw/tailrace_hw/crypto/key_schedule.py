"""Key expansion in hardware."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from tailrace_hw.crypto import gf256
from tailrace_hw.crypto.decrypting import MIRRORED
from tailrace_hw.crypto.mix_column import MixColumn
from tailrace_hw.crypto.table_sbox import TableSbox
from tailrace_hw.crypto.types import ROUNDS, STAGES, KeySize
from tailrace_hw.lib.delay import delayed

__all__ = ["AesKeySchedule", "KeyMaterial", "KeyRow"]

_LAST = STAGES - 1


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

    A key that comes while ``busy`` is lost. ``busy`` is 0 again two cycles before the last row
    leaves, so that the rows of keys that come as early as they may follow without a gap.

    The last key's rows stay in registers and a LUT RAM until the next key's take their place. No
    output shows them again.

    Members
    -------
    i : In(stream of KeyMaterial, always ready)
    o : Out(stream of KeyRow, always ready)
    busy : Out(1)
    """

    #: Cycles from a key at the input to its first row at the output.
    latency = 3

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
        #: The last stage that a lane passes by.
        passed = Signal(range(STAGES))
        following = Signal(range(STAGES))
        m.d.comb += following.eq(Mux(stage == _LAST, 0, stage + 1))
        with m.If(running):
            m.d.sync += stage.eq(following)
            with m.If(stage == _LAST):
                m.d.sync += [backwards.eq(1), running.eq(~ends)]
        with m.If(start):
            m.d.sync += [
                running.eq(1),
                backwards.eq(0),
                stage.eq(0),
                size.eq(self.i.payload.size),
                reverse.eq(self.i.payload.reverse),
            ]
            with m.Switch(self.i.payload.size):
                for value, rounds in ROUNDS.items():
                    with m.Case(value):
                        m.d.sync += passed.eq(_LAST - rounds)

        row = self._expansion(m, start, size, running & ~backwards & (stage >= passed))
        nothing = Signal()
        m.d.comb += nothing.eq((stage != 0) & (stage <= passed))
        forward = Mux(nothing, 0, row)

        m.submodules.rows = rows = Memory(shape=128, depth=16, init=[])
        write, read = rows.write_port(), rows.read_port(domain="comb")
        address = Signal(4)
        m.d.comb += [
            write.addr.eq(stage),
            write.data.eq(forward),
            write.en.eq(running & ~backwards),
            read.addr.eq(address),
        ]
        # Round key j lies at stage j + passed, round key 0 at stage 0.
        with m.If(following == 0):
            m.d.sync += address.eq(_LAST)
        with m.Elif(following == _LAST):
            m.d.sync += address.eq(0)
        with m.Else():
            m.d.sync += address.eq(passed + _LAST - following)
        # One more register, and the row as it is or made to decrypt with leaves from there.
        source = Signal(128)
        mixed = Signal()
        turned = Signal()
        m.d.sync += [
            source.eq(Mux(backwards, Mux(nothing, 0, read.data), forward)),
            mixed.eq(stage != 0),
            turned.eq(backwards & (stage != _LAST)),
        ]
        row_out = self.o.payload
        m.d.sync += [
            row_out.round_key.eq(Mux(turned, self._reversed(m, source, mixed), source)),
            self.o.valid.eq(delayed(m, running, 1, "running", reset=True)),
            row_out.stage.eq(delayed(m, stage, 1, "stage")),
            row_out.reverse.eq(delayed(m, backwards, 1, "backwards")),
            row_out.last.eq(delayed(m, ends, 1, "ends")),
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
        #: With 192 bits: SubWord stands inside the next row; it does not stand at its beginning.
        inside, elsewhere = Signal(), Signal()
        # A module of its own for what is in front of the S-boxes, as in _reversed.
        word = Signal(32)
        m.submodules.choice = choice = Module()
        choice.d.comb += word.eq(Mux(inside, Mux(second, old[1], old[3] ^ old[2] ^ now[3]), now[3]))
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
        first_term = Mux(elsewhere, now[3], changed)
        third_term = Mux(inside, changed, new[1])
        m.d.comb += [
            new[0].eq(Mux(kept, old[0], back[0] ^ first_term)),
            new[1].eq(Mux(kept, old[1], back[1] ^ new[0])),
            new[2].eq(Mux(kept & ~middle, old[2], back[2] ^ third_term)),
            new[3].eq(Mux(kept & ~middle, old[3], back[3] ^ new[2])),
        ]
        following = Mux(third == 2, 0, third + 1)
        with m.If(step):
            m.d.sync += [
                row.eq(Cat(new)),
                before.eq(row),
                second.eq(0),
                odd.eq(~odd),
                third.eq(following),
                inside.eq(middle & (following == 1)),
                elsewhere.eq(middle & (following != 0)),
            ]
            with m.If(short | Mux(middle, third != 2, ~odd)):
                m.d.sync += constant.eq(gf256.linear(gf256.multiplication(2), constant))
        with m.If(start):
            m.d.sync += [
                Cat(row, before).eq(self.i.payload.key),
                second.eq(1),
                odd.eq(1),
                third.eq(1),
                Cat(inside, elsewhere).eq(
                    (self.i.payload.size == KeySize.AES_192).replicate(2),
                ),
                constant.eq(1),
            ]
        return row

    @staticmethod
    def _reversed(m: Module, key: Value, mixed: Value) -> Value:
        """The row to decrypt with that is made of a round key, with InvMixColumns or without."""
        result = Signal(128)
        # A module of its own: synthesis that works module by module does not see from here that
        # what goes into MixColumns is on a long path.
        m.submodules.spread = spread = Module()
        for column in range(4):
            # InvMixColumns is MixColumns behind the matrix of 5, 0, 4, 0.
            rows = [key.word_select(4 * column + row, 8) for row in range(4)]
            sums = [Signal(8, name=f"sum_{column}_{pair}") for pair in range(2)]
            entering = Signal(32, name=f"spread_{column}")
            spread.d.comb += [sums[pair].eq(rows[pair] ^ rows[pair + 2]) for pair in range(2)]
            four = [gf256.linear(gf256.multiplication(4), pair) for pair in sums]
            spread.d.comb += entering.eq(Cat(rows[row] ^ four[row % 2] for row in range(4)))
            m.submodules[f"mix_{column}"] = mix = MixColumn()
            m.d.comb += [mix.i.eq(entering), result.word_select(column, 32).eq(mix.o)]
        chosen = Signal(128)
        m.d.comb += chosen.eq(Mux(mixed, result, key))
        return Cat(
            gf256.linear(gf256.INVERSE_AFFINE, chosen.word_select(index, 8)) for index in MIRRORED
        )
