"""The cipher engine as an engine of the job queues."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from tailrace_hw.crypto import types as cipher
from tailrace_hw.crypto.key_installer import KeyAnswer
from tailrace_hw.crypto.key_requests import KEY_BYTES, KeyRequests
from tailrace_hw.jobs.operations import Destination, Operation
from tailrace_hw.jobs.types import EnginePort, JobStatus, Opcode
from tailrace_hw.lib.fifo import SyncFifo
from tailrace_hw.lib.packet import PacketSignature

__all__ = ["JobPort", "cipher_operations"]

_CIPHERS = {
    Opcode.GCM_ENCRYPT: cipher.Operation.GCM_ENCRYPT,
    Opcode.GCM_DECRYPT: cipher.Operation.GCM_DECRYPT,
    Opcode.XTS_ENCRYPT: cipher.Operation.XTS_ENCRYPT,
    Opcode.XTS_DECRYPT: cipher.Operation.XTS_DECRYPT,
}
#: How a request to the key table ends, as a job's status.
_KEY_STATUS = {
    cipher.KeyStatus.OK: JobStatus.OK,
    cipher.KeyStatus.INDEX: JobStatus.KEY_INDEX,
    cipher.KeyStatus.TAKEN: JobStatus.KEY_TAKEN,
    cipher.KeyStatus.UNKNOWN: JobStatus.KEY_NOT_THERE,
    cipher.KeyStatus.SIZE: JobStatus.KEY_SIZE,
}


def cipher_operations(engine: int, *, xts: bool = True) -> tuple[Operation, ...]:
    """What the job queues must know of the operations that :class:`JobPort` takes.

    Those with a source are ``whole``: a packet of which a part could not be read would use up an
    IV, or install half a key.
    """
    longest = cipher.MAX_LENGTH
    gcm = [
        Operation(code, engine, 0, longest, whole=True)
        for code in (Opcode.GCM_ENCRYPT, Opcode.GCM_DECRYPT)
    ]
    units = [
        Operation(code, engine, 16, longest, whole=True)
        for code in (Opcode.XTS_ENCRYPT, Opcode.XTS_DECRYPT)
    ]
    never = Destination.NEVER
    return (
        *gcm,
        *(units if xts else ()),
        Operation(Opcode.KEY_INSTALL, engine, KEY_BYTES, KEY_BYTES, never, False, True),
        Operation(Opcode.KEY_DELETE, engine, 0, 0, never, False),
    )


class _Place(data.Struct):
    """A job on its way, in the order in which results are given."""

    slot: 8
    is_key: 1


class JobPort(wiring.Component):
    """Jobs to packets and requests for keys, and what comes of them to results, in order.

    A KEY_INSTALL or KEY_DELETE is a request to the key table; jobs behind it that name its key, or
    another of the four that an XTS key has, wait for its end, others don't. Up to 64 jobs are under
    way, then ``port.i`` waits. Additional data of more bytes than a descriptor has end with
    AAD_LENGTH.

    A beat a cycle, no latency. Every stall is passed on, nothing is dropped.

    Parameters
    ----------
    width : :class:`int`
        Datapath width in bits.

    Members
    -------
    port : In(EnginePort(width))
        Jobs of :func:`cipher_operations` and no others.
    forget : In(stream of 8 bits)
        A function whose keys are all to be forgotten. Taken when they are.
    packets, output, results, keys, key_answers : Out, In, In, Out, In
        ``i``, ``o``, ``results``, ``keys``, ``key_answers`` of a ``TestedCipher``.
    key_action : Out(KeyAction)
        With an answer on ``key_answers``: what it answers.
    """

    _JOBS = 64

    def __init__(self, width: int):
        self._width = width
        super().__init__(
            {
                "port": In(EnginePort(width)),
                "forget": In(stream.Signature(8)),
                "packets": Out(PacketSignature(width, cipher.JobParameters)),
                "output": In(PacketSignature(width, cipher.OutputMeta)),
                "results": In(stream.Signature(cipher.Result)),
                "keys": Out(stream.Signature(cipher.KeyCommand)),
                "key_answers": In(stream.Signature(KeyAnswer)),
                "key_action": Out(cipher.KeyAction),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.order = order = SyncFifo(_Place, self._JOBS)
        m.submodules.requests = requests = KeyRequests(self._width)
        connect(m, flipped(self.forget), requests.forget)
        connect(m, requests.keys, flipped(self.keys))
        connect(m, flipped(self.key_answers), requests.answers)
        m.d.comb += self.key_action.eq(requests.action)
        i = self.port.i
        meta = i.payload.meta
        # Between two packets.
        first = Signal(init=1)
        is_key, waits, enters = Signal(), Signal(), Signal()
        bits = exact_log2(cipher.GROUP)
        same = meta.key[bits:] == requests.key[bits:]
        m.d.comb += [
            is_key.eq((meta.opcode == Opcode.KEY_INSTALL) | (meta.opcode == Opcode.KEY_DELETE)),
            waits.eq(first & (~order.i.ready | (requests.asked & same))),
            self.packets.valid.eq(i.valid & ~is_key & ~waits),
            requests.i.valid.eq(i.valid & is_key & ~waits),
            requests.i.payload.eq(i.payload),
            i.ready.eq(~waits & Mux(is_key, requests.i.ready, self.packets.ready)),
            enters.eq(i.valid & i.ready),
            order.i.valid.eq(enters & first),
            order.i.payload.slot.eq(meta.slot),
            order.i.payload.is_key.eq(is_key),
        ]
        with m.If(enters):
            m.d.sync += first.eq(i.payload.last)
        self._packet(m, meta)
        self._end(m, order, requests)
        return m

    def _packet(self, m, meta):
        """A job's parameters as the engine has them, and its packets as the queues have them."""
        i, out, job = self.port.i.payload, self.packets.payload, self.packets.payload.meta
        room = len(meta.aad) // 8
        m.d.comb += [
            out.data.eq(i.data),
            out.empty.eq(i.empty),
            out.last.eq(i.last),
            job.key.eq(meta.key),
            job.function.eq(meta.function),
            job.job.eq(meta.slot),
            job.iv.eq(meta.iv),
            job.j0.eq(meta.j0),
            job.aad.eq(meta.aad),
            job.aad_length.eq(Mux(meta.aad_length > room, cipher.MAX_AAD + 1, meta.aad_length)),
            job.length.eq(Mux(meta.length > cipher.MAX_LENGTH, cipher.MAX_LENGTH + 1, meta.length)),
            job.tag.eq(meta.tag),
            job.tag_length.eq(meta.tag_length),
        ]
        with m.Switch(meta.opcode):
            for opcode, operation in _CIPHERS.items():
                with m.Case(opcode):
                    m.d.comb += job.operation.eq(operation)
        result, output = self.port.o, self.output
        m.d.comb += [
            result.valid.eq(output.valid),
            output.ready.eq(result.ready),
            result.payload.data.eq(output.payload.data),
            result.payload.empty.eq(output.payload.empty),
            result.payload.last.eq(output.payload.last),
            result.payload.meta.slot.eq(output.payload.meta.job),
        ]

    def _end(self, m, order, requests):
        """The result of the first job under way, wherever it comes from."""
        result, place = self.port.result, order.o.payload
        with m.If(order.o.valid & place.is_key):
            m.d.comb += [
                result.valid.eq(requests.ended.valid),
                requests.ended.ready.eq(result.ready),
            ]
            with m.Switch(requests.ended.payload):
                for answer, status in _KEY_STATUS.items():
                    with m.Case(answer):
                        m.d.comb += result.payload.status.eq(status)
        with m.Elif(order.o.valid):
            m.d.comb += [
                result.valid.eq(self.results.valid),
                self.results.ready.eq(result.ready),
                # The numbers of these are the same in both.
                result.payload.status.eq(self.results.payload.status.as_value()),
                result.payload.tag.eq(self.results.payload.tag),
            ]
        m.d.comb += [
            result.payload.slot.eq(place.slot),
            order.o.ready.eq(result.valid & result.ready),
        ]
