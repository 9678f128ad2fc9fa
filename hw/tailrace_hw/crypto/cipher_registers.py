"""The registers of the cipher engine, and the error event of its self-test."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from tailrace_hw.crypto.types import KeyAction, KeyStatus, SelfTestFault, Status
from tailrace_hw.errors import ErrorCode, ErrorEvent, ErrorSource
from tailrace_hw.lib.csr import CsrSignature
from tailrace_hw.lib.csr_bank import CsrBank
from tailrace_hw.regs import load

__all__ = ["ADDRESS_WIDTH", "CipherRegisters"]

ADDRESS_WIDTH = 7


class CipherRegisters(wiring.Component):
    """Serves regs.rdl.

    A packet's end is in its counter 2 cycles after its result was taken.

    Parameters
    ----------
    keys : :class:`int`
        Keys that users may have; 0 if there is no engine.
    lanes : :class:`int`
    xts : :class:`bool`

    Members
    -------
    bus : In(CsrSignature(7))
    start : Out(1)
        Run the self-test.
    inject : Out(SelfTestFault)
        With ``start``.
    busy, passed, failed : In(1)
        See ``SelfTest``.
    ended : In(1)
        Pulse: a user's packet has ended with ``status``, and had ``key``.
    status : In(Status)
    key : In(16)
    answered : In(1)
        Pulse: a request of ``action`` to the key table has ended with ``key_status``.
    action : In(KeyAction)
    key_status : In(KeyStatus)
    errors : Out(stream of ErrorEvent)
        A run of the self-test has failed. Runs that fail before the event of one was taken are told
        of by that one.
    """

    def __init__(self, keys: int, lanes: int, *, xts: bool):
        self._keys = keys
        self._lanes = lanes
        self._xts = xts
        super().__init__(
            {
                "bus": In(CsrSignature(ADDRESS_WIDTH)),
                "start": Out(1),
                "inject": Out(SelfTestFault),
                "busy": In(1),
                "passed": In(1),
                "failed": In(1),
                "ended": In(1),
                "status": In(Status),
                "key": In(16),
                "answered": In(1),
                "action": In(KeyAction),
                "key_status": In(KeyStatus),
                "errors": Out(stream.Signature(ErrorEvent)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.bank = bank = CsrBank(load("crypto/regs.rdl"), address_width=ADDRESS_WIDTH)
        connect(m, flipped(self.bus), bank.bus)
        m.d.comb += [
            bank.shape.keys.eq(self._keys),
            bank.shape.xts.eq(self._xts),
            bank.shape.lanes.eq(self._lanes),
            self.start.eq(bank.self_test.start),
            self.inject.round_key.eq(bank.self_test.round_key_fault),
            self.inject.hash_key.eq(bank.self_test.hash_key_fault),
            bank.self_test_state.busy.eq(self.busy),
            bank.self_test_state.passed.eq(self.passed),
            bank.self_test_state.failed.eq(self.failed),
        ]
        ended, answered, installed = Signal(), Signal(), Signal()
        status, key, key_status = Signal(Status), Signal(16), Signal(KeyStatus)
        last_key = Signal(16)
        # Registered here, because the ends come from far away.
        m.d.sync += [
            ended.eq(self.ended),
            status.eq(self.status),
            key.eq(self.key),
            answered.eq(self.answered),
            installed.eq(self.action == KeyAction.INSTALL),
            key_status.eq(self.key_status),
        ]
        with m.If(ended & (status == Status.AUTHENTICATION_FAILED)):
            m.d.sync += last_key.eq(key)
        m.d.comb += [
            bank.authentication_failed.key.eq(last_key),
            bank.done.value.eq(ended & (status == Status.OK)),
            bank.installed.value.eq(answered & installed & (key_status == KeyStatus.OK)),
            bank.key_refused.value.eq(answered & (key_status != KeyStatus.OK)),
        ]
        for reason in Status:
            if reason is not Status.OK:
                m.d.comb += bank.failed[reason.value].value.eq(ended & (status == reason))
        self._report(m)
        return m

    def _report(self, m):
        running, event = Signal(), self.errors
        m.d.sync += running.eq(self.busy)
        m.d.comb += [
            event.payload.source.eq(ErrorSource.CIPHER),
            event.payload.code.eq(ErrorCode.CIPHER_SELF_TEST),
            event.payload.queue.eq(0xFFFF),
        ]
        with m.If(running & ~self.busy & self.failed):
            m.d.sync += event.valid.eq(1)
        with m.Elif(event.ready):
            m.d.sync += event.valid.eq(0)
