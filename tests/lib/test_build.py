"""Verilator's runtime is compiled once for all models that are compiled alike."""

import os
import subprocess

import pytest

from tailrace_sim.build import BuildError, provide_runtime

CLASSES = """\
# Global classes, need linked once per executable, fast-path, compile with highest optimization
VM_GLOBAL_FAST += \\
  verilated \\
  verilated_vpi \\

# Global classes, need linked once per executable, non-fast-path
VM_GLOBAL_SLOW += \\

"""
RULES = """\
verilated.o verilated_vpi.o: Vx.mk
\techo $(OPT_GLOBAL) $@ >$@
\techo $(OPT_GLOBAL) $@ >>../made
$(VK_PCH_H).fast.gch $(VK_PCH_H).slow.gch: $(VK_PCH_H)
\tcat $^ >$@
\techo $(OPT_GLOBAL) $@ >>../made
"""
ENVIRONMENT = {"PATH": os.environ["PATH"], "VERILATOR_ROOT": "/verilator"}


@pytest.fixture
def verilated(monkeypatch, tmp_path):
    """Makes a folder as Verilator leaves it; what is compiled there is noted in ``made``."""
    monkeypatch.setenv("TAILRACE_BUILD", str(tmp_path / "build"))

    def make(name: str, rules: str = RULES):
        directory = tmp_path / name
        directory.mkdir()
        (directory / "Vx_classes.mk").write_text(CLASSES)
        (directory / "Vx.mk").write_text(rules)
        return directory

    return make


def test_the_runtime_is_compiled_once_for_each_set_of_flags(verilated, tmp_path):
    made = []
    for name, flag in (("a", "-O1"), ("b", "-O1"), ("c", "-O2"), ("d", "-O1")):
        directory = verilated(name)
        provide_runtime(directory, "Vx", [f"OPT_GLOBAL={flag}"], ENVIRONMENT)
        for unit in ("verilated", "verilated_vpi"):
            assert (directory / f"{unit}.o").read_text() == f"{flag} {unit}.o\n"
        made.append(len((tmp_path / "made").read_text().splitlines()))
    assert made == [4, 4, 8, 8]


def test_make_takes_the_objects_that_are_there(verilated, tmp_path):
    provide_runtime(verilated("a"), "Vx", [], ENVIRONMENT)
    directory = verilated("b")
    settings = provide_runtime(directory, "Vx", [], ENVIRONMENT)
    header = next(word for word in settings if word.startswith("VK_PCH_H=")).split("=")[1]
    command = ["make", "-f", "Vx.mk", *settings, "verilated.o", "verilated_vpi.o"]
    command += [f"{header}.fast.gch", f"{header}.slow.gch"]
    subprocess.run(command, cwd=directory, env=ENVIRONMENT, check=True)
    assert len((tmp_path / "made").read_text().splitlines()) == 4
    assert "verilated.h" in (directory / f"{header}.fast.gch").read_text()


def test_a_model_may_have_its_classes_in_the_header(verilated, tmp_path):
    for name in ("a", "b"):
        directory = verilated(name)
        settings = provide_runtime(directory, "Vx", [], ENVIRONMENT, own_header=True)
        assert "VK_PCH_H=Vx__pch.h" in settings
        # The runtime does not know the model, and its header is nothing to this one.
        assert not list(directory.glob("runtime.h*"))
    directory = verilated("c")
    assert "VK_PCH_H=runtime.h" in provide_runtime(directory, "Vx", [], ENVIRONMENT)
    assert "verilated.h" in (directory / "runtime.h.fast.gch").read_text()
    assert len((tmp_path / "made").read_text().splitlines()) == 4


def test_a_runtime_that_does_not_compile_is_not_kept(verilated):
    broken = RULES + "\tfalse\n"
    for name in ("a", "b"):
        with pytest.raises(BuildError, match=f"{name}/runtime.log"):
            provide_runtime(verilated(name, broken), "Vx", [], ENVIRONMENT)
