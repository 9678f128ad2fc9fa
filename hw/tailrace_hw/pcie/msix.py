"""MSI-X: tables, pending bits and messages of all functions (PCIe 5.0, 6.1.4 and 7.7.2)."""

from collections.abc import Sequence

from amaranth.hdl import C, Cat, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from tailrace_hw.errors import ErrorCode, ErrorEvent, ErrorSource
from tailrace_hw.lib.arbiter import RoundRobinArbiter
from tailrace_hw.lib.csr import CsrSignature
from tailrace_hw.pcie.dma import DmaWritePort
from tailrace_hw.pcie.function import FunctionState, InterruptRequest
from tailrace_hw.pcie.identity import MSIX_BAR_SIZE, MSIX_PBA_OFFSET
from tailrace_hw.virtio.interfaces import NO_VECTOR

__all__ = ["Msix", "MsixMessage", "MsixTable"]

_ADDRESS_WIDTH = exact_log2(MSIX_BAR_SIZE)
_PBA_BIT = exact_log2(MSIX_PBA_OFFSET)
#: Message Address, Message Upper Address and Message Data; Vector Control is in registers.
_ENTRY_BITS = 96


class MsixMessage(data.Struct):
    """One message: a dword write."""

    function: 8
    address: 64
    data: 32


class MsixTable(wiring.Component):
    """Table and pending bits of one function.

    An interrupt for a vector that is masked, by itself or by the function mask, sets its pending
    bit; the message follows when neither masks it any more, within as many cycles as there are
    vectors. One for an unmasked vector becomes a message 2 cycles after it was taken. While MSI-X
    is disabled or the function is in reset interrupts are dropped; reset masks every vector and
    clears every pending bit. A vector that the table does not have is dropped and reported as
    MSIX_BAD_VECTOR, NO_VECTOR is dropped silently.

    A register access takes 2 cycles. Byte enables are honoured; accesses outside table and PBA are
    answered with ``error``; writes to the PBA change nothing.

    Parameters
    ----------
    function : :class:`int`
        Number for messages and errors.
    vectors : :class:`int`
        Table size, 1 to 1024.

    Members
    -------
    csr : In(CsrSignature(15))
        BAR 2: table at 0, PBA at 0x4000.
    state : In(FunctionState)
    vector : In(stream of 16 bits)
        Interrupts; ready at least every third cycle unless messages or errors are not taken.
    message : Out(stream of MsixMessage)
    errors : Out(stream of ErrorEvent)
    """

    def __init__(self, function: int, vectors: int):
        if not 1 <= vectors <= MSIX_PBA_OFFSET // 16:
            raise ValueError("a table has 1 to 1024 vectors")
        self._function = function
        self._vectors = vectors
        super().__init__(
            {
                "csr": In(CsrSignature(_ADDRESS_WIDTH)),
                "state": In(FunctionState),
                "vector": In(stream.Signature(16)),
                "message": Out(stream.Signature(MsixMessage)),
                "errors": Out(stream.Signature(ErrorEvent)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.entries = entries = memory.Memory(
            shape=_ENTRY_BITS, depth=self._vectors, init=[]
        )
        self._masked = Signal(self._vectors, init=(1 << self._vectors) - 1)
        self._pending = Signal(self._vectors)
        self._write = entries.write_port(granularity=8)
        self._csr_read = entries.read_port()
        self._read = entries.read_port()
        self._registers(m)
        self._interrupts(m)
        with m.If(self.state.reset):
            m.d.sync += [self._masked.eq(~0), self._pending.eq(0)]
        return m

    # Registers

    def _registers(self, m):
        request = self.csr.request.payload
        index = request.address[4:_PBA_BIT]
        busy = Signal()
        in_pba = Signal()
        word = Signal(2)
        row = Signal(range(MSIX_PBA_OFFSET // 16))
        inside = Signal()
        m.d.comb += [
            self.csr.request.ready.eq(~busy),
            self._csr_read.addr.eq(index),
            self._write.addr.eq(index),
            self._write.data.eq(request.data.replicate(3)),
        ]
        with m.If(self.csr.request.valid & ~busy):
            m.d.sync += [
                busy.eq(1),
                in_pba.eq(request.address[_PBA_BIT]),
                word.eq(request.address[2:4]),
                row.eq(index),
            ]
            with m.If(request.write & ~request.address[_PBA_BIT] & (index < self._vectors)):
                self._write_entry(m, index, request)
        answered = Signal()
        with m.If(busy & ~answered):
            m.d.sync += answered.eq(1)
        with m.If(answered & self.csr.response.ready):
            m.d.sync += [busy.eq(0), answered.eq(0)]
        self._answer(m, busy & ~answered, in_pba, row, word, inside)
        m.d.comb += self.csr.response.valid.eq(answered)

    def _write_entry(self, m, index, request):
        with m.Switch(request.address[2:4]):
            for dword in range(3):
                with m.Case(dword):
                    m.d.comb += self._write.en[4 * dword : 4 * dword + 4].eq(request.strobe)
            with m.Case(3):
                with m.If(request.strobe[0]):
                    m.d.sync += self._masked.bit_select(index, 1).eq(request.data[0])

    def _answer(self, m, now, in_pba, row, word, inside):
        """Read data, one cycle after the request; the entry is on the memory's output by then."""
        pba_words = Cat(self._pending, C(0, -self._vectors % 64))
        pba = Signal(32)
        control = Signal()
        table = Signal(32)
        number = Cat(word, row)
        was_write = Signal()
        m.d.comb += [
            pba.eq(pba_words.word_select(number[: max(len(pba_words) // 32 - 1, 1).bit_length()],
                                         32)),
            control.eq(self._masked.bit_select(row, 1)),
            table.eq(Cat(self._csr_read.data, control, C(0, 31)).word_select(word, 32)),
            inside.eq(Mux(in_pba, number < len(pba_words) // 32, row < self._vectors)),
        ]
        with m.If(self.csr.request.valid & self.csr.request.ready):
            m.d.sync += was_write.eq(self.csr.request.payload.write)
        with m.If(now):
            m.d.sync += [
                self.csr.response.payload.error.eq(~inside),
                self.csr.response.payload.data.eq(
                    Mux(inside & ~was_write, Mux(in_pba, pba, table), 0)
                ),
            ]

    # Interrupts

    def _interrupts(self, m):
        index = Signal(range(self._vectors))
        vector = Signal(16)
        known = Signal()
        scan = Signal(range(self._vectors))
        allowed = Signal()
        m.d.comb += [
            allowed.eq(self.state.msix_enable & ~self.state.msix_mask & ~self.state.reset),
            self._read.addr.eq(index),
        ]
        with m.FSM(name="interrupt"):
            with m.State("IDLE"):
                m.d.comb += self.vector.ready.eq(1)
                m.d.sync += vector.eq(self.vector.payload)
                with m.If(self.vector.valid):
                    m.d.comb += self._read.addr.eq(self.vector.payload)
                    m.d.sync += [
                        index.eq(self.vector.payload),
                        known.eq(self.vector.payload < self._vectors),
                    ]
                    m.next = "LOOKUP"
                with m.Else():
                    waiting = (self._pending & ~self._masked).bit_select(scan, 1)
                    m.d.comb += self._read.addr.eq(scan)
                    m.d.sync += [index.eq(scan), known.eq(1)]
                    with m.If(allowed & waiting):
                        m.next = "LOOKUP"
                    with m.Else():
                        m.d.sync += scan.eq(Mux(scan == self._vectors - 1, 0, scan + 1))
            with m.State("LOOKUP"):
                self._lookup(m, known, index, vector, allowed)
            with m.State("SEND"):
                m.d.comb += self.message.valid.eq(1)
                with m.If(self.message.ready):
                    m.next = "IDLE"
            with m.State("REPORT"):
                m.d.comb += self.errors.valid.eq(1)
                with m.If(self.errors.ready):
                    m.next = "IDLE"
        event = self.errors.payload
        m.d.comb += [
            event.source.eq(ErrorSource.MSIX),
            event.code.eq(ErrorCode.MSIX_BAD_VECTOR),
            event.function.eq(self._function),
            event.queue.eq(0xFFFF),
            event.info.eq(vector),
            self.message.payload.function.eq(self._function),
        ]

    def _lookup(self, m, known, index, vector, allowed):
        pending = self._pending.bit_select(index, 1)
        m.next = "IDLE"
        with m.If(~known):
            with m.If(vector != NO_VECTOR):
                m.next = "REPORT"
        with m.Elif(allowed & ~self._masked.bit_select(index, 1)):
            m.d.sync += [
                pending.eq(0),
                # The two low address bits are always 0 (7.7.2.6).
                self.message.payload.address.eq(Cat(C(0, 2), self._read.data[2:64])),
                self.message.payload.data.eq(self._read.data[64:]),
            ]
            m.next = "SEND"
        with m.Elif(self.state.msix_enable):
            m.d.sync += pending.eq(1)


class Msix(wiring.Component):
    """MSI-X of all functions; messages leave as DMA writes.

    Messages go the same way as data and used-ring writes, so that a message is behind everything
    that was given to the write engine before the interrupt was asked for. Order within a function
    is kept. A request for a function that is not there is dropped and reported as MSIX_BAD_VECTOR.

    Parameters
    ----------
    vectors : sequence of :class:`int`
        Table size of each function.
    width : :class:`int`
        Data bits of the DMA port.

    Members
    -------
    csr : In(CsrSignature(15)), array by function
    state : In(FunctionState), array by function
    interrupt : In(stream of InterruptRequest)
        Taken at least every third cycle while messages and errors are taken.
    dma : Out(DmaWritePort(width))
    errors : Out(stream of ErrorEvent)
    """

    def __init__(self, vectors: Sequence[int], width: int):
        self._vectors = list(vectors)
        self._width = width
        n = len(self._vectors)
        super().__init__(
            {
                "csr": In(CsrSignature(_ADDRESS_WIDTH)).array(n),
                "state": In(FunctionState).array(n),
                "interrupt": In(stream.Signature(InterruptRequest)),
                "dma": Out(DmaWritePort(width)),
                "errors": Out(stream.Signature(ErrorEvent)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        n = len(self._vectors)
        m.submodules.messages = messages = RoundRobinArbiter(MsixMessage, n)
        m.submodules.reports = reports = RoundRobinArbiter(ErrorEvent, n)
        request = self.interrupt.payload
        for index, vectors in enumerate(self._vectors):
            table = MsixTable(index, vectors)
            m.submodules[f"table{index}"] = table
            # The last table also drops and reports what is for no function at all.
            mine = request.function >= index if index == n - 1 else request.function == index
            m.d.comb += [
                table.state.eq(self.state[index]),
                table.vector.valid.eq(self.interrupt.valid & mine),
                table.vector.payload.eq(
                    Mux((request.function == index) | (request.vector == NO_VECTOR),
                        request.vector, NO_VECTOR - 1)
                ),
            ]
            with m.If(mine):
                m.d.comb += self.interrupt.ready.eq(table.vector.ready)
            wiring.connect(m, wiring.flipped(self.csr[index]), table.csr)
            wiring.connect(m, table.message, messages.i[index])
            wiring.connect(m, table.errors, reports.i[index])
        wiring.connect(m, reports.o, wiring.flipped(self.errors))
        self._send(m, messages.o)
        return m

    def _send(self, m, message):
        """Request and data of a write are offered together and taken in any order."""
        asked = Signal()
        given = Signal()
        payload = self.dma.data.payload
        m.d.comb += [
            self.dma.request.valid.eq(message.valid & ~asked),
            self.dma.request.payload.function.eq(message.payload.function),
            self.dma.request.payload.address.eq(message.payload.address),
            self.dma.request.payload.length.eq(4),
            self.dma.data.valid.eq(message.valid & ~given),
            payload.data.eq(message.payload.data),
            payload.empty.eq(self._width // 8 - 4),
            payload.last.eq(1),
            self.dma.response.ready.eq(1),
            message.ready.eq(
                (asked | self.dma.request.ready) & (given | self.dma.data.ready)
            ),
        ]
        with m.If(message.valid):
            m.d.sync += [
                asked.eq((asked | self.dma.request.ready) & ~message.ready),
                given.eq((given | self.dma.data.ready) & ~message.ready),
            ]
