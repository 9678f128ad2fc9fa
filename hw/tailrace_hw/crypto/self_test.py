"""Asks the cipher engine for what is known, after reset and whenever it is told to."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.crypto.key_installer import KeyAnswer
from tailrace_hw.crypto.self_test_examiner import SelfTestExaminer
from tailrace_hw.crypto.types import (
    SELF_TEST_FUNCTION,
    JobParameters,
    KeyCommand,
    OutputMeta,
    Result,
    SelfTestFault,
    self_test_rows,
)
from tailrace_hw.lib.packet import PacketSignature

__all__ = ["SelfTest"]


class SelfTest(wiring.Component):
    """Known-answer test of a ``CipherEngine``, from a place between it and its users.

    It begins when the engine is ``engine_ready`` after reset, and on ``start`` while not ``busy``.
    What it asks is in ``self_test_steps.py``: a key of every size installed, encrypted and
    decrypted with, a wrong tag; what comes back is compared with answers that come from elsewhere,
    bit for bit. Users wait for the end of the first run. Those after it run beside their traffic:
    between two of their packets one of the test may go in, and what is the test's is told from
    theirs by its function, ``SELF_TEST_FUNCTION``.

    After the first answer that is not right, or when none comes for ``patience`` cycles in which
    users keep nothing waiting, the engine has ``failed``: it refuses users' packets (``refuse``)
    until a run ends well.

    The test's keys take the last row of the engine's table, or with XTS the last four.
    The engine must keep these for the test's function: a run frees some of them for a while.
    Another function that asks for one gets TAKEN, as for any key of somebody else's.

    What passes is not delayed. Order kept, a beat a cycle, nothing dropped, every stall passed on.

    Parameters
    ----------
    width : :class:`int`
        Datapath width in bits of the engine.
    keys : :class:`int`
        Rows of its key table.
    xts : :class:`bool`
        It has XTS.

    Members
    -------
    i, o, results, keys, key_answers : In, Out, Out, In, Out
        Users' side, see ``CipherEngine``.
    to_engine, from_engine, engine_results, engine_keys, engine_answers : Out, In, In, Out, In
        The same, the engine's side.
    engine_ready : In(1)
    refuse : Out(1)
    fault : Out(SelfTestFault)
        ``inject`` of the run.
    start : In(1)
        Run again.
    inject : In(SelfTestFault)
        Faults that the run that ``start`` begins must find.
    busy : Out(1)
        A run is under way, or that after reset is to come.
    passed, failed : Out(1)
        How the last run ended; none before the first.
    """

    def __init__(self, width: int, keys: int, *, xts: bool = True):
        rows = self_test_rows(xts=xts)
        self._examiner = SelfTestExaminer(width, keys - rows, xts=xts)
        # The longest that an engine is busy with something else: forgetting all keys.
        self.patience = 64 * keys + 4096
        super().__init__(
            {
                "i": In(PacketSignature(width, JobParameters)),
                "o": Out(PacketSignature(width, OutputMeta)),
                "results": Out(stream.Signature(Result)),
                "keys": In(stream.Signature(KeyCommand)),
                "key_answers": Out(stream.Signature(KeyAnswer)),
                "to_engine": Out(PacketSignature(width, JobParameters)),
                "from_engine": In(PacketSignature(width, OutputMeta)),
                "engine_results": In(stream.Signature(Result)),
                "engine_keys": Out(stream.Signature(KeyCommand)),
                "engine_answers": In(stream.Signature(KeyAnswer)),
                "engine_ready": In(1),
                "refuse": Out(1),
                "fault": Out(SelfTestFault),
                "start": In(1),
                "inject": In(SelfTestFault),
                "busy": Out(1),
                "passed": Out(1),
                "failed": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.examiner = examiner = self._examiner
        # Users may go in: the first run has ended.
        is_open = Signal()
        last = self.i.payload.last
        waits = [
            self._share(m, self.i, examiner.packets, self.to_engine, is_open, last, "packets"),
            self._share(m, self.keys, examiner.keys, self.engine_keys, is_open, 1, "keys"),
            self._part(m, self.from_engine, self.from_engine.payload.meta.function,
                       self.o, examiner.output),
            self._part(m, self.engine_results, self.engine_results.payload.function,
                       self.results, examiner.results),
            self._part(m, self.engine_answers, self.engine_answers.payload.function,
                       self.key_answers, examiner.answers),
        ]  # fmt: skip
        running = Signal()
        patience = Signal(range(self.patience + 1))
        with m.If(examiner.moves | ~running):
            m.d.sync += patience.eq(self.patience)
        with m.Elif(patience.any() & ~Cat(waits).any()):
            m.d.sync += patience.eq(patience - 1)
        m.d.comb += self.refuse.eq(self.failed)

        with m.FSM(name="self_test"):
            with m.State("RESET"):
                m.d.comb += [self.busy.eq(1), examiner.start.eq(self.engine_ready)]
                with m.If(self.engine_ready):
                    m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += [
                    self.busy.eq(1),
                    running.eq(1),
                    examiner.give_up.eq(~patience.any()),
                ]
                with m.If(examiner.done):
                    m.d.sync += [
                        self.passed.eq(examiner.right),
                        self.failed.eq(~examiner.right),
                        self.fault.eq(0),
                        is_open.eq(1),
                    ]
                    m.next = "IDLE"
            with m.State("IDLE"):
                m.d.comb += examiner.start.eq(self.start)
                with m.If(self.start):
                    m.d.sync += self.fault.eq(self.inject)
                    m.next = "RUN"
        return m

    @staticmethod
    def _share(m, user, own, engine, is_open, last, name):
        """Users' and own items to the engine, ours between two of theirs; 1 while they hold it."""
        under_way, turn = Signal(name=f"{name}_under_way"), Signal(name=f"{name}_own_turn")
        m.d.comb += [
            turn.eq(own.valid & ~under_way),
            engine.valid.eq(Mux(turn, 1, user.valid & is_open)),
            engine.payload.eq(Mux(turn, own.payload, user.payload)),
            own.ready.eq(turn & engine.ready),
            user.ready.eq(~turn & is_open & engine.ready),
        ]
        # What was offered once must stay until it is taken.
        with m.If(engine.valid & ~turn):
            m.d.sync += under_way.eq(~(engine.ready & last))
        return own.valid & under_way

    @staticmethod
    def _part(m, engine, function, user, own):
        """The engine's items to users or to us; 1 while a user does not take his."""
        mine = function == SELF_TEST_FUNCTION
        m.d.comb += [
            user.payload.eq(engine.payload),
            own.payload.eq(engine.payload),
            user.valid.eq(engine.valid & ~mine),
            own.valid.eq(engine.valid & mine),
            engine.ready.eq(mine | user.ready),
        ]
        return user.valid & ~user.ready
