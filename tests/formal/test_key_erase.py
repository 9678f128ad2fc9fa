"""Keys of the cipher engine: after its end nothing lets a packet use a key, and no RAM holds it.

Table, installer and check are joined by ``CipherEngine`` itself; what lies around them is free.
Reset may come in every cycle, and leaves the RAMs as they are. Three proofs:

``owner`` foretells from requests and answers alone whose key a row is. No packet that names the row
passes the check unless it is of that function; nobody else replaces or deletes the key. Deleted,
all keys of its function deleted, replaced by an XTS key's rows, reset: then it is nobody's, from
the cycle on in which the answer is offered.

``kept`` is ``owner`` with a row that is kept for the self-test: it is nobody else's, ever.

``whole``: no row is asked to be erased or written while a packet that passed the check with it is
on its way in, or may still look at it.

``rows``: what the expander was asked to write into a row is there only while a key has the row; it
counts as gone when the wave of an erasure has gone through the last RAM.

The RAMs themselves are in test_key_stores.py.

There are four rows and two functions, one of which is the self-test.
"""

from types import ModuleType, SimpleNamespace

import pytest
from amaranth.hdl import Assert, Assume, Module, Mux, ResetInserter, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In

from tailrace_hw.crypto import (
    cipher_engine,
    key_check,
    key_expander,
    key_installer,
    key_store,
    key_table,
    same_key,
)
from tailrace_hw.crypto.key_installer import KeyAnswer
from tailrace_hw.crypto.types import (
    SELF_TEST_FUNCTION,
    KeyAction,
    KeyCommand,
    KeyKind,
    KeyStatus,
    Operation,
    SelfTestFault,
    Status,
)
from tailrace_sim.formal import holds, mutants, prove

pytestmark = pytest.mark.formal

#: Cycles from a beat's entry to its last look at the RAMs. The engine has more, all alike.
DRAIN = 1
#: RAMs that a wave goes through, in place of the engine's 15.
STAGES = 3


