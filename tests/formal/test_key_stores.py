"""What ``KeyExpander`` is asked to erase is gone from the RAMs of round keys and powers of H.

Within a RAM's place in the wave that erases, at most ``STAGES`` cycles after ``done``. All
keys have a mark in their bits, it goes wherever they go, and their arithmetic is left out.
"""

from types import ModuleType

import pytest
from amaranth.hdl import Assert, Assume, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from tailrace_hw.crypto import key_expander, key_store
from tailrace_hw.crypto.aad_unit import AadUnit
from tailrace_hw.crypto.key_schedule import AesKeySchedule
from tailrace_hw.crypto.types import STAGES, KeyKind
from tailrace_hw.lib.delay import delayed
from tailrace_sim.formal import holds, mutant, prove

pytestmark = pytest.mark.formal


class _Schedule(AesKeySchedule):
    """In place of the key schedule: rows at its cycles, all with the mark of the key, or none."""

    def elaborate(self, platform):
        m = Module()
        left = Signal(range(2 * STAGES + 1))
        mark = Signal()
        with m.If(left != 0):
            m.d.sync += left.eq(left - 1)
        with m.If(self.i.valid):
            rows = Mux(self.i.payload.reverse, 2 * STAGES, STAGES)
            m.d.sync += [left.eq(rows), mark.eq(self.i.payload.key[0])]
        wait = self.latency - 1
        m.d.comb += [
            self.o.valid.eq(delayed(m, left != 0, wait, "valid", reset=True)),
            self.o.payload.last.eq(delayed(m, left == 1, wait, "last", reset=True)),
            self.o.payload.round_key.eq(mark),
        ]
        return m


def _expander(old: str = "__all__ =", new: str = "__all__ =") -> ModuleType:
    copy = mutant(key_expander, old, new)
    copy.AesKeySchedule = _Schedule
    return copy


class StoreProof(wiring.Component):
    """What the expander is asked to erase is gone from the RAMs, ``STAGES`` cycles behind ``done``.

    All keys have a mark in each of their bits, and it goes wherever they go.
    """

    asks: In(1)
    erase: In(1)
    to_row: In(2)
    kind: In(KeyKind)
    granted: In(1)
    hash_now: In(1)
    read_row: In(2)
    side_row: In(2)

    def __init__(self, expander: ModuleType, row: int, stages, powers):
        super().__init__()
        self._expander = expander
        self._row = row
        self._rams = [("keys", stage) for stage in stages] + [("powers", n) for n in powers]
        self._wait = max([*stages, *(key_store.AAD_BLOCKS for _ in powers)])

    def elaborate(self, platform):
        m = Module()
        count = key_store.AAD_BLOCKS
        m.submodules.expander = expander = self._expander.KeyExpander(count)
        m.submodules.keys = keys = key_store.RoundKeyStore(4)
        m.submodules.powers = powers = key_store.PowerStore(4, count)
        use, asks = expander.side, expander.i.payload
        side_row = Mux(use.valid, use.row, self.side_row)
        m.d.comb += [
            expander.i.valid.eq(self.asks),
            asks.erase.eq(self.erase),
            asks.row.eq(self.to_row),
            asks.kind.eq(self.kind),
            asks.material[0].eq(1),
            asks.tweak_material[0].eq(1),
            # An XTS key's row is the first of four.
            Assume((self.kind == KeyKind.GCM) | self.erase | (self.to_row == 0)),
            keys.row.eq(self._row),
            keys.side_row.eq(side_row),
            keys.side_write.eq(use.valid & use.write),
            keys.write_key.eq(expander.write_key),
            powers.row.eq(self._row),
            powers.side_row.eq(side_row),
            powers.side_write.eq(expander.power_write),
            powers.write_data.eq(expander.power_data),
            expander.granted.eq(expander.claim & self.granted),
        ]
        # H comes any time after it was asked for.
        hashing = Signal()
        with m.If(use.hash & use.valid):
            m.d.sync += hashing.eq(1)
        with m.Elif(self.hash_now):
            m.d.sync += hashing.eq(0)
        latency = AadUnit.product_latency
        m.d.comb += [
            expander.hash_key.valid.eq(hashing & self.hash_now),
            expander.hash_key.payload.eq(1),
            expander.product.valid.eq(
                delayed(m, expander.factors.valid, latency, "product", reset=True)
            ),
            expander.product.payload.eq(1),
        ]
        # Asked for last, and how long the row has been erased.
        request = Signal.like(asks)
        taken = expander.i.valid & expander.i.ready
        end = self._wait + 2
        clean, since = Signal(), Signal(range(end + 1))
        here = asks.row == self._row
        with m.If(taken):
            m.d.sync += request.eq(asks)
        with m.If(taken & ~asks.erase & (here | (asks.kind == KeyKind.XTS))):
            m.d.sync += [clean.eq(0), since.eq(0)]
        with m.Elif(expander.done & request.erase & (request.row == self._row)):
            m.d.sync += clean.eq(1)
        with m.Elif(clean & (since != end)):
            m.d.sync += since.eq(since + 1)
        with m.If(since == end):
            for name, index in self._rams:
                ram = {"keys": keys.keys, "powers": powers.powers}[name]
                m.d.comb += Assert(~ram[index][0])
        return m


def test_the_first_round_key():
    prove(StoreProof(_expander(), 1, [0], []), "key-stores-first")


def test_proof_finds_a_key_that_meets_the_wave():
    expander = _expander("| (erasing == 0)", "| 1")
    assert not holds(StoreProof(expander, 1, [STAGES - 1], []), "key-stores-fault")
