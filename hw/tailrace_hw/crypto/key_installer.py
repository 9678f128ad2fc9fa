"""Carries out what is asked of the key table: whose key may go where, and when it may change."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from tailrace_hw.crypto.key_expander import ExpandRequest
from tailrace_hw.crypto.key_table import Busy, KeyInfo
from tailrace_hw.crypto.types import (
    GROUP,
    SELF_TEST_FUNCTION,
    KeyAction,
    KeyCommand,
    KeyKind,
    KeySize,
    KeyStatus,
)

__all__ = ["KeyAnswer", "KeyInstaller"]


class KeyAnswer(data.Struct):
    """End of a request to the key table: one for each, in order."""

    status: KeyStatus
    function: 8
    key: 16


class KeyInstaller(wiring.Component):
    """Installs and forgets keys, one request at a time, while packets go on.

    After reset every row is erased before anything else happens; ``busy`` holds all packets back
    until then. A request then goes through these steps:

    1. The rows are looked at. A function may install where nothing is, or over a key of its own;
       an XTS key takes a group of four rows and goes only where no other key is in it. What may
       not be ends with its status, and nothing has changed.
    2. ``busy`` tells the check to hold packets that name the key (or whose function forgets all of
       its keys). Packets that passed the check go on with the old key; when none has been on its
       way in for ``drain`` cycles, none can read the rows any more.
    3. The old rows are erased, the new key is expanded.
    4. ``busy`` falls. The packets that waited see the new key, or none.

    So a packet sees one key whole. What is told of as deleted has been overwritten in every RAM:
    an erasure goes through them as a wave, and its answer waits ``settle`` cycles for the last; the
    same after reset. Cycles of an installation with nothing else going on: see ``docs/crypto.md``;
    a bench measures them.

    Parameters
    ----------
    rows : :class:`int`
        Of the key table.
    drain : :class:`int`
        Cycles from a beat's entry to the last look that it takes at its key's RAMs.
    settle : :class:`int`
        Cycles from ``expanded`` of an erasure until the last RAM has it.
    kept : :class:`int`
        Rows at the end where nobody but ``SELF_TEST_FUNCTION`` installs, also while they are free.

    Members
    -------
    i : In(stream of KeyCommand)
    o : Out(stream of KeyAnswer)
    busy : Out(Busy)
    in_use : In(1)
        A packet of a ``busy`` key was still on its way in, in the cycle before.
    quiet : In(1)
        No beat has entered for ``drain`` cycles.
    row : Out(range(rows))
    info : In(KeyInfo)
        Of the row of the cycle before.
    write : Out(1)
    write_info : Out(KeyInfo)
    iv_clear : Out(1)
        The last IV of ``row`` is to be forgotten.
    expand : Out(stream of ExpandRequest)
    expanded : In(1)
        The request is done.
    ready : Out(1)
        The erasure after reset is over.
    """

    def __init__(self, rows: int, drain: int, settle: int, kept: int = 0):
        self._rows = rows
        self._kept = kept
        self._drain = drain
        self._settle = settle
        super().__init__(
            {
                "i": In(stream.Signature(KeyCommand)),
                "o": Out(stream.Signature(KeyAnswer)),
                "busy": Out(Busy),
                "in_use": In(1),
                "quiet": In(1),
                "row": Out(range(rows)),
                "info": In(KeyInfo),
                "write": Out(1),
                "write_info": Out(KeyInfo),
                "iv_clear": Out(1),
                "expand": Out(stream.Signature(ExpandRequest)),
                "expanded": In(1),
                "ready": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        command = Signal(KeyCommand)
        group = Signal(data.ArrayLayout(KeyInfo, GROUP))
        status, rows_to_erase = self._judge(m, command, group)
        # The row that is looked at, erased or written, and where the walk over rows is.
        walk = Signal(range(self._rows))
        m.d.comb += [
            self.row.eq(walk),
            self.o.payload.function.eq(command.function),
            self.o.payload.key.eq(command.key),
            self.expand.payload.row.eq(walk),
            self.expand.payload.kind.eq(command.kind),
            self.expand.payload.size.eq(command.size),
            self.expand.payload.material.eq(command.material),
            self.expand.payload.tweak_material.eq(command.tweak_material),
        ]
        self._sequence(m, command, group, status, rows_to_erase, walk)
        return m

    def _judge(self, m, command, group):
        """How the command ends, and which rows of its group are to be erased."""
        bits = exact_log2(GROUP)
        place = command.key[:bits]
        head, cell = group[0], Signal(KeyInfo)
        m.d.comb += cell.eq(Array(group[index].as_value() for index in range(GROUP))[place])
        for_xts = (command.action == KeyAction.INSTALL) & (command.kind == KeyKind.XTS)
        xts_there = head.present & (head.kind == KeyKind.XTS)
        others = Cat(group[index].present for index in range(1, GROUP)).any()
        others_function = command.function != SELF_TEST_FUNCTION
        installs = command.action == KeyAction.INSTALL
        # What the request says by itself is known while its group is looked at.
        no_index, no_size, no_user = Signal(), Signal(), Signal()
        m.d.sync += [
            no_index.eq((command.key >= self._rows) | (for_xts & (place != 0))),
            no_size.eq(
                installs
                & ((command.size.as_value() == 3) | (for_xts & (command.size == KeySize.AES_192)))
            ),
            no_user.eq((command.key >= self._rows - self._kept) & others_function),
        ]
        free = ~cell.present & ~no_user
        own = cell.present & ~cell.part & (cell.owner == command.function)
        status = Signal(KeyStatus)
        with m.If(no_index):
            m.d.comb += status.eq(KeyStatus.INDEX)
        with m.Elif(no_size):
            m.d.comb += status.eq(KeyStatus.SIZE)
        with m.Elif(command.action == KeyAction.DELETE):
            m.d.comb += status.eq(Mux(own, KeyStatus.OK, KeyStatus.UNKNOWN))
        with m.Elif(~(free | own) | (for_xts & ~xts_there & others)):
            m.d.comb += status.eq(KeyStatus.TAKEN)
        rows_to_erase = Signal(GROUP)
        m.d.comb += rows_to_erase.eq(Mux(for_xts | (xts_there & (place == 0)), ~0, 1 << place))
        return status, rows_to_erase

    def _sequence(self, m, command, group, status, rows_to_erase, walk):
        base = command.key[exact_log2(GROUP) :] << exact_log2(GROUP)
        overwrites = (command.action == KeyAction.INSTALL) & ~rows_to_erase.all()
        for_xts = command.kind == KeyKind.XTS
        busy = Signal(Busy, init={"valid": 1, "everyone": 1})
        count = Signal(range(GROUP + 1))
        drain = Signal(range(self._drain + 1))
        settle = Signal(range(self._settle + 1))
        ended = Signal(KeyStatus)
        m.d.comb += [self.busy.eq(busy), self.o.payload.status.eq(ended)]

        def erase(then):
            """Two states: ask for the row's erasure, and clear what is known of it."""
            with m.State(f"{then}_ERASE"):
                m.d.comb += [self.expand.valid.eq(1), self.expand.payload.erase.eq(1)]
                with m.If(self.expand.ready):
                    m.next = f"{then}_ERASED"
            with m.State(f"{then}_ERASED"):
                m.d.comb += [self.write.eq(self.expanded), self.iv_clear.eq(self.expanded)]
                m.d.sync += settle.eq(self._settle)
                with m.If(self.expanded):
                    m.d.sync += walk.eq(walk + 1)
                    m.next = then

        with m.If(settle != 0):
            m.d.sync += settle.eq(settle - 1)
        with m.FSM(name="installer"):
            with m.State("WIPE_START"):
                m.next = "WIPE_ERASE"
            erase("WIPE")
            with m.State("WIPE"):
                with m.If(walk == 0):
                    with m.If(settle == 0):
                        m.d.sync += [busy.eq(0), self.ready.eq(1)]
                        m.next = "IDLE"
                with m.Else():
                    m.next = "WIPE_ERASE"
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                new = self.i.payload
                m.d.sync += [
                    command.eq(new),
                    ended.eq(KeyStatus.OK),
                    count.eq(0),
                    drain.eq(self._drain),
                    walk.eq(new.key[exact_log2(GROUP) :] << exact_log2(GROUP)),
                ]
                with m.If(self.i.valid & (new.action == KeyAction.DELETE_ALL)):
                    m.d.sync += [busy.valid.eq(1), busy.all.eq(1), busy.function.eq(new.function)]
                    m.d.sync += walk.eq(0)
                    m.next = "DRAIN"
                with m.Elif(self.i.valid):
                    m.next = "LOOK"
            with m.State("LOOK"):
                m.d.sync += [count.eq(count + 1), walk.eq(walk + 1)]
                for index in range(GROUP):
                    with m.If(count == index + 1):
                        m.d.sync += group[index].eq(self.info)
                with m.If(count == GROUP):
                    m.next = "JUDGE"
            with m.State("JUDGE"):
                m.d.sync += [count.eq(0), walk.eq(base), ended.eq(status)]
                with m.If(status != KeyStatus.OK):
                    m.next = "ANSWER"
                with m.Else():
                    m.d.sync += [
                        busy.valid.eq(1),
                        busy.group.eq(rows_to_erase.all()),
                        busy.key.eq(command.key),
                    ]
                    m.next = "DRAIN"
            with m.State("DRAIN"):
                # A packet that passed the check as ``busy`` rose shows in ``in_use`` 2 cycles on.
                seen = drain < self._drain - 2
                with m.If(self.in_use):
                    m.d.sync += drain.eq(self._drain)
                with m.Elif((drain == 0) | (seen & self.quiet)):
                    m.next = "FORGET"
                    with m.If(busy.all):
                        m.next = "SCAN_READ"
                with m.Else():
                    m.d.sync += drain.eq(drain - 1)
            with m.State("FORGET"):
                m.d.sync += count.eq(count + 1)
                with m.If((count == GROUP) | overwrites):
                    m.d.sync += [count.eq(0), walk.eq(command.key)]
                    m.next = "INSTALL"
                    with m.If(command.action != KeyAction.INSTALL):
                        m.d.sync += busy.eq(0)
                        m.next = "SETTLE"
                with m.Elif(rows_to_erase.bit_select(count[:2], 1)):
                    m.next = "FORGET_ERASE"
                with m.Else():
                    m.d.sync += walk.eq(walk + 1)
            erase("FORGET")
            with m.State("INSTALL"):
                m.d.comb += self.expand.valid.eq(1)
                with m.If(self.expand.ready):
                    m.next = "INSTALLING"
            with m.State("INSTALLING"):
                with m.If(self.expanded):
                    m.next = "WRITE"
            with m.State("WRITE"):
                m.d.comb += [
                    self.write.eq(1),
                    self.iv_clear.eq(1),
                    self.write_info.present.eq(1),
                    self.write_info.part.eq(count != 0),
                    self.write_info.owner.eq(command.function),
                    self.write_info.kind.eq(command.kind),
                    self.write_info.size.eq(command.size),
                    self.write_info.strict.eq(command.strict),
                ]
                m.d.sync += [count.eq(count + 1), walk.eq(walk + 1)]
                with m.If(~for_xts | (count == GROUP - 1)):
                    m.d.sync += busy.eq(0)
                    m.next = "ANSWER"
            with m.State("SCAN_READ"):
                m.next = "SCAN_CHECK"
            with m.State("SCAN_CHECK"):
                with m.If(self.info.present & (self.info.owner == command.function)):
                    m.next = "SCAN_ERASE"
                with m.Else():
                    m.d.sync += walk.eq(walk + 1)
                    m.next = "SCAN"
            erase("SCAN")
            with m.State("SCAN"):
                m.next = "SCAN_READ"
                with m.If(walk == 0):
                    m.d.sync += busy.eq(0)
                    m.next = "SETTLE"
            with m.State("SETTLE"):
                with m.If(settle == 0):
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += self.o.valid.eq(1)
                # Nothing of the key stays behind.
                m.d.sync += [command.material.eq(0), command.tweak_material.eq(0)]
                with m.If(self.o.ready):
                    m.next = "IDLE"
