"""Jobs that are requests to the key table."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.crypto.key_installer import KeyAnswer
from tailrace_hw.crypto.types import KeyAction, KeyCommand, KeyKind, KeyStatus
from tailrace_hw.jobs.types import Opcode, OperationMeta
from tailrace_hw.lib.packet import PacketSignature

__all__ = ["KEY_BYTES", "KeyDescription", "KeyRequests"]

KEY_BYTES = 80


class KeyDescription(data.Struct):
    """A key, as the source of KEY_INSTALL has it. 80 bytes, little-endian."""

    #: A ``KeyKind``.
    kind: 8
    #: A ``KeySize``.
    size: 8
    #: Bit 0: refuse to encrypt with an IV that is not above the last one.
    strict: 8
    reserved: 104
    #: The key in the order of its bytes; XTS: Key1.
    material: 256
    #: XTS: Key2.
    tweak_material: 256


class KeyRequests(wiring.Component):
    """Makes one request to the key table after the other, and says how each has ended.

    KEY_INSTALL has a ``KeyDescription`` as its packet, KEY_DELETE a beat that means nothing. A
    kind or size that does not exist ends with SIZE. Between two jobs ``forget`` goes first. When a
    request has ended, its key is overwritten here.

    Takes a beat a cycle, then nothing until the request has ended and ``ended`` was taken.

    Parameters
    ----------
    width : :class:`int`
        Datapath width in bits.

    Members
    -------
    i : In(PacketSignature(width, OperationMeta))
        Jobs of these two operations.
    forget : In(stream of 8 bits)
        A function. Taken when its keys are gone.
    keys : Out(stream of KeyCommand)
    answers : In(stream of KeyAnswer)
    ended : Out(stream of KeyStatus)
        End of a job.
    asked : Out(1)
        A request has been taken and has not ended.
    key : Out(16)
        Its key.
    action : Out(KeyAction)
        What was asked for last, until its answer was taken.
    """

    def __init__(self, width: int):
        self._width = width
        super().__init__(
            {
                "i": In(PacketSignature(width, OperationMeta)),
                "forget": In(stream.Signature(8)),
                "keys": Out(stream.Signature(KeyCommand)),
                "answers": In(stream.Signature(KeyAnswer)),
                "ended": Out(stream.Signature(KeyStatus)),
                "asked": Out(1),
                "key": Out(16),
                "action": Out(KeyAction),
            }
        )

    def elaborate(self, platform):
        m = Module()
        beats = -(-8 * KEY_BYTES // self._width)
        words = Array(Signal(self._width, name=f"word{index}") for index in range(beats))
        index = Signal(range(beats))
        meta = Signal(OperationMeta)
        command, beat = self.keys.payload, self.i.payload
        key = Signal(KeyDescription)
        m.d.comb += [
            key.eq(Cat(*words)),
            self.key.eq(meta.key),
            command.key.eq(meta.key),
            command.function.eq(meta.function),
            command.action.eq(self.action),
            self.action.eq(
                Mux(meta.opcode == Opcode.KEY_INSTALL, KeyAction.INSTALL, KeyAction.DELETE)
            ),
            command.kind.eq(key.kind),
            # One that does not exist: there are three sizes.
            command.size.eq(Mux((key.kind > KeyKind.XTS.value) | (key.size > 3), 3, key.size)),
            command.strict.eq(key.strict[0]),
            command.material.eq(key.material),
            command.tweak_material.eq(key.tweak_material),
        ]
        under_way = Signal()
        with m.FSM(name="requests"):
            with m.State("GATHER"):
                m.d.comb += self.i.ready.eq(under_way | ~self.forget.valid)
                with m.If(self.i.valid & self.i.ready):
                    # One that is too long goes round: what it asks for means nothing anyway.
                    m.d.sync += [
                        words[index].eq(beat.data),
                        index.eq(Mux(index == beats - 1, 0, index + 1)),
                        meta.eq(beat.meta),
                        under_way.eq(~beat.last),
                    ]
                    with m.If(beat.last):
                        m.next = "ASK"
                with m.Elif(~under_way & self.forget.valid):
                    m.next = "FORGET"
            with m.State("ASK"):
                m.d.comb += [self.keys.valid.eq(1), self.asked.eq(1)]
                with m.If(self.keys.ready):
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += [
                    self.asked.eq(1),
                    self.ended.valid.eq(self.answers.valid),
                    self.ended.payload.eq(self.answers.payload.status),
                    self.answers.ready.eq(self.ended.ready),
                ]
                with m.If(self.answers.valid & self.ended.ready):
                    m.d.sync += [index.eq(0), *(word.eq(0) for word in words)]
                    m.next = "GATHER"
            with m.State("FORGET"):
                m.d.comb += [
                    self.keys.valid.eq(1),
                    self.action.eq(KeyAction.DELETE_ALL),
                    command.function.eq(self.forget.payload),
                ]
                with m.If(self.keys.ready):
                    m.next = "FORGOTTEN"
            with m.State("FORGOTTEN"):
                m.d.comb += [
                    self.action.eq(KeyAction.DELETE_ALL),
                    self.answers.ready.eq(1),
                    self.forget.ready.eq(self.answers.valid),
                ]
                with m.If(self.answers.valid):
                    m.next = "GATHER"
        return m
