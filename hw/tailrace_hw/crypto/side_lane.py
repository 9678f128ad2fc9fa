"""The lane for what a packet needs once: its first block, its second pass; and for new keys."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.crypto.aes_lane import AesLane
from tailrace_hw.crypto.key_expander import SideUse
from tailrace_hw.crypto.key_store import RoundKeyStore
from tailrace_hw.crypto.types import STAGES, KeySize
from tailrace_hw.lib.delay import delayed

__all__ = ["SideLane"]


class SideLane(wiring.Component):
    """One AES lane with three users, who never come in the same cycle.

    Each names its row in one cycle and has its block ready in the next: a packet (J0 or tweak)
    with ``start``, a key that is expanded with ``use`` (the zero block), ciphertext stealing with
    ``second``. The result is in ``o`` ``latency`` cycles after the row was named, whoever it is
    for; ``hash_key`` says that it is H.

    Parameters
    ----------
    rows : :class:`int`
        Of the key table.
    xts : :class:`bool`
        The lane can decipher, which only a second pass asks for.

    Members
    -------
    start : In(1)
    start_row : In(range(rows))
    start_size : In(KeySize)
    start_block : In(128)
        In the cycle of ``start``.
    use : In(SideUse)
    second : In(1)
    second_row : In(range(rows))
    second_size : In(KeySize)
    second_decrypt : In(1)
    second_block : In(128)
        In the cycle after ``second``.
    row : Out(range(rows))
    write : Out(1)
        To the RAMs.
    keys : In(128), array by stage
        From them.
    o : Out(128)
    hash_key : Out(stream of 128 bits), always ready
    """

    latency = RoundKeyStore.latency + AesLane.latency

    def __init__(self, rows: int, *, xts: bool):
        self._xts = xts
        super().__init__(
            {
                "start": In(1),
                "start_row": In(range(rows)),
                "start_size": In(KeySize),
                "start_block": In(128),
                "use": In(SideUse),
                "second": In(1),
                "second_row": In(range(rows)),
                "second_size": In(KeySize),
                "second_decrypt": In(1),
                "second_block": In(128),
                "row": Out(range(rows)),
                "write": Out(1),
                "keys": In(128).array(STAGES),
                "o": Out(128),
                "hash_key": Out(stream.Signature(128, always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.lane = lane = AesLane(inverse=self._xts)
        size = Signal(KeySize)
        m.d.comb += [
            self.row.eq(self.start_row),
            self.write.eq(self.use.write),
            size.eq(self.start_size),
        ]
        with m.If(self.use.valid):
            m.d.comb += [self.row.eq(self.use.row), size.eq(self.use.size)]
        with m.Elif(self.second):
            m.d.comb += [self.row.eq(self.second_row), size.eq(self.second_size)]
        block = Mux(self.start, self.start_block, 0)
        second = delayed(m, self.second, 1, "second", reset=True)
        into = lane.i.payload
        m.d.comb += [
            lane.i.valid.eq(1),
            into.block.eq(Mux(second, self.second_block, delayed(m, block, 1, "block"))),
            into.size.eq(delayed(m, size, 1, "size")),
            into.decrypt.eq(delayed(m, self.second & self.second_decrypt, 1, "decrypt")),
            self.o.eq(lane.o.payload),
            self.hash_key.payload.eq(lane.o.payload),
            self.hash_key.valid.eq(delayed(m, self.use.hash, self.latency, "hash_key", reset=True)),
        ]
        for stage in range(STAGES):
            m.d.comb += lane.round_keys[stage].eq(self.keys[stage])
        return m
