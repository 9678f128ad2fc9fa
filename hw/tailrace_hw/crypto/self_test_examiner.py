"""Asks what is known, one question after the other, and compares the answers."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.crypto import known_answers
from tailrace_hw.crypto.key_installer import KeyAnswer
from tailrace_hw.crypto.self_test_steps import InstallStep, steps
from tailrace_hw.crypto.types import (
    SELF_TEST_FUNCTION,
    JobParameters,
    KeyAction,
    KeyCommand,
    KeyStatus,
    Operation,
    OutputMeta,
    Result,
)
from tailrace_hw.lib.packet import PacketSignature

__all__ = ["SelfTestExaminer"]


#: Bits that are compared in the first cycle of two.
_SLICE = 32


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little")


class SelfTestExaminer(wiring.Component):
    """Goes through ``self_test_steps.py`` once.

    A step is asked when the one before has been answered; the first wrong answer ends the run.
    Whatever comes back is taken at once. A beat too many, or one that comes where none is due, is
    a wrong answer.

    Parameters
    ----------
    width : :class:`int`
        Datapath width in bits of the engine.
    row : :class:`int`
        Where in the key table the keys go.
    xts : :class:`bool`
        Ask for XTS too.

    Members
    -------
    start : In(1)
        Begin; looked at while no run is under way.
    give_up : In(1)
        End the run, with no answer.
    done : Out(1)
        One cycle at the run's end.
    right : Out(1)
        With ``done``: all was right.
    moves : Out(1)
        Something was sent or came in this cycle.
    packets : Out(PacketSignature(width, JobParameters))
    keys : Out(stream of KeyCommand)
    output : In(PacketSignature(width, OutputMeta)), always ready
    results : In(stream of Result), always ready
    answers : In(stream of KeyAnswer), always ready
    """

    def __init__(self, width: int, row: int, *, xts: bool):
        self._bytes = width // 8
        self._row = row
        lanes = max(width, 128) // 128
        self._steps = steps(lanes, xts=xts)
        length = known_answers.payload_bytes(lanes)
        self._length = length
        self._beats = -(-length // self._bytes)
        super().__init__(
            {
                "start": In(1),
                "give_up": In(1),
                "done": Out(1),
                "right": Out(1),
                "moves": Out(1),
                "packets": Out(PacketSignature(width, JobParameters)),
                "keys": Out(stream.Signature(KeyCommand)),
                "output": In(PacketSignature(width, OutputMeta)),
                "results": In(stream.Signature(Result)),
                "answers": In(stream.Signature(KeyAnswer)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        step = Signal(range(len(self._steps)))
        size = 8 * self._bytes * self._beats
        asked, due = Signal(size), Signal(size)
        wanted = Signal(Result)
        gives_output = Signal()
        self._questions(m, step, asked, due, wanted, gives_output)

        beat, came = Signal(range(self._beats)), Signal(range(self._beats))
        installs, got_all, got_result, wrong = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            self.moves.eq(
                (self.packets.valid & self.packets.ready)
                | (self.keys.valid & self.keys.ready)
                | self.output.valid
                | self.results.valid
                | self.answers.valid
            ),
        ]
        with m.Switch(step):
            for index, what in enumerate(self._steps):
                with m.Case(index):
                    m.d.comb += installs.eq(isinstance(what, InstallStep))
        self._send(m, asked, beat)
        self._sequence(m, step, beat, came, installs, gives_output, got_all, got_result, wrong)
        # Behind the sequence, so that what comes counts in the cycle in which a step begins, too.
        self._compare(m, step, due, wanted, installs, came, got_all, got_result, wrong)
        return m

    def _sequence(self, m, step, beat, came, installs, gives_output, got_all, got_result, wrong):
        """From one question to the next."""
        # What was offered is offered until it is taken, even when nobody waits for the answer.
        gave_up = Signal()
        ends = Signal()
        m.d.comb += [
            ends.eq(wrong | (got_result & got_all & (step == len(self._steps) - 1))),
            self.right.eq(~wrong & ~self.give_up),
        ]
        with m.FSM(name="examiner"):
            with m.State("IDLE"):
                m.d.sync += [step.eq(0), wrong.eq(0), gave_up.eq(0)]
                with m.If(self.start):
                    m.next = "ASK"
            with m.State("ASK"):
                m.d.sync += [beat.eq(0), came.eq(0), got_all.eq(~gives_output), got_result.eq(0)]
                # Both valids are registers: users' requests and packets are chosen by them on
                # their way into the engine.
                with m.If(installs):
                    m.d.sync += self.keys.valid.eq(1)
                    m.next = "INSTALL"
                with m.Else():
                    m.d.sync += self.packets.valid.eq(1)
                    m.next = "PACKET"
            with m.State("INSTALL"):
                with m.If(self.keys.ready):
                    m.d.sync += self.keys.valid.eq(0)
                    m.next = "ANSWER"
            with m.State("PACKET"):
                with m.If(self.packets.ready):
                    m.d.sync += beat.eq(beat + 1)
                with m.If(self.packets.ready & self.packets.payload.last):
                    m.d.sync += self.packets.valid.eq(0)
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += self.done.eq(ends & ~gave_up)
                with m.If(ends | gave_up | self.give_up):
                    m.next = "IDLE"
                with m.Elif(got_result & got_all):
                    m.d.sync += step.eq(step + 1)
                    m.next = "ASK"
        with m.If(self.give_up):
            m.d.sync += gave_up.eq(1)
            m.d.comb += self.done.eq(1)

    def _questions(self, m, step, asked, due, wanted, gives_output):
        """What each step sends, and what it must get."""
        command, job = self.keys.payload, self.packets.payload.meta
        m.d.comb += [
            command.action.eq(KeyAction.INSTALL),
            command.function.eq(SELF_TEST_FUNCTION),
            command.key.eq(self._row),
            command.material.eq(_number(known_answers.KEY)),
            command.tweak_material.eq(_number(known_answers.TWEAK_KEY)),
            job.key.eq(self._row),
            job.function.eq(SELF_TEST_FUNCTION),
            job.job.eq(step),
            job.aad.eq(_number(known_answers.AAD)),
            job.aad_length.eq(len(known_answers.AAD)),
            job.length.eq(self._length),
            job.tag_length.eq(16),
            wanted.function.eq(SELF_TEST_FUNCTION),
            wanted.key.eq(self._row),
            wanted.job.eq(step),
        ]
        with m.Switch(step):
            for index, what in enumerate(self._steps):
                with m.Case(index):
                    # What is sent comes from registers: it is asked a cycle after the step began.
                    if isinstance(what, InstallStep):
                        m.d.sync += [command.kind.eq(what.kind), command.size.eq(what.size)]
                        continue
                    gcm = what.operation in (Operation.GCM_ENCRYPT, Operation.GCM_DECRYPT)
                    m.d.sync += [
                        job.operation.eq(what.operation),
                        job.iv.eq(_number(known_answers.IV if gcm else known_answers.TWEAK)),
                        job.tag.eq(_number(what.tag)),
                        asked.eq(Const(_number(what.payload), len(asked))),
                    ]
                    m.d.comb += [
                        due.eq(Const(_number(what.output), len(due))),
                        gives_output.eq(bool(what.output)),
                        wanted.status.eq(what.status),
                        wanted.tag.eq(_number(what.answer_tag)),
                    ]

    def _send(self, m, asked, beat):
        """A beat of the question."""
        out, bits = self.packets.payload, 8 * self._bytes
        ends = beat == self._beats - 1
        m.d.comb += [
            out.data.eq(asked.word_select(beat, bits)),
            out.last.eq(ends),
            out.empty.eq(Mux(ends, self._bytes * self._beats - self._length, 0)),
        ]

    def _compare(self, m, step, due, wanted, installs, came, got_all, got_result, wrong):
        """What comes, bit for bit."""
        beat, bits = self.output.payload, 8 * self._bytes
        answer = self.answers.payload
        ends = came == self._beats - 1
        # The comparison is wide, so that a register stands in it; all that it counts for waits.
        beat_came, beat_ends, beat_differs = Signal(), Signal(), Signal(-(-bits // _SLICE) + 1)
        result_came, result_differs = Signal(), Signal(-(-len(wanted.as_value()) // _SLICE))
        answer_came, answer_differs = Signal(), Signal()
        m.d.comb += [
            self.output.ready.eq(1),
            self.results.ready.eq(1),
            self.answers.ready.eq(1),
        ]
        frame = (
            (beat.last == ends)
            & (beat.empty == Mux(ends, self._bytes * self._beats - self._length, 0))
            & (beat.meta.job == step)
        )
        m.d.sync += [
            beat_came.eq(self.output.valid),
            beat_ends.eq(ends),
            beat_differs.eq(Cat(~frame, *_differences(beat.data, due.word_select(came, bits)))),
            result_came.eq(self.results.valid),
            result_differs.eq(
                Cat(*_differences(self.results.payload.as_value(), wanted.as_value()))
            ),
            answer_came.eq(self.answers.valid),
            answer_differs.eq((answer.status != KeyStatus.OK) | (answer.key != self._row)),
        ]
        with m.If(self.output.valid):
            m.d.sync += came.eq(came + 1)
        with m.If(beat_came):
            m.d.sync += got_all.eq(beat_ends)
            with m.If(got_all | beat_differs.any()):
                m.d.sync += wrong.eq(1)
        with m.If(result_came):
            m.d.sync += got_result.eq(1)
            with m.If(installs | got_result | result_differs.any()):
                m.d.sync += wrong.eq(1)
        with m.If(answer_came):
            m.d.sync += got_result.eq(1)
            with m.If(~installs | got_result | answer_differs):
                m.d.sync += wrong.eq(1)


def _differences(one, other):
    """Of each slice, whether the two differ in it."""
    differs = one ^ other
    return [differs[at : at + _SLICE].any() for at in range(0, len(differs), _SLICE)]
