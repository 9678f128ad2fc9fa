"""Bad arguments are answered with one line that says what is wrong, and no traceback."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tailrace.cli.errors import UserError
from tailrace.cli.main import main
from tailrace_hw.lib.fifo import SyncFifo
from tailrace_sim.cli.terminal import make_console, writing
from tailrace_sim.run import pick_seed

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data"


class Outcome(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def cli(monkeypatch, capsys):
    """The command in this process: what it costs to start it is paid once."""

    def call(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["tailrace", *arguments])
        monkeypatch.chdir(ROOT)
        with pytest.raises(SystemExit) as status:
            main()
        code = status.value.code
        return Outcome(code if isinstance(code, int) else 1, *capsys.readouterr())

    return call


def tailrace(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command as a user's shell starts it."""
    return subprocess.run(
        [sys.executable, "-m", "tailrace.cli.main", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["frobnicate"], "No such command 'frobnicate'"),
        (["demo", "--foo"], "No such option: --foo; see ./tailrace demo --help"),
        (["demo", "--frames", "0"], "--frames"),
        (["demo", "--frames", "many"], "--frames"),
        (["demo", "--size", "5"], "--size must be 42 to"),
        (["demo", "--ring", "round"], "--ring must be packed or split"),
        (["demo", "--width", "77"], "width must be one of"),
        (["demo", "--pcap", "none.pcap"], "none.pcap does not exist"),
        (["demo", "--pcap", str(DATA / "broken_empty.pcap")], "is empty"),
        (["demo", "--pcap", str(DATA / "broken_truncated.pcap")], "cut off"),
        (["demo", "--pcap", str(DATA / "broken_truncated.pcapng")], "cut off"),
        (["demo", "--pcap", str(DATA / "broken_linktype.pcap")], "not an Ethernet capture"),
        (["demo", "--pcap", str(DATA / "broken_text.pcap")], "neither pcap nor pcapng"),
        (["demo", "--pcap", str(DATA / "broken_no_frames.pcap")], "no frame"),
        (["demo", "--pcap", "x.pcap", "--frames", "3"], "exclude each other"),
        (["demo", "--config", "none.toml"], "none.toml: No such file"),
        (["demo", "--config", str(DATA / "broken_text.pcap")], "is not TOML"),
        (["demo", "--config", str(DATA / "broken_config.toml")], "broken_config.toml: width must"),
        (["demo", "--waves", "20"], "--waves must be FROM:TO in clock cycles"),
        (["demo", "--waves", "20:10"], "--waves 20:10 is empty: TO must be above FROM"),
        (["demo", "--trace", "pcie,dma"], "no kind 'dma'; there are pcie, frames, errors"),
        (["demo", "--trace", "pcie", "--trace-file", "/proc/none"], "/proc/none"),
        (["demo", "--trace-file", "trace.txt"], "--trace-file needs --trace with what to show"),
        (["demo", "--trace", "pcie", "--backend", "cocotb"], "a trace needs the fast backend"),
        (["demo", "--waves", "1:9", "--backend", "cocotb"], "window of waves needs the fast"),
        (["shell", "--script", "none.py"], "none.py: No such file"),
        (["serve"], "Missing option '--port0'"),
        (["serve", "--port0", "carrier:pigeon"], "is nothing a port can be connected to"),
        (["serve", "--port0", "udp:localhost"], "is no HOST:PORT"),
        (["serve", "--port0", "udp:127.0.0.1:9", "--address", "me"], "--address must be an IPv4"),
        (["serve", "--port0", "udp:127.0.0.1:9", "--realtime", "0"], "must be 1e-07 to 1000"),
        (["serve", "--port0", "udp:127.0.0.1:9", "--seconds", "-1"], "--seconds must be above 0"),
        (["plug", "--function", "1=x", "--patience", "0"], "--patience must be above 0"),
        (["linux", "--peer", "x"], "--peer must be guest, dpu, none, or udp:HOST:PORT"),
        (["linux", "--rings", "round"], "--rings must be packed or split, not 'round'"),
        (["linux", "--cpus", "0"], "--cpus must be 1 to 16, not 0"),
        (["linux", "--memory", "10"], "--memory must be 192 to"),
        (["linux", "--time-out", "-1"], "--time-out must be above 0, not -1"),
        (["linux", "--run", "nothing"], "--run nothing: no such file or script; ours are bind,"),
        (["linux"], "a guest with a shell needs a terminal; give --run SCRIPT"),
        (["verilog", "-o", "/proc/none"], "/proc/none"),
        (["verilog", "--width", "512x"], "--width"),
        (["board"], "Missing argument 'BOARD'"),
        (["board", "u300"], "no board u300; there are u250, u55c"),
        (["board", "u250", "-o", "/proc/none"], "/proc/none"),
        (["board", "u250", "--width", "256"], "board u250 needs width = 512, not 256"),
        (["board", "u250", "--config", str(DATA / "narrow_pcie.toml")], "needs pcie.width = 512"),
        (["test", "nosuchblock"], "no test path or block nosuchblock; blocks are"),
        (["bench", "nosuchbench"], "no benchmark nosuchbench; there are"),
        (["synth", "nosuchblock"], "no block nosuchblock; there are"),
        (["synth", "--family", "none"], "no family none; there are xcup, ecp5"),
    ],
    ids=lambda value: " ".join(value)[-40:] if isinstance(value, list) else None,
)
def test_a_bad_argument_gives_one_line(cli, arguments, words):
    result = cli(*arguments)
    assert result.returncode != 0
    assert words in result.stderr
    assert result.stderr.startswith("tailrace: ")
    assert result.stderr.count("\n") == 1, result.stderr
    assert "Traceback" not in result.stdout + result.stderr


