"""The control virtqueue of a network function."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import enum, stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.errors import ErrorCode, ErrorEvent, ErrorSource
from tailrace_hw.pcie.dma import DmaReadPort, DmaStatus, DmaWritePort
from tailrace_hw.virtio.interfaces import ChainPort, TakeAction

__all__ = ["Ack", "ControlClass", "ControlQueue", "MqCommand"]


class Ack(enum.Enum, shape=8):
    """``ack`` of ``struct virtio_net_ctrl`` (virtio 1.2, 5.1.6.5)."""

    OK = 0
    ERR = 1


class ControlClass(enum.Enum, shape=8):
    """``class`` of a command that is executed; every other is answered ERR."""

    MQ = 4


class MqCommand(enum.Enum, shape=8):
    """Commands of class MQ (5.1.6.5.5)."""

    VQ_PAIRS_SET = 0


#: Bytes of a command that are looked at: class, command, number of pairs.
_INTEREST = 4
#: Shortest command: class and command.
_HEADER = 2


class ControlQueue(wiring.Component):
    """Executes the driver's commands (virtio 1.2, 5.1.6.5), one at a time.

    Takes a chain as soon as one is available, reads its first device-readable bytes however they
    are cut into buffers, executes, writes the acknowledgement to the first device-writable byte
    and completes the chain with 1 byte written. MQ / VQ_PAIRS_SET with 1 to ``pairs`` queue pairs
    sets ``active_pairs``, when MQ is negotiated; everything else is answered VIRTIO_NET_ERR.

    A chain without a header or without a writable byte is completed with 0 bytes written and
    reported as NET_CTRL_MALFORMED. A DMA error is reported as QUEUE_DATA_FAULT and pulses
    ``fault``; the chain is completed with 0 bytes written. The next command is not taken before
    the event has been.

    Parameters
    ----------
    width : :class:`int`
        Of the DMA ports.
    pairs : :class:`int`
        Queue pairs of the function.

    Members
    -------
    chains : Out(ChainPort(1))
    read : Out(DmaReadPort(width)), write : Out(DmaWritePort(width))
        One request under way at a time.
    function : In(8)
    queue : In(16)
        Virtqueue index of the control queue, for error events.
    multiqueue : In(1)
        MQ is negotiated.
    clear : In(1)
        Reset, once the queue is quiet: one active pair (5.1.6.5.5).
    active_pairs : Out(range(pairs + 1))
        Queue pairs that the driver uses.
    executed, refused : Out(1)
        One cycle for each command answered OK or ERR.
    fault : Out(1)
    errors : Out(stream of ErrorEvent)
    """

    def __init__(self, width: int, pairs: int):
        self._width = width
        self._pairs = pairs
        super().__init__(
            {
                "chains": Out(ChainPort(1)),
                "read": Out(DmaReadPort(width)),
                "write": Out(DmaWritePort(width)),
                "function": In(8),
                "queue": In(16),
                "multiqueue": In(1),
                "clear": In(1),
                "active_pairs": Out(range(pairs + 1), init=1),
                "executed": Out(1),
                "refused": Out(1),
                "fault": Out(1),
                "errors": Out(stream.Signature(ErrorEvent)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        #: The command's first bytes and how many there are.
        self._command = Signal(8 * _INTEREST)
        self._have = Signal(range(_INTEREST + 1))
        self._ack_address = Signal(64)
        self._has_ack = Signal()
        self._ack = Signal(Ack)
        self._written = Signal()
        #: A DMA failed, at this address.
        self._failed = Signal()
        self._address = Signal(64)
        with m.FSM():
            with m.State("Wait"):
                with m.If(self.chains.available & ~self.errors.valid):
                    m.next = "Take"
            with m.State("Take"):
                m.d.comb += self.chains.take.valid.eq(1)
                m.d.sync += [
                    self._have.eq(0),
                    self._has_ack.eq(0),
                    self._failed.eq(0),
                    self._written.eq(0),
                ]
                with m.If(self.chains.take.ready):
                    m.next = "Segment"
            with m.State("Segment"):
                self._segment(m)
            with m.State("Read"):
                m.d.comb += self.read.request.valid.eq(1)
                with m.If(self.read.request.ready):
                    m.next = "Data"
            with m.State("Data"):
                self._data(m)
            with m.State("Execute"):
                self._execute(m)
            with m.State("Write"):
                self._write(m)
            with m.State("Written"):
                self._response(m)
            with m.State("Complete"):
                m.d.comb += self.chains.complete.valid.eq(1)
                with m.If(self.chains.complete.ready):
                    m.next = "Wait"
        self._payloads(m)
        with m.If(self.errors.valid & self.errors.ready):
            m.d.sync += self.errors.valid.eq(0)
        with m.If(self.clear):
            m.d.sync += self.active_pairs.eq(1)
        return m

    def _payloads(self, m):
        """What requests and completions carry; when they are valid is the state machine's."""
        for request in (self.read.request.payload, self.write.request.payload):
            m.d.comb += request.function.eq(self.function)
        m.d.comb += [
            self.chains.take.payload.action.eq(TakeAction.TAKE_COMMIT),
            self.chains.complete.payload.id.eq(self._id),
            self.chains.complete.payload.slots.eq(self._slots),
            self.chains.complete.payload.written.eq(self._written),
            self.read.request.payload.address.eq(self._address),
            self.read.request.payload.length.eq(self._length),
            self.write.request.payload.address.eq(self._ack_address),
            self.write.request.payload.length.eq(1),
            self.write.data.payload.data.eq(self._ack),
            self.write.data.payload.last.eq(1),
            self.write.data.payload.empty.eq(self._width // 8 - 1),
        ]

    def _segment(self, m):
        """Look at one buffer: the first bytes of the command, or room for the acknowledgement."""
        segments = self.chains.segments
        segment = segments.payload
        missing = Signal(range(_INTEREST + 1))
        self._length = Signal(range(_INTEREST + 1))
        self._last = Signal()
        self._id = Signal(16)
        self._slots = Signal(16)
        m.d.comb += [segments.ready.eq(1), missing.eq(_INTEREST - self._have)]
        with m.If(segments.valid):
            m.d.sync += [
                self._last.eq(segment.last),
                self._id.eq(segment.id),
                self._slots.eq(segment.slots),
            ]
            with m.If(segment.none):
                m.next = "Wait"
            with m.Elif(~segment.writable & (segment.length != 0) & (missing != 0) & ~self._failed):
                m.d.sync += [
                    self._address.eq(segment.address),
                    self._length.eq(Mux(segment.length < missing, segment.length, missing)),
                ]
                m.next = "Read"
            with m.Else():
                with m.If(segment.writable & (segment.length != 0) & ~self._has_ack):
                    m.d.sync += [self._has_ack.eq(1), self._ack_address.eq(segment.address)]
                with m.If(segment.last):
                    m.next = "Execute"

    def _data(self, m):
        """The bytes of one buffer; a failed read may come with any number of beats."""
        beat = self.read.data.payload
        first = Signal(init=1)
        m.d.comb += self.read.data.ready.eq(1)
        with m.If(self.read.data.valid):
            m.d.sync += first.eq(beat.last)
            with m.If(first):
                with m.Switch(self._have):
                    for have in range(_INTEREST):
                        with m.Case(have):
                            m.d.sync += self._command[8 * have :].eq(beat.data)
            with m.If(beat.last):
                with m.If(beat.meta.status != DmaStatus.OK):
                    m.d.sync += self._failed.eq(1)
                with m.Else():
                    m.d.sync += self._have.eq(self._have + self._length)
                with m.If(self._last):
                    m.next = "Execute"
                with m.Else():
                    m.next = "Segment"

    def _execute(self, m):
        command, number = self._command[:8], self._command[16:32]
        kind = self._command[8:16]
        valid = Signal()
        m.d.comb += valid.eq(
            self.multiqueue
            & (self._have == _INTEREST)
            & (command == ControlClass.MQ.value)
            & (kind == MqCommand.VQ_PAIRS_SET.value)
            & (number >= 1)
            & (number <= self._pairs)
        )
        m.d.sync += self._ack.eq(Mux(valid, Ack.OK, Ack.ERR))
        with m.If(self._failed):
            self._report(m, ErrorCode.QUEUE_DATA_FAULT, self._address)
            m.d.comb += self.fault.eq(1)
            m.next = "Complete"
        with m.Elif(~self._has_ack | (self._have < _HEADER)):
            self._report(m, ErrorCode.NET_CTRL_MALFORMED, self._have)
            m.next = "Complete"
        with m.Else():
            m.d.comb += [self.executed.eq(valid), self.refused.eq(~valid)]
            with m.If(valid):
                m.d.sync += self.active_pairs.eq(number)
            m.next = "Write"

    def _write(self, m):
        """Request and data of the acknowledgement; each may be taken first."""
        request_taken = Signal()
        data_taken = Signal()
        request, beat = self.write.request, self.write.data
        m.d.comb += [request.valid.eq(~request_taken), beat.valid.eq(~data_taken)]
        m.d.sync += [
            request_taken.eq(request_taken | request.ready),
            data_taken.eq(data_taken | beat.ready),
        ]
        with m.If((request_taken | request.ready) & (data_taken | beat.ready)):
            m.d.sync += [request_taken.eq(0), data_taken.eq(0)]
            m.next = "Written"

    def _response(self, m):
        response = self.write.response
        m.d.comb += response.ready.eq(1)
        with m.If(response.valid):
            m.d.sync += self._written.eq(response.payload.status == DmaStatus.OK)
            with m.If(response.payload.status != DmaStatus.OK):
                self._report(m, ErrorCode.QUEUE_DATA_FAULT, self._ack_address)
                m.d.comb += self.fault.eq(1)
            m.next = "Complete"

    def _report(self, m, code, info):
        """Put an event on the error stream, which is free: a command starts only then."""
        event = self.errors.payload
        m.d.sync += [
            self.errors.valid.eq(1),
            event.source.eq(ErrorSource.VIRTIO_NET),
            event.code.eq(code),
            event.function.eq(self.function),
            event.queue.eq(self.queue),
            event.info.eq(info),
        ]
