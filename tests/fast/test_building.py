"""What a user is told of a build: that it goes on, if it does, and nothing else."""

import io

import pytest
from amaranth.lib import wiring
from rich.console import Console

from tailrace.cli.errors import UserError
from tailrace_hw.config import Config
from tailrace_sim.build import BuildError, announce, announcing, emit
from tailrace_sim.cli import building


class Nothing(wiring.Component):
    """One wire."""

    def __init__(self):
        super().__init__({"i": wiring.In(1), "o": wiring.Out(1)})

    def elaborate(self, platform):
        from amaranth.hdl import Module

        m = Module()
        m.d.comb += self.o.eq(self.i)
        return m


@pytest.mark.parametrize(("builds", "lines"), [(0, 0), (1, 1), (3, 1)])
def test_it_is_said_once_if_something_is_built(monkeypatch, builds, lines):
    def build(config, **options):
        for _ in range(builds):
            announce()
        return "model"

    monkeypatch.setattr(building, "build_device", build)
    out = io.StringIO()
    assert building.build_for_user(Config(), Console(file=out, width=200)) == "model"
    assert out.getvalue().count("building the device") == lines


def test_a_build_that_fails(monkeypatch):
    def build(config, **options):
        raise BuildError("no compiler")

    monkeypatch.setattr(building, "build_device", build)
    with pytest.raises(UserError, match="no compiler"):
        building.build_for_user(Config(), Console(file=io.StringIO()))


def test_caches_say_when_they_have_it_not(monkeypatch, tmp_path, probe_library):
    probe_library("narrow")
    monkeypatch.setenv("TAILRACE_BUILD", str(tmp_path))
    said = []
    with announcing(lambda: said.append(1)):
        emit(Nothing, "nothing", 0)
        assert len(said) == 1
        emit(Nothing, "nothing", 0)
        assert len(said) == 1
    emit(Nothing, "nothing", 1)
    assert len(said) == 1, "it is over"
    monkeypatch.undo()
    with announcing(lambda: said.append(1)):
        probe_library("narrow")
    assert len(said) == 1


@pytest.mark.parametrize("backend", ["cocotb"])
def test_what_runs_on_fast_only(monkeypatch, backend):
    monkeypatch.setenv("TAILRACE_BACKEND", backend)
    with pytest.raises(UserError, match="serve runs on the fast backend only"):
        building.check_fast("serve")
