"""The cipher engine with its self-test."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from tailrace_hw.crypto.cipher_engine import CipherEngine
from tailrace_hw.crypto.key_installer import KeyAnswer
from tailrace_hw.crypto.self_test import SelfTest
from tailrace_hw.crypto.types import (
    JobParameters,
    KeyCommand,
    OutputMeta,
    Result,
    SelfTestFault,
    self_test_rows,
)
from tailrace_hw.lib.packet import PacketSignature

__all__ = ["TestedCipher"]


class TestedCipher(wiring.Component):
    """A ``CipherEngine`` that works for nobody before it has shown what it can.

    Streams, rates and latency are the engine's; after reset they wait until the ``SelfTest`` has
    ended. While ``failed``, each packet ends with SELF_TEST.

    Parameters
    ----------
    width, keys, xts : see ``CipherEngine``

    Members
    -------
    i, o, results, keys, key_answers : see ``CipherEngine``
    start, inject, busy, passed, failed : see ``SelfTest``
    """

    #: For pytest, which would take the name for that of a class of tests.
    __test__ = False

    def __init__(self, width: int, keys: int = 1024, *, xts: bool = True):
        self._test = SelfTest(width, keys, xts=xts)
        self._engine = CipherEngine(width, keys, xts=xts, kept=self_test_rows(xts=xts))
        super().__init__(
            {
                "i": In(PacketSignature(width, JobParameters)),
                "o": Out(PacketSignature(width, OutputMeta)),
                "results": Out(stream.Signature(Result)),
                "keys": In(stream.Signature(KeyCommand)),
                "key_answers": Out(stream.Signature(KeyAnswer)),
                "start": In(1),
                "inject": In(SelfTestFault),
                "busy": Out(1),
                "passed": Out(1),
                "failed": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.engine = engine = self._engine
        m.submodules.test = test = self._test
        connect(m, flipped(self.i), test.i)
        connect(m, test.o, flipped(self.o))
        connect(m, test.results, flipped(self.results))
        connect(m, flipped(self.keys), test.keys)
        connect(m, test.key_answers, flipped(self.key_answers))
        connect(m, test.to_engine, engine.i)
        connect(m, engine.o, test.from_engine)
        connect(m, engine.results, test.engine_results)
        connect(m, test.engine_keys, engine.keys)
        connect(m, engine.key_answers, test.engine_answers)
        m.d.comb += [
            test.engine_ready.eq(engine.ready),
            engine.refuse.eq(test.refuse),
            engine.fault.eq(test.fault),
            test.start.eq(self.start),
            test.inject.eq(self.inject),
            self.busy.eq(test.busy),
            self.passed.eq(test.passed),
            self.failed.eq(test.failed),
        ]
        return m
