"""The benchmarks that take less than a minute, and their goals: a regression is a failure."""

import json

import pytest
import typer

from tailrace_sim.cli import bench as verb
from tailrace_sim.cli.bench import NotHere, benches, load, page
from tailrace_sim.linux.session import Outcome
from tailrace_sim.run import SimulationError

#: What is well within its goal and is to stay there: values that must not be exceeded.
BOUNDS = {"frame end to MSI-X, 64 B": 92}


@pytest.mark.parametrize("name", ["virtio_net"])
def test_goals(name):
    entries = load(benches()[name]).measure()
    judged = [entry for entry in entries if entry["goal"] is not None]
    assert len(judged) >= 8, "goals are missing"
    for entry in judged:
        assert entry["met"], entry
        assert entry["value"] <= BOUNDS.get(entry["measure"], entry["value"]), entry


def test_page():
    rows = [
        {"bench": "x", "measure": "a", "value": 1.5, "unit": "u", "goal": 2, "met": True},
        {"bench": "x", "measure": "b", "value": 3, "unit": "u", "goal": 2, "met": False},
    ]
    text = page({"x": ("Title.\n\nSays ``what``.", rows)})
    assert "## x\n\nTitle.\n\nSays `what`.\n\n| measure" in text
    assert "| a | 1.5 | u | 2 | yes |" in text
    assert "| b | 3 | u | 2 | **no** |" in text


_ROW = {"bench": "b", "measure": "m", "value": 1, "unit": "u", "goal": None, "met": None}


def test_what_is_not_here_is_left_out(tmp_path, monkeypatch, capsys):
    """If all are asked for; who names it is told."""
    (tmp_path / "bench_a.py").write_text(
        "from tailrace_sim.cli.bench import NotHere\n"
        "def measure():\n    raise NotHere('there is no QEMU')\n"
    )
    (tmp_path / "bench_b.py").write_text(f"def measure():\n    return [{_ROW!r}]\n")
    monkeypatch.setattr(
        verb, "benches", lambda: {name: tmp_path / f"bench_{name}.py" for name in "ab"}
    )
    figures = tmp_path / "figures.json"
    with pytest.raises(typer.Exit) as done:
        verb.bench(None, figures, None)
    assert done.value.exit_code == 0
    assert "a is left out: there is no QEMU" in capsys.readouterr().out
    assert json.loads(figures.read_text()) == [_ROW]
    with pytest.raises(NotHere, match="there is no QEMU"):
        verb.bench(["a"], figures, None)


class Fake:
    """A session that shows some lines."""

    def __init__(self, options, show, lines, summary, problem=None):
        self.options, self.show, self.lines = options, show, lines
        self.outcome = Outcome({"bench": int("FAIL x" in lines)}, problem, {"dpu": summary})

    def run(self):
        for line in self.lines:
            self.show(line)
        return self.outcome


def test_figures_of_linux():
    linux = load(benches()["linux"])
    lines = ["figure ping_56 8.5", "figure ping_1400 12", "figure tcp_out 900",
             "noise", "figure tcp_in 450.5"]  # fmt: skip
    summary = ["time    20.0 s, asleep 5.0 s, simulated 1.0 ms", "speed  12,345 cycles a second"]

    def made(options, show):
        assert "export LOAD=busy" in options.scripts["bench"]
        assert options.plain
        return Fake(options, show, lines, summary)

    found = linux._run(made, plain=True, load="busy")
    assert found.figures["tcp_in"] == 450.5
    assert (found.speed, found.asleep) == (12345, 0.25)
    half = linux.Found({name: value / 2 for name, value in found.figures.items()})
    rows = {row["measure"]: row["value"] for row in linux.rows(found, half, found)}
    assert rows["ping, 56 B, to ordinary NIC"] == 2
    assert rows["TCP out, to ordinary NIC"] == 200
    assert rows["idle, asleep"] == 25


def test_a_linux_that_fails_is_told():
    linux = load(benches()["linux"])

    def made(options, show):
        return Fake(options, show, ["FAIL x"], [])

    with pytest.raises(SimulationError, match="bench linux: FAIL x"):
        linux._run(made, plain=False, load="idle")
