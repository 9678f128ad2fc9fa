"""Signals that come when nobody would hear them: none is lost, and the exit code says which."""

import os
import signal
import sys

import pytest

from tailrace.cli import main as cli
from tailrace.cli.signals import held, signal_ends
from tailrace_hw import regs

CODES = [
    (signal.SIGINT, 130, "interrupted"),
    (signal.SIGTERM, 143, "ended by SIGTERM"),
    (signal.SIGHUP, 129, "ended by SIGHUP"),
]


@pytest.fixture(autouse=True)
def hearing():
    """As a shell starts us, in the foreground."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    after = {number: signal.getsignal(number) for number in numbers}
    for number, handler in before.items():
        signal.signal(number, handler)
    assert after == {**before, signal.SIGINT: signal.default_int_handler}, (
        "handlers are left behind"
    )


def swallow(number):
    """What an extension module makes of an exception in a callback."""
    try:
        os.kill(os.getpid(), number)
    except KeyboardInterrupt:
        raise TypeError("an interrupt came out as this") from None


@pytest.mark.parametrize(("number", "code", "words"), CODES)
def test_while_a_verb_is_loaded(monkeypatch, capsys, number, code, words):
    """Its modules take a second, and some of them lose interrupts."""
    make = cli._application

    def load():
        swallow(number)
        return make()

    monkeypatch.setattr(cli, "_application", load)
    monkeypatch.setattr(sys, "argv", ["tailrace", "info"])
    with pytest.raises(SystemExit) as status:
        cli.main()
    assert status.value.code == code
    assert capsys.readouterr().err == f"tailrace: {words}\n"


def test_while_registers_are_read(monkeypatch):
    """Their parser is such a module."""

    class Compiler(regs.RDLCompiler):
        def compile_file(self, path):
            swallow(signal.SIGINT)
            return super().compile_file(path)

    monkeypatch.setattr(regs, "RDLCompiler", Compiler)
    with pytest.raises(KeyboardInterrupt):
        regs.compile_rdl(regs.sources()[0])


@pytest.mark.parametrize(("number", "code", "words"), CODES)
def test_in_a_verb(monkeypatch, capsys, number, code, words):
    def verb():
        os.kill(os.getpid(), number)

    class Entry:
        name = "info"

        def load(self):
            return verb

    monkeypatch.setattr(cli, "entry_points", lambda **_: [Entry(), Entry()])
    monkeypatch.setattr(sys, "argv", ["tailrace", "info"])
    with pytest.raises(SystemExit) as status:
        cli.main()
    assert (status.value.code, capsys.readouterr().err) == (code, f"tailrace: {words}\n")


def test_what_is_ignored_stays_so():
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signal_ends() as ended, held():
            os.kill(os.getpid(), signal.SIGHUP)
        assert ended.by is None
    finally:
        signal.signal(signal.SIGHUP, before)
