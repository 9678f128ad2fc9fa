"""Host accesses to the BARs: completer requests in, register accesses out, completions back."""

from collections.abc import Mapping

from amaranth.hdl import C, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from tailrace_hw.errors import ErrorCode, ErrorEvent, ErrorSource
from tailrace_hw.lib.axis import AxisSignature
from tailrace_hw.lib.csr import CsrSignature
from tailrace_hw.pcie.tlp import (
    CcDescriptor,
    CompletionStatus,
    CqDescriptor,
    CqRequest,
    byte_count,
    first_byte,
)
from tailrace_hw.pcie.usp import CC_USER, CQ_USER

__all__ = ["MAX_DWORDS", "Completer", "csr_port_name"]

#: Longest request served, in dwords: a cache line.
MAX_DWORDS = 16
#: Dwords of an error completion: descriptor, byte enables, descriptor of the request (PG213).
_ERROR_DWORDS = 8


def csr_port_name(function: int, bar: int) -> str:
    """Name of the CSR port of a function's BAR."""
    return f"f{function}_bar{bar}"


class _Request(data.Struct):
    """What is kept of the request that is being served."""

    descriptor: CqDescriptor
    first_enables: 4
    last_enables: 4


class Completer(wiring.Component):
    """Serves memory requests of the host to the BARs, one at a time, in order.

    A read or write of 1 to 16 dwords with any byte enables becomes one 32-bit access a dword, in
    ascending order; dwords without an enabled byte are left out (a read gives 0 there). A read is
    answered by one completion. A write's first access is on the CSR port 2 cycles after its last
    beat was taken; every further dword takes 1 cycle more than the target needs. A zero-length
    read (PCIe 5.0, 2.2.5) is answered and touches no register.

    Not supported, and answered with Unsupported Request when the host waits for an answer
    (2.3.1): I/O requests, atomics, locked reads, more than 16 dwords, a BAR or function that is
    not there, and a read of which any dword was answered with ``error``. Posted requests of those
    kinds and messages are dropped. Each is reported as COMPLETER_UNSUPPORTED with the byte address.
    Requests that the block marks to be discarded, and each pulse of ``poisoned``, are reported as
    COMPLETER_POISONED. The completer waits for ``errors`` to take a report.

    Parameters
    ----------
    width : :class:`int`
        PCIe interface width, 256 or 512.
    bars : mapping of (function, BAR) to bytes
        Sizes are powers of two. A BAR's port has that many bytes of address.

    Members
    -------
    cq : In(AxisSignature)
        Completer requests, straddling off, dword aligned.
    cc : Out(AxisSignature)
        Completions, straddling off.
    f*F*_bar*B* : Out(CsrSignature), one for each of ``bars``, see :func:`csr_port_name`
    poisoned : In(1)
        The integrated block dropped a poisoned request.
    errors : Out(stream of ErrorEvent)
    """

    def __init__(self, width: int, bars: Mapping[tuple[int, int], int]):
        self._width = width
        self._bars = dict(bars)
        keep = width // 32
        ports = {
            csr_port_name(*key): Out(CsrSignature(exact_log2(size)))
            for key, size in self._bars.items()
        }
        super().__init__(
            {
                "cq": In(AxisSignature(width, user=CQ_USER[width], keep=keep)),
                "cc": Out(AxisSignature(width, user=CC_USER[width], keep=keep)),
                "poisoned": In(1),
                "errors": Out(stream.Signature(ErrorEvent)),
                **ports,
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._request = Signal(_Request)
        self._payload = Signal(data.ArrayLayout(32, MAX_DWORDS))
        self._discard = Signal()
        self._beat = Signal(range(MAX_DWORDS))
        self._access = Signal(range(MAX_DWORDS + 1))
        self._failed = Signal()
        self._select = Signal(len(self._bars))
        self._poisoned = Signal(4)
        self._taken_poisoned = Signal()
        m.d.sync += self._poisoned.eq(
            self._poisoned
            + (self.poisoned & ~self._poisoned.all())
            - self._taken_poisoned
        )
        self._dwords = self._request.descriptor.dword_count
        with m.FSM(name="completer"):
            with m.State("IDLE"):
                self._idle(m)
            with m.State("LOAD"):
                self._load(m)
            with m.State("DECODE"):
                self._decode(m)
            with m.State("REQUEST"):
                self._issue(m)
            with m.State("RESPONSE"):
                self._response(m)
            with m.State("COMPLETE"):
                self._complete(m)
            with m.State("REPORT"):
                self._report(m)
        return m

    # Request in

    def _user(self, name: str):
        """Fields of the request's sideband by name (PG213, m_axis_cq_tuser)."""
        wide = self._width == 512
        low, length = {
            "first_enables": (0, 4),
            "last_enables": (8, 4) if wide else (4, 4),
            "discontinue": (96, 1) if wide else (41, 1),
        }[name]
        return self.cq.tuser[low : low + length]

    def _idle(self, m):
        m.d.comb += self.cq.tready.eq(~self._poisoned.any())
        m.d.sync += [
            self._request.descriptor.eq(self.cq.tdata[:128]),
            self._request.first_enables.eq(self._user("first_enables")),
            self._request.last_enables.eq(self._user("last_enables")),
            self._discard.eq(self._user("discontinue")),
            self._failed.eq(0),
            self._access.eq(0),
            self._beat.eq(1),
        ]
        first = min(self._width // 32 - 4, MAX_DWORDS)
        m.d.sync += [
            self._payload[k].eq(self.cq.tdata.word_select(4 + k, 32)) for k in range(first)
        ]
        with m.If(self._poisoned.any()):
            m.d.sync += [self._discard.eq(1), self._request.eq(0)]
            m.d.comb += self._taken_poisoned.eq(1)
            m.next = "REPORT"
        with m.Elif(self.cq.tvalid):
            with m.If(self.cq.tlast):
                m.next = "DECODE"
            with m.Else():
                m.next = "LOAD"

    def _load(self, m):
        """Further beats of the payload; what does not fit belongs to a request that is too long."""
        m.d.comb += self.cq.tready.eq(1)
        lanes = self._width // 32
        with m.If(self.cq.tvalid):
            m.d.sync += self._discard.eq(self._discard | self._user("discontinue"))
            with m.If(~self._beat.all()):
                m.d.sync += self._beat.eq(self._beat + 1)
            with m.Switch(self._beat):
                for beat in range(1, (MAX_DWORDS + 4 + lanes - 1) // lanes):
                    with m.Case(beat):
                        for k in range(max(beat * lanes - 4, 0), MAX_DWORDS):
                            if k < (beat + 1) * lanes - 4:
                                lane = k + 4 - beat * lanes
                                m.d.sync += self._payload[k].eq(
                                    self.cq.tdata.word_select(lane, 32)
                                )
            with m.If(self.cq.tlast):
                m.next = "DECODE"

    def _decode(self, m):
        descriptor = self._request.descriptor
        kind = descriptor.request_type
        read = kind == CqRequest.MEMORY_READ
        memory = read | (kind == CqRequest.MEMORY_WRITE)
        hits = Cat(
            (descriptor.function == function) & (descriptor.bar == bar)
            for function, bar in self._bars
        )
        fits = (self._dwords <= MAX_DWORDS) & (self._dwords != 0)
        m.d.sync += self._select.eq(hits)
        with m.If(self._discard):
            m.next = "REPORT"
        with m.Elif(memory & hits.any() & fits):
            m.next = "REQUEST"
        with m.Else():
            m.d.sync += self._failed.eq(1)
            m.next = "REPORT"

    # Register accesses

    def _enables(self):
        last = self._access == self._dwords - 1
        middle = Mux(last, self._request.last_enables, 0xF)
        return Mux(self._access == 0, self._request.first_enables, middle)

    def _ports(self):
        return [getattr(self, csr_port_name(*key)) for key in self._bars]

    def _is_read(self):
        return self._request.descriptor.request_type == CqRequest.MEMORY_READ

    def _issue(self, m):
        """One dword: to its target, or nowhere if none of its bytes is enabled."""
        enables = self._enables()
        address = Cat(0, 0, self._request.descriptor.address[:30] + self._access)
        ready = Signal()
        for index, port in enumerate(self._ports()):
            payload = port.request.payload
            m.d.comb += [
                port.request.valid.eq(self._select[index] & enables.any()),
                payload.address.eq(address),
                payload.write.eq(~self._is_read()),
                payload.data.eq(self._payload[0]),
                payload.strobe.eq(enables),
            ]
            with m.If(self._select[index]):
                m.d.comb += ready.eq(port.request.ready)
        with m.If(~enables.any()):
            self._store(m, 0)
            self._advance(m, self._failed)
        with m.Elif(ready):
            m.next = "RESPONSE"

    def _response(self, m):
        for index, port in enumerate(self._ports()):
            m.d.comb += port.response.ready.eq(1)
            with m.If(self._select[index] & port.response.valid):
                self._store(m, port.response.payload.data)
                self._advance(m, self._failed | port.response.payload.error)

    def _store(self, m, value):
        """A read's dword goes to its place; a write's next dword comes to the front."""
        with m.If(self._is_read()):
            m.d.sync += self._payload[self._access[:4]].eq(value)
        with m.Else():
            m.d.sync += [
                self._payload[k].eq(self._payload[k + 1]) for k in range(MAX_DWORDS - 1)
            ]

    def _advance(self, m, failed):
        m.d.sync += [
            self._access.eq(self._access + 1),
            self._beat.eq(0),
            self._failed.eq(failed),
        ]
        with m.If(self._access != self._dwords - 1):
            m.next = "REQUEST"
        with m.Elif(failed):
            m.next = "REPORT"
        with m.Elif(self._is_read()):
            m.next = "COMPLETE"
        with m.Else():
            m.next = "IDLE"

    # Completion and report

    def _report(self, m):
        payload = self.errors.payload
        posted = (self._request.descriptor.request_type == CqRequest.MEMORY_WRITE) | (
            self._request.descriptor.request_type[3]
        )
        code = Mux(
            self._discard, ErrorCode.COMPLETER_POISONED, ErrorCode.COMPLETER_UNSUPPORTED
        )
        m.d.comb += [
            self.errors.valid.eq(1),
            payload.source.eq(ErrorSource.COMPLETER),
            payload.code.eq(code),
            payload.function.eq(self._request.descriptor.function),
            payload.queue.eq(0xFFFF),
            payload.info.eq(Cat(0, 0, self._request.descriptor.address)),
        ]
        m.d.sync += self._beat.eq(0)
        with m.If(self.errors.ready):
            with m.If(self._discard | posted):
                m.next = "IDLE"
            with m.Else():
                m.next = "COMPLETE"

    def _packet(self):
        """Dwords of the completion, and how many."""
        request = self._request.descriptor
        read = self._is_read()
        header = Signal(CcDescriptor)
        count = byte_count(self._dwords, self._request.first_enables, self._request.last_enables)
        lower = Cat(first_byte(self._request.first_enables), request.address[:5])
        fields = [
            header.lower_address.eq(Mux(read, lower, 0)),
            header.address_type.eq(request.address_type),
            header.byte_count.eq(Mux(read, count, 4)),
            header.locked.eq(request.request_type == CqRequest.MEMORY_READ_LOCKED),
            header.dword_count.eq(Mux(self._failed, 0, self._dwords)),
            header.status.eq(
                Mux(
                    self._failed,
                    CompletionStatus.UNSUPPORTED_REQUEST,
                    CompletionStatus.SUCCESS,
                )
            ),
            header.requester_id.eq(request.requester_id),
            header.tag.eq(request.tag),
            header.completer_function.eq(request.function),
            header.tc.eq(request.tc),
            header.attributes.eq(request.attributes),
        ]
        enables = Cat(self._request.first_enables, self._request.last_enables)
        failure = Cat(header, enables, C(0, 24), request)
        success = Cat(header, self._payload)
        body = Signal(len(success))
        fields.append(body.eq(Mux(self._failed, failure, success)))
        dwords = Mux(self._failed, _ERROR_DWORDS, 3 + self._dwords[:5])
        return fields, body, dwords

    def _complete(self, m):
        fields, body, dwords = self._packet()
        m.d.comb += fields
        lanes = self._width // 32
        total = Signal(range(MAX_DWORDS + 4))
        left = Signal(range(MAX_DWORDS + 4))
        last = Signal()
        final = Signal(4)
        m.d.comb += [
            total.eq(dwords),
            left.eq(total - self._beat * lanes),
            last.eq(left <= lanes),
            final.eq(left - 1),
            self.cc.tvalid.eq(1),
            self.cc.tlast.eq(last),
            self.cc.tdata.eq(body.word_select(self._beat[:2], self._width)),
            self.cc.tkeep.eq(Cat(left > k for k in range(lanes))),
        ]
        if self._width == 512:
            # is_sop, is_sop0_ptr and so on; no discontinue, no parity.
            m.d.comb += [
                self.cc.tuser[0].eq(self._beat == 0),
                self.cc.tuser[6].eq(last),
                self.cc.tuser[8:12].eq(Mux(last, final, 0)),
            ]
        with m.If(self.cc.tready):
            m.d.sync += self._beat.eq(self._beat + 1)
            with m.If(last):
                m.next = "IDLE"
