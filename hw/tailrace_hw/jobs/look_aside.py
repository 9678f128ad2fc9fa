"""The look-aside engine of the device: job queues, and the cipher engine behind them."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from tailrace_hw.config import JobsConfig
from tailrace_hw.crypto.cipher_registers import ADDRESS_WIDTH as CIPHER_ADDRESS_WIDTH
from tailrace_hw.crypto.cipher_registers import CipherRegisters
from tailrace_hw.crypto.job_port import JobPort, cipher_operations
from tailrace_hw.crypto.key_reset import KeyReset
from tailrace_hw.crypto.tested_cipher import TestedCipher
from tailrace_hw.errors import ErrorEvent
from tailrace_hw.jobs.job_queues import JobQueues
from tailrace_hw.jobs.job_registers import ADDRESS_WIDTH
from tailrace_hw.jobs.operations import COPY_ENGINE, COPY_OPERATIONS
from tailrace_hw.lib.arbiter import RoundRobinArbiter
from tailrace_hw.lib.csr import CsrSignature
from tailrace_hw.pcie.dma import DmaReadPort, DmaWritePort
from tailrace_hw.pcie.function import InterruptRequest
from tailrace_hw.pcie.functions import FlrPort

__all__ = ["READERS", "WRITERS", "LookAside"]

#: DMA clients, in the order of the port arrays.
READERS = ("rings", "source")
WRITERS = ("destination", "completions")
_CIPHER_ENGINE = COPY_ENGINE + 1


class LookAside(wiring.Component):
    """:class:`JobQueues` with the engines of the device.

    No logic of its own but the joining. Without keys in the configuration there is no cipher
    engine; its registers say so, and its operations end with BAD_OPCODE.

    A function level reset is done when the function's queues are idle and its keys forgotten.

    Parameters
    ----------
    config : :class:`JobsConfig`
    width : datapath width in bits
    functions : PCIe functions

    Members
    -------
    bus : In(CsrSignature(10)), registers of the queues
    cipher_bus : In(CsrSignature(7)), registers of the cipher engine
    reads : Out(DmaReadPort(width)) for each of ``READERS``
    writes : Out(DmaWritePort(width)) for each of ``WRITERS``
    interrupt : Out(stream of InterruptRequest)
    flr : In(FlrPort), array by function
    errors : Out(stream of ErrorEvent)
    """

    def __init__(self, config: JobsConfig, width: int, functions: int):
        self.config = config
        self._width = width
        super().__init__(
            {
                "bus": In(CsrSignature(ADDRESS_WIDTH)),
                "cipher_bus": In(CsrSignature(CIPHER_ADDRESS_WIDTH)),
                "reads": Out(DmaReadPort(width)).array(len(READERS)),
                "writes": Out(DmaWritePort(width)).array(len(WRITERS)),
                "interrupt": Out(stream.Signature(InterruptRequest)),
                "flr": In(FlrPort()).array(functions),
                "errors": Out(stream.Signature(ErrorEvent)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, functions = self.config, len(self.flr)
        has_cipher = config.keys > 0
        operations = COPY_OPERATIONS
        if has_cipher:
            operations += cipher_operations(_CIPHER_ENGINE, xts=config.xts)
        m.submodules.queues = queues = JobQueues(
            self._width, functions, queues=config.queues, jobs=config.in_flight,
            operations=operations,
        )  # fmt: skip
        m.submodules.cipher_registers = registers = CipherRegisters(
            config.user_keys, max(1, self._width // 128) if has_cipher else 0,
            xts=has_cipher and config.xts,
        )  # fmt: skip
        m.submodules.errors = errors = RoundRobinArbiter(ErrorEvent, 2)
        connect(m, flipped(self.bus), queues.bus)
        connect(m, flipped(self.cipher_bus), registers.bus)
        for names, ports in ((READERS, self.reads), (WRITERS, self.writes)):
            for name, port in zip(names, ports, strict=True):
                connect(m, getattr(queues, name), flipped(port))
        connect(m, queues.interrupt, flipped(self.interrupt))
        connect(m, queues.errors, errors.i[0])
        connect(m, registers.errors, errors.i[1])
        connect(m, errors.o, flipped(self.errors))
        if has_cipher:
            self._connect_cipher(m, queues, registers)
        else:
            for outer, inner in zip(self.flr, queues.flr, strict=True):
                connect(m, flipped(outer), inner)
        return m

    def _connect_cipher(self, m, queues, registers):
        config = self.config
        m.submodules.cipher = cipher = TestedCipher(self._width, config.keys, xts=config.xts)
        m.submodules.port = port = JobPort(self._width)
        m.submodules.key_reset = reset = KeyReset(len(self.flr))
        for outer, middle in zip(self.flr, reset.flr, strict=True):
            connect(m, flipped(outer), middle)
        for middle, inner in zip(reset.queues, queues.flr, strict=True):
            connect(m, middle, inner)
        connect(m, reset.forget, port.forget)
        connect(m, queues.engines[_CIPHER_ENGINE - COPY_ENGINE - 1], port.port)
        connect(m, port.packets, cipher.i)
        connect(m, cipher.o, port.output)
        connect(m, cipher.results, port.results)
        connect(m, port.keys, cipher.keys)
        connect(m, cipher.key_answers, port.key_answers)
        result, answer = cipher.results, cipher.key_answers
        m.d.comb += [
            cipher.start.eq(registers.start),
            cipher.inject.eq(registers.inject),
            registers.busy.eq(cipher.busy),
            registers.passed.eq(cipher.passed),
            registers.failed.eq(cipher.failed),
            registers.ended.eq(result.valid & result.ready),
            registers.status.eq(result.payload.status),
            registers.key.eq(result.payload.key),
            registers.answered.eq(answer.valid & answer.ready),
            registers.action.eq(port.key_action),
            registers.key_status.eq(answer.payload.status),
        ]
