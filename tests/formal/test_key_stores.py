"""What ``KeyExpander`` is asked to erase is gone from the RAMs of round keys and powers of H.

Within a RAM's place in the wave that erases, at most ``STAGES`` cycles after ``done``. All
keys have a mark in their bits, it goes wherever they go, and their arithmetic is left out.

The engine has 15 RAMs of round keys, one like the other, each a cycle behind the one before. With
that many the first one is proven; all of them with ``STAGES``, and behind ``--soak`` with more.
"""

from types import ModuleType

import pytest
from amaranth.hdl import Assert, Assume, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from tailrace_hw.crypto import key_expander, key_store
from tailrace_hw.crypto.aad_unit import AadUnit
from tailrace_hw.crypto.key_schedule import AesKeySchedule
from tailrace_hw.crypto.types import STAGES as ENGINE_STAGES
from tailrace_hw.crypto.types import KeyKind
from tailrace_hw.lib.delay import delayed
from tailrace_sim.formal import holds, mutants, prove

pytestmark = pytest.mark.formal

#: Stages that are proven at once. Fewer than 6, and no key has to wait for an erasure.
STAGES = 6
ROWS = [pytest.param(row, marks=[] if row == 1 else pytest.mark.soak) for row in range(4)]


class Sources:
    """The two modules at a number of stages, one of them perhaps with a fault."""

    def __init__(self, stages: int, module: ModuleType | None = None, old="", new=""):
        faults = {} if module is None else {module: (old, new)}
        self.expander, self.store = mutants((key_expander, key_store), faults).values()
        self.expander.STAGES = self.store.STAGES = stages
        self.expander.AesKeySchedule = _schedule_of(stages)


def _schedule_of(stages: int) -> type[AesKeySchedule]:
    class Schedule(AesKeySchedule):
        """In place of the key schedule: rows at its cycles, all with the key's mark, or none."""

        def elaborate(self, platform):
            m = Module()
            left = Signal(range(2 * stages + 1))
            mark = Signal()
            with m.If(left != 0):
                m.d.sync += left.eq(left - 1)
            with m.If(self.i.valid):
                rows = Mux(self.i.payload.reverse, 2 * stages, stages)
                m.d.sync += [left.eq(rows), mark.eq(self.i.payload.key[0])]
            wait = self.latency - 1
            m.d.comb += [
                self.o.valid.eq(delayed(m, left != 0, wait, "valid", reset=True)),
                self.o.payload.last.eq(delayed(m, left == 1, wait, "last", reset=True)),
                self.o.payload.round_key.eq(mark),
            ]
            return m

    return Schedule


class StoreProof(wiring.Component):
    """What the expander is asked to erase of ``row`` is gone from the RAMs in time.

    ``stages`` are those of the round keys to look at, ``powers`` the powers of H, from 0.
    """

    asks: In(1)
    erase: In(1)
    to_row: In(2)
    kind: In(KeyKind)
    granted: In(1)
    hash_now: In(1)
    side_row: In(2)

    def __init__(self, sources: Sources, row: int, stages=(), powers=()):
        super().__init__()
        self._sources = sources
        self._row = row
        self._rams = [("keys", stage) for stage in stages] + [("powers", n) for n in powers]
        self._wait = max([*stages, *(key_store.AAD_BLOCKS for _ in powers)])

    def elaborate(self, platform):
        m = Module()
        count, store = key_store.AAD_BLOCKS, self._sources.store
        m.submodules.expander = expander = self._sources.expander.KeyExpander(count)
        m.submodules.keys = keys = store.RoundKeyStore(4)
        m.submodules.powers = powers = store.PowerStore(4, count)
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
    prove(StoreProof(Sources(ENGINE_STAGES), 1, [0]), "key-stores-first")


@pytest.mark.parametrize("row", ROWS)
def test_round_keys(row):
    prove(StoreProof(Sources(STAGES), row, range(STAGES)), f"key-stores-{row}")


@pytest.mark.parametrize("row", ROWS)
def test_powers(row):
    powers = range(key_store.AAD_BLOCKS)
    prove(StoreProof(Sources(STAGES), row, powers=powers), f"key-stores-powers-{row}")


@pytest.mark.soak
@pytest.mark.parametrize("stages", [8, 10])
def test_more_stages(stages):
    prove(StoreProof(Sources(stages), 1, range(stages)), f"key-stores-of-{stages}")


_WRITE = 'write = delayed(m, write, 1, f"write{stage}", reset=True)'

#: name: (stages and powers to look at, module, source text, what the fault makes of it)
FAULTS = {
    "key-meets-the-wave": ([5], [], key_expander, "| (erasing == 0)", "| 1"),
    "wave-falls-behind": ([2], [], key_store, _WRITE, _WRITE.replace("write, 1", "write, 2")),
    "no-zeros": ([0], [], key_expander, "payload.round_key, 0)", "payload.round_key, 1)"),
    "power-left": ([], [1], key_expander, "now == Step.ERASE, ~0,", "now == Step.ERASE, 1,"),
    "power-of-another-row": ([], [0], key_store, "wait, f\"side_row{index}\"", "0, \"side_row\""),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_proof_finds(fault):
    stages, powers, *change = FAULTS[fault]
    proof = StoreProof(Sources(STAGES, *change), 1, stages, powers)
    assert not holds(proof, f"key-stores-{fault}")