def test_verbs_come_in_their_order(cli):
    """Typer would put one that has verbs of its own behind all others."""
    text = cli("--help").stdout
    places = [text.index(f"│ {verb} ") for verb in ("demo", "crypto", "test", "regs")]
    assert places == sorted(places)


def test_a_filter_that_matches_nothing_fails():
    result = tailrace("test", "repo", "-j", "1", "-k", "no_test_has_this_name")
    assert result.returncode == 1
    assert "no test matches" in result.stderr


def test_the_exit_code_reaches_the_shell():
    result = tailrace("demo", "--foo")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "tailrace: No such option: --foo; see ./tailrace demo --help\n"


def test_a_seed_that_is_no_number_gives_one_line(cli, monkeypatch):
    monkeypatch.setenv("TAILRACE_SEED", "abc")
    result = cli("demo", "--frames", "1")
    assert result.returncode == 1
    assert result.stderr == "tailrace: TAILRACE_SEED must be a number, not 'abc'; unset it\n"


@pytest.mark.parametrize("number", [-1, 1 << 64])
@pytest.mark.parametrize("verb", ["demo", "shell", "test"])
def test_a_seed_that_the_core_cannot_have(cli, monkeypatch, verb, number):
    result = cli(verb, f"--seed={number}")
    assert result.returncode == 2
    assert "Invalid value for '--seed'" in result.stderr
    monkeypatch.setenv("TAILRACE_SEED", str(number))
    with pytest.raises(UserError, match="TAILRACE_SEED must be 0 to 18446744073709551615, not"):
        pick_seed()


def test_without_a_verb_the_help_is_shown(cli):
    result = cli()
    assert "Usage" in result.stdout + result.stderr
    assert "see ./tailrace" not in result.stderr


def test_lines_are_whole_where_there_is_no_terminal(capsys):
    make_console().print("x" * 300)
    assert capsys.readouterr().out == "x" * 300 + "\n"


def test_a_full_disk_is_told_with_the_file():
    full = Path("/dev/full")
    with (
        pytest.raises(UserError, match="/dev/full cannot be written: No space left on device"),
        writing(full),
    ):
        full.write_bytes(b"x")


@pytest.mark.parametrize("name", ["output.pcap", "report.html"])
def test_an_output_that_cannot_be_written_is_known_before_the_run(cli, tmp_path, name):
    (tmp_path / name).mkdir()
    result = cli("demo", "--frames", "1", "-o", str(tmp_path))
    assert result.returncode == 1
    assert result.stderr == f"tailrace: {tmp_path / name}: Is a directory\n"


def test_a_bench_that_cannot_be_written_is_known_before_it_runs(cli, tmp_path):
    result = cli("bench", "dma", "--json", str(tmp_path))
    assert result.stderr == f"tailrace: {tmp_path}: Is a directory\n"


def test_a_synthesis_that_cannot_be_written_is_known_before_it_runs(cli, monkeypatch, tmp_path):
    monkeypatch.setattr("tailrace_sim.cli.synth.measure", None)
    result = cli("synth", "skid_stage", "--json", str(tmp_path))
    assert result.returncode == 1
    assert result.stderr == f"tailrace: {tmp_path}: Is a directory\n"


def test_a_build_folder_that_cannot_be_made_gives_one_line(cli, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TAILRACE_BUILD", str(tmp_path / "file"))
    result = cli("info")
    assert result.returncode == 1
    assert result.stderr == f"tailrace: {tmp_path / 'file' / 'run'}: Not a directory\n"


def test_a_failure_of_yosys_gives_one_line(cli, monkeypatch, tmp_path):
    monkeypatch.setattr("tailrace_hw.verilog._PASSES", ("no_such_pass",))
    # Elaborating the device takes long, and nothing of it is looked at.
    monkeypatch.setattr("tailrace_hw.emit.Tailrace", lambda config: SyncFifo(8, 2))
    result = cli("verilog", "-o", str(tmp_path))
    assert result.returncode == 1
    assert result.stderr.startswith("tailrace: Yosys failed: ")
    assert result.stderr.count("\n") == 1


def test_a_missing_compiler_is_named(tmp_path):
    result = tailrace("info", PATH=str(tmp_path), TAILRACE_BUILD=str(tmp_path / "build"))
    assert result.returncode == 1
    assert "g++ is not installed; run: apt-get install" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "verb",
    ["", "demo", "shell", "serve", "crypto", "test", "bench", "info", "verilog", "synth", "board",
     "regs"],
)
def test_every_verb_has_help(cli, verb):
    result = cli(*([verb] if verb else []), "--help")
    assert result.returncode == 0
    assert "Usage" in result.stdout