class _Expander(key_expander.KeyExpander):
    """In place of the expander: takes any time for a request, and writes nothing."""

    def __init__(self, count: int):
        super().__init__(count)
        self.finish = Signal()

    def elaborate(self, platform):
        m = Module()
        pending = Signal()
        m.d.comb += [self.i.ready.eq(~pending), self.done.eq(pending & self.finish)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += pending.eq(1)
        with m.Elif(self.finish):
            m.d.sync += pending.eq(0)
        return m


def _sources(where: ModuleType | None = None, old: str = "", new: str = "") -> SimpleNamespace:
    """Copies of the modules under proof, with a fault planted in one of them."""
    faults = {key_table: ("IV_BITS = 96", "IV_BITS = 8")}
    if where is not None:
        faults[where] = (old, new)
    copies = mutants(
        (key_table, same_key, key_installer, key_store, key_check, cipher_engine), faults
    )
    engine = copies[cipher_engine]
    engine.STAGES = STAGES
    return SimpleNamespace(engine=engine, same_key=copies[same_key].same_key)


class _Environment(wiring.Component):
    """The engine's keys, with free users. Subclasses put the rest of the engine around them.

    Functions are 0 and the self-test's, 0xFF; indices go up to twice the rows.
    """

    reset: In(1)
    request: In(1)
    action: In(KeyAction)
    function: In(1)
    key: In(3)
    kind: In(KeyKind)
    no_size: In(1)
    taken: In(1)
    enters: In(1)
    finish: In(1)

    def __init__(self, sources: SimpleNamespace, rows: int, row: int, kept: int = 0):
        super().__init__()
        self._sources = sources
        self._row = row
        sources.engine.KeyExpander = _Expander
        # What CipherEngine._keep_keys looks at.
        self._keys, self._lanes, self._kept = rows, 1, kept
        self._timing = SimpleNamespace(drain=DRAIN)
        self.fault = Signal(SelfTestFault)
        self.ready = Signal()
        self.keys = stream.Signature(KeyCommand).flip().create(path=("keys",))
        self.key_answers = stream.Signature(KeyAnswer).create(path=("key_answers",))

    def _join(self, m, parts, beats):
        """Everything of the engine that is reset goes into ``parts``; returns the check."""
        m.submodules.parts = ResetInserter(self.reset)(parts)
        engine = self._sources.engine
        parts.submodules.check = check = engine.KeyCheck(128, self._keys)
        pair = data.ArrayLayout(128, 2)
        datapath = SimpleNamespace(
            use=Signal(key_expander.SideUse),
            write_key=Signal(128),
            power_write=Signal(key_store.AAD_BLOCKS),
            power_data=Signal(128),
            hash_key=stream.Signature(128, always_ready=True).create(),
            product=stream.Signature(128, always_ready=True).create(),
            factors=stream.Signature(pair, always_ready=True).flip().create(),
        )
        asks = self.keys.payload
        m.d.comb += [self.keys.valid.eq(self.request), self.key_answers.ready.eq(self.taken)]
        m.d.comb += asks.size.eq(self.no_size.replicate(2))
        m.d.comb += asks.function.eq(self.function.replicate(8))
        for name in ("action", "key", "kind"):
            m.d.comb += asks[name].eq(getattr(self, name))
        m.d.comb += Assume(self.action.as_value() != 3)
        engine.CipherEngine._keep_keys(self, parts, check, beats, datapath)
        m.d.comb += parts.submodules.expander.finish.eq(self.finish)
        return check

    def _ends(self, m):
        """The request under way, and whether it has ended well: from the offer of the answer on."""
        command = Signal(KeyCommand)
        with m.If(self.keys.valid & self.keys.ready):
            m.d.sync += command.eq(self.keys.payload)
        answer = self.key_answers
        return command, answer.valid & (answer.payload.status == KeyStatus.OK) & ~self.reset


def _beats():
    """In place of ``Admission``, for who has no use for packets."""
    bits = {name: Signal(name=name) for name in ("in_use", "claim", "far", "granted")}
    work = SimpleNamespace(valid=Signal())
    return SimpleNamespace(work=work, busy=Signal(key_table.Busy), **bits)


class _Packets(_Environment):
    """With free packets in front of the check; their lengths are right."""

    offered: In(1)
    operation: In(Operation)
    job_function: In(1)
    job_key: In(3)
    last: In(1)

    def _offer(self, m, check):
        job = check.i.payload.meta
        m.d.comb += [
            check.i.valid.eq(self.offered),
            check.i.payload.last.eq(self.last),
            job.operation.eq(self.operation),
            job.function.eq(self.job_function.replicate(8)),
            job.key.eq(self.job_key),
            job.length.eq(16),
            job.tag_length.eq(16),
        ]


class OwnerProof(_Packets):
    """Who may use, replace and delete what is in a row.

    What else a packet may be refused for is left out: its lengths are right, IVs have a byte, of
    which one bit is free.
    """

    leaves: In(1)
    in_use: In(1)

    def elaborate(self, platform):
        m, parts, beats = Module(), Module(), _beats()
        check = self._join(m, parts, beats)
        self._offer(m, check)
        m.d.comb += [
            beats.in_use.eq(self.in_use),
            beats.work.valid.eq(self.enters),
            check.o.ready.eq(self.leaves),
        ]
        row = self._row
        command, ended = self._ends(m)
        there, owner = Signal(), Signal(8)
        there_now, owner_now = Signal(), Signal(8)
        named = command.key == row
        group = command.key[2:] == row >> 2
        xts = command.kind == KeyKind.XTS
        m.d.comb += [there_now.eq(there), owner_now.eq(owner)]
        with m.If(self.reset):
            m.d.comb += there_now.eq(0)
        with m.Elif(ended & (command.action == KeyAction.INSTALL)):
            with m.If(named):
                m.d.comb += [there_now.eq(1), owner_now.eq(command.function)]
            with m.Elif(group & xts):
                m.d.comb += there_now.eq(0)
        with m.Elif(ended & (command.action == KeyAction.DELETE) & named):
            m.d.comb += there_now.eq(0)
        with m.Elif(ended & (command.action == KeyAction.DELETE_ALL)):
            m.d.comb += there_now.eq(there & (owner != command.function))
        m.d.sync += [there.eq(there_now), owner.eq(owner_now)]

        before = Signal()
        m.d.sync += before.eq(ended)
        first_time = ended & ~before
        own = there & (owner == command.function)
        with m.If(first_time & (command.action == KeyAction.DELETE) & named):
            m.d.comb += Assert(own)
        with m.If(first_time & (command.action == KeyAction.INSTALL) & (named | (group & xts))):
            m.d.comb += Assert(own | ~there)
        job, passes = check.o.payload.beat.meta, check.o.payload
        with m.If(check.o.valid & passes.first & (passes.status == Status.OK) & (job.key == row)):
            m.d.comb += Assert(self.reset | (there_now & (owner_now == job.function)))
        if row >= self._keys - self._kept:
            m.d.comb += Assert(~there_now | (owner_now == SELF_TEST_FUNCTION))
        return m


class WholeProof(_Packets):
    """A packet that passed the check finds its rows as they were, until it looks no more.

    The stage behind the check is as ``Admission`` is: it holds a beat, whose entry is free.
    """

    def elaborate(self, platform):
        m, parts, beats = Module(), Module(), _beats()
        check = self._join(m, parts, beats)
        self._offer(m, check)
        beat, packet = Signal.like(check.o.payload), Signal.like(check.o.payload)
        occupied, under_way, taken = Signal(), Signal(), Signal()
        enters = beats.work.valid
        m.d.comb += [
            enters.eq(occupied & self.enters),
            check.o.ready.eq(~occupied | enters),
            taken.eq(check.o.valid & check.o.ready),
            beats.in_use.eq(under_way & self._sources.same_key(beats.busy, packet.beat.meta)),
        ]
        with parts.If(taken):
            parts.d.sync += [beat.eq(check.o.payload), occupied.eq(1)]
        with parts.Elif(enters):
            parts.d.sync += occupied.eq(0)
        with parts.If(taken & check.o.payload.first):
            parts.d.sync += [packet.eq(check.o.payload), under_way.eq(1)]
        with parts.Elif(enters & beat.beat.last):
            parts.d.sync += under_way.eq(0)

        # Packets of the row: the one under way, and what entered a moment ago.
        xts = packet.beat.meta.operation.as_value()[1]
        of_row = (packet.status == Status.OK) & (packet.beat.meta.key == self._row)
        looks, wide = Signal(range(DRAIN + 1)), Signal()
        with parts.If(enters & of_row):
            parts.d.sync += [looks.eq(DRAIN), wide.eq(xts)]
        with parts.Elif(looks != 0):
            parts.d.sync += looks.eq(looks - 1)
        expand = parts.submodules.installer.expand
        # From the request until it is done.
        asks, pending = Signal.like(expand.payload), Signal()
        asked = Signal.like(expand.payload)
        m.d.comb += asks.eq(Mux(pending, asked, expand.payload))
        with parts.If(expand.valid & expand.ready):
            parts.d.sync += [asked.eq(expand.payload), pending.eq(1)]
        with parts.Elif(parts.submodules.expander.done):
            parts.d.sync += pending.eq(0)
        beside = asks.row[2:] == self._row >> 2
        group = beside & ~asks.erase & (asks.kind == KeyKind.XTS)
        with m.If((expand.valid | pending) & ~self.reset):
            changed = (asks.row == self._row) | group
            m.d.comb += Assert(~(under_way & of_row & (changed | (xts & beside))))
            m.d.comb += Assert(~((looks != 0) & (changed | (wide & beside))))
        return m


class RowsProof(_Environment):
    """Bits of a row that the expander was asked to write are there only while a key has the row.

    An erasure, or another GCM key in the same row, is what takes them away. An XTS key writes no
    powers of H, so that it must find its rows erased.
    """

    in_use: In(1)

    def elaborate(self, platform):
        m, parts, beats = Module(), Module(), _beats()
        self._join(m, parts, beats)
        m.d.comb += [
            beats.in_use.eq(self.in_use),
            beats.work.valid.eq(self.enters),
        ]
        row = self._row
        command, ended = self._ends(m)
        held, held_now, owner, wide = Signal(), Signal(), Signal(8), Signal()
        named = command.key == row
        group = command.key[2:] == row >> 2
        xts = command.kind == KeyKind.XTS
        m.d.comb += held_now.eq(held)
        with m.If(self.reset):
            m.d.comb += held_now.eq(0)
        with m.Elif(ended & (command.action == KeyAction.INSTALL)):
            with m.If(named | (group & xts)):
                m.d.comb += held_now.eq(1)
                m.d.sync += [owner.eq(command.function), wide.eq(xts)]
            with m.Elif(wide & (command.key == (row & ~3))):
                m.d.comb += held_now.eq(0)
        with m.Elif(ended & (command.action == KeyAction.DELETE)):
            with m.If(named | (wide & (command.key == (row & ~3)))):
                m.d.comb += held_now.eq(0)
        with m.Elif(ended & (command.action == KeyAction.DELETE_ALL)):
            m.d.comb += held_now.eq(held & (owner != command.function))
        m.d.sync += held.eq(held_now)

        # Nothing is known of the RAMs before the first erasure, and nothing is lost by a reset.
        bits = Signal(init=1)
        expand = parts.submodules.installer.expand
        asks, asked = expand.payload, expand.valid & expand.ready & ~self.reset
        beside = (asks.row[2:] == row >> 2) & (asks.kind == KeyKind.XTS) & ~asks.erase
        # The row's erasure is asked for, and where its wave is. A key written behind it meets each
        # RAM behind it as well.
        erases, wave = Signal(), Signal(range(STAGES + 1))
        with m.If(asked):
            m.d.sync += erases.eq(asks.erase & (asks.row == row))
        with m.If(wave != 0):
            m.d.sync += wave.eq(wave - 1)
        with m.If(wave == 1):
            m.d.sync += bits.eq(0)
        with m.If(parts.submodules.expander.done & erases):
            m.d.sync += wave.eq(STAGES)
        with m.If(asked & ~asks.erase & ((asks.row == row) | beside)):
            m.d.sync += [bits.eq(1), wave.eq(0)]
            m.d.comb += Assert(~beside | ~bits | (wave != 0))
        with m.If(self.reset):
            m.d.sync += [erases.eq(0), wave.eq(0)]
        m.d.comb += Assert(self.reset | ~self.key_answers.valid | ~bits | held_now)
        m.d.comb += Assert(self.reset | ~self.keys.ready | ~bits | held_now)
        return m


#: Kinds of proof, and how many rows are kept: all four with XTS.
KINDS = {"owner": (OwnerProof, 0), "kept": (OwnerProof, 4), "whole": (WholeProof, 0),
         "rows": (RowsProof, 0)}  # fmt: skip
#: Proofs by name, of the sources they are given.
PROOFS = {
    f"{name}-{row}": lambda sources, proof=proof, row=row, kept=kept: proof(sources, 4, row, kept)
    for name, (proof, kept) in KINDS.items() for row in range(4)
}  # fmt: skip
IN_EVERY_RUN = ("owner-0", "kept-0", "whole-0", "rows-0")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in IN_EVERY_RUN else pytest.mark.soak) for n in PROOFS],
)
def test_keys(name):
    prove(PROOFS[name](_sources()), f"key-erase-{name}")


_END = 'with m.If(self.expanded):\n                    m.next = "WRITE"'
_SETTLED = 'with m.If(settle == 0):\n                    m.next = "ANSWER"'
_EARLY = f"m.d.sync += busy.eq(0)\n{' ' * 16}{_END}"

#: name: (proof, module, source text, what the fault makes of it)
FAULTS = {
    "owner-not-compared": ("owner-0", key_check, " | (info.owner != job.function)", ""),
    "replaces-others": ("owner-0", key_installer, " & (cell.owner == command.function)", ""),
    "kept-row-given": ("kept-0", key_installer, " & others_function)", " & 0)"),
    "busy-dropped-early": ("whole-0", key_installer, _END, _EARLY),
    "group-row-left": ("rows-1", key_installer, "~0, 1 << place)", "0b1101, 1 << place)"),
    "answers-early": ("rows-3", key_installer, _SETTLED, _SETTLED.replace("settle == 0", "1")),
    "waits-for-no-packet": ("whole-0", key_installer, "with m.If(self.in_use):", "with m.If(0):"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_proof_finds(fault):
    name, module, old, new = FAULTS[fault]
    assert not holds(PROOFS[name](_sources(module, old, new)), f"key-erase-{fault}")
