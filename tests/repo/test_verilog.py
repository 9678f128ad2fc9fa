"""The emitted Verilog: the same every time, and clean under -Wall but for the waivers."""

import os
import re
import subprocess
import sys

import pytest
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw import emit
from tailrace_hw.config import Config, JobsConfig, VirtioNetConfig
from tailrace_hw.verilog import convert, yosys
from tailrace_sim.build import toolchain_env
from tailrace_sim.device import NO_CIPHER, device_verilog

ELABORATE = """
import hashlib
from tailrace_hw.lib.fifo import AsyncFifo
from tailrace_hw.verilog import convert
from tailrace_hw.virtio.transport import VirtioTransport
component = {component}
print(hashlib.sha256(convert(component, "component").encode()).hexdigest())
"""


@pytest.mark.parametrize(
    "component",
    ["VirtioTransport(2, vectors=6)", "AsyncFifo(8, 4, i_domain='port0', o_domain='sync')"],
    ids=["one domain", "two domains"],
)
def test_the_text_does_not_depend_on_the_run(component):
    """Python's hash seed is what differs from run to run."""
    digests = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", ELABORATE.format(component=component)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2", "3", "4")
    }  # fmt: skip
    assert len(digests) == 1
    assert len(digests.pop().strip()) == 64


class Elements(wiring.Component):
    """An array whose elements Amaranth shows as signals of their own."""

    i: In(4)
    o: Out(4)

    def elaborate(self, platform):
        m = Module()
        bits = Signal(data.ArrayLayout(1, 4))
        m.d.sync += bits.eq(self.i)
        m.d.comb += self.o.eq(Cat(bits[3], bits[2], bits[1], bits[0]))
        return m


def test_no_name_is_taken_for_a_bit():
    """Yosys's ABC9 flow stops at a wire ``bits[0]`` beside a vector ``bits``."""
    text = convert(Elements(), "elements")
    assert "\\bits.0 " in text
    assert not re.findall(r"\\\S*\[\d+\]\S* ", text)


class AlwaysReady(wiring.Component):
    """A stream whose ready is a constant."""

    i: In(stream.Signature(4, always_ready=True))
    o: Out(stream.Signature(4, always_ready=True))

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.o.valid.eq(self.i.valid), self.o.payload.eq(self.i.payload)]
        return m


def test_a_constant_is_no_port():
    text = convert(AlwaysReady(), "always_ready")
    assert "i__payload" in text
    assert "i__valid" in text
    assert "i__ready" not in text


class Part(wiring.Component):
    """XOR with a constant, in a module below it whose ports have no names."""

    i: In(4)
    o: Out(4)

    def __init__(self, constant):
        self._constant = constant
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = inner = Module()
        result = Signal(4)
        inner.d.comb += result.eq(self.i[::-1] ^ self._constant)
        m.d.comb += self.o.eq(result + self.i)
        return m


class Parts(wiring.Component):
    """Parts one behind the other, of three kinds, and modules between which signals cross."""

    i: In(4)
    o: Out(4)

    def elaborate(self, platform):
        m = Module()
        value = self.i
        for index, constant in enumerate((3, 5, 3, 5, 3, 9)):
            part = Part(constant)
            m.submodules[f"part{index}"] = part
            m.d.comb += part.i.eq(value + index)
            value = part.o
        m.submodules.left = left = Module()
        m.submodules.right = right = Module()
        across, back = Signal(4), Signal(4)
        left.d.comb += across.eq(value + self.i)
        right.d.comb += back.eq(across + self.i)
        m.d.comb += self.o.eq(back)
        return m


def test_equal_instances_share_a_module(tmp_path, monkeypatch):
    """Every kind is there once, and the whole is what it is without sharing."""
    text = convert(Parts(), "parts")
    of_parts = re.findall(r"^module \\?(\S+?) ?\(", text, re.MULTILINE)
    parts = [f"part{index}{inner}" for index in (0, 1, 5) for inner in ("", ".inner")]
    assert sorted(of_parts) == ["parts", *(f"parts.{name}" for name in ["left", *parts, "right"])]
    assert all(f" part{index} (" in text for index in range(6))
    monkeypatch.setattr("tailrace_hw.verilog.share_modules", lambda text: text)
    apart = convert(Parts(), "parts")
    assert apart.count("\nmodule ") == 15
    commands = []
    for name, verilog in (("shared", text), ("apart", apart)):
        (tmp_path / f"{name}.v").write_text(verilog)
        commands += [f"read_verilog {tmp_path}/{name}.v", "hierarchy -top parts", "flatten",
                     f"design -stash {name}"]  # fmt: skip
    commands += [f"design -copy-from {name} -as {name} parts" for name in ("shared", "apart")]
    yosys([
        *commands, "miter -equiv shared apart miter", "hierarchy -top miter", "flatten",
        "sat -verify -prove trigger 0 miter",
    ])  # fmt: skip


def lint(text: str, folder, waivers: bool = True) -> str:
    """Verilator's complaints about a Verilog text."""
    (folder / "tailrace.v").write_text(text)
    (folder / "tailrace.vlt").write_text(emit.waiver_text() if waivers else "`verilator_config\n")
    result = subprocess.run(
        ["verilator", "--lint-only", "-Wall", "--top-module", "tailrace", "tailrace.vlt",
         "tailrace.v"],
        cwd=folder, env={**os.environ, **toolchain_env()}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    return result.stderr + result.stdout if result.returncode else ""


@pytest.mark.parametrize(
    "config",
    [
        # The cipher engine at one width only: at 512 bits it takes minutes and gigabytes.
        Config(jobs=NO_CIPHER),
        Config(width=64, virtio_net=VirtioNetConfig(queue_pairs=2), jobs=JobsConfig(keys=16)),
    ],
    ids=["default", "width64"],
)
def test_the_device_is_clean_under_wall(tmp_path, config):
    complaints = lint(device_verilog(config).read_text(), tmp_path)
    assert not complaints, complaints[:2000]


def test_the_linter_can_complain(tmp_path):
    """A latch, two drivers, a loop: none of them is waived."""
    text = """module tailrace(input a, input b, output reg q);
      always @* if (a) q = b;
    endmodule"""
    assert "LATCH" in lint(text, tmp_path)


def test_every_waiver_has_a_reason():
    assert emit.WAIVERS
    assert all(len(reason) > 20 for reason in emit.WAIVERS.values())


def test_the_files_of_a_directory(tmp_path, monkeypatch):
    monkeypatch.setattr(emit, "verilog_text", lambda config: "module tailrace; endmodule\n")
    names = {path.name for path in emit.write_verilog(Config(), tmp_path / "new")}
    assert {"tailrace.v", "tailrace.f", "tailrace.vlt", "tailrace.txt"} <= names
    assert "tailrace_virtio.h" in names
    assert Config().hash() in (tmp_path / "new" / "tailrace.txt").read_text()
