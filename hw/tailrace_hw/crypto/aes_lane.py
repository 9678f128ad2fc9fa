"""One block of AES in each cycle."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.crypto import gf256
from tailrace_hw.crypto.decrypting import MIRRORED
from tailrace_hw.crypto.mix_column import MixColumn
from tailrace_hw.crypto.table_sbox import TableSbox
from tailrace_hw.crypto.types import ROUNDS, STAGES, AesBlock, KeySize

__all__ = ["AesLane"]

_LAST = STAGES - 1
#: Where a way round stages ends, and which keys take it; the second begins where the first ends.
_WAYS_ROUND = {
    _LAST - ROUNDS[KeySize.AES_192]: (KeySize.AES_128, KeySize.AES_192),
    _LAST - ROUNDS[KeySize.AES_128]: (KeySize.AES_128,),
}


class AesLane(wiring.Component):
    """The cipher of FIPS 197, 5.1, and with ``inverse`` its inverse: a block a cycle, no stalls.

    A block is at the output :attr:`latency` cycles after it was at the input, whatever its key
    size: stage 0 is the first AddRoundKey, the last round is always stage 14, and a key of r
    rounds passes the stages 1 to 14 - r by. Blocks of different keys, sizes and directions may
    follow each other without a gap. What leaves is undefined while ``o.valid`` is 0.

    Stage s uses ``round_keys[s]``, s cycles after the block was on ``i``. To encrypt it is round
    key 0 at stage 0, and round key s - (14 - r) at a stage s behind those passed by; at these it
    does not matter.

    To decrypt (FIPS 197, 5.3.5: the equivalent inverse cipher) it is round key r at stage 0,
    InvMixColumns of round key 14 - s at a stage s, and at stage 14 round key 0. All but the last
    are in the form of :mod:`tailrace_hw.crypto.decrypting`, as the block is: the columns in the
    order 0, 3, 2, 1, and the matrix of the inverse affine transformation done to each byte.
    :class:`~tailrace_hw.crypto.key_schedule.AesKeySchedule` makes both kinds.

    Parameters
    ----------
    inverse : :class:`bool`
        Decrypts blocks with ``decrypt`` set. Otherwise ``decrypt`` is not looked at.
    sbox : component like :class:`~tailrace_hw.crypto.table_sbox.TableSbox`
        How SubBytes is made.

    Members
    -------
    i : In(stream of AesBlock, always ready)
    round_keys : In(128).array(15)
    o : Out(stream of 128 bits, always ready)
    """

    #: Cycles from a block at the input to its result at the output.
    latency = STAGES

    def __init__(self, *, inverse: bool = False, sbox: type = TableSbox):
        self.inverse = inverse
        self._sbox = sbox
        super().__init__(
            {
                "i": In(stream.Signature(AesBlock, always_ready=True)),
                "round_keys": In(128).array(STAGES),
                "o": Out(stream.Signature(128, always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        block = self.i.payload
        size, decrypt, valid = block.size, block.decrypt, self.i.valid
        short: Value = Const(0)
        state: Value = block.block
        beside: Value = state
        for stage in range(STAGES):
            result = self._stage(m, stage, state, decrypt)
            if stage in _WAYS_ROUND:
                result = Mux(short, beside, result)
            state = self._register(m, f"state_{stage}", result)
            if stage == 0 or stage in _WAYS_ROUND:
                beside = state
            elif stage < max(_WAYS_ROUND):
                beside = self._register(m, f"beside_{stage}", beside)
            if stage + 1 in _WAYS_ROUND:
                takes_it = Cat(size == who for who in _WAYS_ROUND[stage + 1]).any()
                short = self._register(m, f"short_{stage}", takes_it)
            if stage + 1 < max(_WAYS_ROUND):
                size = self._register(m, f"size_{stage}", size)
            if self.inverse and stage < _LAST:
                decrypt = self._register(m, f"decrypt_{stage}", decrypt)
            arrived = Signal(name=f"valid_{stage}")
            m.d.sync += arrived.eq(valid)
            valid = arrived
        m.d.comb += [self.o.payload.eq(state), self.o.valid.eq(valid)]
        return m

    @staticmethod
    def _register(m: Module, name: str, value: Value) -> Signal:
        """Data need no reset: ``valid`` says when they count."""
        register = Signal.like(value, name=name, init=0, reset_less=True)
        m.d.sync += register.eq(value)
        return register

    def _stage(self, m: Module, stage: int, state: Value, decrypt: Value) -> Value:
        key = self.round_keys[stage]
        if stage == 0:
            return self._converted(state, decrypt) ^ key
        substituted = []
        for index in range(16):
            m.submodules[f"sbox_{stage}_{index}"] = sbox = self._sbox()
            m.d.comb += sbox.i.eq(state.word_select(index, 8))
            substituted.append(sbox.o)
        shifted = _shift_rows(substituted)
        if stage == _LAST:
            return self._converted(Cat(shifted), decrypt) ^ key
        mixed = []
        for column in range(4):
            m.submodules[f"mix_{stage}_{column}"] = mix = MixColumn(inverse=self.inverse)
            m.d.comb += [
                mix.i.eq(Cat(shifted[4 * column : 4 * column + 4])),
                mix.key.eq(key.word_select(column, 32)),
            ]
            if self.inverse:
                m.d.comb += mix.decrypt.eq(decrypt)
            mixed.append(mix.o)
        return Cat(mixed)

    def _converted(self, block: Value, decrypt: Value) -> Value:
        """Into the form in which a block is decrypted, or with the S-box just passed out of it."""
        if not self.inverse:
            return block
        undone = Cat(
            gf256.linear(gf256.INVERSE_AFFINE, byte ^ gf256.AFFINE_CONSTANT)
            for byte in (block.word_select(index, 8) for index in MIRRORED)
        )
        return Mux(decrypt, undone, block)


def _shift_rows(block: list[Value]) -> list[Value]:
    """FIPS 197, 5.1.2: row r is turned left by r columns."""
    return [block[(index + 4 * (index % 4)) % 16] for index in range(16)]
