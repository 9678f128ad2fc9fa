"""``./tailrace synth`` as a user calls it."""

import gc
import json
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tailrace.cli.main import main
from tailrace_sim.synth.blocks import BLOCKS

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data" / "verilog"
SMALL = str(DATA / "small.v")


class Outcome(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def synth(monkeypatch, capsys, tmp_path):
    """The command in this process, its files in a folder of the test's own."""

    def call(*arguments: str) -> Outcome:
        files = ["--json", str(tmp_path / "a.json"), "--report", str(tmp_path / "a.html")]
        monkeypatch.setattr(sys, "argv", ["tailrace", "synth", *files, *arguments])
        monkeypatch.setenv("COLUMNS", "160")
        monkeypatch.chdir(ROOT)
        with pytest.raises(SystemExit) as status:
            main()
        code = status.value.code
        return Outcome(code if isinstance(code, int) else 1, *capsys.readouterr())

    return call


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nosuchblock"], "no block nosuchblock; there are pcie, dma_read"),
        (["--family", "ice40"], "no family ice40; there are xcup, ecp5"),
        (["skid_stage", "--pnr"], "--pnr needs --family ecp5"),
        (["--verilog", SMALL], "--verilog needs --top"),
        (["--verilog", SMALL, "--top", "adder", "--param", "WIDTH"], "must be NAME=VALUE"),
        (["--verilog", SMALL, "--top", "adder", "--param", "NONE=3"], "NONE"),
        (["--verilog", SMALL, "--top", "adder", "--against", "nothing"], "no block nothing"),
        (["--verilog", SMALL, "--top", "no_ports"], "no ports"),
        (["--verilog", SMALL, "--top", "wire_only"], "maps to 0 cells"),
        (["--verilog", str(DATA / "broken.v"), "--top", "broken"], "syntax error"),
        (["--verilog", SMALL, "--top", "wire_only"], "yosys.log"),
        (["--verilog", "none.v", "--top", "x"], "none.v does not exist"),
        (["--verilog", str(DATA), "--top", "x"], "is a folder, not a file"),
        (["--verilog", SMALL, "--top", ""], '"" is not a name in Verilog'),
        (["--verilog", SMALL, "--top", "adder", "--param", "=5"], '"" is not a name in Verilog'),
        (["--verilog", SMALL, "--top", "adder", "--against", ""], "no block ;"),
        (["skid_stage", "--verilog", SMALL, "--top", "adder"], "--against skid_stage puts it"),
        (["skid_stage", "--json", "out/same", "--report", "out/../out/same"], "are the same file"),
        (["skid_stage", "--define", "A"], "go with --verilog"),
        (["--top", "adder"], "go with --verilog"),
        (["skid_stage", "--flatten", "--record"], "--record goes with"),
        (["skid_stage", "--width", "256", "--record"], "add --width 512"),
        (["skid_stage", "--family", "ecp5", "--record"], "add --width 64"),
        (["--width", "77"], "width must be one of"),
    ],
    ids=lambda value: " ".join(value)[-40:] if isinstance(value, list) else None,
)
def test_what_is_wrong_is_said_in_one_line(synth, arguments, words):
    result = synth(*arguments)
    assert result.returncode != 0
    assert words in result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("tailrace: ")]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.stdout + result.stderr


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
@pytest.mark.parametrize("width", [64, 128, 512, 1024])
def test_every_part_that_stands_alone_exists_at_every_width(width):
    parts = [block.make for block in BLOCKS.values() if block.make is not None]
    assert parts
    for make in parts:
        make(width)
    # Here and not in another test: what nobody elaborated warns when it goes.
    gc.collect()


def test_a_block_and_somebody_elses_verilog(synth, tmp_path):
    result = synth("--verilog", SMALL, "--top", "adder", "--param", "WIDTH=8",
                   "--against", "event_arbiter")  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "event_arbiter (ours)" in result.stdout
    assert "ours / theirs" in result.stdout
    theirs, ours = json.loads((tmp_path / "a.json").read_text())
    assert (theirs["name"], theirs["lut"], theirs["ff"], theirs["carry"]) == ("adder", 8, 24, 2)
    assert (ours["name"], ours["width"], theirs["width"]) == ("event_arbiter", 512, 0)
    for member in ("family", "width", "lutram", "bram", "uram", "dsp", "depth", "fmax_mhz", "path"):
        assert member in ours
    page = (tmp_path / "a.html").read_text()
    assert "event_arbiter" in page
    assert "Longest paths" in page


def test_more_files_stand_behind_the_first(synth, tmp_path):
    (tmp_path / "part.v").write_text("module missing_part(input a, output b);\n"
                                     "assign b = ~a;\nendmodule\n")  # fmt: skip
    result = synth("--verilog", SMALL, str(tmp_path / "part.v"), "--top", "orphan")
    assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / "a.json").read_text())[0]["lut"] == 1


def test_an_included_file_is_found_beside_the_one_that_includes_it(synth, tmp_path):
    """Both readers: Yosys's own, and slang for what that cannot read."""
    (tmp_path / "width.svh").write_text("`define WIDTH 7\n")
    body = (
        '`include "width.svh"\n'
        "module inverter {} (input clk, output {} q);\n"
        "always @(posedge clk) q <= ~q;\n"
        "endmodule\n"
    )
    (tmp_path / "plain.sv").write_text(body.format("", "reg [`WIDTH-1:0]"))
    modern = body.format("#(parameter type T = logic [`WIDTH-1:0])", "T")
    (tmp_path / "modern.sv").write_text(modern)
    for name in ("plain.sv", "modern.sv"):
        result = synth("--verilog", str(tmp_path / name), "--top", "inverter")
        assert result.returncode == 0, result.stderr
        assert json.loads((tmp_path / "a.json").read_text())[0]["ff"] == 7
    (tmp_path / "width.svh").unlink()
    result = synth("--verilog", str(tmp_path / "modern.sv"), "--top", "inverter")
    assert result.returncode == 1
    assert "modern.sv:1: ERROR: 'width.svh': No such file" in result.stderr.replace("\n", " ")


def test_memories_without_a_ram_are_said(synth):
    result = synth("--verilog", SMALL, "--top", "two_writers")
    assert result.returncode == 0, result.stderr
    assert "1 memories without a RAM: slots (16 x 8: registers)" in result.stdout


def test_a_block_that_is_named_twice_is_listed_once(synth, tmp_path):
    result = synth("event_arbiter", "event_arbiter")
    assert result.returncode == 0, result.stderr
    assert len(json.loads((tmp_path / "a.json").read_text())) == 1


def test_third_party_figures_have_no_width_and_a_title_of_one_line(synth, tmp_path):
    result = synth("--verilog", SMALL, "--top", "adder")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0].strip() == "AMD UltraScale+"
    assert "Area of Tailrace" not in (tmp_path / "a.html").read_text()
